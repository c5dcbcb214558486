"""Measurements of many machines and commits, as plain data, whoever wrote the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = [
    "AXES",
    "SKIPPED",
    "Commit",
    "History",
    "HistoryError",
    "Machine",
    "Measurement",
    "Problem",
    "gather",
]

#: The parameters of a benchmark that times one kernel.
AXES = ("backend", "dtype", "size")
#: Why most is left out, which is no fault: a backend that is not installed, say.
SKIPPED = "results that were skipped, or are NaN"
#: Benchmarks that a problem names.
MOST_NAMES = 3


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
    """What was left out, and why.

    Attributes
    ----------
    where : str
        A file; the first of several, where problems were gathered.
    reason : str
        The same text in all files where it is the same reason.
    results : int
        How many results; 0 where it is a whole file.
    benchmarks : tuple of str
        Whose results.
    """

    where: str
    reason: str
    results: int = 0
    benchmarks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The reason, of how many results, and whose.

        Examples
        --------
        >>> Problem("cpu/1a2b3c4d.json", "results that failed", 2, ("package.peakmem",)).text
        '2 results that failed: package.peakmem'
        """
        if not self.results:
            return self.reason
        names = ", ".join(self.benchmarks[:MOST_NAMES])
        more = len(self.benchmarks) - MOST_NAMES
        others = f" and {more} more" if more > 0 else ""
        reason = self.reason
        if self.results == 1:
            for many, one in (("results", "result"), (" are ", " is "), (" were ", " was ")):
                reason = reason.replace(many, one)
        return f"{self.results:,} {reason}: {names}{others}"


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
        Machine, commit, benchmark and parameters of what was tried and has no value: it failed, or
        was skipped, as all is of a backend that no longer builds. At least of commits
        whose samples are kept.
    """

    machines: dict[str, Machine] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    param_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    failed: set[tuple[str, str, str, tuple[str, ...]]] = field(default_factory=set)

    def kernel_of(self, benchmark: str) -> str:
        """Give the kernel that a benchmark times; empty if it has other parameters, or no times.

        Examples
        --------
        >>> history = History(
        ...     param_names={"elementwise.track_sin": AXES, "package.peakmem": ()},
        ...     units={"elementwise.track_sin": "seconds", "package.peakmem": "bytes"},
        ... )
        >>> history.kernel_of("elementwise.track_sin"), history.kernel_of("package.peakmem")
        ('sin', '')
        """
        if self.param_names.get(benchmark) != AXES or self.units.get(benchmark) != "seconds":
            return ""
        function = benchmark.rpartition(".")[2]
        return function.removeprefix("track_").removeprefix("time_")


def gather(problems: Iterable[Problem]) -> list[Problem]:
    """Make one problem of all that have the same reason: whole files first, what was skipped last.

    Examples
    --------
    >>> skipped = Problem("cpu/1a.json", SKIPPED, 4, ("track_sin",))
    >>> damaged = Problem("cpu/3c.json", "is cut short")
    >>> [(each.where, each.results) for each in gather([skipped, skipped, damaged])]
    [('cpu/3c.json', 0), ('cpu/1a.json and 1 more', 8)]
    """
    groups: dict[str, list[Problem]] = {}
    for each in problems:
        groups.setdefault(each.reason, []).append(each)
    gathered = []
    for reason, some in groups.items():
        where = some[0].where + (f" and {len(some) - 1:,} more" if len(some) > 1 else "")
        names = sorted({name for each in some for name in each.benchmarks})
        gathered.append(Problem(where, reason, sum(each.results for each in some), tuple(names)))
    return sorted(gathered, key=lambda each: (each.results > 0, each.reason == SKIPPED))
