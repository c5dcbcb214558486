"""How many times faster each backend is than the baseline, and which is the fastest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from backends.history.data import Measurement
from backends.history.ratios import BASELINE, Ratio, ratio
from backends.history.series import Group, Table

__all__ = ["Standing", "Winner", "largest", "over_commits", "standings", "winners"]


class Standing(NamedTuple):
    """One backend on one case, at the newest commit that the case was measured at.

    Attributes
    ----------
    seconds : float
        asv's result, the median of the samples. In this package's suite each sample is the
        fastest of three runs, so that it is what a call takes where nothing disturbs it.
    speedup : float
        Times the baseline's speed.
    low, high : float or None
        Its interval; None where it has no end, since too little was measured.
    verdict : str
        "faster", "slower", "same" or "unclear"; "baseline" for itself.
    """

    machine: str
    kernel: str
    benchmark: str
    dtype: str
    size: int
    backend: str
    commit: str
    seconds: float
    speedup: float
    low: float | None
    high: float | None
    verdict: str


class Winner(NamedTuple):
    """The fastest backend of one case: the baseline where none is faster beyond doubt."""

    machine: str
    kernel: str
    dtype: str
    size: int
    backend: str
    speedup: float
    low: float | None
    high: float | None
    commit: str


def standings(
    machine: str, kernel: str, group: Group, newest: Mapping[str, Measurement]
) -> Iterator[Standing]:
    """Compare what was measured beside the baseline with it; nothing where it was not measured."""
    base = newest.get(BASELINE)
    if base is None or base.value <= 0:
        return
    for backend, each in newest.items():
        found = Ratio(1.0, 1.0, 1.0, "baseline") if each is base else ratio(base, each)
        bounded = found.low > 0.0 and found.high < math.inf
        ends = (found.low, found.high) if bounded else (None, None)
        yield Standing(
            *(machine, kernel, group.benchmark, group.dtype, group.size),
            *(backend, each.commit, each.value, found.value, *ends, found.verdict),
        )


def over_commits(table: Table) -> Any:
    """Give how many times the baseline's speed each series had at each commit.

    The intervals are those that :func:`ratio` gives without samples, which are not kept of so many.

    Returns
    -------
    array of float32, (3, series, commits)
        The speedups, and both ends of their intervals; NaN for the baseline itself, for what
        times no kernel, and where the baseline was not measured.
    """
    base = {each.group: row for row, each in enumerate(table.series) if each.label == BASELINE}
    own = [
        row
        for row, (group, label) in enumerate(table.series)
        if group.dtype and group in base and label != BASELINE
    ]
    beside = [base[table.series[row].group] for row in own]
    with np.errstate(divide="ignore"):  # Of an end at 0, or below, the logarithm is -inf.
        value, low, high = (
            np.log(np.maximum(each, 0.0)) for each in (table.values, table.low, table.high)
        )
    speedup = value[beside] - value[own]
    down = np.hypot(value[beside] - low[beside], high[own] - value[own])
    up = np.hypot(high[beside] - value[beside], value[own] - low[own])
    found = np.full((3, *value.shape), np.nan, np.float32)
    found[:, own] = np.exp([speedup, speedup - down, speedup + up])
    return found


def winners(found: Iterable[Standing]) -> list[Winner]:
    """Give the fastest backend of each case, in the order of the cases.

    Examples
    --------
    >>> case = ("cpu", "sin", "elementwise.track_sin", "float64", 1000)
    >>> winners([
    ...     Standing(*case, "numpy", "a1", 1.0, 1.0, 1.0, 1.0, "baseline"),
    ...     Standing(*case, "threads", "a1", 0.9, 1.1, 0.9, 1.3, "unclear"),
    ... ])[0].backend
    'numpy'
    """
    best = []
    for (machine, kernel, dtype, size), rows in groupby(sorted(found, key=_case), key=_case):
        able = [each for each in rows if each.verdict in ("faster", "baseline")]
        if not able:
            continue
        first = max(able, key=lambda each: each.speedup)
        numbers = (first.speedup, first.low, first.high)
        best.append(Winner(machine, kernel, dtype, size, first.backend, *numbers, first.commit))
    return best


def largest(found: Sequence[Winner]) -> list[Winner]:
    """Keep of each kernel and dtype those at the largest size that any machine measured.

    All machines are so compared on the same work.
    """
    sizes: dict[tuple[str, str], int] = {}
    for each in found:
        key = each.kernel, each.dtype
        sizes[key] = max(sizes.get(key, 0), each.size)
    return [each for each in found if each.size == sizes[each.kernel, each.dtype]]


def _case(each: Standing) -> tuple[str, str, str, int]:
    return each.machine, each.kernel, each.dtype, each.size
