"""Pieces of an array in the memory of MPI ranks, some with each, for many rounds."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backends import budget
from backends.engines.chunked import Array
from backends.engines.ranks import Ranks
from backends.jobs.held import Held, read_only, still_held

__all__ = ["OnRanks"]


class OnRanks(Held):
    """Pieces in the memory of ranks, some of them with each."""

    def __init__(self, workers: Ranks, pieces: Sequence[Array]) -> None:
        self._ranks = workers
        self._key = uuid.uuid4().hex
        self._where = np.array_split(range(len(pieces)), workers.size)
        workers.each(
            [(_keep, self._key, {int(i): pieces[i] for i in part}) for part in self._where]
        )

    def map(self, func: Callable[..., Any], /, *args: Any) -> list[Any]:
        """Call `func` on each piece where it lies; see :meth:`Held.map`."""
        still_held(self._where)
        replies = self._ranks.each([(_apply, self._key, func, args)] * self._ranks.size)
        results = {index: result for reply in replies for index, result in reply.items()}
        return [results[index] for index in sorted(results)]

    def close(self) -> None:
        """Have the ranks forget the pieces."""
        if len(self._where) and self._ranks.alive():
            self._ranks.each([(_forget, self._key)] * self._ranks.size)
        self._where = []


#: On a worker: what was scattered, by the key of the whole and the number of the piece.
_held: dict[str, dict[int, Array]] = {}


def _keep(key: str, pieces: dict[int, Array]) -> None:
    _held.setdefault(key, {}).update({i: read_only(piece) for i, piece in pieces.items()})


def _apply(key: str, func: Callable[..., Any], args: tuple[Any, ...]) -> dict[int, Any]:
    with budget.working():
        return {index: func(piece, *args) for index, piece in _held[key].items()}


def _forget(key: str) -> None:
    _held.pop(key, None)
