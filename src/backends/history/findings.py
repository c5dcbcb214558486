"""What the page, the figures and the tables show: drawn once from the measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from backends.history.crossovers import Crossover, crossovers
from backends.history.data import Commit, History, Machine, Problem
from backends.history.ratios import BASELINE
from backends.history.rooflines import Point, Roof, ceilings, points, roofs
from backends.history.series import Table, tables
from backends.history.standings import Standing, Winner, over_commits, standings, winners
from backends.history.steps import steps

__all__ = ["Change", "Findings", "find"]

#: Units of which more is worse.
UNITS = ("seconds", "bytes")


class Change(NamedTuple):
    """A series that became slower or faster at a commit, and stayed so.

    Attributes
    ----------
    quantity : str
        "value": what was measured; "speedup": the same, relative to the baseline's.
    label : str
        The backend; parameters where the benchmark times no kernel.
    ratio : float
        The new time by the old, or memory: above 1 is worse, also of a speedup.
    """

    quantity: str
    machine: str
    benchmark: str
    label: str
    dtype: str
    size: int
    commit: str
    ratio: float


@dataclass
class Findings:
    """All that is shown.

    Attributes
    ----------
    kernels : mapping of str to str
        The kernel of each benchmark that times one.
    speedups : mapping of str to array
        Of each machine's table, the speedups over commits: see :func:`over_commits`.
    """

    machines: Mapping[str, Machine]
    commits: Sequence[Commit]
    kernels: Mapping[str, str]
    units: Mapping[str, str]
    tables: Mapping[str, Table]
    speedups: Mapping[str, Any]
    standings: Sequence[Standing]
    winners: Sequence[Winner]
    crossovers: Sequence[Crossover]
    changes: Sequence[Change]
    points: Sequence[Point]
    roofs: Sequence[Roof]
    problems: Sequence[Problem]

    @property
    def backends(self) -> list[str]:
        """The backends that were measured, the baseline first."""
        found = dict.fromkeys(each.backend for each in self.standings)
        return sorted(found, key=lambda name: name != BASELINE)

    @property
    def labels(self) -> list[str]:
        """Everything that has a line in a figure: the backends, then parameters."""
        rows = (each.label for table in self.tables.values() for each in table.series)
        return list(dict.fromkeys([*self.backends, *rows]))


def find(history: History) -> Findings:
    """Draw from measurements what is shown.

    Examples
    --------
    >>> find(History()).standings
    []
    """
    by_machine = tables(history)
    kernels = {name: kernel for name in history.param_names if (kernel := history.kernel_of(name))}
    ratios = [
        each
        for machine, table in by_machine.items()
        for group, newest in table.newest.items()
        if group.dtype
        for each in standings(machine, kernels[group.benchmark], group, newest)
    ]
    speedups = {machine: over_commits(table) for machine, table in by_machine.items()}
    best = winners(ratios)
    limits = ceilings(history.machines.values())
    known = {each.machine for each in limits}
    placed = points((each for each in ratios if each.machine in known), history.machines)
    return Findings(
        machines=history.machines,
        commits=history.commits,
        kernels=kernels,
        units=history.units,
        tables=by_machine,
        speedups=speedups,
        standings=ratios,
        winners=best,
        crossovers=crossovers(ratios, best),
        changes=list(_changes(by_machine, speedups, history)),
        points=placed,
        roofs=roofs(limits, placed),
        problems=history.problems,
    )


def _changes(
    tables: Mapping[str, Table], speedups: Mapping[str, Any], history: History
) -> Iterator[Change]:
    for machine, table in tables.items():
        with np.errstate(divide="ignore"):  # An interval may begin at 0.
            relative = 1 / speedups[machine][[0, 2, 1]]  # to the baseline's time: more is worse
        measured = (table.values, table.low, table.high)
        for quantity, (values, low, high) in (("value", measured), ("speedup", relative)):
            for row, (group, label) in enumerate(table.series):
                if history.units.get(group.benchmark) not in UNITS:
                    continue
                for step in steps(values[row], low[row], high[row]):
                    commit = history.commits[table.commits[step.at]].hash
                    named = (machine, group.benchmark, label, group.dtype, group.size, commit)
                    yield Change(quantity, *named, step.ratio)
