"""A record as a person reads it: tables by kernel family, and a verdict in words."""

from __future__ import annotations

from itertools import groupby
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from backends.bench import costs
from backends.bench.heading import heading
from backends.bench.record import BASELINE, Record, Result, Row, Way
from backends.bench.verdict import best, label, peers, verdict

__all__ = ["show"]

MARK, FAULT = "*", "!"
#: What stands below a backend's name, where it is no plain call.
HEADERS: dict[Way, str] = {
    "call": "",
    "resident": "\nresident",
    "out": "\nout=",
    "cold": "\ncold",
}
SHORT = {"memory": "mem"}


def show(record: Record, console: Console, *, device_only: bool = False) -> None:
    """Print `record` on `console`: colours on a terminal only, no line ends in spaces elsewhere.

    Parameters
    ----------
    record : Record
        What was measured.
    console : rich.console.Console
        Where it goes.
    device_only : bool
        Show compute alone for the backends that move arrays, instead of what a call costs.
    """
    try:
        sign = "\u00b1"
        sign.encode(console.encoding)
    except UnicodeEncodeError:
        sign = "+-"
    content = _render(record, sign, console.width, device_only)
    if console.is_terminal:
        console.print(content)
        return
    with console.capture() as captured:
        console.print(content)
    for line in captured.get().splitlines():
        console.print(Text(line.rstrip()), soft_wrap=True)


def _render(record: Record, sign: str, width: int, device_only: bool) -> RenderableType:
    parts: list[RenderableType] = [*heading(record), Text()]
    families = list(dict.fromkeys(row.family for row in record.rows))
    ordered = sorted(record.rows, key=lambda row: (families.index(row.family), row.dtype))
    for _, group in groupby(ordered, key=lambda row: (row.family, row.dtype)):
        rows = list(group)
        parts += [*_tables(rows, sign, width, device_only), Text()]
        parts += costs.errors(rows, width, with_shape=not _same_size(rows))
    parts += costs.breakdown(record)
    parts += [Text(f"note: {line}", style="dim") for line in _notes(record, sign, device_only)]
    if not record.complete:
        text = "Interrupted: these are the rows that were finished."
        parts.append(Text(text, style="bold yellow"))
    return Group(*parts, Text(), *verdict(record))


def _same_size(rows: list[Row]) -> bool:
    return len({row.size for row in rows}) == 1 and all(row.case == "elements" for row in rows)


def _tables(rows: list[Row], sign: str, width: int, device_only: bool) -> list[RenderableType]:
    """Give the title and the table of one family, in parts where the backends are too many."""
    same_size = _same_size(rows)
    family = f"{rows[0].family[0].upper()}{rows[0].family[1:]}"
    size = f", {rows[0].size:,} elements" if same_size else ""
    title = f"{family}, {rows[0].dtype}{size}: times the speed of {BASELINE}"
    flops = rows[0].family == "linear algebra"
    found = [_by_column(row) for row in rows]
    first = [_Column("kernel", "left"), _Column(BASELINE)]
    rate, ceiling = _Column("GFLOP/s" if flops else "GB/s"), _Column("ceiling")
    last = [rate, ceiling]
    for row, results in zip(rows, found, strict=True):
        base = results[BASELINE, "call"]
        fastest = best(row) or base
        first[0].cells.append(Text(row.kernel if same_size else f"{row.kernel} {row.shape}"))
        first[1].cells.append(_time(base, fastest is base))
        rate.cells.append(_rate(fastest.flops_per_second if flops else fastest.bytes_per_second))
        ceiling.cells.append(_share(fastest))
    columns = []
    for key in _shown(rows, device_only):
        column = _Column(key[0] + HEADERS[key[1]])
        for row, results in zip(rows, found, strict=True):
            column.cells.append(_cell(results.get(key), peers(row), sign))
        columns.append(column)
    parts: list[list[_Column]] = [[]]
    room = width - sum(column.width for column in first + last)
    for column in columns:
        if parts[-1] and sum(c.width for c in [*parts[-1], column]) > room:
            parts.append([])
        parts[-1].append(column)
    return [
        Text(title, style="bold"),
        *(_table([*first, *part, *last]) for part in parts),
    ]


class _Column:
    """A header of one or two lines, and the cells below it."""

    def __init__(self, header: str, justify: Literal["left", "right"] = "right") -> None:
        self.header, self.justify = header, justify
        self.cells: list[Text] = []

    @property
    def width(self) -> int:
        texts = (*self.header.split("\n"), *(cell.plain for cell in self.cells))
        return max(map(len, texts)) + 1  # a space between columns


def _table(columns: list[_Column]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column.header, justify=column.justify, no_wrap=True)
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table


def _by_column(row: Row) -> dict[tuple[str, Way], Result]:
    return {(r.backend, r.way): r for r in row.results}


def _shown(rows: list[Row], device_only: bool) -> list[tuple[str, Way]]:
    """List the columns that have something to show in these rows, in the bench's order."""
    found = [
        (r.backend, r.way)
        for row in rows
        for r in row.results
        if r.status not in ("refused", "one piece")
    ]
    moving = {name for name, way in found if way == "resident"}
    # Either what a call costs or compute alone; the other ways beside it.
    hidden = {(name, "call" if device_only else "resident") for name in moving}
    hidden.add((BASELINE, "call"))  # it has a column of another kind
    order = dict.fromkeys((r.backend, r.way) for row in rows for r in row.results)
    return [key for key in order if key in found and key not in hidden]


def _cell(result: Result | None, marked: list[Result], sign: str) -> Text:
    if result is None or result.status in ("refused", "one piece"):
        return Text("- ", style="dim")
    if result.status in ("invalid", "failed"):
        return Text(result.status.upper() + " ", style="bold red")
    value, low, high = result.speedup, result.low, result.high
    if value is None or low is None or high is None:
        return Text("- ", style="dim")
    text = f"{value:.2f} {sign}{max(value - low, high - value):.2f}"
    style = {"faster": "green", "slower": "red"}.get(result.verdict, "")
    is_marked = any(r is result for r in marked)
    return Text(text + _mark(result, is_marked), style=f"bold {style}" if is_marked else style)


def _mark(result: Result, marked: bool) -> str:
    return (FAULT if result.above else "") + (MARK if marked else " ")


def _time(result: Result, marked: bool) -> Text:
    if result.median is None:
        return Text(result.status.upper() + " ", style="bold red")
    return Text(f"{costs.duration([result.median])}{_mark(result, marked)}")


def _rate(value: float | None) -> Text:
    return Text("-" if not value else costs.three_digits(value / 1e9))


def _share(result: Result) -> Text:
    if result.ceiling is None:
        return Text("-")
    return Text(f"{result.ceiling * 100:.0f}% {SHORT.get(result.bound, result.bound)}")


def _notes(record: Record, sign: str, device_only: bool) -> list[str]:
    notes = [
        f"{MARK} fastest, and what is as fast within the intervals; {sign} half width of the 95 "
        f"percent interval; - not timed; the last columns are the fastest's; "
        f"n_jobs={record.n_jobs}",
        f"ceiling: share of what {record.ceilings.n_jobs} "
        f"thread{'s' if record.ceilings.n_jobs > 1 else ''} could do at most, and what sets that: "
        "the bandwidth of memory (mem) or of a cache (L3, L2), or arithmetic (GEMM)",
    ]
    ways = {r.way for row in record.rows for r in row.results}
    if device_only:
        notes.append(
            "resident: inputs and results lay where the backend keeps them; that is not what a "
            "NumPy user pays, and so is not ranked"
        )
    if "out" in ways:
        notes.append(f"out=: into a given array; times {BASELINE}'s plain call; not ranked")
    if "cold" in ways:
        notes.append(
            f"cold: with nothing in the caches; times {BASELINE}'s plain, warm call; not ranked"
        )
    faults = [
        f"{row.kernel} {row.shape} {r.backend} ({r.ceiling:.2f} times {r.bound})"
        for row in record.rows
        for r in row.results
        if r.above
    ]
    if faults:
        notes.append(
            f"{FAULT} above its ceiling, beyond interval and noise: a fault of the measurement, "
            f"do not believe it: {', '.join(faults)}"
        )
    if any(r.error is not None for row in record.rows for r in row.results):
        notes.append(
            "ULP: units in the last place, against mpmath, on a sample of what was timed; 0.5 is "
            "the best that rounding allows, many near a function's zero may be few digits"
        )
    left_out: dict[tuple[str, str], list[str]] = {}
    for row in record.rows:
        for r in row.results:
            if r.status in ("invalid", "failed"):
                notes.append(
                    f"{r.status.upper()}: {r.backend} {row.kernel} {row.shape}: {r.reason}"
                )
            elif r.status != "ok":
                left_out.setdefault((r.backend, r.reason), []).append(label(row))
    for (backend, reason), names in left_out.items():
        unique = list(dict.fromkeys(names))
        which = ", ".join(unique) if len(unique) <= 6 else f"{len(unique)} kernels"
        notes.append(f"{backend}, {which}: {reason}")
    return notes + record.skipped
