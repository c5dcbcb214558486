"""Read a folder of asv's results (files of version 2, as asv 0.4 and later write them).

Not with its own reader: asv is no dependency, and takes half a minute to load the 5,000 files that
a few years make, before it looks at a number. A test compares the two.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from backends.history.asv_file import Benchmark, Reader, commit_of, read_json, short_name
from backends.history.data import Commit, History, HistoryError, Machine, Problem

__all__ = ["read"]

#: What to run where there is nothing yet.
REMEDY = "run `make asv`, or `asv run`, first"
#: Versions of the files' form that are understood.
BENCHMARKS, MACHINE = 2, 1


def read(folder: Path, *, recent: int | None = None) -> History:
    """Read all results that asv has written into `folder`.

    Parameters
    ----------
    folder : Path
        asv's ``results_dir``: benchmarks.json, and a folder for each machine.
    recent : int or None
        Of how many commits of each machine, the newest, to keep samples; None: of all. They are
        most of the memory: without them, 1.5 million measurements need 350 MB.

    Returns
    -------
    History
        What is in the files and in benchmarks.json both. What cannot be read, was skipped or has
        failed is in its `problems`.

    Raises
    ------
    HistoryError
        There are no results.
    """
    benchmarks = _benchmarks(folder)
    history = History(
        param_names={name: tuple(each.param_names) for name, each in benchmarks.items()},
        units={name: each.unit for name, each in benchmarks.items()},
    )
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    files = {path: sorted(_results(path)) for path in folders}
    if not any(files.values()):
        raise HistoryError(f"{folder} has no results: {REMEDY}")
    commits: dict[str, Commit] = {}
    reader = Reader(benchmarks, history)
    with _no_gc():
        for path in folders:
            if files[path]:
                commits |= _machine(path, files[path], reader, recent)
    history.commits = sorted(commits.values(), key=_age)
    return history


def _results(folder: Path) -> Iterator[Path]:
    for path in folder.glob("*.json"):
        if path.name not in ("machine.json", "benchmarks.json"):
            yield path


def _benchmarks(folder: Path) -> dict[str, Benchmark]:
    file = folder / "benchmarks.json"
    if not folder.is_dir() or not any(folder.iterdir()):
        what = "is empty" if folder.is_dir() else "is no folder"
        raise HistoryError(f"{folder} {what}: {REMEDY}")
    try:
        content = msgspec.json.decode(read_json(file), type=dict[str, Any])
        found = content.pop("version", None)
        if found != BENCHMARKS:
            raise ValueError(f"is of version {found}, not {BENCHMARKS}")
        return msgspec.convert(content, dict[str, Benchmark])
    except (OSError, ValueError) as error:
        raise HistoryError(
            f"{file}: {_reason(error)}; run `asv run --bench just-discover` to make it again"
        ) from None


def _machine(
    folder: Path, files: Sequence[Path], reader: Reader, recent: int | None
) -> dict[str, Commit]:
    """Read the results of one machine."""
    history = reader.history
    try:
        content = msgspec.json.decode(read_json(folder / "machine.json"), type=dict[str, Any])
        if content.pop("version", None) != MACHINE:
            raise ValueError(f"is not of version {MACHINE}")
        name = content.get("machine")
        if not isinstance(name, str):
            raise ValueError("names no machine")
    except (OSError, ValueError) as error:
        reason = f"{_reason(error)}: {len(files)} files of results left out"
        history.problems.append(Problem(f"{folder.name}/machine.json", reason))
        return {}
    history.machines[name] = Machine(name, {key: str(value) for key, value in content.items()})
    commits: dict[str, Commit] = {}
    kept: dict[Commit, range] = {}
    for file in _one_environment(files, history):
        start = len(history.measurements)
        try:
            text = read_json(file)
            commit = commit_of(text)
            newer = (
                recent is None
                or len(kept) < recent
                or any(_age(commit) > _age(each) for each in kept)
            )
            reader.read(file, text, (name, commit.hash), samples=newer)
        except (OSError, ValueError, RecursionError) as error:
            history.problems.append(Problem(short_name(file), _reason(error)))
            continue
        commits[commit.hash] = commit
        if newer:
            kept[commit] = range(start, len(history.measurements))
            if recent is not None and len(kept) > recent:
                for index in kept.pop(min(kept, key=_age)):
                    history.measurements[index] = history.measurements[index]._replace(samples=())
    return commits


def _age(commit: Commit) -> tuple[int, str]:
    return commit.date, commit.hash


def _one_environment(files: Sequence[Path], history: History) -> Iterator[Path]:
    """Leave out all but one file of a commit, so that no series mixes two environments.

    The one that most commits have been measured in stays.
    """
    count = Counter(_environment(file) for file in files)
    # Sorted by name, the files of a commit are neighbours.
    for _, group in groupby(files, lambda file: file.name.partition("-")[0]):
        best, *others = sorted(group, key=lambda f: (count[_environment(f)], f.name), reverse=True)
        yield best
        for other in others:
            reason = f"another environment than that of {best.name}, which more commits have"
            history.problems.append(Problem(short_name(other), reason))


def _environment(file: Path) -> str:
    return file.stem.partition("-")[2]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return f"is no JSON, or cut short ({error})"
    return str(error)


@contextmanager
def _no_gc() -> Iterator[None]:
    """Spare the collector a million new tuples, in none of which there is a circle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
