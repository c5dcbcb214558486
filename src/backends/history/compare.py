"""Two machines, commits or saved benches side by side, row by row and in a sentence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from backends.history import saved
from backends.history.data import History, HistoryError, Measurement
from backends.history.ratios import Ratio, Row, geometric_mean, ratio, rows

__all__ = ["Compared", "Side", "compare", "side"]


class Side(NamedTuple):
    """One side: all runs of a history, or those of a machine or a commit."""

    name: str
    history: History
    machine: str | None = None
    commit: str | None = None


class Compared(NamedTuple):
    """What the rows that both sides have say.

    Attributes
    ----------
    where : list of tuple
        The runs that were compared: machine and commit of the one, machine and commit of the other.
    rows : list of tuple
        Index into `where`, the row, and how many times faster the second side is.
    backends : dict of str to Ratio
        Geometric mean of each backend's rows.
    mean : Ratio
        Of all rows.
    best : tuple of Counter
        For each side, in how many cases (kernel, dtype, size) a backend has the least time.
    """

    first: str
    second: str
    where: list[tuple[tuple[str, str], tuple[str, str]]]
    rows: list[tuple[int, Row, Ratio]]
    backends: dict[str, Ratio]
    mean: Ratio
    best: tuple[Counter[str], Counter[str]]

    @property
    def sentence(self) -> str:
        """Sum up."""
        counts = Counter(found.verdict for _, _, found in self.rows)
        times = f"{self.mean.value:.2f} times as fast as {self.first}"
        listed = ", ".join(
            f"{verdict} in {counts[verdict]}"
            for verdict in ("faster", "slower", "same", "unclear")
            if counts[verdict]
        )
        bests = ", ".join(
            f"of {name} {best.most_common(1)[0][0]} ({best.most_common(1)[0][1]} of {best.total()})"
            for name, best in zip((self.first, self.second), self.best)
        )
        return (
            f"{self.second} is {times} on average ({self.mean.low:.2f} to {self.mean.high:.2f}, "
            f"geometric mean of {len(self.rows)} rows): {listed}. "
            f"Most often the fastest backend: {bests}."
        )


def side(name: str, results: Callable[[], History]) -> Side:
    """Find what the user means: a file of ``backends bench``, a machine, or a commit.

    Parameters
    ----------
    name : str
        Path of a file; a machine's name, or part of it; the beginning of a commit's hash.
    results : callable
        Gives the history in which machines and commits are; not called for a file.

    Raises
    ------
    HistoryError
        Nothing, or more than one thing, has this name.
    """
    file = Path(name)
    if file.is_file():
        return Side(file.name, saved.read(file))
    history = results()
    machines = [each for each in history.machines if name.casefold() in each.casefold()]
    if name in machines:
        machines = [name]
    commits = [each.hash for each in history.commits if each.hash.startswith(name)]
    if len(machines) + len(commits) != 1:
        known = [*history.machines, *(each.hash[:8] for each in history.commits[-5:])]
        what = "may be" if machines or commits else "is no file, and in the results there are"
        raise HistoryError(f"{name!r} {what} {', '.join([*machines, *commits] or known)}")
    if machines:
        return Side(machines[0], history, machine=machines[0])
    return Side(commits[0][:8], history, commit=commits[0])


def compare(first: Side, second: Side) -> Compared:
    """Compare two sides where both have measured the same row.

    A machine stands for the newest commit that both have measured, or for its newest; a commit
    for each machine that the other side has too.

    Raises
    ------
    HistoryError
        They have nothing in common.
    """
    if first == second:
        raise HistoryError(f"both sides are {first.name}: give another machine, commit or file")
    one, two = _runs(first), _runs(second)
    where = _pairs(first, one, second, two)
    found = [
        (index, row, ratio(one[a][row], two[b][row]))
        for index, (a, b) in enumerate(where)
        for row in one[a]
        if row in two[b]
    ]
    if not found:
        raise HistoryError(
            f"{first.name} and {second.name} have nothing in common: no kernel was measured on "
            "the same backend, dtype and size by both; give both the same `asv run --bench`"
        )
    backends: dict[str, list[Ratio]] = defaultdict(list)
    for _, row, each in found:
        backends[row.backend].append(each)
    return Compared(
        first.name,
        second.name,
        where,
        found,
        {name: geometric_mean(ratios) for name, ratios in backends.items()},
        geometric_mean([each for _, _, each in found]),
        (_best(one[a] for a, _ in where), _best(two[b] for _, b in where)),
    )


_Run = Mapping[Row, Measurement]


def _runs(side: Side) -> dict[tuple[str, str], dict[Row, Measurement]]:
    """Give the runs of a side, the newest first."""
    runs: dict[tuple[str, str], dict[Row, Measurement]] = defaultdict(dict)
    for row, each in rows(side.history, side.history.measurements):
        if side.machine in (None, each.machine) and side.commit in (None, each.commit):
            runs[each.machine, each.commit][row] = each
    order = {commit.hash: index for index, commit in enumerate(side.history.commits)}
    return dict(sorted(runs.items(), key=lambda item: -order[item[0][1]]))


def _pairs(
    first: Side,
    one: Mapping[tuple[str, str], _Run],
    second: Side,
    two: Mapping[tuple[str, str], _Run],
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Say which run is compared with which."""
    if first.machine is None and second.machine is None:
        # Commits, or files: on the same machine if any has both, or one against the other.
        same = [(a, b) for a in one for b in two if a[0] == b[0]]
        if same:
            return same
    elif first.machine and second.machine and first.machine != second.machine:
        # Machines: of the same commit, the newest, if there is one.
        same = [(a, b) for a in one for b in two if a[1] == b[1]]
        if same:
            return same[:1]
    else:
        # A machine and a commit: that commit on this machine, if it was measured there.
        same = [(a, b) for a in one for b in two if a[0] == b[0] and a != b]
        if same:
            return same[:1]
    return [(next(iter(one)), next(iter(two)))] if one and two else []


def _best(runs: Iterable[_Run]) -> Counter[str]:
    """Count in how many cases each backend has the least time."""
    best: Counter[str] = Counter()
    for run in runs:
        fastest: dict[tuple[str, str, str], Row] = {}
        for row, each in run.items():
            case = (row.kernel, row.dtype, row.size)
            if case not in fastest or each.value < run[fastest[case]].value:
                fastest[case] = row
        best.update(row.backend for row in fastest.values())
    return best
