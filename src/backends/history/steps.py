"""Where a series of times over commits got slower or faster, and stayed so."""

from __future__ import annotations

import math
from statistics import median
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Step", "steps"]

#: Commits on each side that are compared, as far as there are so many.
WINDOW = 5
#: The least change that is one, relative: smaller ones are the weather on most machines.
LEAST = 0.1
#: Times the scatter of the neighbours (their median absolute difference) that a step must be.
CLEAR = 4.0


class Step(NamedTuple):
    """A change of level.

    Attributes
    ----------
    at : int
        Index of the first commit of the new level.
    ratio : float
        New level to old: above 1 is slower.
    """

    at: int
    ratio: float


def steps(values: Any, low: Any, high: Any) -> list[Step]:
    """Find the commits at which a series changed its level.

    Parameters
    ----------
    values, low, high : array, (commits,)
        Results with their intervals, above 0; NaN where there is none.

    Notes
    -----
    Each commit is looked at as a border: up to five results before it against up to five from it
    on. It is a step where the medians differ by 10 percent and by four times the scatter on both
    sides, where all results of one side are above all of the other, and, with fewer than two
    results on a side, where also their intervals are apart. Of neighbouring borders the clearest
    counts. This marks where to look; `backends check` decides.

    Examples
    --------
    >>> times = np.array([1.0, 1.01, 0.99, 1.0, 1.3, 1.31, 1.29])
    >>> [step] = steps(times, 0.99 * times, 1.01 * times)
    >>> step.at, round(step.ratio, 2)
    (4, 1.3)
    """
    where = np.flatnonzero(values > 0)  # NaN is not
    logs = np.log(values[where].astype(float))
    found: list[tuple[float, int, float]] = []
    for border in _candidates(logs).tolist():
        before = logs[max(border - WINDOW, 0) : border].tolist()
        after = logs[border : border + WINDOW].tolist()
        change = median(after) - median(before)
        # Positive where the two sides do not overlap.
        gap = max(min(after) - max(before), min(before) - max(after))
        clear = gap > 0 and abs(change) > max(math.log1p(LEAST), CLEAR * _scatter(before, after))
        if clear and min(len(before), len(after)) < 2:
            last, first = where[border - 1], where[border]
            clear = bool(low[first] > high[last] or high[first] < low[last])
        if clear:
            found.append((gap, border, change))
    chosen: list[Step] = []
    for _, border, change in sorted(found, reverse=True):
        if all(abs(border - each.at) >= WINDOW for each in chosen):
            chosen.append(Step(border, math.exp(change)))
    return sorted(Step(int(where[step.at]), step.ratio) for step in chosen)


def _scatter(before: list[float], after: list[float]) -> float:
    middles = ((side, median(side)) for side in (before, after))
    return max(median([abs(x - middle) for x in side]) for side, middle in middles)


def _candidates(logs: Any) -> Any:
    """Give the borders worth a look: a step makes its first result differ by half of the least.

    Not from the result just before, which may be the one that was disturbed.
    """
    least = 0.5 * math.log1p(LEAST)
    far = np.zeros(len(logs), bool)
    for distance in (1, 2):
        far[distance:] |= np.abs(logs[distance:] - logs[:-distance]) > least
    return np.flatnonzero(far)
