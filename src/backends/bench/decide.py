"""What measured times mean: who is chosen at each size, and where to measure next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
    "choose",
    "chosen",
    "doubt",
    "gain",
    "gap",
    "is_clear",
    "measured",
    "middle",
    "suits",
]

#: Seconds of each round by candidate, the baseline first.
Samples: TypeAlias = Mapping[Candidate, Sequence[float]]

#: Who gains less is not worth a line in the file, nor a switch between two lines.
WORTH = 1.03
#: A choice that may cost more than this needs another look.
LOSS = 1.05
#: Sizes nearer to each other than this are not parted further.
FINEST = 1.05


def gain(samples: Samples, candidate: Candidate, over: Candidate = BASELINE) -> timer.Ratio:
    """Give how many times faster `candidate` is than another."""
    return _ratio(tuple(samples[over]), tuple(samples[candidate]))


@lru_cache(maxsize=10_000)  # each point is looked at again with every one that is measured
def _ratio(baseline: Sequence[float], candidate: Sequence[float]) -> timer.Ratio:
    return timer.ratio(baseline, candidate)


def _contenders(samples: Samples, mode: str) -> list[Candidate]:
    return [c for c in samples if mode in c.modes]


def choose(samples: Samples, mode: str, previous: Candidate | None = None) -> Candidate:
    """Choose at one size.

    Parameters
    ----------
    samples : mapping
        What was measured there.
    mode : {"exact", "fast"}
        For which calls.
    previous : Candidate, optional
        The choice at the next larger size, which is kept where no other is better beyond noise.

    Returns
    -------
    Candidate
        The baseline unless another is faster with its whole interval.

    Examples
    --------
    >>> two = Candidate("threads", 2, ("exact", "fast"))
    >>> choose({BASELINE: [2.0] * 6, two: [1.0] * 6}, "exact") == two
    True
    >>> choose({BASELINE: [2.0] * 6, two: [1.0] * 5 + [3.0]}, "exact") == BASELINE
    True
    """
    found = {c: gain(samples, c) for c in _contenders(samples, mode) if c != BASELINE}
    better = {c: g.value for c, g in found.items() if g.low > 1}
    if not better:
        return BASELINE
    best = max(better, key=lambda c: better[c])
    if previous is None or previous not in better:
        return best if better[best] >= WORTH else BASELINE
    rival = gain(samples, best, previous)
    return previous if rival.value < WORTH or rival.low <= 1 else best


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
    if choose(samples, mode) != BASELINE:
        return ""
    others = [c for c in _contenders(samples, mode) if c != BASELINE]
    for candidate in others:
        found = gain(samples, candidate)
        if found.low <= 1 and found.value > LOSS:
            return (
                f"{candidate.backend} with n_jobs={candidate.n_jobs} is {found.low:.2f} to "
                f"{found.high:.2f} times as fast as numpy"
            )
    return ""


def chosen(points: Mapping[int, Samples], mode: str) -> dict[int, Candidate]:
    """Choose at every size, from the largest down."""
    found: dict[int, Candidate] = {}
    previous = None
    for size in sorted(points, reverse=True):
        found[size] = previous = choose(points[size], mode, previous)
    return found


def gap(points: Mapping[int, Samples]) -> tuple[int, int] | None:
    """Give the two sizes between which to measure next; None where no choice would gain by it."""
    worst, between = FINEST, None
    for mode in BASELINE.modes:
        choice = chosen(points, mode)
        for low, high in pairwise(sorted(points)):
            below, above = choice[low], choice[high]
            # From `low` up to `high`, the choice of `low` will be made.
            known = below in points[high]
            if below == above or (known and gain(points[high], above, below).value < LOSS):
                continue
            if high / low > worst:
                worst, between = high / low, (low, high)
    return between


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
            slower = found[0] != BASELINE and gain(points[size], found[0]).low <= 1
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


def middle(low: int, high: int) -> float:
    """Give the size halfway, by factors."""
    return math.sqrt(low * high)
