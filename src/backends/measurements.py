"""What a tuned profile was made from: the times of the candidates at each size, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from backends import files

__all__ = ["Measured", "Point", "read", "write"]

#: Raised with every change that an older reader would misunderstand.
SCHEMA = 1


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One candidate at one point: median seconds, and times numpy's speed with its interval."""

    backend: str
    n_jobs: int
    mode: str
    seconds: float
    speedup: float
    low: float
    high: float


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured at one size; numpy comes first."""

    kernel: str
    dtype: str
    layout: str
    size: int
    candidates: list[Measured]


class _Points(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file beside the profile; `created` is the same in both."""

    schema: int
    created: str
    points: list[Point]


def write(profile: Path, created: str, points: Sequence[Point]) -> None:
    """Write what `profile` is made from beside it, whole or not at all.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    files.write_whole(_beside(profile), msgspec.json.encode(_Points(SCHEMA, created, list(points))))


def read(profile: Path, created: str) -> list[Point]:
    """Read what `profile` was made from; nothing where that is gone, damaged, or of another run."""
    try:
        found = msgspec.json.decode(_beside(profile).read_bytes(), type=_Points)
    except (OSError, msgspec.DecodeError):
        return []
    return found.points if (found.schema, found.created) == (SCHEMA, created) else []


def _beside(profile: Path) -> Path:
    return profile.with_suffix(".json")
