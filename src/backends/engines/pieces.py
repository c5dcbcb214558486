"""Pieces that stay for many rounds, in this process's memory or in shared memory.

Imported when something is scattered: :mod:`backends.jobs` imports joblib, which kernels need not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np

from backends.jobs.held import Held, read_only, still_held

__all__ = ["SharedPieces", "Views"]

Array: TypeAlias = np.ndarray[Any, Any]
#: Makes all calls, side by side or one after the other; gives their results in order.
Each: TypeAlias = Callable[[list[Callable[[], Any]]], list[Any]]


class Views(Held):
    """Pieces in this process's own memory, of which nothing is copied.

    Parameters
    ----------
    pieces : sequence of ndarray
        The pieces.
    each : callable
        Makes a list of calls, and gives their results in order.
    """

    def __init__(self, pieces: Sequence[Array], each: Each) -> None:
        self._pieces = [read_only(piece) for piece in pieces]
        self._each = each

    def map(self, func: Callable[..., Any], /, *args: Any) -> list[Any]:
        """Call `func` on each piece; see :meth:`Held.map`."""
        return self._each([partial(func, piece, *args) for piece in still_held(self._pieces)])

    def close(self) -> None:
        """Forget the pieces."""
        self._pieces = []


class Processes(Protocol):
    """What :class:`SharedPieces` asks of a backend."""

    def apply(
        self, func: Callable[..., Any], pieces: Sequence[Array], args: tuple[Any, ...]
    ) -> list[Any]:
        """Call ``func(piece, *args)`` in the processes, on pieces in shared memory."""

    def trim(self) -> None:
        """Give shared memory that no array is in back to the system."""


class SharedPieces(Held):
    """Pieces in shared memory, which processes see where they lie."""

    def __init__(self, processes: Processes, pieces: Sequence[Array]) -> None:
        self._processes = processes
        self._pieces = pieces

    def map(self, func: Callable[..., Any], /, *args: Any) -> list[Any]:
        """Call `func` on each piece; see :meth:`Held.map`."""
        return self._processes.apply(func, still_held(self._pieces), args)

    def close(self) -> None:
        """Give the memory back to the system."""
        self._pieces = []
        self._processes.trim()
