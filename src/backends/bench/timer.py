"""One clock for all candidates: interleaved, in random order, until the interval is narrow.

* A machine that is slow for a second is then slow for every candidate, and the ratio holds.
* The baseline runs twice, as two candidates: what it seems to gain over itself is the noise floor.
* A verdict is "faster" or "slower" only where the interval leaves 1 out and the ratio is above the
  floor, "same" only where a difference of five percent is ruled out. Everything else is "unclear".
"""

# Over 300 lines: a good third says why each number and each step is as it is.
from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from backends.collector import uncollected

__all__ = ["Comparison", "Ratio", "Timing", "compare", "ratio"]

#: Seconds that a sample lasts at least: thousands of ticks of any clock in use. Short samples are
#: more, and fewer of them are hit by what else the machine does: samples of 1 ms instead gave a
#: ratio four times as uncertain for the same time (`benchmarks/timer.py`, two busy cores).
SAMPLE = 3e-4
#: Rounds that are always run: of fewer, not even the range is a 95 percent interval of the median.
LEAST_ROUNDS = 6
#: Rounds before an interval may be narrow by more than luck, and after which more tell little.
ENOUGH_ROUNDS, MOST_ROUNDS = 20, 1000
#: Half width of the interval, relative, at which a comparison has told enough: the floor of 2.5
#: percent is then more than two such widths from 1, and from a true difference of 5 percent.
NARROW = 0.01
#: A difference of FIND must be found, and none must not: half of it parts the two.
FIND, SAME = 0.05, 0.025
#: Times the baseline's speed that a candidate must seem able to reach, or it may be left out.
HOPELESS = 0.67
#: Warm-up ends when so many samples were not FASTER than the best before, relative; or after so
#: many samples in all, or this share of the budget. A call of LONG seconds is not repeated.
STEADY, FASTER, MOST_WARM_UPS, WARM_UP_SHARE, LONG = 3, 0.02, 50, 0.1, 0.05
#: Seconds of a look at whether the process is quiet (Linux counts the time of other threads in
#: ticks of up to 10 ms), and how often to look.
LOOK, MOST_LOOKS = 0.02, 25


@dataclass
class Timing:
    """Samples of one candidate.

    Attributes
    ----------
    seconds : list of float
        Time of one call in each round; round i of one candidate ran beside round i of another.
        One that was left out has but the first rounds.
    fault : str
        Why it was taken out of the comparison; empty if it was not.
    invalid : bool
        Whether the fault is a wrong result.
    """

    seconds: list[float] = field(default_factory=list)
    fault: str = ""
    invalid: bool = False


class Ratio(NamedTuple):
    """How many times faster than the baseline: median, 95 percent interval, and what it means."""

    value: float
    low: float
    high: float
    verdict: str


@dataclass
class Comparison:
    """What :func:`compare` has measured.

    Attributes
    ----------
    timings : dict of str to Timing
        In the order of the candidates, the baseline first.
    again : Timing or None
        The baseline a second time, among the others; None if it was not asked for.
    """

    timings: dict[str, Timing]
    again: Timing | None = None

    @property
    def noise(self) -> float:
        """What the baseline gains over itself, or may gain by its interval; 0 without one."""
        baseline = self._baseline.seconds
        if self.again is None or not baseline:
            return 0.0
        found = ratio(baseline, self.again.seconds)
        # Not the farther end of the interval, which has both: true differences of 5 percent were
        # then lost where each candidate's own interval had found them.
        half_width = math.sqrt(found.high / found.low)
        return max(found.value, 1 / found.value, half_width) - 1

    @property
    def drift(self) -> float:
        """How much slower the baseline was in the last third of the rounds than in the first."""
        seconds = self._baseline.seconds
        third = len(seconds) // 3
        if third == 0:
            return 0.0
        return float(np.median(seconds[-third:]) / np.median(seconds[:third])) - 1

    def ratio(self, name: str) -> Ratio:
        """Compare candidate `name`, which has no fault, with the baseline, above the noise floor.

        With both runs of the baseline, if there are two: that makes the ratio a tenth to a third
        less uncertain. Pairs of the same round then share a sample, which
        widens the interval like any rounds that are alike.
        """
        candidate = self.timings[name].seconds
        baselines = [self._baseline, *([self.again] if self.again else [])]
        paired = [_paired(each.seconds, candidate) for each in baselines]
        return _judged(np.column_stack(paired).ravel(), self.noise)

    @property
    def _baseline(self) -> Timing:
        return next(iter(self.timings.values()))


@dataclass
class _Run:
    """A candidate while it is measured."""

    name: str
    call: Callable[[], Any]
    before: Callable[[], Any] | None
    timing: Timing
    is_baseline: bool
    batch: int = 1
    restless: bool = False
    dropped: bool = False

    def sample(self) -> tuple[float, Any]:
        """Give the seconds of one call, and its result."""
        if self.before is not None:
            self.before()
        result = None
        start = time.perf_counter()
        for _ in range(self.batch):
            result = None  # as in `y = f(x)`, the last result's memory is free again
            result = self.call()
        return (time.perf_counter() - start) / self.batch, result


def compare(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    seconds: float,
    check: Callable[[str, Any], str] = lambda name, result: "",
    before: Mapping[str, Callable[[], Any]] = {},
    again: bool = True,
    quiet: bool = True,
    drop_slow: bool = False,
    sample: float = SAMPLE,
    seed: int = 0,
) -> Comparison:
    """Time `candidates` against each other.

    Parameters
    ----------
    candidates : mapping of str to callable
        What is timed, without arguments; the first is the baseline.
    seconds : float
        Budget. Reached only when the intervals stay wide; at least six rounds are run. Warming up
        comes before it: two calls of each, and at most a tenth of the budget for more.
    check : callable
        ``check(name, result)`` of the first *timed* result of each: a text says what is wrong
        with it, and takes the candidate out.
    before : mapping of str to callable
        What is called, untimed, before each sample of a candidate. Its sample is then one call, so
        that caches can be emptied first, say.
    again : bool
        Whether to time the baseline against itself too, for the noise floor.
    quiet : bool
        Whether to look for threads that a candidate leaves spinning, and wait for them: 20 ms for
        each candidate at least. Not needed where none starts threads that spin.
    drop_slow : bool
        Whether a candidate that is slower by half, with its whole interval after the least rounds,
        is left out of the rounds that follow: their time is then for those who might win.
    sample : float
        Seconds that a sample lasts at least; short calls are repeated.
    seed : int
        Of the random order within a round.

    Returns
    -------
    Comparison
        The samples, and what they mean.

    Raises
    ------
    ValueError
        `before` has a name that is no candidate's.
    Exception
        Whatever the baseline raises. Another candidate that raises is taken out with its reason.

    Examples
    --------
    >>> found = compare({"one": lambda: sum(range(1000)), "two": lambda: 0}, seconds=0.1)
    >>> found.ratio("two").verdict
    'faster'
    """
    if not before.keys() <= candidates.keys():
        wrong = ", ".join(sorted(before.keys() - candidates.keys()))
        raise ValueError(f"before: {wrong}: no such candidate; name one of {', '.join(candidates)}")
    baseline = next(iter(candidates))
    runs = [
        _Run(name, call, before.get(name), Timing(), name == baseline)
        for name, call in candidates.items()
    ]
    found = Comparison({run.name: run.timing for run in runs})
    if again:
        found.again = Timing()
        runs.append(_Run("", candidates[baseline], before.get(baseline), found.again, True))
    for run in runs:
        with _faults(run):
            _warm_up(run, sample, WARM_UP_SHARE * seconds / len(runs))
        # Twice: OpenMP's threads spin for some milliseconds, which disturb nobody for long.
        if quiet and not _quiet() and not _quiet():
            run.restless = True
            _wait_for_quiet()
    rng = np.random.default_rng(seed)
    end, look = time.perf_counter() + seconds, float(ENOUGH_ROUNDS)
    with uncollected():
        for count in range(1, MOST_ROUNDS + 1):
            running = [run for run in runs if not (run.timing.fault or run.dropped)]
            order = [running[index] for index in rng.permutation(len(running))]
            # Those that leave threads busy come last, and one wait is enough for all.
            order.sort(key=lambda run: run.restless)
            for run in order:
                with _faults(run):
                    elapsed, result = run.sample()
                    # The baseline's second run has no name: its result was checked as the first's.
                    fault = check(run.name, result) if count == 1 and run.name else ""
                    del result
                    if fault:
                        run.timing.fault, run.timing.invalid = fault, True
                    else:
                        run.timing.seconds.append(elapsed)
            if any(run.restless for run in order):
                _wait_for_quiet()
            if count >= LEAST_ROUNDS and time.perf_counter() >= end:
                break
            if drop_slow and count == LEAST_ROUNDS:
                for run in order:
                    run.dropped = _is_hopeless(found, run)
            # Rarely: who looks at every round finds the one at which the interval is narrow.
            if count >= look:
                if _settled(found):
                    break
                look *= 1.5
    return found


def ratio(baseline: Sequence[float], candidate: Sequence[float], noise: float = 0.0) -> Ratio:
    """Give how many times faster `candidate` is, with an interval from the ranks of the rounds.

    Parameters
    ----------
    baseline, candidate : sequence of float
        Seconds of each round, in the order of the rounds.
    noise : float
        The noise floor, relative: a smaller difference is none.

    Notes
    -----
    What disturbs a call only makes it longer: of twenty rounds or more, the faster of each two
    neighbours counts. That makes the ratio up to a third less uncertain, and half to an eighth as
    uncertain on an overloaded machine, where most rounds are disturbed.

    The interval is the one that inverts the sign test: which two rounds' ratios, counted from the
    middle, hold the median in 95 of 100 cases, whatever the noise is like. It is what resampling
    the rounds tends to, without its error: on short series of samples as real machines give them,
    the percentile bootstrap held the median in 88 to 93 of 100, with blocks in 80 to 93, and the
    ranks in 92 to 98. Where slow spells span several rounds, a round tells less than a new one:
    the autocorrelation of the signs says by how much, and widens the interval.

    References
    ----------
    H. A. David and H. N. Nagaraja, "Order Statistics" (2003), section 7.1: the interval.
    W. K. Newey and K. D. West, Econometrica 55 (1987), 703: the sum of autocorrelations.

    Examples
    --------
    >>> ratio([2.0] * 6, [1.0] * 6)
    Ratio(value=2.0, low=2.0, high=2.0, verdict='faster')
    """
    return _judged(_paired(baseline, candidate), noise)


def _paired(baseline: Sequence[float], candidate: Sequence[float]) -> Any:
    """Give the logarithm of the ratio of each round."""
    # The ratio of each round, and not of the medians: what slows the machine down for a while
    # slows both in the same rounds, but may fall on the median of only one.
    # Logarithms make the ratio of A to B the inverse of that of B to A.
    # One that was left out of the later rounds has fewer.
    seconds = np.array([baseline[: len(candidate)], candidate])
    count = seconds.shape[1]
    if count >= ENOUGH_ROUNDS:
        seconds = seconds[:, count % 2 :].reshape(2, -1, 2).min(axis=2)
    return np.log(seconds[0] / seconds[1])


def _judged(paired: Any, noise: float) -> Ratio:
    """Give the median of logarithms of ratios, its interval, and what they mean."""
    count = len(paired)
    middle = float(np.median(paired))
    width = 1.96 * math.sqrt(count * _inflation(np.sign(paired - middle)))
    lowest = max(0, math.floor((count - width - 1) / 2))
    ordered = np.sort(paired)
    value, low, high = map(math.exp, (middle, ordered[lowest], ordered[count - 1 - lowest]))
    return Ratio(value, low, high, _verdict(value, low, high, max(SAME, noise), count))


def _inflation(signs: Any) -> float:
    """Give how many rounds tell as much as one would that knew nothing of those before it."""
    count = len(signs)
    lags = math.isqrt(count)
    total = sum(
        (1 - lag / (lags + 1)) * float(signs[lag:] @ signs[:-lag]) for lag in range(1, lags + 1)
    )
    return max(1.0, 1 + 2 * total / count)


def _verdict(value: float, low: float, high: float, floor: float, count: int) -> str:
    if count < LEAST_ROUNDS:
        return "unclear"
    if low > 1 and value > 1 + floor:
        return "faster"
    if high < 1 and value < 1 / (1 + floor):
        return "slower"
    alike = 1 / (1 + floor) <= value <= 1 + floor
    return "same" if alike and low >= 1 / (1 + FIND) and high <= 1 + FIND else "unclear"


def _settled(found: Comparison) -> bool:
    baseline, *others = found.timings
    if found.timings[baseline].fault:
        return True
    ratios = [found.ratio(name) for name in others if not found.timings[name].fault]
    if found.again is not None:
        ratios.append(ratio(found.timings[baseline].seconds, found.again.seconds))
    return all(each.high - each.low <= 2 * NARROW * each.value for each in ratios)


def _is_hopeless(found: Comparison, run: _Run) -> bool:
    if run.is_baseline or run.timing.fault or next(iter(found.timings.values())).fault:
        return False
    return found.ratio(run.name).high < HOPELESS


def _warm_up(run: _Run, sample: float, seconds: float) -> None:
    """Call until the calls get no faster, and choose the number of calls in a sample.

    The first call may compile; memory, caches and the processor's clock take some more.
    """
    run.sample()
    best, steady = math.inf, 0
    end = time.perf_counter() + seconds
    for _ in range(MOST_WARM_UPS):
        elapsed, _ = run.sample()
        steady = 0 if elapsed < best * (1 - FASTER) else steady + 1
        best = min(best, elapsed)
        if run.before is None:
            run.batch = max(1, math.ceil(sample / max(best, 1e-9)))
        if steady == STEADY or elapsed >= LONG or time.perf_counter() >= end:
            break


def _wait_for_quiet() -> None:
    """Wait for a candidate's threads, which may spin for a while when their work is done.

    OpenBLAS's go on for about a tenth of a second, and would take a core from what comes next.
    """
    for _ in range(MOST_LOOKS):
        if _quiet():
            return


def _quiet() -> bool:
    """Tell whether no thread of this process is busy."""
    before = time.process_time()
    time.sleep(LOOK)
    return time.process_time() - before < LOOK / 2


@contextmanager
def _faults(run: _Run) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # A backend's own failure is a result, and the others go on.
        if run.is_baseline:
            raise
        run.timing.fault = f"{type(error).__name__}: {error}"
