"""Read a folder of asv's results (files of version 2, as asv 0.4 and later write them).

Not with its own reader: asv is no dependency, and takes half a minute to load the 5,000 files that
a few years make, before it looks at a number. A test compares the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from backends.collector import uncollected
from backends.history.asv_file import Benchmark, Reader, read_file, read_head, short_name
from backends.history.data import Commit, History, HistoryError, Machine, Problem

__all__ = ["read"]

#: What to run where there is nothing yet.
REMEDY = "run `make asv`, or `asv run`, first"
#: Versions of the files' form that are understood.
BENCHMARKS, MACHINE = 2, 1
#: What a file that cannot be read raises; the last, if it is JSON in JSON a thousand times.
DAMAGED = (OSError, ValueError, RecursionError)


def read(folder: Path, *, samples_of: Sequence[str] | None = None) -> History:
    """Read all results that asv has written into `folder`.

    Parameters
    ----------
    folder : Path
        asv's ``results_dir``: benchmarks.json, and a folder for each machine.
    samples_of : sequence of str or None
        Beginnings of hashes. Samples are kept of these commits, and of the newest of each machine;
        None: of all. They are most of the memory: 1.5 million measurements need 350 MB without.

    Returns
    -------
    History
        What is in the files, of the benchmarks that benchmarks.json has. What cannot be read, was
        skipped or has failed is in its `problems`.

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
    with uncollected():  # a million new tuples, in none of which there is a circle
        for path in folders:
            if files[path]:
                commits |= _machine(path, files[path], reader, samples_of)
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
        content = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        found = content.pop("version", None)
        if found != BENCHMARKS:
            raise ValueError(f"is of version {found}, not {BENCHMARKS}")
        return msgspec.convert(content, dict[str, Benchmark])
    except DAMAGED as error:
        raise HistoryError(
            f"{file}: {_reason(error)}; run `asv run --bench just-discover` to make it again"
        ) from None


def _machine(
    folder: Path, files: Sequence[Path], reader: Reader, samples_of: Sequence[str] | None
) -> dict[str, Commit]:
    """Read the results of one machine."""
    history = reader.history
    try:
        content = msgspec.json.decode((folder / "machine.json").read_bytes(), type=dict[str, Any])
        if content.pop("version", None) != MACHINE:
            raise ValueError(f"is not of version {MACHINE}")
        name = content.get("machine")
        if not isinstance(name, str):
            raise ValueError("names no machine")
        if name in history.machines:
            raise ValueError(f"names the machine {name}, as another folder does")
    except DAMAGED as error:
        reason = f"{_reason(error)}: {len(files)} files of results left out"
        history.problems.append(Problem(f"{folder.name}/machine.json", reason))
        return {}
    history.machines[name] = Machine(name, {key: str(value) for key, value in content.items()})
    commits: dict[str, Commit] = {}
    newest, place = None, range(0)  # The newest so far, and where in measurements it is.
    for file in _one_environment(files, history):
        start = len(history.measurements)
        try:
            found = read_file(file)
            commit = found.commit
            asked = samples_of is None or commit.hash.startswith(tuple(samples_of))
            newer = newest is None or _age(commit) > _age(newest)
            reader.add(file, found, name, samples=asked or newer)
        except DAMAGED as error:
            history.problems.append(Problem(short_name(file), _reason(error)))
            continue
        commits[commit.hash] = commit
        if newer:
            for index in place:
                history.measurements[index] = history.measurements[index]._replace(samples=())
            newest, place = commit, range(start, start if asked else len(history.measurements))
    return commits


def _age(commit: Commit) -> tuple[int, str]:
    return commit.date, commit.hash


def _one_environment(files: Sequence[Path], history: History) -> list[Path]:
    """Keep the files of one environment of a machine: another Python is no other commit.

    That of the newest commit stays; if this was measured in several, the one with most commits.
    """
    count = Counter(map(_environment, files))
    if len(count) == 1:
        return list(files)
    newest: dict[str, tuple[int, str]] = {}
    for file in files:
        with suppress(*DAMAGED):  # It is named when it is read.
            name = _environment(file)
            newest[name] = max(newest.get(name, (0, "")), _age(read_head(file)))
    chosen = max(count, key=lambda name: (newest.get(name, (0, "")), count[name], name))
    for file in files:
        if _environment(file) != chosen:
            reason = (
                f"of another environment than {chosen}, in which the newest commit was measured"
            )
            history.problems.append(Problem(short_name(file), reason))
    return [file for file in files if _environment(file) == chosen]


def _environment(file: Path) -> str:
    return file.stem.partition("-")[2]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error.strerror)
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        return f"is no JSON, or cut short ({error})"
    return str(error)
