"""Whether a commit is slower than another, or has lost what its backends gained.

A row that was measured before and fails now is lost, too.

Two runs of the same code differ by more than their samples tell: processes lie differently in
memory, and the machine has slow minutes. So a row counts as slower only if

* its interval leaves the old time out,
* it is slower by more than what is allowed, and by more than four times the spread of all rows,
  most of which no commit changes, and of the same row in earlier commits;
* all that relative to the median of all rows, which is the machine, not a kernel.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import median, quantiles
from typing import NamedTuple

import msgspec

from backends.history.data import History, HistoryError, Measurement
from backends.history.ratios import BASELINE, FLOOR, Ratio, Row, judge, ratio, rows

__all__ = ["Checked", "Finding", "Rule", "check"]

#: Spreads beyond which no row is found in 20 runs of 300 rows.
SPREADS = 4.0
#: That of the quotients of two runs on a quiet machine: the least, where too few rows tell.
SPREAD = 0.02
#: From how many rows, or earlier commits, a median or a spread is made.
ENOUGH = 8
#: How many earlier commits tell the spread of a row.
EARLIER = 20

#: What one machine has measured of one commit.
_Run = dict[Row, Measurement]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of some rows: ``[[check]]`` in backends.toml.

    Attributes
    ----------
    kernel, backend, dtype, size, cores
        Which rows, and on machines of how many cores; None: all.
    slower : float or None
        By how much a row may be slower than before, relative. Of several rules the last counts.
    speedup : float or None
        How many times the baseline's speed a row must have.

    Examples
    --------
    In backends.toml, "twice as slow is no matter for gamma; openmp's sin of a million elements
    is at least 1.5 times as fast as NumPy's on two cores"::

        [[check]]
        kernel = "gamma"
        slower = 1.0

        [[check]]
        kernel = "sin"
        backend = "openmp"
        size = 1e6
        cores = 2
        speedup = 1.5
    """

    kernel: str | None = None
    backend: str | None = None
    dtype: str | None = None
    size: int | float | None = None
    cores: int | None = None
    slower: float | None = None
    speedup: float | None = None

    def holds_for(self, row: Row, cores: str) -> bool:
        """Say whether the rule is for this row, on a machine of so many cores."""
        return (
            self.kernel in (None, row.kernel)
            and self.backend in (None, row.backend)
            and self.dtype in (None, row.dtype)
            and (self.size is None or str(int(self.size)) == row.size)
            and (self.cores is None or str(self.cores) == cores)
        )


class Finding(NamedTuple):
    """What is wrong with one row.

    Attributes
    ----------
    kind : str
        "slower", "lost speedup", or "below" (a rule's speedup).
    ratio : Ratio
        Times the old speed, relative to all rows; for the others the speedup now.
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
    gone : list of tuple of str and Row
        Machines and rows that were measured before, and are not now, though their kernel is: a
        backend that fails, or is not there any more.
    left_out : int
        Rows of kernels that were not measured now, as by ``asv run --bench``.
    drift : dict of str to float
        By how much all rows of a machine are slower than before, relative.
    unmatched : list of Rule
        Rules about a speedup that no row here is for.
    """

    commit: str
    against: str
    findings: list[Finding]
    compared: int
    gone: list[tuple[str, Row]]
    left_out: int
    drift: dict[str, float]
    unmatched: list[Rule]


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
        No machine has both.
    """
    runs: dict[str, dict[str, _Run]] = defaultdict(lambda: defaultdict(dict))
    for row, each in rows(history, history.measurements):
        if machine in (None, each.machine):
            runs[each.machine][each.commit][row] = each
    order = {commit.hash: index for index, commit in enumerate(history.commits)}
    both = {name: run for name, run in runs.items() if against in run}
    measured = {each for run in both.values() for each in run}
    head = commit or max(measured, key=lambda each: order[each], default="")
    both = {name: run for name, run in both.items() if head in run}
    if not both or head == against:
        other = commit[:8] if commit else "a newer commit"
        raise HistoryError(
            f"there are no results of both {against[:8]} and {other} on "
            f"{machine or 'any one machine'}: run `asv run {against[:8]}^!` and `asv run HEAD^!`"
        )
    found = Checked(head, against, [], 0, [], 0, {}, [])
    matched: set[Rule] = set()
    for name, run in both.items():
        cores = history.machines[name].fields.get("num_cpu", "")
        mine = {row: [rule for rule in rules if rule.holds_for(row, cores)] for row in run[head]}
        matched.update(rule for some in mine.values() for rule in some)
        old, new = run[against], run[head]
        earlier = [run[c] for c in order if c in run and order[c] <= order[against]]
        drift, findings = _slower(name, old, new, earlier, mine)
        found.findings.extend(findings)
        found.findings.extend(_below(name, new, mine))
        kernels = {row.kernel for row in new}
        lost = [row for row in old if row not in new]
        found.gone.extend((name, row) for row in lost if row.kernel in kernels)
        if abs(drift) > math.log1p(FLOOR):
            found.drift[name] = math.expm1(-drift)
        found = found._replace(
            compared=found.compared + len(old.keys() & new.keys()),
            left_out=found.left_out + sum(row.kernel not in kernels for row in lost),
        )
    return found._replace(unmatched=[r for r in rules if r.speedup and r not in matched])


def _slower(
    machine: str, old: _Run, new: _Run, earlier: Sequence[_Run], rules: dict[Row, list[Rule]]
) -> tuple[float, list[Finding]]:
    """Give the logarithm of how much faster all rows are, and those that are slower beside that."""
    changes = {row: math.log(old[row].value / new[row].value) for row in new if row in old}
    drift = median(changes.values()) if len(changes) >= ENOUGH else 0.0
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row, change in changes.items():
        groups[row.backend, row.size].append(change)
    few = len(changes) < ENOUGH
    general = _spread(list(changes.values()))
    findings = []
    for row in changes:
        allowed = next((r.slower for r in reversed(rules[row]) if r.slower is not None), FLOOR)
        series = [math.log(run[row].value) for run in earlier[-EARLIER:] if row in run]
        steps = [later - sooner for sooner, later in pairwise(series)]
        # Short calls of threads differ more from run to run than long ones of one thread.
        spread = max(general, _spread(groups[row.backend, row.size]), _spread(steps))
        if few:
            spread = max(SPREAD, spread, _loudness(old[row]), _loudness(new[row]))
        floor = max(allowed, math.expm1(SPREADS * spread))
        now = _beside(ratio(old[row], new[row]), drift, floor)
        if now.verdict == "slower":
            findings.append(Finding(machine, row, "slower", now, 1 / (1 + floor)))
        elif _was_faster(row, old) and row._replace(backend=BASELINE) in new:
            speedup = ratio(new[row._replace(backend=BASELINE)], new[row])
            before = ratio(old[row._replace(backend=BASELINE)], old[row])
            if speedup.high < min(1.0, before.low / (1 + floor)):
                findings.append(Finding(machine, row, "lost speedup", speedup, 1.0))
    return drift, findings


def _below(machine: str, new: _Run, rules: dict[Row, list[Rule]]) -> list[Finding]:
    """Give the rows that have not the speedup that a rule asks for, beyond their interval."""
    findings = []
    for row, mine in rules.items():
        base = new.get(row._replace(backend=BASELINE))
        least = next((rule.speedup for rule in reversed(mine) if rule.speedup is not None), None)
        if least is None or base is None or row.backend == BASELINE:
            continue
        speedup = ratio(base, new[row])
        if speedup.high < least:
            findings.append(Finding(machine, row, "below", speedup, least))
    return findings


def _was_faster(row: Row, old: _Run) -> bool:
    base = old.get(row._replace(backend=BASELINE))
    return (
        row.backend != BASELINE and base is not None and ratio(base, old[row]).verdict == "faster"
    )


def _beside(found: Ratio, drift: float, floor: float) -> Ratio:
    """Give a ratio relative to that of all rows."""
    ends = (found.value, found.low, found.high)
    value, low, high = (math.log(x) - drift if x > 0 else -math.inf for x in ends)
    return judge(value, value - low, high - value, floor)


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
