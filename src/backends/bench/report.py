"""A record as a person reads it: tables by kernel family, and a verdict in words."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from statistics import geometric_mean

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from backends.bench import costs
from backends.bench.record import BASELINE, Record, Result, Row
from backends.machine import Machine

__all__ = ["machine_lines", "show"]

MARK = "*"
#: Characters that the column of one backend takes, and the other columns together.
WIDTH, REST = 12, 40


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


def machine_lines(machine: Machine) -> Text:
    """Give the machine in three lines.

    Examples
    --------
    >>> from backends.machine import describe
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


def _render(record: Record, sign: str, width: int, device_only: bool) -> RenderableType:
    parts: list[RenderableType] = [machine_lines(record.machine), Text()]
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
    return Group(*parts, Text(), *_verdict(record))


def _same_size(rows: list[Row]) -> bool:
    return len({row.size for row in rows}) == 1 and all(row.case == "elements" for row in rows)


def _tables(rows: list[Row], sign: str, width: int, device_only: bool) -> list[RenderableType]:
    """Give the title and the table of one family, in parts where the backends are too many."""
    same_size = _same_size(rows)
    family = f"{rows[0].family[0].upper()}{rows[0].family[1:]}"
    size = f", {rows[0].size:,} elements" if same_size else ""
    title = f"{family}, {rows[0].dtype}{size}: times the speed of {BASELINE}"
    columns = _columns(rows, device_only)
    fitting = max((width - REST) // WIDTH, 1)
    return [
        Text(title, style="bold"),
        *(
            _table(rows, columns[start : start + fitting], not same_size, sign)
            for start in range(0, max(len(columns), 1), fitting)
        ),
    ]


def _table(rows: list[Row], columns: list[tuple[str, bool]], with_shape: bool, sign: str) -> Table:
    flops = rows[0].family == "linear algebra"
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("kernel", no_wrap=True)
    table.add_column(BASELINE, justify="right", no_wrap=True)
    for name, resident in columns:
        table.add_column(f"{name}\nresident" if resident else name, justify="right", no_wrap=True)
    table.add_column("GFLOP/s" if flops else "GB/s", justify="right", no_wrap=True)
    for row in rows:
        results = {(r.backend, r.resident): r for r in row.results}
        base = results[BASELINE, False]
        fastest = best(row) or base
        table.add_row(
            f"{row.kernel} {row.shape}" if with_shape else row.kernel,
            _time(base, MARK if fastest is base else " "),
            *(_cell(results.get(c), results.get(c) is fastest, sign) for c in columns),
            _rate(fastest.flops_per_second if flops else fastest.bytes_per_second),
        )
    return table


def _columns(rows: list[Row], device_only: bool) -> list[tuple[str, bool]]:
    """List the backends that have something to show in these rows, in the bench's order."""
    shown = {
        (r.backend, r.resident)
        for row in rows
        for r in row.results
        if r.backend != BASELINE and r.status not in ("refused", "one piece")
    }
    moving = {name for name, resident in shown if resident}
    shown = {(name, res) for name, res in shown if res == (device_only and name in moving)}
    order = dict.fromkeys((r.backend, r.resident) for row in rows for r in row.results)
    return sorted(shown, key=list(order).index)


def _cell(result: Result | None, fastest: bool, sign: str) -> Text:
    if result is None or result.status in ("refused", "one piece"):
        return Text("- ", style="dim")
    if result.status in ("invalid", "failed"):
        return Text(result.status.upper() + " ", style="bold red")
    value, low, high = result.speedup, result.low, result.high
    if value is None or low is None or high is None:
        return Text("- ", style="dim")
    text = f"{value:.2f} {sign}{max(value - low, high - value):.2f}"
    style = {"faster": "green", "slower": "red"}.get(result.verdict, "")
    return Text(text + (MARK if fastest else " "), style=f"bold {style}" if fastest else style)


def _time(result: Result, mark: str) -> Text:
    if result.median is None:
        return Text(result.status.upper() + " ", style="bold red")
    return Text(f"{costs.duration([result.median])}{mark}")


def _rate(value: float | None) -> str:
    return "-" if not value else costs.three_digits(value / 1e9)


def _notes(record: Record, sign: str, device_only: bool) -> list[str]:
    notes = [
        f"{MARK} fastest; {sign} half width of the 95 percent interval; - not timed; the last "
        f"column is the fastest's rate; n_jobs={record.n_jobs}",
    ]
    if device_only:
        notes.append(
            "resident: inputs and results lay where the backend keeps them; that is not what a "
            "NumPy user pays, and so is not ranked"
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
                left_out.setdefault((r.backend, r.reason), []).append(_label(row))
    for (backend, reason), names in left_out.items():
        unique = list(dict.fromkeys(names))
        which = ", ".join(unique) if len(unique) <= 6 else f"{len(unique)} kernels"
        notes.append(f"{backend}, {which}: {reason}")
    return notes + record.skipped


def _label(row: Row) -> str:
    return row.kernel if row.case in ("elements", "matrix") else f"{row.kernel} ({row.case})"


def _verdict(record: Record) -> list[RenderableType]:
    """Say in words what to choose, and give the file that chooses it."""
    if not record.rows:
        return [Text("Nothing was measured.")]
    gains: dict[str, list[float]] = {}
    stay, alone = [], []
    for row in record.rows:
        fastest = best(row)
        if fastest is not None:
            gains.setdefault(fastest.backend, []).append(fastest.speedup or 1.0)
        elif any(r.status == "ok" and r.backend != BASELINE for r in row.results):
            stay.append(_label(row))
        else:
            alone.append(_label(row))
    rows = len(record.rows)
    sentences = [
        f"{name} is the fastest in {len(factors)} of {rows} rows, {geometric_mean(factors):.2f} "
        f"times {BASELINE} on average ({min(factors):.2f} to {max(factors):.2f})."
        if len(factors) > 1
        else f"{name} is the fastest in {'1 of ' if rows > 1 else ''}{rows} "
        f"row{'s' if rows > 1 else ''}, {factors[0]:.2f} times {BASELINE}."
        for name, factors in sorted(gains.items(), key=lambda item: -len(item[1]))
    ]
    if stay:
        listed = ", ".join(dict.fromkeys(stay))
        sentences.append(f"Nothing beats {BASELINE} beyond noise for {listed}.")
    if alone:
        listed = ", ".join(dict.fromkeys(alone))
        sentences.append(f"No backend but {BASELINE} was timed for {listed}.")
    paragraph = Text(f"On this machine (n_jobs={record.n_jobs}): " + " ".join(sentences))
    lines = _toml(record)
    if not lines:
        return [paragraph]
    return [
        paragraph,
        Text("\nTo choose so, put this into backends.toml in the folder you start from:\n"),
        Text("\n".join(f"    {line}".rstrip() for line in lines), style="cyan"),
    ]


def _toml(record: Record) -> list[str]:
    winners = {
        kernel: _choice([row for row in record.rows if row.kernel == kernel])
        for kernel in dict.fromkeys(row.kernel for row in record.rows)
    }
    if set(winners.values()) == {BASELINE}:
        return []
    # The general choice is for every kernel, also those that were not measured here.
    everywhere = (*record.universal, BASELINE)
    general = Counter(w for w in winners.values() if w in everywhere).most_common(1)
    backend, mode = _name_and_mode(general[0][0] if general else BASELINE)
    lines = [f'backend = "{backend}"', f"n_jobs = {record.n_jobs}"]
    named = {kernel: _name_and_mode(winner) for kernel, winner in winners.items()}
    mode = mode or next((mode for _, mode in named.values() if mode), "")
    if mode:
        lines.append(f'mode = "{mode}"  # within some ULP; "exact" keeps every bit')
    others = {kernel: name for kernel, (name, _) in named.items() if name != backend}
    if others:
        lines += ["", "[kernels]", *(f'{kernel} = "{name}"' for kernel, name in others.items())]
    return lines


def _name_and_mode(label: str) -> tuple[str, str]:
    """Take "openmp (fast)" apart; the mode of most backends is empty."""
    name, _, mode = label.removesuffix(")").partition(" (")
    return name, mode


def _choice(rows: list[Row]) -> str:
    """Choose for a kernel the backend that is fastest over all its rows, if any is faster."""
    scores = {BASELINE: 1.0}
    for name in {fastest.backend for row in rows if (fastest := best(row)) is not None}:
        speedups = [
            r.speedup or 1.0
            for row in rows
            for r in row.results
            if r.backend == name and not r.resident
        ]
        scores[name] = geometric_mean(speedups)
    return max(scores, key=lambda name: scores[name])
