"""Read one file of asv's results: what of it is needed, and why the rest is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress, product, repeat
from pathlib import Path
from typing import Any

import msgspec

from backends.history.data import Commit, History, Measurement, Problem

__all__ = ["Benchmark", "Reader", "commit_of", "read_json", "short_name"]

#: The version of the files' form that is understood.
VERSION = 2
#: Python's json writes these numbers, which are not JSON: they are read as strings.
NO_JSON = re.compile(rb"(?<=[\[ ,:])(NaN|-?Infinity)(?=[,\]}\s])")
#: How asv shows a parameter: the text within quotes, or a class's name.
QUOTED = re.compile(r"^(?:u?'(.*\S.*)'|<class '(.*\S.*)'>)$")

NULL = msgspec.Raw(b"null")
Number = float | str | None


class Benchmark(msgspec.Struct):
    """What benchmarks.json says of one."""

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


def commit_of(text: bytes) -> Commit:
    """Give the commit that a file is about, if it is a file of results as we know them."""
    head = _heads.decode(text)
    if head.version != VERSION:
        found = "no version" if head.version is None else f"version {head.version}"
        raise ValueError(f"has {found}, not {VERSION} (`asv update` mends old ones)")
    if not head.commit_hash:
        raise ValueError("names no commit")
    return Commit(head.commit_hash, head.date)


class Reader:
    """Reads files of results into a history."""

    def __init__(self, benchmarks: dict[str, Benchmark], history: History) -> None:
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
        self.history.problems += lost.problems(short_name(file))

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


def read_json(file: Path) -> bytes:
    """Give the JSON that is in a file, "NaN" and "Infinity" as texts."""
    text = file.read_bytes()
    return NO_JSON.sub(rb'"\1"', text) if b"NaN" in text or b"Infinity" in text else text


def short_name(file: Path) -> str:
    """Name a file by its machine, and itself; not by where it lies."""
    return f"{file.parent.name}/{file.name}"
