"""Measurements as tables: for each machine a row for each series, a column for each of its commits.

A million measurements are a few megabytes so, and a series over commits is one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from backends.history.data import History, Measurement

__all__ = ["Group", "Series", "Table", "series", "tables"]

#: Beyond that no size is counted; a browser's numbers are exact up to there.
MOST = 2**53


class Group(NamedTuple):
    """What one figure over commits shows: one benchmark, of a kernel at one dtype and size.

    Attributes
    ----------
    dtype : str
        Empty if the benchmark times no kernel.
    size : int
        Elements, or the order of matrices; 0 if the benchmark times no kernel.
    """

    benchmark: str
    dtype: str = ""
    size: int = 0


class Series(NamedTuple):
    """One row: what is measured, and on which backend.

    Attributes
    ----------
    label : str
        The backend; where the benchmark times no kernel, its parameters.
    """

    group: Group
    label: str


class Table(NamedTuple):
    """All series of one machine.

    Attributes
    ----------
    series : list of Series
        One for each row.
    commits : list of int
        For each column, the index of its commit in ``History.commits``.
    values : array of float32, (series, commits)
        asv's results; NaN where there is none.
    low, high : array of float32, (series, commits)
        asv's intervals; `values` where there are none.
    newest : dict of Group to dict of str to Measurement
        By label, the measurements of the newest commit that the group was measured at.
    """

    series: list[Series]
    commits: list[int]
    values: Any
    low: Any
    high: Any
    newest: Mapping[Group, Mapping[str, Measurement]]


def series(history: History, benchmark: str, params: tuple[str, ...]) -> Series:
    """Tell what is measured with these parameters.

    Examples
    --------
    >>> from backends.history.data import AXES
    >>> history = History(
    ...     param_names={"elementwise.track_sin": AXES, "package.peakmem": ("n",)},
    ...     units={"elementwise.track_sin": "seconds", "package.peakmem": "bytes"},
    ... )
    >>> series(history, "elementwise.track_sin", ("openmp", "float64", "1e6")).group.size
    1000000
    >>> series(history, "package.peakmem", ("3",)).label
    '3'
    """
    if history.kernel_of(benchmark):
        backend, dtype, text = params
        try:
            size = int(float(text))
        except (ValueError, OverflowError):
            size = 0  # A size in words: each is then a series of its own.
        if 0 < size <= MOST:
            return Series(Group(benchmark, dtype, size), backend)
    return Series(Group(benchmark), ", ".join(params) or benchmark.rpartition(".")[2])


def tables(history: History) -> dict[str, Table]:
    """Give the table of each machine that has measurements, by name.

    Examples
    --------
    >>> tables(History())
    {}
    """
    mine: dict[str, list[Measurement]] = {}
    for machine, run in groupby(history.measurements, lambda each: each.machine):
        mine.setdefault(machine, []).extend(run)
    order = {commit.hash: index for index, commit in enumerate(history.commits)}
    return {machine: _table(history, every, order) for machine, every in mine.items()}


def _table(history: History, every: Sequence[Measurement], order: Mapping[str, int]) -> Table:
    """Put each measurement into its row and column, in few passes: there may be millions."""
    count = len(every)
    commits = sorted({order[each.commit] for each in every})
    column = {history.commits[at].hash: index for index, at in enumerate(commits)}
    row: dict[tuple[str, tuple[str, ...]], int] = {}
    keys = ((each[2], each[3]) for each in every)
    rows = np.fromiter((row.setdefault(key, len(row)) for key in keys), np.intp, count)
    columns = np.fromiter((column[each.commit] for each in every), np.intp, count)
    shape = len(row), len(commits)
    values, low, high = numbers = np.full((3, *shape), np.nan, np.float32)
    read = (
        (e.value for e in every),
        (e.value if e.low is None else e.low for e in every),
        (e.value if e.high is None else e.high for e in every),
    )
    with np.errstate(over="ignore"):  # An end that is so far away may be infinite.
        for each, found in zip(numbers, read):
            each[rows, columns] = np.fromiter(found, np.float64, count)
    index = np.full(shape, -1, np.intc)
    index[rows, columns] = np.arange(count, dtype=np.intc)
    named = [series(history, *key) for key in row]
    return Table(named, commits, values, low, high, _newest(every, named, index))


def _newest(
    every: Sequence[Measurement], named: Sequence[Series], index: Any
) -> dict[Group, dict[str, Measurement]]:
    """Give, for each group, the measurements of the newest commit that has any of it."""
    rows: dict[Group, list[int]] = {}
    for row, each in enumerate(named):
        rows.setdefault(each.group, []).append(row)
    found = {}
    for group, mine in rows.items():
        last = np.flatnonzero((index[mine] >= 0).any(axis=0))[-1]
        measured = [(named[row].label, index[row, last]) for row in mine]
        found[group] = {label: every[i] for label, i in measured if i >= 0}
    return found
