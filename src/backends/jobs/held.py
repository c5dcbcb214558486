"""Arrays that stay where the workers are, for jobs that meet: scatter, gather, summarise, again.

* A backend's ``scatter`` gives a :class:`Held`. What is called on its pieces, round after round,
  finds them where they lie; only what it returns travels.
* Results come in the pieces' order, whichever was finished first: a sum of them is the same at
  every run.
* Pieces are read-only: a backend may compute one a second time, after a worker has died. What a
  round makes, it returns.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np

__all__ = ["Held", "read_only", "still_held"]

Array: TypeAlias = np.ndarray[Any, Any]
T = TypeVar("T")


class Held(ABC):
    """The pieces of an array, kept where the workers are until :meth:`close`.

    Use it in a ``with`` block. :func:`backends.scatter` makes one.

    Examples
    --------
    >>> import backends, numpy as np
    >>> with backends.scatter(np.arange(6.0), backend="threads", n_jobs=1) as held:
    ...     mean = held.map_reduce(np.sum, np.add) / 6
    ...     float(held.map_reduce(lambda x, mean: np.sum((x - mean) ** 2), np.add, mean))
    17.5
    """

    @abstractmethod
    def map(self, func: Callable[..., T], /, *args: Any) -> list[T]:
        """Call ``func(piece, *args)`` on each piece where it lies.

        Parameters
        ----------
        func : callable
            What one piece, a read-only array, is given to. What it returns travels back: a
            summary, as a rule, and not an array of the piece's size.
        *args
            What else each call gets, the same for all: this round's parameters.

        Returns
        -------
        list
            The results in the order of the pieces.

        Raises
        ------
        WorkerDiedError
            A worker ended in the middle of it, and the backend does not compute again by itself.
        Exception
            What `func` raises.
        """

    def map_reduce(self, func: Callable[..., T], reduce: Callable[[T, T], T], /, *args: Any) -> T:
        """Call ``func(piece, *args)`` on each piece, and bring the results together.

        Parameters
        ----------
        func, *args
            As for :meth:`map`.
        reduce : callable
            ``reduce(a, b)`` of two results gives one for both. It is called here, from the first
            piece to the last.

        Returns
        -------
        object
            The result for all pieces.
        """
        return functools.reduce(reduce, self.map(func, *args))

    @abstractmethod
    def close(self) -> None:
        """Give the pieces back; nothing can be mapped over them afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_only(piece: Array) -> Array:
    """Give a view of `piece` that cannot be written to.

    Examples
    --------
    >>> read_only(np.zeros(2)).flags.writeable
    False
    """
    view = piece.view()
    view.flags.writeable = False
    return view


def still_held(pieces: Sequence[T]) -> Sequence[T]:
    """Give `pieces` if there are any.

    Raises
    ------
    ValueError
        There are none: they were given back.

    Examples
    --------
    >>> still_held([1, 2])
    [1, 2]
    """
    if not pieces:
        raise ValueError("the pieces were given back by close(): scatter the array again")
    return pieces
