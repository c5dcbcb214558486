"""What a result costs besides time: wrong digits, first calls, and arrays that are moved."""

from __future__ import annotations

from statistics import median

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from backends.bench.record import Record, Result, Row

__all__ = ["breakdown", "duration", "errors", "three_digits"]

#: Characters that the column of one backend takes in the table of errors, and the first column.
NARROW, SHORT = 8, 20
UNITS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))


def errors(rows: list[Row], width: int, *, with_shape: bool) -> list[RenderableType]:
    """Give the table of errors: those of plain calls, which the other ways have too."""
    found = {
        (row.kernel, row.case, row.shape, r.backend): r.error
        for row in rows
        for r in row.results
        if r.error is not None and r.way == "call"
    }
    if not found:
        return []
    backends = list(dict.fromkeys(key[3] for key in found))
    parts: list[RenderableType] = []
    for names in _parts(backends, width - SHORT):
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("largest error, ULP", no_wrap=True, min_width=SHORT - 1)
        for name in names:
            table.add_column(name, justify="right", no_wrap=True, min_width=NARROW - 1)
        for row in rows:
            key = row.kernel, row.case, row.shape
            cells = [found.get((*key, name)) for name in names]
            if any(cell is not None for cell in cells):
                label = f"{row.kernel} {row.shape}" if with_shape else row.kernel
                table.add_row(label, *("-" if c is None else _digits(c) for c in cells))
        parts.append(table)
    return [*parts, Text()]


def _parts(names: list[str], room: int) -> list[list[str]]:
    """Share the columns out among as many tables as they need."""
    parts: list[list[str]] = [[]]
    left = room
    for name in names:
        needed = max(NARROW, len(name) + 1)
        if needed > left and parts[-1]:
            parts.append([])
            left = room
        parts[-1].append(name)
        left -= needed
    return parts


def breakdown(record: Record) -> list[RenderableType]:
    """Give, for each backend, what a user pays besides computing."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("backend", "import", "first call", "call", "moved in", "compute", "moved out"):
        table.add_column(name, justify="left" if name == "backend" else "right", no_wrap=True)
    calls: dict[str, list[Result]] = {}
    computes: dict[str, list[float]] = {}
    for row in record.rows:
        for r in row.results:
            if r.median is None:
                continue
            if r.way == "resident":
                computes.setdefault(r.backend, []).append(r.median)
            elif r.way == "call":
                calls.setdefault(r.backend, []).append(r)
    for backend, results in calls.items():
        medians = [r.median for r in results if r.median is not None]
        table.add_row(
            backend,
            duration([record.imports[backend]] if backend in record.imports else []),
            duration([max((r.first for r in results if r.first is not None), default=0.0)]),
            duration(medians),
            duration([r.transfer_in for r in results if r.transfer_in is not None]),
            duration(computes.get(backend, medians)),
            duration([r.transfer_out for r in results if r.transfer_out is not None]),
        )
    if len(calls) < 2:
        return []
    title = Text(
        "What a call costs: medians over the rows; of first calls, the longest",
        style="bold",
    )
    return [title, table, Text()]


def duration(values: list[float]) -> str:
    """Give the median of `values`, in seconds, with a unit that fits.

    Examples
    --------
    >>> duration([0.0012]), duration([1.0, 2.0, 3.0]), duration([])
    ('1.2 ms', '2 s', '-')
    """
    if not values:
        return "-"
    value = median(values)
    # Not 1000 us where 1.00 ms is meant: what rounds up to the next unit belongs there.
    name, size = next((u for u in UNITS if value >= 0.9995 * u[1]), UNITS[-1])
    return f"{three_digits(value / size)} {name}"


def _digits(error: float) -> str:
    return f"{error:.2f}" if error < 9.995 else f"{error:.0f}" if error < 999.5 else f"{error:.0e}"


def three_digits(value: float) -> str:
    """Give three digits without an exponent."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"
