"""What a bench has measured, as data: written whole or not at all, checked when read."""

# Over 300 lines: what is kept, field by field in words; little of it runs.
from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from backends import files
from backends.machine import Machine

__all__ = [
    "BASELINE",
    "Ceilings",
    "Conditions",
    "Level",
    "Rates",
    "Record",
    "RecordError",
    "Result",
    "Row",
    "Way",
    "folder",
    "prepare",
    "read",
    "write",
]

#: What every other backend is compared with.
BASELINE = "numpy"
#: Raised with every change that an older reader would misunderstand.
SCHEMA = 3

Status = Literal["ok", "invalid", "failed", "refused", "one piece"]
#: How the arrays of a call lay and went: see :class:`Result`.
Way = Literal["call", "resident", "out", "cold"]


class RecordError(ValueError):
    """A results file cannot be read or written; the message says which and why."""


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One backend on one case.

    Attributes
    ----------
    way : str
        "call": NumPy's arrays in, a new array out, what was used before still in the caches, as
        far as it fits; "resident": inputs and results lie where the backend keeps them, so that
        none is moved; "out": into a given array; "cold": as "call", nothing in the caches.
    status : str
        "ok"; "invalid" (a wrong result: no time counts), "failed" (it raised), "refused" (it has
        no such kernel), "one piece" (it cannot share this case out, and so was not timed).
    reason : str
        Why the status is not "ok".
    seconds : list of float
        Time of one call in each round.
    median : float or None
        Of `seconds`.
    speedup, low, high : float or None
        Times the speed of the baseline's "call", and its 95 percent interval.
    verdict : str
        "faster", "slower", "same" or "unclear".
    flops_per_second, bytes_per_second : float or None
        From the kernel's own counts and `median`.
    first : float or None
        Seconds of the first call, which starts and compiles what is needed.
    transfer_in, transfer_out : float or None
        Median seconds to put the inputs where the backend keeps them, and to bring the result
        back; None where nothing is moved. Both are within `median`, unless resident.
    error : float or None
        Largest error against exact values, in ULP, on a sample of the elements.
    ceiling : float or None
        Share of what this machine can do at most (1 is all of it); None where that was not
        measured, as for a GPU.
    bound : str
        What that most is set by: "memory", "L3" or "L2" (bandwidth), "GEMM" (arithmetic).
    above : bool
        Whether it is above the ceiling beyond its interval and the noise: something is wrong with
        the measurement.
    """

    backend: str
    status: Status
    way: Way = "call"
    reason: str = ""
    seconds: list[float] = []
    median: float | None = None
    speedup: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: str = ""
    flops_per_second: float | None = None
    bytes_per_second: float | None = None
    first: float | None = None
    transfer_in: float | None = None
    transfer_out: float | None = None
    error: float | None = None
    ceiling: float | None = None
    bound: str = ""
    above: bool = False


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case: a kernel on inputs of one size and dtype, on every backend.

    Attributes
    ----------
    noise : float or None
        By how much the baseline differed from itself, timed as one more candidate, relative;
        None where there is no baseline.
    drift : float or None
        By how much the baseline was slower in the last rounds than in the first, relative.
    """

    kernel: str
    family: str
    case: str
    size: int
    shape: str
    dtype: str
    results: list[Result]
    noise: float | None = None
    drift: float | None = None


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Operations or bytes a second, with one thread and with all `n_jobs`."""

    one: float
    all: float


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one level of the caches, or memory, gives at most.

    Attributes
    ----------
    name : str
        "L2" (the second level, and what is nearer), "L3" or "memory".
    size : int or None
        Bytes that it and the nearer levels hold, those of all the cores that are used; None for
        memory.
    bandwidth : Rates
        Bytes a second of a sum of two arrays into a third.
    """

    name: str
    size: int | None
    bandwidth: Rates


class Ceilings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this machine can do at most, as measured beside the rows.

    Attributes
    ----------
    n_jobs : int
        Threads of the rates called `all`.
    triad : str
        The backends whose loops were tried for the bandwidth: "openmp" has stores that go past the
        caches.
    levels : list of Level
        From the nearest to memory.
    gemm : dict of str to Rates
        Floating-point operations a second of a product of matrices, by dtype.
    """

    n_jobs: int
    triad: list[str]
    levels: list[Level]
    gemm: dict[str, Rates]


class Conditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What else the machine did during the bench.

    Attributes
    ----------
    cores : int
        Cores that this process may use.
    others : float or None
        Share of their time that other programs used; None where the system does not tell.
    steal : float or None
        Share of their time that the host of a virtual machine gave to others.
    drift : float
        By how much the machine was slower at the end than at the beginning, relative.
    variables : dict of str to str
        Environment variables about threads that are set: they change results.
    """

    cores: int
    others: float | None
    steal: float | None
    drift: float
    variables: dict[str, str]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run of the bench.

    Attributes
    ----------
    universal : list of str
        The backends that have every kernel, and so can be the general choice.
    imports : dict of str to float
        Seconds that importing each backend's library took.
    complete : bool
        False where the run was interrupted: the rows are those that were finished.
    skipped : list of str
        What was asked for and not measured, with the reason.
    """

    schema: int
    created: str
    n_jobs: int
    seconds: float
    universal: list[str]
    imports: dict[str, float]
    complete: bool
    machine: Machine
    conditions: Conditions
    ceilings: Ceilings
    rows: list[Row]
    skipped: list[str] = []


def folder() -> Path:
    """Give the user's folder for results."""
    return Path(files.data_folder("bench"))


def prepare(output: Path | None) -> Path:
    """Choose the file for a new record and make sure, before anything is measured, that it works.

    Parameters
    ----------
    output : Path or None
        Where the user wants it; None for a new file in :func:`folder`.

    Raises
    ------
    RecordError
        The folder does not exist or cannot be written, or `output` is a file that no bench wrote.
    """
    if output is None:
        place = folder()
        name = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")[:-3]
        target = place / f"{name}.json"
    else:
        target = output.resolve()
        place = target.parent
    try:
        if output is None:
            place.mkdir(parents=True, exist_ok=True)
        elif target.is_dir():
            raise RecordError(f"{target} is a folder: give the name of a file in it")
        elif target.exists():
            read(target)  # Only what a bench wrote may be replaced.
        files.try_folder(place)
    except OSError as error:
        raise RecordError(
            f"results cannot be written to {place}: {error.strerror}; "
            "choose another place with --output FILE"
        ) from None
    return target


def write(record: Record, target: Path) -> None:
    """Write `record` to a temporary file beside `target`, then rename it: whole or not at all.

    Raises
    ------
    RecordError
        The disk is full, say. What was in `target` before is still there.
    """
    try:
        files.write_whole(target, encode(record))
    except OSError as error:
        raise RecordError(f"{target} cannot be written: {error.strerror}") from error


def encode(record: Record) -> bytes:
    """Give `record` as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def read(source: Path) -> Record:
    """Read a record.

    Raises
    ------
    RecordError
        There is no such file, it is cut short, or it is no record of this schema.
    """
    try:
        if source.exists() and not source.is_file():
            raise RecordError(f"{source} is no ordinary file")
        text = source.read_bytes()
    except OSError as error:
        raise RecordError(f"{source}: {error.strerror}") from None
    try:
        head = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RecordError(f"{source} is no JSON, or cut short: {error}") from None
    schema = head.get("schema") if isinstance(head, dict) else None
    if schema is None:
        raise RecordError(f"{source} is no result of `backends bench`: it has no schema number")
    if schema != SCHEMA:
        raise RecordError(
            f"{source} has schema {schema!r}; this version reads schema {SCHEMA}: measure again"
        )
    try:
        return msgspec.convert(head, Record)
    except msgspec.ValidationError as error:
        raise RecordError(f"{source} is damaged: {error}") from None


def latest() -> Path:
    """Give the newest record in :func:`folder`.

    Raises
    ------
    RecordError
        There is none yet.
    """
    files = sorted(folder().glob("*.json"))
    if not files:
        raise RecordError(f"there are no results in {folder()} yet: run `backends bench` first")
    return files[-1]
