"""The table of ``backends run --stats``: what ran in which function, and why not in parallel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backends.accelerate import Count
from backends.accelerate.ufuncs import merged

__all__ = ["table"]

#: Share of the time below which a function that never ran parallel has no row of its own.
LITTLE = 0.01
HEADER = ("function", "calls", "elements", "parallel", "seconds", "not parallel, because")


def table(counts: Iterable[Count], *, mode: str, threads: int, seconds: float) -> str:
    """Show `counts` as text, most time first, with a total and, if all ran serially, why.

    Parameters
    ----------
    counts : iterable of Count
        What was counted.
    mode : str
        What was installed.
    threads : int
        Threads that a call might have at most.
    seconds : float
        How long the program ran.

    Returns
    -------
    str
        Lines, each with its end.

    Examples
    --------
    >>> from backends.accelerate import Count
    >>> sines = Count("numpy.sin", 3, 3_000_000, 2, {"too little work": 1}, 0.0123)
    >>> print(table([sines], mode="exact", threads=2, seconds=0.05), end="")
    function   calls   elements  parallel  seconds  not parallel, because
    numpy.sin      3  3,000,000         2   0.0123  too little work: 1
    total          3  3,000,000         2   0.0123  too little work: 1
    backends: mode exact, at most 2 threads; the program took 0.05 seconds
    """
    ordered = sorted(counts, key=lambda count: (-count.seconds, count.function))
    if not ordered:
        return "backends: no function that is accelerated was called\n"
    total = _sum("total", ordered)
    rest = [x for x in ordered if not x.parallel and x.seconds < LITTLE * total.seconds]
    if len(rest) > 1:
        ordered = [x for x in ordered if x not in rest]
        ordered.append(_sum(f"{len(rest)} others", rest))
    text = _aligned([HEADER, *map(_row, (*ordered, total))])
    text += (
        f"backends: mode {mode}, at most {threads} thread{'s' if threads > 1 else ''}; the program "
        f"took {seconds:.3g} seconds\n"
    )
    if not total.parallel and total.serial:
        most = max(total.serial, key=lambda reason: total.serial[reason])
        text += f"backends: nothing ran parallel; most often: {most}\n"
    return text


def _sum(name: str, counts: Sequence[Count]) -> Count:
    (total,) = merged(count._replace(function=name) for count in counts)
    return total


def _row(count: Count) -> tuple[str, ...]:
    why = sorted(count.serial.items(), key=lambda item: (-item[1], item[0]))
    return (
        count.function,
        f"{count.calls:,}",
        f"{count.elements:,}",
        f"{count.parallel:,}",
        f"{count.seconds:.4f}",
        "; ".join(f"{reason}: {calls:,}" for reason, calls in why if calls),
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for function, *numbers, why in rows:
        cells = [function.ljust(widths[0])]
        cells += [number.rjust(width) for number, width in zip(numbers, widths[1:])]
        lines.append("  ".join([*cells, why]).rstrip() + "\n")
    return "".join(lines)
