"""The exceptions this package adds to Python's and NumPy's own, and the nearest valid name."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "BackendUnavailableError",
    "ConfigError",
    "Failure",
    "JobsFailedError",
    "UnknownNameError",
    "UnsupportedKernelError",
    "WorkerDiedError",
    "suggest",
    "users_level",
]


class UnknownNameError(LookupError):
    """A kernel, backend or setting that does not exist was asked for by name."""


class BackendUnavailableError(RuntimeError):
    """The backend exists but cannot run here; the message says why and what would mend it."""


class UnsupportedKernelError(NotImplementedError):
    """The backend runs here but does not have this kernel; the message says which have it."""


class WorkerDiedError(RuntimeError):
    """A worker process ended in the middle of a call. Nothing was returned; call again."""


class Failure(NamedTuple):
    """One job that failed: the place of its item among the items, the item, what it raised."""

    index: int  # type: ignore[assignment] # not the tuple's own
    item: Any
    exception: BaseException


class JobsFailedError(RuntimeError):
    """Some jobs of :func:`backends.map` failed; all the others were done.

    Attributes
    ----------
    failures : list of Failure
        Each with ``index``, ``item`` and ``exception``, sorted by index.
    results : dict of int to Any
        By index, what the other jobs gave and could not be handed out any more, because a job
        before them had failed. With a checkpoint it is empty: the next call gives them.
    """

    def __init__(
        self,
        message: str,
        failures: Sequence[Failure] = (),
        results: Mapping[int, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.failures = sorted(failures, key=lambda failure: failure.index)
        self.results = dict(results or {})


class ConfigError(ValueError):
    """A setting is wrong; the message names its source, its key and the nearest valid name."""


def suggest(name: object, valid: Iterable[str], *, what: str) -> str:
    """Say that `name` is no `what`, which valid name is nearest, and list them all.

    Examples
    --------
    >>> suggest("thread", ["numpy", "threads"], what="backend")
    "there is no backend 'thread'; did you mean 'threads'? Valid: numpy, threads"
    """
    # Imported here: only mistakes need it.
    import difflib

    names = sorted(valid)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"there is no {what} {name!r}{hint} Valid: {', '.join(names) or '(none)'}"


def users_level() -> int:
    """Give the ``stacklevel`` with which a warning of the caller points at the user's line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] == "backends":
        level, frame = level + 1, frame.f_back
    return level
