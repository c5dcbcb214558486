"""The sizes from which another backend is the fastest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from backends.history.standings import Standing, Winner

__all__ = ["Crossover", "crossovers"]


class Crossover(NamedTuple):
    """Between two measured sizes the fastest backend changes.

    Attributes
    ----------
    below, above : str
        The fastest up to `last`, and from `first` on.
    last, first : int
        The two sizes that were measured.
    size : float
        Where the lines between them cross, both axes logarithmic; their geometric mean where
        the lines do not cross.
    speedup : float
        Times the baseline's speed there.
    """

    machine: str
    kernel: str
    dtype: str
    below: str
    above: str
    last: int
    first: int
    size: float
    speedup: float


def crossovers(found: Iterable[Standing], best: Sequence[Winner]) -> list[Crossover]:
    """Find the crossovers of each machine, kernel and dtype.

    Parameters
    ----------
    found : iterable of Standing
        All backends.
    best : sequence of Winner
        The fastest, by size within each machine, kernel and dtype.

    Examples
    --------
    >>> from backends.history.standings import winners
    >>> case = ("cpu", "sin", "elementwise.track_sin", "float64")
    >>> rows = [
    ...     Standing(*case, size, backend, "a1", 1.0, speedup, speedup, speedup, verdict)
    ...     for size, speedup in ((100, 0.5), (10000, 2.0))
    ...     for backend, speedup, verdict in (
    ...         ("numpy", 1.0, "baseline"),
    ...         ("threads", speedup, "faster" if speedup > 1 else "slower"),
    ...     )
    ... ]
    >>> [found] = crossovers(rows, winners(rows))
    >>> found.below, found.above, round(found.size)
    ('numpy', 'threads', 1000)
    """
    speed = {(s.machine, s.kernel, s.dtype, s.size, s.backend): s.speedup for s in found}
    crossed = []
    for case, rows in groupby(best, key=lambda each: each[:3]):
        for one, two in pairwise(rows):
            if one.backend == two.backend:
                continue
            # Of each winner the line from one size to the other, as far as both were measured.
            lines = [
                [speed.get((*case, each.size, name)) for each in (one, two)]
                for name in (one.backend, two.backend)
            ]
            share, height = _meeting(*lines)
            size = math.exp((1 - share) * math.log(one.size) + share * math.log(two.size))
            crossed.append(
                Crossover(
                    *(one.machine, one.kernel, one.dtype, one.backend, two.backend),
                    *(one.size, two.size, size, height),
                )
            )
    return crossed


def _meeting(old: list[float | None], new: list[float | None]) -> tuple[float, float]:
    """Give where two lines meet, as a share of the way between their ends, and how high."""
    (a, b), (c, d) = ([math.log(y) if y else math.nan for y in line] for line in (old, new))
    gain = (a - c) + (d - b)
    share = (a - c) / gain if gain > 0 else 0.5
    if not 0 <= share <= 1:  # nor where it is NaN
        share = 0.5
    ends = [y for y in (a + share * (b - a), c + share * (d - c)) if not math.isnan(y)]
    return share, math.exp(sum(ends) / len(ends)) if ends else 1.0
