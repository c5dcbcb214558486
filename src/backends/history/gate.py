"""Whether a commit is slower than another, has lost what its backends gained, or fails.

Two runs of the same code differ by more than their samples tell: processes lie differently in
memory, and the machine has slow minutes. So a row counts as slower only if

* its interval leaves the old time out,
* it is slower by more than what is allowed, and by more than eight times what rows of its backend
  differ by anyway, most of which no commit changes,
* and by more than eight times what the same row differed by in earlier commits;
* all that beside NumPy's own loops, whose change is the machine's, and beside a small change of
  all that its backend computes.

Calls, imports, memory and what `install` gains are rows too; their backend is the parameter.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median, quantiles
from typing import NamedTuple

from backends.history.data import History, HistoryError, Measurement
from backends.history.ratios import BASELINE, FLOOR, Ratio, Row, judge, ratio, rows
from backends.history.rules import Rule, usable_cores

__all__ = ["Checked", "Finding", "check"]

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
_Run = dict[Row, Measurement]


class Finding(NamedTuple):
    """What is wrong with one row.

    Attributes
    ----------
    kind : str
        "slower", "more memory", "lost speedup", or "below" (a rule's speedup).
    ratio : Ratio
        Times the old speed, beside what the machine changed by; for the last two the speedup now.
    limit : float
        What `ratio` would have to reach.
    """

    machine: str
    row: Row
    kind: str
    ratio: Ratio
    limit: float


class Checked(NamedTuple):
    """What a check has found.

    Attributes
    ----------
    compared : int
        Rows that both commits have.
    least : list of float
        By how much each had to be slower to be found, relative.
    gone : list of tuple of str and Row
        Machines and rows that were measured before, and now fail or are skipped.
    unmet : list of tuple of str and Rule
        Machines, and rules about a speedup of which they should have a row and have none.
    left_out : int
        Rows that were not tried now, as by ``asv run --bench`` or in a smaller profile.
    drift : dict of str to float
        By how much all rows of a machine, or of a backend there, are slower, relative.
    unmatched : list of Rule
        Rules about a speedup that are for no machine, or no benchmark, of this commit.
    """

    commit: str
    against: str
    findings: list[Finding]
    compared: int
    least: list[float]
    gone: list[tuple[str, Row]]
    unmet: list[tuple[str, Rule]]
    left_out: int
    drift: dict[str, float]
    unmatched: list[Rule]

    @property
    def passed(self) -> bool:
        """Whether there is nothing to complain of."""
        return not (self.findings or self.gone or self.unmet)


def check(
    history: History,
    against: str,
    *,
    commit: str | None = None,
    machine: str | None = None,
    rules: Sequence[Rule] = (),
) -> Checked:
    """Compare a commit with another, on each machine that has measured both.

    Parameters
    ----------
    against : str
        The hash of a commit in the results, whole.
    commit : str or None
        That of the one to be checked; None for the newest of these machines.
    machine : str or None
        Its name; None for all.

    Raises
    ------
    HistoryError
        No machine has both, or they have no row in common.
    """
    runs: dict[str, dict[str, _Run]] = defaultdict(lambda: defaultdict(dict))
    for row, each in _rows(history):
        if machine in (None, each.machine):
            runs[each.machine][each.commit][row] = each
    order = {commit.hash: index for index, commit in enumerate(history.commits)}
    both = {name: run for name, run in runs.items() if against in run}
    measured = {each for run in both.values() for each in run}
    head = commit or max(measured, key=lambda each: order[each], default="")
    both = {name: run for name, run in both.items() if head in run}
    where = machine or "any one machine"
    if not both or head == against:
        other = commit[:8] if commit else "a newer commit"
        raise HistoryError(
            f"there are no results of both {against[:8]} and {other} on {where}: run "
            f"`asv run {against[:8]}^!` and `asv run HEAD^!`"
        )
    found = Checked(head, against, [], 0, [], [], [], 0, {}, [])
    matched: set[Rule] = set()
    for name, run in both.items():
        old, new = run[against], run[head]
        cores = usable_cores(history.machines[name])
        mine = {row: [rule for rule in rules if rule.holds_for(row, cores)] for row in new}
        earlier = [run[c] for c in order if c in run and order[c] <= order[against]]
        drift = _drift(old, new)
        found.drift.update((f"{name}{', ' * bool(b)}{b}", x) for b, x in _said(drift).items())
        floors = _floors(old, new, earlier, mine, drift)
        found.least.extend(floors.values())
        found.findings.extend(_slower(name, old, new, floors, drift))
        found.findings.extend(_below(name, new, mine))
        lost = {row: old[row] for row in old if row not in new}
        tried = history.failed
        gone = [r for r, was in lost.items() if (name, head, was.benchmark, was.params) in tried]
        found.gone.extend((name, row) for row in gone)
        for rule in rules:
            if rule.speedup is None or rule.cores not in (None, cores):
                continue
            if any(rule in mine[row] and _base(row, new) for row in new):
                matched.add(rule)
            elif rule.kernel is None or any(row.kernel == rule.kernel for row in (*new, *gone)):
                matched.add(rule)
                found.unmet.append((name, rule))
        found = found._replace(
            compared=found.compared + len(old.keys() & new.keys()),
            left_out=found.left_out + len(lost) - len(gone),
        )
    if not found.compared and not found.gone:
        raise HistoryError(
            f"{against[:8]} and {head[:8]} have no row in common on {where}: measure both with the "
            "same BACKENDS_ASV_PROFILE and the same `asv run --bench`"
        )
    return found._replace(unmatched=[r for r in rules if r.speedup and r not in matched])


def _rows(history: History) -> Iterator[tuple[Row, Measurement]]:
    """Give what times a kernel, and all else that is in seconds or bytes."""
    yield from rows(history, history.measurements)
    others = {
        name
        for name, unit in history.units.items()
        if unit in ("seconds", "bytes") and not history.kernel_of(name)
    }
    for each in history.measurements:
        if each.benchmark in others and each.value > 0:
            yield Row(each.benchmark, ", ".join(each.params), "", ""), each


def _is_kernel(row: Row) -> bool:
    return bool(row.dtype)


def _drift(old: _Run, new: _Run) -> dict[str, float]:
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
    drift = {"": median(of_all)}
    for backend, changes in by_backend.items():
        middle = median(changes) if len(changes) >= ENOUGH else drift[""]
        # What is more than disturbance leaves is a change of the code: the rows show it.
        drift[backend] = middle if abs(middle - drift[""]) <= math.log1p(SHIFT) else drift[""]
    return drift


def _said(drift: dict[str, float]) -> dict[str, float]:
    """Give what is worth a word, as shares of the time."""
    least, machine = math.log1p(FLOOR), drift[""]
    return {
        backend: math.expm1(-change)
        for backend, change in drift.items()
        if abs(change if not backend else change - machine) > least
    }


def _floors(
    old: _Run,
    new: _Run,
    earlier: Sequence[_Run],
    rules: dict[Row, list[Rule]],
    drift: dict[str, float],
) -> dict[Row, float]:
    """Give by how much each row that both have may be slower, relative."""
    beside = {
        row: math.log(old[row].value / new[row].value) - drift.get(row.backend, drift[""])
        for row in new
        if row in old and _is_kernel(row)
    }
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row, change in beside.items():
        groups[row.backend, row.size].append(change)
    general = _scatter(list(beside.values()))
    floors = {}
    for row in (each for each in new if each in old):
        allowed = next((r.slower for r in reversed(rules[row]) if r.slower is not None), None)
        if _is_number(new[row]):
            floors[row] = MORE if allowed is None else allowed
            continue
        series = [math.log(run[row].value) for run in earlier[-EARLIER:] if row in run]
        steps = [later - sooner for sooner, later in pairwise(series)]
        # Short calls of threads differ more from run to run than long ones of one thread.
        spread = max(general, _scatter(groups[row.backend, row.size]), _spread(steps))
        if len(beside) < ENOUGH or not _is_kernel(row):
            spread = max(SPREAD, spread, _loudness(old[row]), _loudness(new[row]))
        floors[row] = max(FLOOR if allowed is None else allowed, math.expm1(SPREADS * spread))
    return floors


def _slower(
    machine: str, old: _Run, new: _Run, floors: dict[Row, float], drift: dict[str, float]
) -> Iterator[Finding]:
    """Give the rows that are slower beside what the machine changed by, or lost their speedup."""
    for row, floor in floors.items():
        was, now, limit = old[row], new[row], 1 / (1 + floor)
        if _is_number(now):
            found, kind = ratio(_exact(was), _exact(now), floor), "more memory"
        else:
            found, kind = ratio(was, now), "slower"
            found = _beside(found, drift.get(row.backend, drift[""]), floor)
        if found.verdict == "slower":
            yield Finding(machine, row, kind, found, limit)
            continue
        base_was, base = _base(row, old), _base(row, new)
        if base_was and base:
            before, speedup = ratio(base_was, was), ratio(base, now)
            fell = speedup.high < before.low and speedup.value < before.value * limit
            if fell and before.verdict == "faster" and speedup.verdict != "faster":
                yield Finding(machine, row, "lost speedup", speedup, 1.0)


def _below(machine: str, new: _Run, rules: dict[Row, list[Rule]]) -> Iterator[Finding]:
    """Give the rows that have not the speedup that a rule asks for, beyond their interval."""
    for row, mine in rules.items():
        base = _base(row, new)
        least = next((rule.speedup for rule in reversed(mine) if rule.speedup is not None), None)
        if least is not None and base:
            speedup = ratio(base, new[row])
            if speedup.high < least:
                yield Finding(machine, row, "below", speedup, least)


def _base(row: Row, run: _Run) -> Measurement | None:
    """Give what NumPy took for the same, if that was measured and is not this row itself."""
    return run.get(row._replace(backend=BASELINE)) if row.backend != BASELINE else None


def _is_number(each: Measurement) -> bool:
    """Tell whether it is one number, of which no interval can be had: memory, say."""
    return each.low is None and not each.samples


def _exact(each: Measurement) -> Measurement:
    return each._replace(low=each.value, high=each.value)


def _beside(found: Ratio, drift: float, floor: float) -> Ratio:
    """Give a ratio relative to that of all rows."""
    ends = (found.value, found.low, found.high)
    value, low, high = (math.log(x) - drift if x > 0 else -math.inf for x in ends)
    return judge(value, value - low, high - value, floor)


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
