"""Read one file of asv's results: what of it is needed, and why the rest is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress, product, repeat
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from backends.history.data import SKIPPED, Commit, History, Measurement, Problem

__all__ = ["Benchmark", "File", "Reader", "read_file", "read_head", "short_name"]

#: The version of the files' form that is understood.
VERSION = 2
#: Python's json writes these numbers, which are not JSON: they are read as strings.
NO_JSON = re.compile(rb"(?<=[\[ ,:])(NaN|-?Infinity)(?=[,\]}\s])")
#: How asv shows a parameter: the text within quotes, or a class's name.
QUOTED = re.compile(r"^(?:u?'(.*\S.*)'|<class '(.*\S.*)'>)$")
#: The seconds that a call can take, and what tables hold of other numbers: beyond that the
#: quotient of two would be 0 or infinite.
SECONDS = (1e-12, 1e9)
NUMBERS = (-1e38, 1e38)

NULL = msgspec.Raw(b"null")
Number = float | str | None
#: Milliseconds, up to the year 9999, the last that has a name.
Date = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000)]


class Benchmark(msgspec.Struct):
    """What benchmarks.json says of one."""

    param_names: list[str] = []
    unit: str = ""
    version: str | int | None = None


class _Head(msgspec.Struct):
    version: int | None = None
    commit_hash: str = ""
    date: Date = 0


class File(msgspec.Struct):
    """A file of results; of it only what is asked for becomes objects, the rest stays bytes."""

    commit_hash: str
    date: Date
    params: dict[str, Any]
    result_columns: list[str]
    results: dict[str, list[msgspec.Raw]]
    version: int

    @property
    def commit(self) -> Commit:
        """The commit that it is about."""
        return Commit(self.commit_hash, self.date)


_heads = msgspec.json.Decoder(_Head)
_files = msgspec.json.Decoder(File)
_numbers = msgspec.json.Decoder(list[Number] | None)
_samples = msgspec.json.Decoder(list[list[float] | None] | None)
_params = msgspec.json.Decoder(list[list[str]] | None)
_versions = msgspec.json.Decoder(str | int | None)
_T = TypeVar("_T")


def read_head(file: Path) -> Commit:
    """Give the commit that a file is about, if it is a file of results as we know them.

    Raises
    ------
    ValueError
        It is damaged, or of another version.
    """
    head = _decoded(_heads, file.read_bytes())
    if head.version != VERSION:
        found = "no version" if head.version is None else f"version {head.version}"
        raise ValueError(f"has {found}, not {VERSION} (`asv update` mends old ones)")
    if not head.commit_hash:
        raise ValueError("names no commit")
    return Commit(head.commit_hash, head.date)


def read_file(file: Path) -> File:
    """Give what is in a file of results.

    Raises
    ------
    ValueError
        It is damaged, or of another version.
    """
    try:
        content = _decoded(_files, file.read_bytes())
    except msgspec.ValidationError:
        read_head(file)  # which says so, if it is of another version
        raise
    if content.version != VERSION or not content.commit_hash:
        read_head(file)
    missing = {"result", "params"} - set(content.result_columns)
    if missing:
        raise ValueError(f"has no column {', '.join(sorted(missing))}")
    return content


def _decoded(decoder: msgspec.json.Decoder[_T], text: bytes) -> _T:
    """Read JSON, or what Python writes for it.

    The latter only where need be, and not of benchmarks.json: NaN may be in a text, as in its code.
    """
    try:
        return decoder.decode(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return decoder.decode(NO_JSON.sub(rb'"\1"', text))


class Reader:
    """Reads files of results into a history."""

    def __init__(self, benchmarks: dict[str, Benchmark], history: History) -> None:
        self.benchmarks = benchmarks
        self.history = history
        self.keys: dict[bytes, list[tuple[str, ...]]] = {}

    def add(self, file: Path, content: File, machine: str, *, samples: bool) -> None:
        """Add what is in a file, with samples or without.

        Raises
        ------
        ValueError
            It is of another machine.
        """
        if content.params.get("machine") != machine:
            raise ValueError(f"is of another machine, {content.params.get('machine')!r}")
        lost = _Lost()
        for benchmark, cells in content.results.items():
            if benchmark not in self.benchmarks:
                lost.add("results of what is no longer in benchmarks.json", benchmark)
                continue
            row = dict(zip(content.result_columns, cells))
            if not samples:
                row.pop("samples", None)
            try:
                self._row((machine, content.commit_hash, benchmark), row, lost, samples)
            except (ValueError, RecursionError) as error:
                lost.add(f"results that cannot be read ({error})", benchmark)
        self.history.problems += lost.problems(short_name(file))

    def _row(
        self, where: tuple[str, str, str], row: dict[str, msgspec.Raw], lost: _Lost, kept: bool
    ) -> None:
        benchmark = where[2]
        wanted = self.benchmarks[benchmark]
        version = _versions.decode(row.get("version", NULL))
        if version is not None and version != wanted.version:
            lost.add("results of another version of the benchmark", benchmark)
            return
        # benchmarks.json lists the parameters of the last run only, which may be of a smaller
        # profile. The version says whether it was the same benchmark.
        keys = self._keys(row.get("params", NULL))
        if keys and len(keys[0]) != len(wanted.param_names):
            raise ValueError(f"{len(keys[0])} parameters, not {len(wanted.param_names)}")
        values = _column(_numbers, row, "result", len(keys))
        lows, highs = (
            [float(end) if type(end) is str else end for end in ends]
            for ends in (
                _column(_numbers, row, "stats_ci_99_a", len(keys)),
                _column(_numbers, row, "stats_ci_99_b", len(keys)),
            )
        )
        samples: list[tuple[float, ...]] = (
            [tuple(each or ()) for each in _column(_samples, row, "samples", len(keys))]
            if "samples" in row
            else [()] * len(keys)
        )
        timed = wanted.unit == "seconds"
        least, most = SECONDS if timed else NUMBERS
        good = [
            type(value) is float
            and least <= value <= most
            and not (timed and (low is None or high is None))
            and (not sample or (least <= min(sample) and max(sample) <= most))
            for value, low, high, sample in zip(values, lows, highs, samples)
        ]
        # Without a loop in Python: there are millions.
        columns = zip(*map(repeat, where), keys, values, lows, highs, samples)
        self.history.measurements.extend(map(Measurement._make, compress(columns, good)))
        if not all(good):
            for key, value, low, high, well in zip(keys, values, lows, highs, good):
                if not well:
                    lost.add(_why(value, timed, low is None or high is None), benchmark)
                if kept and (value is None or value == "NaN"):
                    self.history.failed.add((*where, key))

    def _keys(self, raw: msgspec.Raw) -> list[tuple[str, ...]]:
        """Give the parameters of each value as shown: the same objects for the same parameters."""
        key = bytes(raw)
        if key not in self.keys:
            self.keys[key] = [_shown(params) for params in product(*(_params.decode(raw) or []))]
        return self.keys[key]


def _column(
    decoder: msgspec.json.Decoder[list[_T] | None],
    row: dict[str, msgspec.Raw],
    name: str,
    count: int,
) -> Sequence[_T | None]:
    """Give a value for each choice of parameters; a column that is not there is all None."""
    found = decoder.decode(row.get(name, NULL))
    if found is None:
        return [None] * count
    if len(found) != count:
        raise ValueError("values and parameters differ in number")
    return found


def _why(value: Number, timed: bool, alone: bool) -> str:
    """Say why a value is left out."""
    if value is None:
        return "results that failed"
    if value == "NaN":
        return SKIPPED
    if type(value) is str:
        return "results that are no numbers"
    if timed and alone:
        return "results without statistics"
    least, most = SECONDS if timed else NUMBERS
    return f"results, or samples, that cannot be: below {least:g} or above {most:g}"


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
            yield Problem(where, reason, counts.total(), tuple(sorted(counts)))


def _shown(params: Sequence[str]) -> tuple[str, ...]:
    """Give parameters as asv shows them."""
    matches = ((QUOTED.match(text), text) for text in params)
    return tuple(match[1] or match[2] if match else text for match, text in matches)


def short_name(file: Path) -> str:
    """Name a file by its machine, and itself; not by where it lies."""
    return f"{file.parent.name}/{file.name}"
