"""What measured times mean: who is chosen at each size, and where to measure next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from backends.bench import timer
from backends.bench.curves import BASELINE, Candidate
from backends.measurements import Measured
from backends.profile import Choice

__all__ = [
    "Samples",
    "choices",
    "chosen",
    "doubt",
    "gain",
    "gap",
    "is_clear",
    "losses",
    "measured",
    "suits",
]

#: Seconds of each round by candidate, the baseline first.
Samples: TypeAlias = Mapping[Candidate, Sequence[float]]

#: What a change of the choice must save, as a logarithm summed over the sizes: what differs by
#: less is often noise, and makes the file long.
SWITCH = 0.05
#: Who gains less than this is as good as the other.
WORTH = 1.03
#: A choice that may cost more than this needs another look.
LOSS = 1.05
#: Who may gain so much, by the interval, is not yet beaten.
MISSED = 1.2
#: Sizes nearer to each other than this are not parted further.
FINEST = 1.05


def gain(samples: Samples, candidate: Candidate, over: Candidate = BASELINE) -> timer.Ratio:
    """Give how many times faster `candidate` is than another."""
    return _ratio(tuple(samples[over]), tuple(samples[candidate]))


@lru_cache(maxsize=2000)  # each point is looked at again with every one that is measured
def _ratio(baseline: Sequence[float], candidate: Sequence[float]) -> timer.Ratio:
    return timer.ratio(baseline, candidate)


def _contenders(samples: Samples, mode: str) -> list[Candidate]:
    return [c for c in samples if mode in c.modes]


def losses(samples: Samples, mode: str) -> dict[Candidate, float]:
    """Give who may be chosen at one size, and the logarithm of what that loses against the best.

    Examples
    --------
    >>> two = Candidate("threads", 2, ("exact", "fast"))
    >>> losses({BASELINE: [2.0] * 6, two: [2.0] * 6}, "exact") == {BASELINE: 0.0}
    True
    >>> losses({BASELINE: [2.0] * 6, two: [1.0] * 6}, "exact")[two]
    0.0
    >>> two in losses({BASELINE: [2.0] * 6, two: [1.0] * 5 + [3.0]}, "exact")
    False
    """
    gains = {c: gain(samples, c) for c in _contenders(samples, mode)}
    better = {c: found.value for c, found in gains.items() if found.low > 1}
    best = max([1.0, *better.values()])
    return {c: math.log(best / value) for c, value in ({BASELINE: 1.0} | better).items()}


def _undecided(samples: Samples, mode: str) -> dict[Candidate, float]:
    """Give who seems as fast as numpy at least, but may be slower; and what that seems to lose."""
    gains = {c: gain(samples, c) for c in _contenders(samples, mode) if c != BASELINE}
    best = max([1.0, *(found.value for found in gains.values() if found.low > 1)])
    return {
        c: max(math.log(best / found.value), 0.0)
        for c, found in gains.items()
        if found.low <= 1 <= found.value
    }


def is_clear(samples: Samples, mode: str) -> bool:
    """Tell whether the fastest is known, up to what would not be missed."""
    found = _contenders(samples, mode)
    best = min(found, key=lambda c: float(np.median(samples[c])))
    for other in found:
        if other != best:
            # Two that seem alike may be the same loop: more rounds would never part them.
            lead = gain(samples, best, other)
            if lead.low <= 1 and lead.value >= WORTH:
                return False
    return True


def doubt(samples: Samples, mode: str) -> str:
    """Say who might have won, had there been time to be sure; nothing where nobody might."""
    if len(losses(samples, mode)) > 1:
        return ""
    others = [c for c in _contenders(samples, mode) if c != BASELINE]
    for candidate in others:
        found = gain(samples, candidate)
        if found.low <= 1 and (found.value > LOSS or found.high > MISSED):
            return (
                f"{candidate.backend} with n_jobs={candidate.n_jobs} is {found.low:.2f} to "
                f"{found.high:.2f} times as fast as numpy"
            )
    return ""


def chosen(points: Mapping[int, Samples], mode: str) -> dict[int, Candidate]:
    """Choose at every size: the least loss over all of them, with a price for each change.

    Numpy may be chosen everywhere, others only from where they are faster with their whole
    interval; they stay chosen at larger sizes where noise hides whether they still are, as long as
    they seem to be.

    Examples
    --------
    >>> two = Candidate("threads", 2, ("exact", "fast"))
    >>> slow, fast = {BASELINE: [1.0] * 6, two: [2.0] * 6}, {BASELINE: [2.0] * 6, two: [1.0] * 6}
    >>> [choice.backend for choice in chosen({10: slow, 100: fast}, "exact").values()]
    ['numpy', 'threads']
    """
    # Who is chosen last, what the best way there loses, and who was chosen on it.
    ways: dict[Candidate, tuple[float, list[Candidate]]] = {BASELINE: (0.0, [])}
    sizes = sorted(points)
    for size in sizes:
        new = {}
        undecided = _undecided(points[size], mode)
        for candidate, loss in (losses(points[size], mode) | undecided).items():
            prices = {
                last: cost + SWITCH * (last != candidate)
                for last, (cost, _) in ways.items()
                if last == candidate or candidate not in undecided
            }
            if not prices:
                continue
            last = min(prices, key=prices.__getitem__)
            new[candidate] = prices[last] + loss, [*ways[last][1], candidate]
        ways = new
    _, way = min(ways.values(), key=lambda found: found[0])
    return dict(zip(sizes, way, strict=True))


def gap(points: Mapping[int, Samples], fit: Callable[[float], int]) -> tuple[int, int, int] | None:
    """Give where to measure next, and between which two sizes; None where nobody would gain by it.

    Parameters
    ----------
    points : mapping of int to Samples
        What was measured.
    fit : callable
        Gives the nearest size that there is.
    """
    worst, found = FINEST, None
    for mode in BASELINE.modes:
        choice = chosen(points, mode)
        for low, high in pairwise(sorted(points)):
            below, above = choice[low], choice[high]
            middle = fit(math.sqrt(low * high))
            if below == above or middle in points or high / low <= worst:
                continue
            # From `low` up to `high`, the choice of `low` will be made.
            if below not in points[high] or gain(points[high], above, below).value >= LOSS:
                worst, found = high / low, (middle, low, high)
    return found


def choices(points: Mapping[int, Samples], mode: str) -> tuple[Choice, ...]:
    """Give the steps for the profile, by rising size; nothing where numpy is chosen everywhere."""
    choice = chosen(points, mode)
    steps: list[Choice] = []
    last = BASELINE
    for size in sorted(points):
        if choice[size] != last:
            last = choice[size]
            steps.append(Choice(size, last.backend, last.n_jobs))
    return tuple(steps)


def suits(points: Mapping[int, Samples], steps: Sequence[Choice], mode: str) -> bool:
    """Tell whether steps that were found for another mode are as good as this one's own."""
    for size, best in chosen(points, mode).items():
        wanted = next((s for s in reversed(steps) if s.start <= size), Choice(0, *BASELINE[:2]))
        found = [c for c in _contenders(points[size], mode) if c[:2] == wanted[1:]]
        if not found:
            return False
        if found[0] != best:
            lead = gain(points[size], best, found[0])
            slower = found[0] != BASELINE and gain(points[size], found[0]).value < 1
            if slower or (lead.low > 1 and lead.value >= WORTH):
                return False
    return True


def measured(samples: Samples) -> Iterator[Measured]:
    """Give what the file of measurements says about one size."""
    for candidate, seconds in samples.items():
        found = gain(samples, candidate)
        yield Measured(
            *(candidate.backend, candidate.n_jobs, candidate.mode, float(np.median(seconds))),
            *(found.value, found.low, found.high),
        )
