"""Finds from which size on which backend wins: measures each curve from its largest size down.

* A coarse grid first; then between neighbours with different choices, until nobody would miss what
  lies between them.
* Rounds are few where the times differ much and many where they are close.
* Each curve has its share of what time is left: what one does not need, the later ones have.
"""

# Over 300 lines: the steps of a search share what was measured, and would only pass it around.
from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from backends.bench import curves, decide, timer
from backends.bench.curves import BASELINE, Candidate, Curve, Supply
from backends.bench.decide import Samples
from backends.kernel import Arrays
from backends.measurements import Point
from backends.profile import Choice, Key

__all__ = ["Tuned", "enough_time", "merge", "tune"]

#: Seconds of a call of numpy at the largest size; factoring a matrix gains by threads late.
LARGEST_SECONDS, LARGEST_SECONDS_OF_ORDERS = 0.006, 0.012
#: Elements at most: arrays of this size are beyond the caches of most machines.
MOST = 4_000_000
#: Smallest size, largest at which results are checked, factor between sizes: elements, orders.
SMALLEST, CHECKED, FACTOR = 32, 200_000, 4.0
SMALLEST_ORDER, CHECKED_ORDER, FACTOR_OF_ORDERS = 8, 200, 2.0
#: Where numpy's speed is first looked at.
LOOK, LOOK_ORDER = 10_000, 64
#: Who is so many times slower than the fastest at a first look, or at two sizes, is left out.
HOPELESS_AT_ONCE, HOPELESS = 2.5, 1.5
#: Seconds that a sample lasts at least: many short samples tell more than few long ones.
SAMPLE = 3e-4
#: Share of a curve's time that one size may take, and that a first look at all sizes may take; and
#: seconds of the first look at one.
MOST_OF_A_CURVE, MOST_FOR_GRID, FIRST_EFFORT = 0.2, 1.5, 0.01


class Tuned(NamedTuple):
    """What was found on one curve.

    Attributes
    ----------
    points : dict of int to Samples
        By size.
    finished : bool
        Whether time reached all sizes.
    unclear : str
        What could not be decided, and why; empty if nothing.
    spent, wanted : float
        Seconds that it took, and that would do.
    notes : tuple of str
        Who was left out for a fault.
    """

    curve: Curve
    points: Mapping[int, Samples]
    finished: bool
    unclear: str
    spent: float
    wanted: float
    notes: tuple[str, ...]

    @property
    def choices(self) -> dict[Key, Sequence[Choice]]:
        """The lines for the profile; that for mode "fast" only where it says something else."""
        kernel, dtype, layout = self.curve.kernel.name, self.curve.dtype, self.curve.layout
        exact = decide.choices(self.points, "exact")
        found: dict[Key, Sequence[Choice]] = {Key("exact", dtype, layout, kernel): exact}
        if not decide.suits(self.points, exact, "fast"):
            fast = decide.choices(self.points, "fast")
            found[Key("fast", dtype, layout, kernel)] = fast
        return found

    def winner(self, mode: str) -> Candidate:
        """Give who is chosen at the largest size."""
        return decide.chosen(self.points, mode)[max(self.points)]

    def gain(self, mode: str) -> float:
        """Give how many times faster than numpy that one is."""
        return decide.gain(self.points[max(self.points)], self.winner(mode)).value

    @property
    def measured(self) -> list[Point]:
        """The points for the file of measurements, by rising size."""
        kernel, dtype, layout = self.curve.kernel.name, self.curve.dtype, self.curve.layout
        return [
            Point(kernel, dtype, layout, size, list(decide.measured(self.points[size])))
            for size in sorted(self.points)
        ]


def tune(plan: Sequence[Curve], *, seconds: float) -> Iterator[Tuned]:
    """Measure curves one after another, and give each when it is finished.

    Those that are unclear then are measured on in what time is left, and given again.

    Parameters
    ----------
    plan : sequence of Curve
        Those of one kernel and dtype after each other share their arrays.
    seconds : float
        For all of them together.
    """
    end = time.perf_counter() + seconds
    supply = None
    used: set[Candidate] = set()
    again: list[_Search] = []
    try:
        for index, curve in enumerate(plan):
            if supply is None or (supply.kernel, supply.dtype) != curve[:2]:
                supply = Supply(curve.kernel, curve.dtype)
            left = end - time.perf_counter()
            search = _Search(curve, supply, left / (len(plan) - index), used)
            try:
                with np.errstate(all="ignore"):  # a warning takes longer than a small call
                    found = search.run()
            except Exception as error:  # A kernel of another package: the others go on.
                text = f"numpy itself fails: {type(error).__name__}: {error}"
                found = Tuned(curve, {}, False, text, 0.0, 0.0, ())
            if found.finished and found.unclear:
                again.append(search)
            yield found
        for index, search in enumerate(again):
            left = end - time.perf_counter()
            if left <= 0:
                break
            with np.errstate(all="ignore"):  # uncounted: race
                yield search.run_on(left / (len(again) - index))
    finally:
        curves.close(used)


class _Search:
    """The measuring of one curve."""

    def __init__(self, curve: Curve, supply: Supply, seconds: float, used: set[Candidate]) -> None:
        self.curve, self.supply, self.used = curve, supply, used
        self.seconds = seconds
        self.begin = time.perf_counter()
        self.elapsed = 0.0
        self.points: dict[int, dict[Candidate, list[float]]] = {}
        self.spent: dict[int, float] = {}
        self.running: list[Candidate] = []
        self.notes: list[str] = []

    def run(self) -> Tuned:
        """Measure until all is known, or the time is spent."""
        grid = self._grid() if self.seconds > 0 else []
        left = self._measure_grid(grid)
        if not left:
            self._refine()
        return self._found(grid, left)

    def run_on(self, seconds: float) -> Tuned:  # uncounted: race
        """Measure longer where it was not clear; what was measured counts too."""
        self.begin = time.perf_counter() - self.elapsed
        self.seconds = self.elapsed + seconds
        self._refine()
        return self._found(sorted(self.points, reverse=True), [])

    def _found(self, grid: Sequence[int], left: Sequence[int]) -> Tuned:
        spent = self.elapsed = time.perf_counter() - self.begin
        # The arrays of all that wait to be measured on would fill the memory.
        self.supply = Supply(self.curve.kernel, self.curve.dtype)
        unclear, wanted = "", spent
        if not grid:
            unclear, wanted = "there was no time to begin", 0.0
        elif left:
            done = len(grid) - len(left)
            unclear = f"there was no time for sizes below {min(self.points, default=grid[0]):,}"
            wanted = spent * len(grid) / max(done, 0.5)
        elif doubts := self._doubts():
            unclear = doubts
            wanted = 4 * spent  # for half the width of an interval
        finished = bool(grid) and not left
        return Tuned(self.curve, self.points, finished, unclear, spent, wanted, tuple(self.notes))

    def _is_time(self, share: float = 1.0) -> bool:
        return time.perf_counter() - self.begin < share * self.seconds

    def _arrays(self, size: int) -> Arrays:
        return self.supply.arrays(self.curve.layout, size)

    def _grid(self) -> list[int]:
        """Give the sizes to begin with, the largest first, and choose who takes part."""
        curve = self.curve
        orders = curve.of_orders
        look = curve.fit(LOOK_ORDER if orders else LOOK)
        baseline = curves.call(BASELINE, curve.kernel, self._arrays(look))
        numpys = curves.best_seconds(baseline)
        if orders:
            largest = round(look * (LARGEST_SECONDS_OF_ORDERS / numpys) ** (1 / 3))
        else:
            largest = curve.fit(min(look * LARGEST_SECONDS / numpys, MOST))
        smallest = curve.fit(SMALLEST_ORDER if orders else SMALLEST)
        ratio = max(largest / smallest, 1)
        steps = max(math.ceil(math.log(ratio, FACTOR_OF_ORDERS if orders else FACTOR)), 1)
        sizes = [curve.fit(largest / ratio ** (i / steps)) for i in range(steps + 1)]
        self._choose_who_runs(min(sizes[1], CHECKED_ORDER if orders else CHECKED))
        return list(dict.fromkeys(sizes))

    def _choose_who_runs(self, size: int) -> None:
        """Leave out who computes something else, and who is hopeless."""
        kernel = self.curve.kernel
        arrays = self._arrays(self.curve.fit(size))
        self.running, notes = curves.roster(kernel, arrays)
        self.used.update(self.running)
        calls = {c: curves.call(c, kernel, arrays) for c in (BASELINE, *self._sharing(arrays))}
        expected = calls[BASELINE]()
        for candidate in list(calls)[1:]:
            try:
                error = kernel.error(calls[candidate](), expected, *arrays)
                fault = "" if error <= kernel.tolerance else f"its result is {error:.3g} eps off"
            except Exception as failure:  # A backend's own fault: the others go on.
                fault = f"{type(failure).__name__}: {failure}"
            if fault:
                del calls[candidate]
                where = f"{kernel.name} of {self.curve.dtype}, {self.curve.layout}"
                notes.append(f"{candidate.backend} is left out for {where}: {fault}")
        # Who does not share out a call of this size shares out none that would gain much by it.
        self.running, more = curves.promising(calls, within=HOPELESS_AT_ONCE)
        self.notes = [*notes, *more]

    def _measure_grid(self, grid: Sequence[int]) -> list[int]:
        """Look at each size, from the largest down; give those that time did not reach."""
        slow: set[Candidate] = set()
        lost = 0
        for index, size in enumerate(grid):
            if index and not self._is_time(MOST_FOR_GRID):
                return list(grid[index:])
            self._measure(size)
            samples = self.points[size]
            gains = {c: decide.gain(samples, c) for c in samples}
            best = max(found.value for found in gains.values())
            slower = {c for c, found in gains.items() if found.value * HOPELESS < best}
            out = {c for c in slow & slower if c.backend != "openmp"}
            self.running = [c for c in self.running if c not in out]
            slow = slower
            # What costs more than it gains at two sizes does so at all that are smaller.
            hopeless = all(found.high * HOPELESS < 1 for c, found in gains.items() if c != BASELINE)
            lost = lost + 1 if hopeless else 0
            if lost == 2:
                break
        return []

    def _refine(self) -> None:
        """Look longer where it is not clear who wins, then between neighbours that differ."""
        while self._is_time():
            unclear = [size for size in self.points if not self._is_clear(size)]
            if unclear:
                self._measure(min(unclear, key=lambda size: self.spent[size]))
                continue
            gap = decide.gap(self.points, self.curve.fit)
            if gap is None:
                break
            size, *neighbours = gap
            # Who was left out for smaller sizes may win at this one.
            both = (c for x in neighbours for c in self.points[x] if c != BASELINE)
            self.running = list(dict.fromkeys(both))
            self._measure(size)

    def _is_clear(self, size: int) -> bool:
        """Tell whether it is clear who wins, or has been looked at for long enough."""
        if self.spent[size] > MOST_OF_A_CURVE * self.seconds:
            return True
        return all(decide.is_clear(self.points[size], mode) for mode in BASELINE.modes)

    def _measure(self, size: int) -> None:
        """Time all at one size: shortly at first, then each time for as long as before."""
        begin = time.perf_counter()
        arrays = self._arrays(size)
        if size not in self.points:
            self.points[size] = {c: [] for c in (BASELINE, *self._sharing(arrays))}
            self.spent[size] = 0.0
        samples = self.points[size]
        labels = {f"{c.backend} {c.n_jobs} {c.mode}": c for c in samples}
        left = self.seconds - (begin - self.begin)
        # No looks for threads that spin on: OpenBLAS's do for longer than a sample lasts, and a
        # program that calls kernels after each other meets them just so.
        found = timer.compare(
            {label: curves.call(c, self.curve.kernel, arrays) for label, c in labels.items()},
            seconds=min(max(self.spent[size], FIRST_EFFORT), max(left, 0.0)),
            again=False,
            quiet=False,
            sample=SAMPLE,
            seed=len(samples[BASELINE]),
        )
        for label, timing in found.timings.items():
            candidate = labels[label]
            if timing.fault:  # uncounted: race
                self.notes.append(f"{candidate.backend} is left out: {timing.fault}")
                self.running = [c for c in self.running if c != candidate]
                del samples[candidate]
            else:
                samples[candidate] += timing.seconds
        self.spent[size] += time.perf_counter() - begin

    def _sharing(self, arrays: Arrays) -> list[Candidate]:
        """Give who would share out a call, and not compute it as numpy does."""
        return [c for c in self.running if c.engine.divides(self.curve.kernel, *arrays)]

    def _doubts(self) -> str:
        for size in sorted(self.points, reverse=True):
            for mode in BASELINE.modes:
                text = decide.doubt(self.points[size], mode)
                if text:
                    return f"at {size:,}, {text}"
        return ""


def enough_time(found: Sequence[Tuned], curves: int, seconds: float) -> float:
    """Estimate which budget would decide all curves, from what the measured ones took.

    Parameters
    ----------
    found : sequence of Tuned
        Those that were reached; not all of them were measured.
    curves : int
        How many there are.
    seconds : float
        The budget that did not do.
    """
    begun = [each.wanted for each in found if each.wanted]
    if not begun:
        return max(2 * seconds, 1.0 * curves)
    return max(1.2 * curves * sum(begun) / len(begun), 1.5 * seconds)


def merge(
    found: Sequence[Tuned],
    choices: Mapping[Key, Sequence[Choice]],
    points: Sequence[Point],
) -> tuple[dict[Key, Sequence[Choice]], list[Point]]:
    """Put what was found into what an older profile says.

    A curve that was not finished, or is unclear, replaces nothing that was.

    Parameters
    ----------
    found : sequence of Tuned
        What was measured now.
    choices, points
        What the older profile says; both empty where there is none.
    """
    names = {(each.curve.kernel.name, *each.curve[1:]): each for each in found if each.points}
    known = {(key.kernel, key.dtype, key.layout) for key in choices}
    new = {
        name: each
        for name, each in names.items()
        if name not in known or (each.finished and not each.unclear)
    }
    merged: dict[Key, Sequence[Choice]] = {
        key: steps
        for key, steps in choices.items()
        if (key.kernel, key.dtype, key.layout) not in new
    }
    kept = [point for point in points if (point.kernel, point.dtype, point.layout) not in new]
    for each in new.values():
        merged |= each.choices
        kept += each.measured
    return merged, kept
