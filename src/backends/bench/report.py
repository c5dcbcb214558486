"""A record as a person reads it: a table for each kernel family, and a verdict in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from statistics import geometric_mean

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from backends.bench.machine import Machine
from backends.bench.record import BASELINE, Record, Result, Row

__all__ = ["machine_lines", "render", "show"]

MARK = "*"


def show(record: Record, console: Console) -> None:
    """Print `record` on `console`."""
    console.print(render(record))


def render(record: Record) -> RenderableType:
    """Give the tables, their notes, and the verdict."""
    parts: list[RenderableType] = [machine_lines(record.machine), Text()]
    for (family, dtype), rows in groupby(
        sorted(record.rows, key=lambda r: (_family_order(record.rows, r), r.dtype)),
        key=lambda r: (r.family, r.dtype),
    ):
        parts += [*_table(family, dtype, list(rows)), Text()]
    parts += [Text(f"note: {line}", style="dim") for line in _notes(record)]
    if not record.complete:
        parts.append(
            Text("Interrupted: these are the rows that were finished.", style="bold yellow")
        )
    parts += [Text(), *_verdict(record)]
    return Group(*parts)


def machine_lines(machine: Machine) -> Text:
    """Give the machine in three lines.

    Examples
    --------
    >>> from backends.bench.machine import describe
    >>> "cores usable" in machine_lines(describe()).plain
    True
    """
    return Text(
        f"{machine.cpu}, {machine.cores} cores usable, {machine.memory / 2**30:.0f} GiB, "
        f"{machine.system} {machine.architecture}\n"
        f"BLAS {machine.blas}\n"
        f"NumPy {machine.numpy}, SciPy {machine.scipy}, Python {machine.python}",
        style="bold",
    )


def best(row: Row) -> Result | None:
    """Give the fastest result of a row that is really faster than the baseline, if any.

    Results on inputs that were placed beforehand do not count: most callers' are not.
    """
    faster = [r for r in row.results if r.verdict == "faster" and not r.resident]
    return max(faster, key=lambda r: r.speedup or 0.0, default=None)


def _table(family: str, dtype: str, rows: list[Row]) -> list[RenderableType]:
    columns = _columns(rows)
    rate = "GFLOP/s" if family == "linear algebra" else "GB/s"
    sizes = {row.size for row in rows}
    shared = f", {rows[0].size:,} elements" if _elements(rows) and len(sizes) == 1 else ""
    title = f"{family[0].upper()}{family[1:]}, {dtype}{shared}: times the speed of {BASELINE}"
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("kernel", no_wrap=True)
    table.add_column(f"{BASELINE}, time", justify="right", no_wrap=True)
    for name, resident in columns:
        table.add_column(f"{name}, placed" if resident else name, justify="right", no_wrap=True)
    table.add_column(rate, justify="right", no_wrap=True)
    for row in rows:
        results = {(r.backend, r.resident): r for r in row.results}
        fastest = best(row) or results.get((BASELINE, False))
        cells = [_cell(results.get(column), results.get(column) is fastest) for column in columns]
        label = row.kernel if shared else f"{row.kernel} {row.shape}"
        base = results[BASELINE, False]
        mark = MARK if fastest is base else " "
        table.add_row(
            label, f"{_time(base.median)}{mark}", *cells, _rate(fastest, rate == "GFLOP/s")
        )
    return [Text(title, style="bold"), table]


def _columns(rows: list[Row]) -> list[tuple[str, bool]]:
    """List the backends that have something to show in these rows."""
    found: dict[tuple[str, bool], None] = {}
    for row in rows:
        for r in row.results:
            if r.backend != BASELINE and r.status != "refused":
                found[r.backend, r.resident] = None
    return list(found)


def _cell(result: Result | None, fastest: bool) -> Text:
    if result is None or result.status in ("refused", "one piece"):
        return Text("- ", style="dim")
    if result.status in ("invalid", "failed"):
        return Text(result.status.upper() + " ", style="bold red")
    value, low, high = result.speedup or 0.0, result.low or 0.0, result.high or 0.0
    text = f"{value:.2f} \u00b1{max(value - low, high - value):.2f}"
    style = {"faster": "green", "slower": "red"}.get(result.verdict, "")
    return Text(text + (MARK if fastest else " "), style=f"bold {style}" if fastest else style)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _rate(result: Result | None, flops: bool) -> str:
    value = result and (result.flops_per_second if flops else result.bytes_per_second)
    return "-" if not value else f"{value / 1e9:.3g}"


def _elements(rows: Iterable[Row]) -> bool:
    return all(row.case == "elements" for row in rows)


def _family_order(rows: Sequence[Row], row: Row) -> int:
    return [r.family for r in rows].index(row.family)


def _notes(record: Record) -> list[str]:
    notes = [
        f"{MARK} fastest; \u00b1 is the half width of the 95 percent interval; the last column is "
        "the fastest's rate",
        f"- not timed; n_jobs={record.n_jobs}",
    ]
    refused: dict[tuple[str, str], list[str]] = {}
    for row in record.rows:
        for r in row.results:
            if r.status in ("invalid", "failed"):
                notes.append(
                    f"{r.status.upper()}: {r.backend} {row.kernel} {row.shape}: {r.reason}"
                )
            elif r.status != "ok":
                refused.setdefault((r.backend, r.reason), []).append(row.kernel)
    for (backend, reason), names in refused.items():
        unique = list(dict.fromkeys(names))
        which = ", ".join(unique) if len(unique) <= 6 else f"{len(unique)} kernels"
        notes.append(f"{backend}, {which}: {reason}")
    return notes + record.skipped


def _verdict(record: Record) -> list[RenderableType]:
    """Say in words what to choose, and give the file that chooses it."""
    if not record.rows:
        return [Text("Nothing was measured.")]
    sentences = []
    choice: dict[str, Counter[str]] = {}
    gains: dict[str, list[float]] = {}
    stay = []
    for row in record.rows:
        fastest = best(row)
        label = row.kernel if row.case in ("elements", "matrix") else f"{row.kernel} ({row.case})"
        if fastest is None:
            stay.append(label)
        else:
            gains.setdefault(fastest.backend, []).append(fastest.speedup or 1.0)
        winner = BASELINE if fastest is None else fastest.backend
        choice.setdefault(row.kernel, Counter())[winner] += 1
    for name, factors in sorted(gains.items(), key=lambda item: -len(item[1])):
        sentences.append(
            f"{name} is the fastest in {len(factors)} of {len(record.rows)} rows, "
            f"{geometric_mean(factors):.2f} times {BASELINE} on average "
            f"({min(factors):.2f} to {max(factors):.2f})."
        )
    if stay:
        listed = ", ".join(dict.fromkeys(stay))
        sentences.append(f"Nothing beats {BASELINE} beyond noise for {listed}.")
    winners = {kernel: counts.most_common(1)[0][0] for kernel, counts in choice.items()}
    paragraph = Text(f"On this machine, with n_jobs={record.n_jobs}: " + " ".join(sentences))
    if set(winners.values()) == {BASELINE}:
        return [paragraph]
    return [
        paragraph,
        Text("\nTo choose so, put this into backends.toml beside your program:\n"),
        Text("\n".join(f"    {line}".rstrip() for line in _toml(record, winners)), style="cyan"),
    ]


def _toml(record: Record, winners: dict[str, str]) -> list[str]:
    # The general choice must have every kernel: a backend that refused one cannot be it.
    refusing = {r.backend for row in record.rows for r in row.results if r.status == "refused"}
    general = Counter(w for w in winners.values() if w not in refusing).most_common(1)
    backend = general[0][0] if general else BASELINE
    lines = [f'backend = "{backend}"', f"n_jobs = {record.n_jobs}"]
    others = {kernel: winner for kernel, winner in winners.items() if winner != backend}
    if others:
        lines += ["", "[kernels]", *(f'{kernel} = "{name}"' for kernel, name in others.items())]
    return lines
