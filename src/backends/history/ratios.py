"""How many times faster one measurement is than another, with an interval and a verdict.

* A ratio is that of asv's own results, the medians, so that it is what asv shows, divided.
* Its interval comes from the ranks of both runs' samples, as independent: they were not measured
  side by side. Where samples were not saved, from asv's intervals of both medians, which is wider.
* A verdict needs both: an interval without 1, and more than the floor, since what two processes
  measure differs by more than what the samples within one tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from backends.bench.record import BASELINE
from backends.history.data import History, Measurement

__all__ = [
    "BASELINE",
    "FLOOR",
    "Ratio",
    "Row",
    "geometric_mean",
    "judge",
    "ratio",
    "rows",
]

#: What two runs of the same code differ by as wholes, relative: on two quiet cores
#: (`python benchmarks/gate.py repeat`). It is in all rows, so that their mean does not lessen it.
WHOLE = 0.02
#: Samples of one measurement that count: more would take memory with their square.
MOST = 200
#: A smaller difference, relative, is none: one process differs so much from the next.
FLOOR = 0.05


_EVENLY = (np.arange(MOST) + 0.5) / MOST


class Ratio(NamedTuple):
    """How many times faster, the 99 percent interval, and what it means.

    `verdict` is "faster", "slower", "same" (the interval rules out more than twice the floor) or
    "unclear".
    """

    value: float
    low: float
    high: float
    verdict: str


class Row(NamedTuple):
    """What of a measurement is the same on every machine and for every commit."""

    kernel: str
    backend: str
    dtype: str
    size: str


def rows(
    history: History, measurements: Iterable[Measurement]
) -> Iterator[tuple[Row, Measurement]]:
    """Give the measurements that time a kernel, each with its row."""
    kernels = {name: history.kernel_of(name) for name in history.param_names}
    for each in measurements:
        kernel = kernels[each.benchmark]
        if kernel:
            backend, dtype, size = each.params
            yield Row(kernel, backend, dtype, size), each


def ratio(base: Measurement, other: Measurement, floor: float = FLOOR) -> Ratio:
    """Give how many times faster `other` is than `base`.

    Notes
    -----
    The interval from samples inverts the rank sum test: of all quotients of two samples, those that
    are so far from the middle. It held the truth in 99 of 100 cases for 6 to 40 samples with noise
    as of real machines, where one in ten is disturbed. Without samples the half widths are added as
    variances are, each side by itself; that is 1.4 times as wide of 20 samples, and 3 of ten.

    References
    ----------
    J. L. Hodges and E. L. Lehmann, Ann. Math. Statist. 34 (1963), 598: the interval from ranks.
    G. Y. Zou and A. Donner, Statistics in Medicine 27 (2008), 1693: that of a difference, from
    those of its terms.

    Examples
    --------
    >>> from backends.history.data import Measurement
    >>> one = Measurement("m", "c", "elementwise.track_sin", (), 2.0, 1.9, 2.1, ())
    >>> ratio(one, one._replace(value=1.0, low=0.95, high=1.05)).verdict
    'faster'
    """
    value = math.log(base.value / other.value)
    if base.samples and other.samples:
        low, high = _ranks(base.samples, other.samples)
        return judge(value, max(0.0, value - low), max(0.0, high - value), floor)
    down = math.hypot(_distance(base.value, base.low), _distance(other.value, other.high))
    up = math.hypot(_distance(base.value, base.high), _distance(other.value, other.low))
    return judge(value, down, up, floor)


def _ranks(base: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Give the ends of the interval, as logarithms."""
    logs = [np.log(np.quantile(x, _EVENLY) if len(x) > MOST else x) for x in (base, other)]
    quotients = np.sort(np.subtract.outer(*logs), axis=None)
    count = len(quotients)
    width = 2.576 * math.sqrt(count * (len(logs[0]) + len(logs[1]) + 1) / 12)
    lowest = math.floor(count / 2 - width)
    if lowest < 0:  # So few samples are no interval.
        return -math.inf, math.inf
    return float(quotients[lowest]), float(quotients[count - 1 - lowest])


def geometric_mean(ratios: Sequence[Ratio], floor: float = FLOOR) -> Ratio:
    """Give the mean of the ratios of two runs, none of which counts more than another."""
    count, whole = len(ratios), 2.576 * math.log1p(WHOLE)
    value = sum(math.log(each.value) for each in ratios) / count
    down = math.hypot(*(_distance(each.value, each.low) / count for each in ratios), whole)
    up = math.hypot(*(_distance(each.value, each.high) / count for each in ratios), whole)
    return judge(value, down, up, floor)


def judge(value: float, down: float, up: float, floor: float) -> Ratio:
    """Give a ratio and its verdict from its logarithm and the half widths of its interval."""
    low, high, least = value - down, value + up, math.log1p(floor)
    if low > 0 and value > least:
        verdict = "faster"
    elif high < 0 and value < -least:
        verdict = "slower"
    else:
        alike = abs(value) <= least and low >= -2 * least and high <= 2 * least
        verdict = "same" if alike else "unclear"
    return Ratio(math.exp(value), math.exp(low), _exp(high), verdict)


def _distance(value: float, end: float | None) -> float:
    """Give how far an end of an interval is, as a logarithm; without one, it may be anywhere."""
    return math.inf if end is None or not 0 < end < math.inf else abs(math.log(end / value))


def _exp(x: float) -> float:
    return math.inf if x > 700 else math.exp(x)
