"""How many times faster each backend is than the baseline, and which is the fastest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from backends.history.data import Measurement
from backends.history.ratios import BASELINE, Ratio, ratio
from backends.history.series import Group

__all__ = ["Standing", "Winner", "largest", "standings", "winners"]


class Standing(NamedTuple):
    """One backend on one case, at the newest commit that the case was measured at.

    Attributes
    ----------
    seconds : float
        Median time of a call.
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
