"""By how much rows differ from run to run anyway, on the machine that they were measured on.

Two runs of the same code differ by more than their samples tell: processes lie differently in
memory, and the machine has slow minutes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median, quantiles
from typing import TypeAlias

from backends.history.data import Measurement
from backends.history.ratios import BASELINE, FLOOR, Row

__all__ = ["Run", "drift", "floors", "is_number"]

#: Spreads beyond which no row is found in 20 repeats on two shared cores, where rows differ by a
#: tenth from run to run and one in forty by a half (`python benchmarks/gate.py repeat`).
SPREADS = 8.0
#: That of the quotients of two runs on a quiet machine: the least, where too few rows tell.
SPREAD = 0.015
#: A change of a whole backend that is taken for the machine's, relative: its cores were disturbed.
SHIFT = 0.1
#: From how many rows, or earlier commits, a median or a spread is made.
ENOUGH = 8
#: How many earlier commits tell the spread of a row.
EARLIER = 20
#: By how much more memory a row may take, relative: it is one number, without an interval.
MORE = 0.25

#: What one machine has measured of one commit.
Run: TypeAlias = dict[Row, Measurement]


def drift(old: Run, new: Run) -> dict[str, float]:
    """Give how much faster a machine is, under "", and its backends, as logarithms.

    That of the machine is NumPy's own, whose loops no commit changes; else, where parallel
    backends lose what they gain, most rows would.
    """
    by_backend: dict[str, list[float]] = defaultdict(list)
    for row, was in old.items():
        if row in new and _is_kernel(row):
            by_backend[row.backend].append(math.log(was.value / new[row].value))
    every = [change for changes in by_backend.values() for change in changes]
    of_all = next((x for x in (by_backend[BASELINE], every) if len(x) >= ENOUGH), [0.0])
    found = {"": median(of_all)}
    for backend, changes in by_backend.items():
        middle = median(changes) if len(changes) >= ENOUGH else found[""]
        # What is more than disturbance leaves is a change of the code: the rows show it.
        found[backend] = middle if abs(middle - found[""]) <= math.log1p(SHIFT) else found[""]
    return found


def floors(
    old: Run,
    new: Run,
    earlier: Sequence[Run],
    allowed: Mapping[Row, float | None],
    drift: Mapping[str, float],
    *,
    alone: bool = True,
) -> dict[Row, float]:
    """Give by how much each row that both have may be slower, relative, beside the drift.

    `allowed` has what is asked for, None where nothing is. Unless the two runs are `alone` to tell,
    what they differ by anyway is not added.
    """
    beside = {
        row: math.log(old[row].value / new[row].value) - drift.get(row.backend, drift[""])
        for row in new
        if row in old and _is_kernel(row)
    }
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row, change in beside.items():
        groups[row.backend, row.size].append(change)
    general = _scatter(list(beside.values()))
    found = {}
    for row in (each for each in new if each in old):
        least = allowed[row]
        if is_number(new[row]):
            found[row] = MORE if least is None else least
            continue
        if not alone:
            found[row] = FLOOR if least is None else least
            continue
        series = [math.log(run[row].value) for run in earlier[-EARLIER:] if row in run]
        steps = [later - sooner for sooner, later in pairwise(series)]
        # Short calls of threads differ more from run to run than long ones of one thread.
        spread = max(general, _scatter(groups[row.backend, row.size]), _spread(steps))
        if len(beside) < ENOUGH or not _is_kernel(row):
            spread = max(SPREAD, spread, _loudness(old[row]), _loudness(new[row]))
        found[row] = max(FLOOR if least is None else least, math.expm1(SPREADS * spread))
    return found


def is_number(each: Measurement) -> bool:
    """Tell whether it is one number, of which no interval can be had: memory, say."""
    return each.low is None and not each.samples


def _is_kernel(row: Row) -> bool:
    return bool(row.dtype)


def _scatter(changes: Sequence[float]) -> float:
    """Give the standard deviation about 0; where one side has twice the other's, the other's.

    Noise makes rows faster as much as slower. A commit that makes half of all rows slower, or
    faster, would be taken for noise if both sides counted. From three quarters of the rows, not
    half as :func:`_spread`: what they differ by has long tails, and the middles were taken off.
    """
    if len(changes) < ENOUGH:
        return 0.0
    sides = [[abs(x) for x in changes if x * sign >= 0] for sign in (1, -1)]
    small, large = sorted(map(_upper_quarter, sides))
    return (small if large > 2 * small else _upper_quarter(list(map(abs, changes)))) / 1.15


def _upper_quarter(sizes: list[float]) -> float:
    return quantiles(sizes, method="inclusive")[2] if len(sizes) > 1 else sum(sizes)


def _spread(changes: Sequence[float]) -> float:
    """Give the standard deviation, as half of all tell it: a few true changes do not count."""
    if len(changes) < ENOUGH:
        return 0.0
    middle = median(changes)
    return 1.4826 * median(abs(change - middle) for change in changes)


def _loudness(each: Measurement) -> float:
    """Give the standard deviation of the samples, as their middle half tells it.

    Runs differ as much as samples where both are disturbed for longer than a sample. On two busy
    cores that raised no alarm in 117 repeats, of which SPREAD alone took 8 for slower.
    """
    if len(each.samples) < 2:
        return 0.0
    first, _, third = quantiles(each.samples, method="inclusive")
    return math.log(third / first) / 1.349
