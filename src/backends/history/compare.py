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
    """One side: the run in a file, or the runs of a machine or a commit."""

    name: str
    history: History
    machine: str | None = None
    commit: str | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a saved bench."""
        return self.machine is None and self.commit is None


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


def side(name: str, results: Callable[[], History], resolve: Callable[[str], str] = str) -> Side:
    """Find what the user means: a file of ``backends bench``, a machine, or a commit.

    Parameters
    ----------
    name : str
        Path of a file; a machine's name, or part of it; the beginning of a commit's hash.
    results : callable
        Gives the history in which machines and commits are; not called for a file.
    resolve : callable
        Gives the hash of what is neither: of "main" or "HEAD", say.

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
    hashes = [each.hash for each in history.commits]
    commits = [each for each in hashes if each.startswith(name)]
    if not machines and not commits:
        commits = [each for each in hashes if each == resolve(name)]
    if len(machines) + len(commits) != 1:
        known = [*history.machines, *(each.hash[:8] for each in history.commits[-5:])]
        what = "may be" if machines or commits else "is no file, and in the results there are"
        raise HistoryError(f"{name!r} {what} {', '.join([*machines, *commits] or known)}")
    if machines:
        return Side(machines[0], history, machine=machines[0])
    return Side(commits[0][:8], history, commit=commits[0])


def compare(first: Side, second: Side) -> Compared:
    """Compare two sides where both have measured the same row.

    Two machines stand for the newest commit that both have measured, or for the newest of each;
    two commits for each machine that has measured both; a machine and a commit for that commit and
    the newest other one there. A file stands for itself, beside the same processor if it is there.

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
            f"{first.name} and {second.name} have nothing in common: "
            + (
                "no kernel was measured on the same backend, dtype and size by both; measure both "
                "with the same BACKENDS_ASV_PROFILE"
                if where
                else "no machine has measured both; name a machine, or measure there"
            )
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
    """Say which run is compared with which; none where any choice would be arbitrary."""
    every = [(a, b) for a in one for b in two]
    if first.is_file or second.is_file:
        # A file is one run: beside one on the same processor, or on the only other machine.
        same = [(a, b) for a, b in every if _processor(first, a) == _processor(second, b)]
        alone = all(len({machine for machine, _ in runs}) == 1 for runs in (one, two))
        return same[:1] or (every[:1] if alone else [])
    if first.machine and second.machine:
        # Of the same commit, the newest, if there is one; or the newest of each.
        same = [(a, b) for a, b in every if a[1] == b[1]]
        return same[:1] or every[:1]
    same = [(a, b) for a, b in every if a[0] == b[0] and a != b]
    # Two commits on all machines that have both; a machine and a commit once.
    return same[:1] if first.machine or second.machine else same


def _processor(side: Side, run: tuple[str, str]) -> tuple[str | None, ...]:
    fields = side.history.machines[run[0]].fields
    return fields.get("cpu"), fields.get("num_cpu")


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
