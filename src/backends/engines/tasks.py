"""What a worker process does: a chunk of a kernel, or a function on a piece that lies in memory.

Arrays are seen in shared memory, where a :class:`~backends.engines.shared.Reference` says. The
blocks that a task names are those that exist; what else the worker had mapped, it drops.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from backends import budget
from backends.engines.chunked import Chunk, compute
from backends.engines.shared import Attachments, Reference
from backends.kernel import NUMERIC_KINDS

__all__ = ["call", "is_large", "pickled", "work"]

#: Bytes from which an argument of a round goes through shared memory; joblib's own max_nbytes.
LARGE = 2**20


def is_large(x: Any) -> bool:
    """Tell whether `x` is an array that had better not go through a pipe."""
    return isinstance(x, np.ndarray) and x.nbytes >= LARGE and x.dtype.kind in NUMERIC_KINDS


def pickled(name: str, func: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """Give a function and its arguments as bytes, for :func:`call`.

    Raises
    ------
    TypeError
        They cannot be.
    """
    from joblib.externals.loky.backend.reduction import dumps

    try:
        return bytes(dumps((func, args)))
    except Exception as error:  # objects raise what they like where they cannot be pickled
        raise TypeError(
            f"{name} or its arguments cannot be sent to processes: {error}. Open files, locks and "
            "connections within the function, or choose backend threads, which sends nothing"
        ) from error


def work(  # uncounted: worker
    chunk: Chunk, operands: tuple[Any, ...], results: tuple[Reference, ...], names: frozenset[str]
) -> set[str]:
    """Compute one chunk; see :func:`backends.engines.chunked.compute`."""
    with _errors_that_travel(), _at_rest():
        return compute(chunk, _seen(operands, names), _seen(results, names))


def call(what: bytes, piece: Reference, names: frozenset[str]) -> Any:  # uncounted: worker
    """Call what was pickled on a piece, and on arguments of which some are in shared memory."""
    with _errors_that_travel(), _at_rest(), budget.working():
        func, args = pickle.loads(what)
        return func(*_seen((piece, *args), names, writeable=False))


@cache
def _attachments() -> Attachments:  # uncounted: worker
    return Attachments()


def _seen(  # uncounted: worker
    arguments: tuple[Any, ...], names: frozenset[str], *, writeable: bool = True
) -> tuple[Any, ...]:
    attachments = _attachments()
    attachments.keep(names)
    arrays = {i: attachments.array(x) for i, x in enumerate(arguments) if isinstance(x, Reference)}
    for array in arrays.values():
        array.flags.writeable = writeable
    return tuple(arrays.get(i, x) for i, x in enumerate(arguments))


@contextmanager
def _at_rest() -> Iterator[None]:  # uncounted: worker
    try:
        yield
    finally:
        _attachments().rest()


@contextmanager
def _errors_that_travel() -> Iterator[None]:  # uncounted: worker
    try:
        yield
    except Exception as error:  # Whatever is raised must reach the caller.
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # It cannot travel: a class of its own, or one with other arguments.
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
