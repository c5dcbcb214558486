"""The exceptions this package adds to Python's and NumPy's own, and the nearest valid name."""

from __future__ import annotations

import sys
from collections.abc import Iterable

__all__ = [
    "BackendUnavailableError",
    "ConfigError",
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
