"""One budget of threads for all engines: who computes is counted, and takes only what is free.

* The cores allowed are those that this process may use, as joblib counts them, and at most what
  OpenMP allows in the calling thread: ``OMP_NUM_THREADS``, threadpoolctl's limits, and the share
  that joblib gives to its workers. More only where a call asks for more jobs than there are cores.
* A call that is worth sharing takes what is free, at least its own thread: that one is the
  program's, and is never made to wait. What runs serially because it is small is not counted.
* Where the program's own threads come on top, workers step back at the next chunk.
* The optional libraries are held to what was granted, but for JAX, whose threads are made once a
  process.
* A thread that is counted is not counted twice: a call inside a call runs serially.

The extension ``backends._openmp`` keeps the count, so that its teams and all else share one; where
it is not there, this module does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, Self

__all__ = ["Share", "cores", "counter", "current", "is_counted", "working"]


@cache
def cores() -> int:
    """Count the cores that this process may use, as joblib does."""
    # Imported here: `import backends` must cost no more than `import numpy`.
    import joblib

    found: int = joblib.cpu_count()
    return found


class Share:
    """Count up to `wanted` threads for one call, the caller's included, while a block runs.

    Attributes
    ----------
    threads : int
        Within the block: threads that may compute for this call, at least 1.

    Examples
    --------
    >>> with Share(2) as share:
    ...     share.threads in (1, 2), is_counted()
    (True, True)
    >>> is_counted()
    False
    """

    # No generator: there are calls that take but ten microseconds.
    __slots__ = ("_allowed", "_counts", "_gone", "threads")

    def __init__(self, wanted: int) -> None:
        self.threads = wanted
        self._allowed = 0
        self._counts = False
        self._gone: list[None] = []  # appended to by workers, which needs no lock

    def step_back(self) -> bool:
        """Tell a worker whether it must stop now, because other callers came on top.

        The worker is no longer counted then. The call's own thread does not ask.
        """
        if not counter().step_back(self._allowed):
            return False
        self._gone.append(None)
        return True

    def __enter__(self) -> Self:
        count = counter()
        if self.threads < 2 or count.counts_me():
            self.threads = 1
            return self
        try:
            self._counts = True
            self.threads, self._allowed = count.take(self.threads)
            _shares.current = self
        except BaseException:  # Ctrl-C may come as soon as it is counted
            count.give(0)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._counts:
            counter().give(len(self._gone))
            _shares.current = None


_shares = threading.local()


def current() -> Share:
    """Give what the call that runs in this thread was granted: one thread where it asked not."""
    return getattr(_shares, "current", None) or Share(1)


@contextmanager
def working() -> Iterator[None]:
    """Mark this thread as a worker, which is counted by its caller: what it calls runs serially."""
    before = counter().mark(True)
    try:
        yield
    finally:
        counter().mark(before)


def is_counted() -> bool:
    """Tell whether this thread is counted: its call is shared, or it works for one that is."""
    counted: bool = counter().counts_me()
    return counted


@cache
def counter() -> Any:
    """Give what counts: the extension, or a :class:`_Count` where it is not there."""
    try:
        extension = import_module("backends._openmp")
        extension.set_cores(cores())
    except (ImportError, AttributeError):  # a source tree has a mere folder of that name
        return _own
    return extension


class _Count:
    """The count without the extension, by the same functions; see ``_openmp/budget.h``."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self._mine = threading.local()

    def take(self, wanted: int) -> tuple[int, int]:
        if wanted < 2:
            return 0, 0
        allowed = max(wanted, cores())
        limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        if limit.isdecimal() and int(limit) > 0:
            allowed = min(allowed, int(limit))
        with self._lock:
            self._mine.held = max(1, min(wanted, allowed - self._taken))
            self._taken += self._mine.held
        return self._mine.held, allowed

    def give(self, stepped_back: int) -> None:
        with self._lock:
            held = getattr(self._mine, "held", 0)
            if held:
                self._taken -= held - stepped_back
            self._mine.held = 0

    def step_back(self, allowed: int) -> bool:
        with self._lock:
            too_many = self._taken > allowed
            self._taken -= too_many
        return too_many

    def mark(self, counted: bool) -> bool:
        before = getattr(self._mine, "marked", False)
        self._mine.marked = counted
        return before

    def counts_me(self) -> bool:
        return getattr(self._mine, "held", 0) > 0 or getattr(self._mine, "marked", False)

    def taken(self) -> int:
        return self._taken


_own = _Count()

if hasattr(os, "register_at_fork"):
    # The threads that were counted are not in the child, nor is who may have held the lock.
    os.register_at_fork(after_in_child=_own.begin)
