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

Where both commits can be measured again, only that decides: what merely looks slower is measured in
turns (:mod:`backends.history.again`), and is slower if it is so there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from backends.history import noise
from backends.history.data import History, HistoryError, Measurement
from backends.history.noise import Run, is_number
from backends.history.ratios import BASELINE, FLOOR, Ratio, Row, judge, ratio, rows
from backends.history.rules import Rule, usable_cores

__all__ = ["Checked", "Finding", "Remeasure", "check"]

#: Measures again what looks slower: of the old commit, of the new one, and by how much it may be
#: slower, relative. Gives how many times faster the new one is.
Remeasure: TypeAlias = Callable[[Sequence[tuple[Measurement, Measurement, float]]], list[Ratio]]


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
    again: Remeasure | None = None,
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
    again : callable or None
        Measures what looks slower again, on the machine that is `machine`.

    Raises
    ------
    HistoryError
        No machine has both, or they have no row in common.
    """
    runs: dict[str, dict[str, Run]] = defaultdict(lambda: defaultdict(dict))
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
        moved = noise.drift(old, new)
        found.drift.update((f"{name}{', ' * bool(b)}{b}", x) for b, x in _said(moved).items())
        allowed = {row: _last(rule.slower for rule in some) for row, some in mine.items()}
        floors = noise.floors(old, new, earlier, allowed, moved, alone=again is None)
        found.least.extend(floors.values())
        if again is None:
            found.findings.extend(_slower(name, old, new, floors, moved))
        else:
            found.findings.extend(_confirmed(name, old, new, floors, moved, again))
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


def _said(drift: dict[str, float]) -> dict[str, float]:
    """Give what is worth a word, as shares of the time."""
    least, machine = math.log1p(FLOOR), drift[""]
    return {
        backend: math.expm1(-change)
        for backend, change in drift.items()
        if abs(change if not backend else change - machine) > least
    }


def _slower(
    machine: str, old: Run, new: Run, floors: dict[Row, float], drift: dict[str, float]
) -> Iterator[Finding]:
    """Give the rows that are slower beside what the machine changed by, or lost their speedup."""
    for row, floor in floors.items():
        was, now, limit = old[row], new[row], 1 / (1 + floor)
        if is_number(now):
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


def _confirmed(
    machine: str,
    old: Run,
    new: Run,
    floors: dict[Row, float],
    drift: dict[str, float],
    again: Remeasure,
) -> Iterator[Finding]:
    """Give the rows that look slower by half of what is allowed, and are, measured again."""
    suspects = []
    for row, floor in floors.items():
        if is_number(new[row]):
            yield from _slower(machine, old, new, {row: floor}, drift)
            continue
        change = math.log(old[row].value / new[row].value) - drift.get(row.backend, drift[""])
        if change < -math.log1p(floor / 2):
            suspects.append(row)
    measured = again([(old[row], new[row], floors[row]) for row in suspects])
    for row, found in zip(suspects, measured, strict=True):
        if found.verdict == "slower":
            yield Finding(machine, row, "slower", found, 1 / (1 + floors[row]))


def _below(machine: str, new: Run, rules: dict[Row, list[Rule]]) -> Iterator[Finding]:
    """Give the rows that have not the speedup that a rule asks for, beyond their interval."""
    for row, mine in rules.items():
        base = _base(row, new)
        least = _last(rule.speedup for rule in mine)
        if least is not None and base:
            speedup = ratio(base, new[row])
            if speedup.high < least:
                yield Finding(machine, row, "below", speedup, least)


def _base(row: Row, run: Run) -> Measurement | None:
    """Give what NumPy took for the same, if that was measured and is not this row itself."""
    return run.get(row._replace(backend=BASELINE)) if row.backend != BASELINE else None


def _last(wishes: Iterable[float | None]) -> float | None:
    """Give what the last rule that says anything asks for."""
    return next((wish for wish in reversed([*wishes]) if wish is not None), None)


def _exact(each: Measurement) -> Measurement:
    return each._replace(low=each.value, high=each.value)


def _beside(found: Ratio, drift: float, floor: float) -> Ratio:
    """Give a ratio relative to that of all rows."""
    ends = (found.value, found.low, found.high)
    value, low, high = (math.log(x) - drift if x > 0 else -math.inf for x in ends)
    return judge(value, value - low, high - value, floor)
