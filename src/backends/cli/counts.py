"""The table of ``backends run --stats``: what ran in which function, and why not in parallel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from backends.accelerate import Count

__all__ = ["table"]

HEADER = ("function", "calls", "elements", "parallel", "seconds", "not parallel, because")


def table(counts: Iterable[Count]) -> str:
    """Show `counts` as text, most time first, with a total and, if all ran serially, why.

    Examples
    --------
    >>> from backends.accelerate import Count
    >>> print(table([Count("numpy.sin", 3, 3_000_000, 2, {"few elements": 1}, 0.0123)]), end="")
    function   calls   elements  parallel  seconds  not parallel, because
    numpy.sin      3  3,000,000         2   0.0123  few elements: 1
    total          3  3,000,000         2   0.0123  few elements: 1
    """
    ordered = sorted(counts, key=lambda count: (-count.seconds, count.function))
    if not ordered:
        return "backends: no function that is accelerated was called\n"
    reasons: Counter[str] = Counter()
    for count in ordered:
        reasons.update(count.serial)
    total = Count(
        "total",
        sum(count.calls for count in ordered),
        sum(count.elements for count in ordered),
        sum(count.parallel for count in ordered),
        dict(reasons),
        sum(count.seconds for count in ordered),
    )
    text = _aligned([HEADER, *map(_row, (*ordered, total))])
    if not total.parallel and reasons:
        text += f"backends: nothing ran parallel; most often: {reasons.most_common(1)[0][0]}\n"
    return text


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
