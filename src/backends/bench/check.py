"""Whether backend ``auto`` is as fast as the best single backend, where the tuner did not measure.

* All candidates are measured beside ``auto``; the one with the least median is the oracle. Of
  several noisy medians the least is too small: ``auto`` and the oracle are measured once more
  against each other, and that is what counts.
* Plain NumPy is the kernel's reference, called as a user without this package would call it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from backends import registry
from backends.bench import curves, timer
from backends.bench.curves import BASELINE, Candidate, Curve, Supply
from backends.bench.timer import Ratio
from backends.measurements import Point

__all__ = ["Case", "Checked", "failures", "mean_loss", "measure", "plan"]

#: How much slower than the oracle `auto` may be: in the geometric mean, and at the worst point.
MEAN, WORST = 1.03, 1.15
#: Share of the points that may be too uncertain to tell whether they keep to that.
UNCLEAR = 0.1
#: How much slower than plain NumPy it may be at any point: this, or the seconds of its look-up.
SLOWER, LOOK_UP = 1.03, 1e-6
#: Sizes of a curve between those that were measured, and how far beyond the largest one more is.
BETWEEN, BEYOND, BEYOND_ORDERS = 3, 1.5, 1.2
#: Neighbours closer than this have nothing between them that differs.
APART = 1.2
#: Who is so many times slower than the fastest at a first look is not the oracle.
HOPELESS = 2.0
#: Seconds that a sample lasts at least, and share of a point's time for the first comparison.
SAMPLE, FIRST_SHARE = 3e-4, 0.4
DTYPES = ("float32", "float64")


class Case(NamedTuple):
    """A point to be checked."""

    curve: Curve
    size: int
    mode: str


class Checked(NamedTuple):
    """What was found at a point.

    Attributes
    ----------
    oracle : str
        The best single choice, as the first comparison has it.
    loss : Ratio
        How many times faster the oracle is than `auto`, measured again.
    slower : Ratio
        How many times faster plain NumPy is than `auto`, measured again.
    seconds, auto : float
        Medians of plain NumPy and of `auto`.
    """

    case: Case
    oracle: str
    loss: Ratio
    slower: Ratio
    seconds: float
    auto: float

    @property
    def beyond_noise(self) -> float:
        """How many times slower than the oracle `auto` is at least; its look-up is allowed for."""
        extra = (1 - 1 / self.loss.low) * self.auto
        return self.loss.low if extra > LOOK_UP else 1.0

    @property
    def is_unclear(self) -> bool:
        """Whether it cannot be told if `auto` keeps to the limit of the worst point."""
        extra = (1 - 1 / self.loss.high) * self.auto
        return self.beyond_noise <= WORST < self.loss.high and extra > LOOK_UP

    @property
    def is_slower(self) -> bool:
        """Whether it is slower than plain NumPy by more than it may, beyond noise."""
        allowed = max((SLOWER - 1) * self.seconds, LOOK_UP)
        return (self.slower.low - 1) * self.seconds > allowed


def plan(chosen: Sequence[Curve], tuned: Sequence[Point], modes: Sequence[str]) -> list[Case]:
    """List sizes between and beyond those that were measured, in random order.

    Parameters
    ----------
    chosen : sequence of Curve
        Those that were not tuned, or are of other dtypes, are left out.
    tuned : sequence of Point
        What the profile was made from.
    modes : sequence of str
        In which to check.
    """
    sizes: dict[tuple[str, str, str], list[int]] = {}
    for point in tuned:
        sizes.setdefault((point.kernel, point.dtype, point.layout), []).append(point.size)
    rng = np.random.default_rng(0)
    cases: list[Case] = []
    for curve in chosen:
        measured = sorted(sizes.get((curve.kernel.name, curve.dtype, curve.layout), ()))
        if not measured or curve.dtype not in DTYPES:
            continue
        between: list[int] = [
            curve.fit(low * (high / low) ** 0.5)
            for low, high in pairwise(measured)
            if high > APART * low
        ]
        some = rng.permutation(between)[:BETWEEN].tolist()
        beyond = curve.fit(measured[-1] * (BEYOND_ORDERS if curve.of_orders else BEYOND))
        new = {*some, beyond} - set(measured)
        cases += [Case(curve, size, mode) for size in sorted(new) for mode in modes]
    # Where time ends before all are measured, those that were are a fair sample.
    return [cases[i] for i in rng.permutation(len(cases))]


def measure(cases: Sequence[Case], *, seconds: float) -> Iterator[Checked | str]:
    """Measure one point after another until time is over; a text says what failed instead."""
    end = time.perf_counter() + seconds
    used: set[Candidate] = set()
    try:
        for index, case in enumerate(cases):
            left = end - time.perf_counter()
            if left <= 0:
                return
            found: Checked | str
            try:
                found = _measure(case, left / (len(cases) - index), used)
            except Exception as error:  # One point's fault, and the others go on.
                found = (
                    f"{case.curve.kernel.name} at {case.size:,}: {type(error).__name__}: {error}"
                )
            yield found
    finally:
        curves.close(used)


def _measure(case: Case, seconds: float, used: set[Candidate]) -> Checked:
    curve, kernel = case.curve, case.curve.kernel
    arrays = Supply(kernel, curve.dtype).arrays(curve.layout, case.size)
    auto = registry.get("auto", -1, mode=case.mode)
    own = {
        "auto": partial(auto.caller(kernel), kernel, arrays, None),
        "plain": partial(kernel.reference, *arrays),
    }
    singles = [c for c in curves.roster(kernel, arrays)[0] if case.mode in c.modes]
    used.update(singles)
    calls = {
        c: curves.call(c, kernel, arrays)
        for c in (BASELINE, *(c for c in singles if c.engine.divides(kernel, *arrays)))
    }
    with np.errstate(all="ignore"):
        rivals, _ = curves.promising(calls, within=HOPELESS)
    others = {f"{c.backend} {c.n_jobs}": calls[c] for c in (BASELINE, *rivals)}
    first = _compare({**own, **others}, FIRST_SHARE * seconds)
    medians = {name: float(np.median(first[name])) for name in others if first[name]}
    oracle = min(medians, key=lambda name: medians[name])
    again = _compare({**own, oracle: others[oracle]}, (1 - FIRST_SHARE) * seconds)
    return Checked(
        case,
        oracle,
        timer.ratio(again["auto"], again[oracle]),
        timer.ratio(again["auto"], again["plain"]),
        float(np.median(again["plain"])),
        float(np.median(again["auto"])),
    )


def _compare(candidates: dict[str, Any], seconds: float) -> dict[str, list[float]]:
    with np.errstate(all="ignore"):
        found = timer.compare(candidates, seconds=seconds, again=False, quiet=False, sample=SAMPLE)
    return {name: [] if t.fault else t.seconds for name, t in found.timings.items()}


def mean_loss(found: Sequence[Checked], *, beyond_noise: bool = False) -> float:
    """Give the geometric mean of how many times slower `auto` is than the oracle."""
    losses = [each.beyond_noise if beyond_noise else each.loss.value for each in found]
    return math.exp(sum(map(math.log, losses)) / len(losses))


def failures(found: Sequence[Checked]) -> list[str]:
    """Say which limits are passed."""
    passed = []
    mean, worst = mean_loss(found), max(each.beyond_noise for each in found)
    if mean > MEAN:
        passed.append(
            f"{mean - 1:.1%} slower than the best backend in the mean, not {MEAN - 1:.0%}"
        )
    if worst > WORST:
        passed.append(f"{worst - 1:.1%} slower at the worst point, not {WORST - 1:.0%}")
    unsure = sum(each.is_unclear for each in found)
    if unsure > UNCLEAR * len(found):
        passed.append(
            f"perhaps more than {WORST - 1:.0%} slower at {unsure} points, whose intervals are too "
            "wide to tell"
        )
    slower = sum(each.is_slower for each in found)
    if slower:
        passed.append(
            f"slower than plain NumPy at {slower} point(s) by more than {SLOWER - 1:.0%} and "
            f"{LOOK_UP * 1e6:g} microsecond"
        )
    return passed
