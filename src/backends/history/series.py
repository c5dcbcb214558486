"""Measurements as tables: for each machine a row for each series, a column for each commit.

A million measurements are a few megabytes so, and a series over commits is one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from backends.history.data import AXES, History, Measurement

__all__ = ["Group", "Series", "Table", "series", "tables"]


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
    values : array of float32, (series, commits)
        asv's results; NaN where there is none.
    low, high : array of float32, (series, commits)
        asv's intervals; `values` where there are none.
    newest : dict of Group to dict of str to Measurement
        By label, the measurements of the newest commit that the group was measured at.
    """

    series: list[Series]
    values: Any
    low: Any
    high: Any
    newest: Mapping[Group, Mapping[str, Measurement]]


def series(history: History, benchmark: str, params: tuple[str, ...]) -> Series:
    """Tell what is measured with these parameters.

    Examples
    --------
    >>> history = History(param_names={"elementwise.track_sin": AXES, "package.peakmem": ("n",)})
    >>> series(history, "elementwise.track_sin", ("openmp", "float64", "1e6")).group.size
    1000000
    >>> series(history, "package.peakmem", ("3",)).label
    '3'
    """
    if history.param_names.get(benchmark) == AXES:
        backend, dtype, size = params
        try:
            return Series(Group(benchmark, dtype, int(float(size))), backend)
        except (ValueError, OverflowError):
            pass  # A size in words: each is then a series of its own.
    return Series(Group(benchmark), ", ".join(params) or benchmark.rpartition(".")[2])


def tables(history: History) -> dict[str, Table]:
    """Give the table of each machine that has measurements, by name.

    Examples
    --------
    >>> tables(History())
    {}
    """
    places, cells = _place(history)
    by_machine: dict[str, list[int]] = {}
    for row, (machine, _, _) in enumerate(places):
        by_machine.setdefault(machine, []).append(row)
    found = {}
    for machine, rows in by_machine.items():
        named = [series(history, *places[row][1:]) for row in rows]
        newest = _newest(history, named, cells.index[rows])
        values, low, high = (each[rows] for each in cells.numbers)
        found[machine] = Table(named, values, low, high, newest)
    return found


class _Cells(NamedTuple):
    """A row for each series of all machines, a column for each commit."""

    numbers: Any  # value, low and high
    index: Any  # of the measurement; -1 where there is none


def _place(history: History) -> tuple[list[tuple[str, str, tuple[str, ...]]], _Cells]:
    """Put each measurement into its row and column, in few passes: there may be millions."""
    every = history.measurements
    column = {commit.hash: index for index, commit in enumerate(history.commits)}
    row: dict[tuple[str, str, tuple[str, ...]], int] = {}
    keys = ((each[0], each[2], each[3]) for each in every)
    rows = np.fromiter((row.setdefault(key, len(row)) for key in keys), np.intp, len(every))
    columns = np.fromiter((column[each.commit] for each in every), np.intp, len(every))
    shape = len(row), len(column)
    numbers = np.full((3, *shape), np.nan, np.float32)
    numbers[0, rows, columns] = np.fromiter((e.value for e in every), np.float32, len(every))
    ends = (
        (e.value if e.low is None else e.low for e in every),
        (e.value if e.high is None else e.high for e in every),
    )
    for which, end in enumerate(ends, start=1):
        numbers[which, rows, columns] = np.fromiter(end, np.float32, len(every))
    index = np.full(shape, -1, np.intc)
    index[rows, columns] = np.arange(len(every), dtype=np.intc)
    return list(row), _Cells(numbers, index)


def _newest(
    history: History, named: Sequence[Series], index: Any
) -> dict[Group, dict[str, Measurement]]:
    """Give, for each group, the measurements of the newest commit that has any of it."""
    rows: dict[Group, list[int]] = {}
    for row, each in enumerate(named):
        rows.setdefault(each.group, []).append(row)
    found = {}
    for group, mine in rows.items():
        last = np.flatnonzero((index[mine] >= 0).any(axis=0))[-1]
        measured = [(named[row].label, index[row, last]) for row in mine]
        found[group] = {label: history.measurements[i] for label, i in measured if i >= 0}
    return found
