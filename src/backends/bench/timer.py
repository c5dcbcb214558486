"""One clock for all candidates: interleaved, in random order, until the interval is narrow.

A machine that is slow for a second is then slow for every candidate, and the ratio holds.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Ratio", "Timing", "compare", "ratio"]

#: Seconds that a sample lasts at least: ten thousand ticks of any clock in use.
SAMPLE = 1e-3
#: Rounds before the interval is believed, and after which more would tell nothing new.
LEAST_ROUNDS, MOST_ROUNDS = 5, 200
#: Half width of the interval, relative, at which a comparison has told enough.
NARROW = 0.01
#: A ratio whose whole interval is within this of 1 is no difference that anyone would notice.
SAME = 0.03
#: Seconds of a look at whether the process is quiet (Linux counts the time of other threads in
#: ticks of up to 10 ms), and how often to look.
LOOK, MOST_LOOKS = 0.02, 25
#: Resamples of the bootstrap; the interval's own error is then well below its width.
RESAMPLES = 1000


@dataclass
class Timing:
    """Samples of one candidate.

    Attributes
    ----------
    seconds : list of float
        Time of one call in each round; round i of one candidate ran beside round i of another.
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


def compare(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    seconds: float,
    check: Callable[[str, Any], str] = lambda name, result: "",
    seed: int = 0,
) -> dict[str, Timing]:
    """Time `candidates` against each other.

    Parameters
    ----------
    candidates : mapping of str to callable
        What is timed, without arguments; the first is the baseline.
    seconds : float
        Budget. Reached only when the intervals stay wide; at least five rounds are run.
    check : callable
        ``check(name, result)`` of the first *timed* result of each: a text says what is wrong
        with it, and takes the candidate out.
    seed : int
        Of the random order within a round.

    Returns
    -------
    dict of str to Timing
        In the order of `candidates`.

    Raises
    ------
    Exception
        Whatever the baseline raises. Another candidate that raises is taken out with its reason.

    Examples
    --------
    >>> timings = compare({"one": lambda: sum(range(1000)), "two": lambda: 0}, seconds=0.1)
    >>> ratio(timings["one"].seconds, timings["two"].seconds).verdict
    'faster'
    """
    timings = {name: Timing() for name in candidates}
    baseline = next(iter(candidates))
    rng = np.random.default_rng(seed)
    batches: dict[str, int] = {}
    restless = set()
    for name, candidate in candidates.items():
        with _faults(timings[name], name == baseline):
            batches[name] = _warm_up(candidate)
        if not _quiet():
            restless.add(name)
            _wait_for_quiet()
    end, look = time.perf_counter() + seconds, float(LEAST_ROUNDS)
    with _no_gc():
        for count in range(MOST_ROUNDS):
            running = [name for name in candidates if not timings[name].fault]
            for index in rng.permutation(len(running)):
                name = running[index]
                with _faults(timings[name], name == baseline):
                    elapsed, result = _sample(candidates[name], batches[name])
                    fault = check(name, result) if count == 0 else ""
                    del result
                    if fault:
                        timings[name].fault, timings[name].invalid = fault, True
                    else:
                        timings[name].seconds.append(elapsed)
                if name in restless:
                    _wait_for_quiet()
            if count + 1 < LEAST_ROUNDS:
                continue
            if time.perf_counter() >= end:
                break
            if count + 1 >= look:
                if _settled(timings, baseline):
                    break
                look *= 1.5  # the bootstrap takes longer than a short sample
    return timings


def ratio(baseline: Sequence[float], candidate: Sequence[float]) -> Ratio:
    """Give how many times faster `candidate` is, with a bootstrap interval over paired rounds.

    Parameters
    ----------
    baseline, candidate : sequence of float
        Seconds of each round, in the order of the rounds.

    References
    ----------
    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3: the
    percentile interval.

    Examples
    --------
    >>> ratio([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    Ratio(value=2.0, low=2.0, high=2.0, verdict='faster')
    """
    # The ratio of each round, and not of the medians: what slows the machine down for a while
    # slows both in the same rounds, but may fall on the median of only one.
    # Logarithms make the ratio of A to B the inverse of that of B to A.
    paired = np.log(np.asarray(baseline) / np.asarray(candidate))
    rounds = np.random.default_rng(0).integers(len(paired), size=(RESAMPLES, len(paired)))
    low, high = np.exp(np.quantile(np.median(paired[rounds], axis=1), [0.025, 0.975]))
    value = float(np.exp(np.median(paired)))
    return Ratio(value, float(low), float(high), _verdict(value, float(low), float(high)))


def _verdict(value: float, low: float, high: float) -> str:
    least, most = 1 / (1 + SAME), 1 + SAME
    if least <= low and high <= most:
        return "same"
    if low > 1 and value >= most:
        return "faster"
    return "slower" if high < 1 and value <= least else "unclear"


def _settled(timings: Mapping[str, Timing], baseline: str) -> bool:
    if timings[baseline].fault:
        return True
    for name, timing in timings.items():
        if name == baseline or timing.fault:
            continue
        result = ratio(timings[baseline].seconds, timing.seconds)
        if result.high - result.low > 2 * NARROW * result.value:
            return False
    return True


def _warm_up(candidate: Callable[[], Any]) -> int:
    """Call until what a first call pays is paid; give the number of calls in a sample."""
    candidate()
    elapsed, _ = _sample(candidate, 1)
    return max(1, math.ceil(SAMPLE / max(elapsed, 1e-9)))


def _sample(candidate: Callable[[], Any], batch: int) -> tuple[float, Any]:
    result = None
    start = time.perf_counter()
    for _ in range(batch):
        result = None  # as in `y = f(x)`, the last result's memory is free again
        result = candidate()
    return (time.perf_counter() - start) / batch, result


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
def _faults(timing: Timing, fatal: bool) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # A backend's own failure is a result, and the others go on.
        if fatal:
            raise
        timing.fault = f"{type(error).__name__}: {error}"


@contextmanager
def _no_gc() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
