"""Measurements of many machines and commits, as plain data, whoever wrote the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["AXES", "Commit", "History", "HistoryError", "Machine", "Measurement", "Problem"]

#: The parameters of a benchmark that times one kernel.
AXES = ("backend", "dtype", "size")


class HistoryError(ValueError):
    """Results cannot be read at all, or do not answer what was asked; says what would."""


class Machine(NamedTuple):
    """A machine, and what its file says about it ("cpu", "ram" ...)."""

    name: str
    fields: Mapping[str, str]


class Commit(NamedTuple):
    """A commit and its date in milliseconds since 1970, as asv has it."""

    hash: str
    date: int


class Problem(NamedTuple):
    """What was left out, and why."""

    where: str
    reason: str


class Measurement(NamedTuple):
    """One benchmark with one choice of its parameters, on one machine, of one commit.

    Attributes
    ----------
    benchmark : str
        As asv names it: "elementwise.track_sin".
    params : tuple of str
        As shown, without quotes; in the order of ``History.param_names[benchmark]``.
    value : float
        asv's own result, the median; in ``History.units[benchmark]``.
    low, high : float or None
        asv's 99 percent interval; None where one number was returned and no samples.
    samples : tuple of float
        Empty if they were not saved, or not kept.
    """

    machine: str
    commit: str
    benchmark: str
    params: tuple[str, ...]
    value: float
    low: float | None
    high: float | None
    samples: tuple[float, ...]


@dataclass
class History:
    """All that was read.

    Attributes
    ----------
    commits : list of Commit
        By date.
    problems : list of Problem
        What was left out: nothing is without a word.
    failed : set of tuple
        Machine, commit, benchmark and parameters of what was tried and has no value.
    """

    machines: dict[str, Machine] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    param_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    failed: set[tuple[str, str, str, tuple[str, ...]]] = field(default_factory=set)

    def kernel_of(self, benchmark: str) -> str:
        """Give the kernel that a benchmark times; empty if it has other parameters.

        Examples
        --------
        >>> history = History(param_names={"elementwise.track_sin": AXES, "package.peakmem": ()})
        >>> history.kernel_of("elementwise.track_sin"), history.kernel_of("package.peakmem")
        ('sin', '')
        """
        if self.param_names.get(benchmark) != AXES:
            return ""
        function = benchmark.rpartition(".")[2]
        return function.removeprefix("track_").removeprefix("time_")
