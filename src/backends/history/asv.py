"""Read a folder of asv's results (files of version 2, as asv 0.4 and later write them).

Not with asv's own reader: it is no dependency, and takes minutes for the thousands of files that a
few years make. A test compares the two.
"""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, groupby, product, repeat
from pathlib import Path
from typing import Any

import msgspec

from backends.history.data import Commit, History, HistoryError, Machine, Measurement, Problem

__all__ = ["read"]

#: What to run where there is nothing yet.
REMEDY = "run `make asv`, or `asv run`, first"
#: Versions of the files' form that are understood.
RESULTS, BENCHMARKS, MACHINE = 2, 2, 1
#: Python's json writes these numbers, which are not JSON: they are read as strings.
NO_JSON = re.compile(rb"(?<=[\[ ,:])(NaN|-?Infinity)(?=[,\]}\s])")
#: How asv shows a parameter: the text within quotes, or a class's name.
QUOTED = re.compile(r"^(?:u?'(.*\S.*)'|<class '(.*\S.*)'>)$")

NULL = msgspec.Raw(b"null")
Number = float | str | None


class _Benchmark(msgspec.Struct):
    param_names: list[str] = []
    params: list[list[str]] = []
    unit: str = ""
    version: str | int | None = None


class _Head(msgspec.Struct):
    version: int | None = None
    commit_hash: str = ""
    date: int = 0


class _File(msgspec.Struct):
    params: dict[str, Any]
    result_columns: list[str]
    results: dict[str, list[msgspec.Raw]]


# Of a whole file only what is asked for is made into objects: the rest stays bytes.
_heads = msgspec.json.Decoder(_Head)
_files = msgspec.json.Decoder(_File)
_numbers = msgspec.json.Decoder(list[Number] | None)
_samples = msgspec.json.Decoder(list[list[float] | None] | None)
_params = msgspec.json.Decoder(list[list[str]] | None)
_versions = msgspec.json.Decoder(str | int | None)


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
    reader = _Reader(benchmarks, history)
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


def _benchmarks(folder: Path) -> dict[str, _Benchmark]:
    file = folder / "benchmarks.json"
    if not folder.is_dir() or not any(folder.iterdir()):
        what = "is empty" if folder.is_dir() else "is no folder"
        raise HistoryError(f"{folder} {what}: {REMEDY}")
    try:
        content = msgspec.json.decode(_json(file), type=dict[str, Any])
        found = content.pop("version", None)
        if found != BENCHMARKS:
            raise ValueError(f"is of version {found}, not {BENCHMARKS}")
        return msgspec.convert(content, dict[str, _Benchmark])
    except (OSError, ValueError) as error:
        raise HistoryError(
            f"{file}: {_reason(error)}; run `asv run --bench just-discover` to make it again"
        ) from None


def _machine(
    folder: Path, files: Sequence[Path], reader: _Reader, recent: int | None
) -> dict[str, Commit]:
    """Read the results of one machine."""
    history = reader.history
    try:
        content = msgspec.json.decode(_json(folder / "machine.json"), type=dict[str, Any])
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
            text = _json(file)
            commit = _commit(text)
            newer = (
                recent is None
                or len(kept) < recent
                or any(_age(commit) > _age(each) for each in kept)
            )
            reader.read(file, text, (name, commit.hash), samples=newer)
        except (OSError, ValueError, RecursionError) as error:
            history.problems.append(Problem(_name(file), _reason(error)))
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


def _commit(text: bytes) -> Commit:
    """Give the commit that a file is about, if it is a file of results as we know them."""
    head = _heads.decode(text)
    if head.version != RESULTS:
        found = "no version" if head.version is None else f"version {head.version}"
        raise ValueError(f"has {found}, not {RESULTS} (`asv update` mends old ones)")
    if not head.commit_hash:
        raise ValueError("names no commit")
    return Commit(head.commit_hash, head.date)


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
            history.problems.append(Problem(_name(other), reason))


def _environment(file: Path) -> str:
    return file.stem.partition("-")[2]


class _Reader:
    """Reads files of results into a history."""

    def __init__(self, benchmarks: dict[str, _Benchmark], history: History) -> None:
        self.benchmarks = benchmarks
        self.history = history
        self.current = {
            name: {_shown(params) for params in product(*each.params)}
            for name, each in benchmarks.items()
        }
        self.keys: dict[tuple[str, bytes], list[tuple[str, ...] | None]] = {}

    def read(self, file: Path, text: bytes, where: tuple[str, str], *, samples: bool) -> None:
        """Read the content of one file, of a machine and a commit, with samples or without.

        Raises
        ------
        ValueError
            It is damaged.
        """
        content = _files.decode(text)
        if content.params.get("machine") != where[0]:
            raise ValueError(f"is of another machine, {content.params.get('machine')!r}")
        missing = {"result", "params"} - set(content.result_columns)
        if missing:
            raise ValueError(f"has no column {', '.join(sorted(missing))}")
        lost = _Lost()
        for benchmark, cells in content.results.items():
            if benchmark not in self.benchmarks:
                lost.add("no longer exist in benchmarks.json", benchmark)
                continue
            row = dict(zip(content.result_columns, cells))
            if not samples:
                row.pop("samples", None)
            try:
                self._row((*where, benchmark), row, lost)
            except ValueError as error:
                lost.add(f"cannot be read ({error})", benchmark)
        self.history.problems += lost.problems(_name(file))

    def _row(self, where: tuple[str, str, str], row: dict[str, msgspec.Raw], lost: _Lost) -> None:
        benchmark = where[2]
        wanted = self.benchmarks[benchmark]
        version = _versions.decode(row.get("version", NULL))
        if version is not None and version != wanted.version:
            lost.add("are of another version of the benchmark", benchmark)
            return
        keys = self._keys(benchmark, row.get("params", NULL))
        absent = [None] * len(keys)
        values = _numbers.decode(row.get("result", NULL)) or absent
        lows, highs = (
            [float(end) if type(end) is str else end for end in _numbers.decode(cell) or absent]
            for cell in (row.get("stats_ci_99_a", NULL), row.get("stats_ci_99_b", NULL))
        )
        samples = [
            tuple(each or ()) for each in _samples.decode(row.get("samples", NULL)) or absent
        ]
        if not len(keys) == len(values) == len(lows) == len(highs) == len(samples):
            raise ValueError("values and parameters differ in number")
        timed = wanted.unit == "seconds"
        good = [
            key is not None
            and type(value) is float
            and not (timed and (low is None or high is None or value <= 0))
            for key, value, low, high in zip(keys, values, lows, highs)
        ]
        # Without a loop in Python: there are millions.
        columns = zip(*map(repeat, where), keys, values, lows, highs, samples)
        self.history.measurements.extend(map(Measurement._make, compress(columns, good)))
        if not all(good):
            for key, value, low, high, well in zip(keys, values, lows, highs, good):
                if not well:
                    lost.add(_why(key, value, low is None or high is None), benchmark)

    def _keys(self, benchmark: str, raw: msgspec.Raw) -> list[tuple[str, ...] | None]:
        """Give the parameters of each value as shown; None for those no longer in use."""
        key = (benchmark, bytes(raw))
        if key not in self.keys:
            shown = [_shown(params) for params in product(*(_params.decode(raw) or []))]
            current = self.current[benchmark]
            self.keys[key] = [params if params in current else None for params in shown]
        return self.keys[key]


def _why(key: tuple[str, ...] | None, value: Number, alone: bool) -> str:
    """Say why a value is left out."""
    if key is None:
        return "have parameters that the benchmark no longer has"
    if value is None:
        return "failed"
    if type(value) is str:
        return "were skipped, or are NaN"
    return "have no statistics" if alone else "are no times: not above 0"


class _Lost:
    """Counts what is left out of one file, so that thousands of values are a few lines."""

    def __init__(self) -> None:
        self.reasons: dict[str, Counter[str]] = {}

    def add(self, reason: str, benchmark: str) -> None:
        """Count one value."""
        self.reasons.setdefault(reason, Counter())[benchmark] += 1

    def problems(self, where: str) -> Iterator[Problem]:
        """Give a line for each reason."""
        for reason, counts in self.reasons.items():
            names = sorted(counts)
            listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" * (len(names) > 3))
            yield Problem(where, f"{counts.total()} results {reason}: {listed}")


def _shown(params: Sequence[str]) -> tuple[str, ...]:
    """Give parameters as asv shows them."""
    matches = ((QUOTED.match(text), text) for text in params)
    return tuple(match[1] or match[2] if match else text for match, text in matches)


def _json(file: Path) -> bytes:
    text = file.read_bytes()
    return NO_JSON.sub(rb'"\1"', text) if b"NaN" in text or b"Infinity" in text else text


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


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
