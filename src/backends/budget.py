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
import sys
import threading
from functools import cache
from importlib import import_module
from types import FrameType
from typing import Any, Self

from backends.cores import usable

__all__ = [
    "Share",
    "cores",
    "counter",
    "current",
    "has_siblings",
    "is_counted",
    "is_running",
    "working",
]


def cores() -> int:
    """Count the cores that this process is to use where nobody says how many.

    Those that it may use, as joblib counts them. But one in a process that `multiprocessing`
    started (a ``Pool``, a ``ProcessPoolExecutor``) and whose environment has no
    ``OMP_NUM_THREADS``: it has siblings, and cannot know how many, so that with all the cores for
    each there would be more threads than cores. joblib and Dask give that variable to their
    workers, and it is obeyed; and so is a number of jobs that the program sets.

    Examples
    --------
    >>> cores() >= 1
    True
    """
    return 1 if has_siblings() else usable()


def has_siblings() -> bool:
    """Tell whether this is a worker of `multiprocessing` that was told nothing of its share.

    Asked each time: while a worker is set up, it does not know yet that it is one.
    """
    process = sys.modules.get("multiprocessing.process")
    return (
        process is not None
        and process.parent_process() is not None
        and not os.environ.get("OMP_NUM_THREADS")
    )


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
        if self.threads < 2 or is_counted():
            self.threads = 1
            return self
        _mine.frame, _mine.share = sys._getframe(1), self
        self._counts = True
        try:
            self.threads, self._allowed = counter().take(self.threads)
        except BaseException:  # Ctrl-C may come as soon as it is counted
            _uncount()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._counts:
            try:
                _uncount()
            except BaseException:  # and in the middle of this # uncounted: tracer
                _uncount()
                raise


class _Mine(threading.local):
    """Why the current thread is counted: the frame that runs the block, and the share it has.

    The block is a ``with`` statement in the frame that enters it, which neither yields nor lends
    it to an ``ExitStack``.
    """

    frame: FrameType | None = None
    share: Share | None = None


_mine = _Mine()


def current() -> Share:
    """Give what the call that runs in this thread was granted: one thread where it asked not."""
    return _mine.share or Share(1)


class working:  # noqa: N801 - used like a function
    """Mark this thread as a worker, which is counted by its caller: what it calls runs serially."""

    __slots__ = ("_marks",)

    def __enter__(self) -> None:
        self._marks = not is_counted()
        if self._marks:
            _mine.frame = sys._getframe(1)
            counter().mark(True)

    def __exit__(self, *error: object) -> None:
        if self._marks:
            _uncount()


def is_counted() -> bool:
    """Tell whether this thread is counted: its call is shared, or it works for one that is.

    Ctrl-C may end a block before it gives back. That shows here, as its frame runs no more, and is
    made good: otherwise all that this thread calls would run serially from then on.
    """
    if not counter().counts_me():
        return False
    if _mine.frame is None or is_running(_mine.frame):
        return True
    _uncount()
    return False


def _uncount() -> None:
    """End the count of this thread's call; the same again where Ctrl-C ended it half-way."""
    count = counter()
    count.mark(False)
    count.give(len(_mine.share._gone) if _mine.share else 0)
    # Last: until then this tells that there is something to end.
    _mine.share = _mine.frame = None


def is_running(frame: FrameType) -> bool:
    """Tell whether the current thread is in `frame`, or in what was called there."""
    now: FrameType | None = sys._getframe(1)
    while now is not None and now is not frame:
        now = now.f_back
    return now is frame


@cache
def counter() -> Any:
    """Give what counts: the extension, or a :class:`_Count` where it is not there."""
    try:
        extension = import_module("backends._openmp")
        extension.set_cores(usable())
    except (ImportError, AttributeError):  # a source tree has a mere folder of that name
        return _own
    return extension


class _Count:
    """The count without the extension, by the same functions; see ``_openmp/budget.h``."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._lock = threading.Lock()
        # The count, and what each thread took: replaced at once, so that Ctrl-C parts them never.
        self._state: tuple[int, dict[int, int]] = 0, {}
        self._mine = threading.local()

    def take(self, wanted: int) -> tuple[int, int]:
        if wanted < 2:
            return 0, 0
        allowed = max(wanted, usable())
        limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        if limit.isdecimal() and int(limit) > 0:
            allowed = min(allowed, int(limit))
        with self._lock:
            taken, held = self._state
            mine = max(1, min(wanted, allowed - taken))
            self._state = taken + mine, held | {threading.get_ident(): mine}
        return mine, allowed

    def give(self, stepped_back: int) -> None:
        me = threading.get_ident()
        with self._lock:
            taken, held = self._state
            if me in held:
                others = {thread: mine for thread, mine in held.items() if thread != me}
                self._state = taken - held[me] + stepped_back, others

    def step_back(self, allowed: int) -> bool:
        with self._lock:
            taken, held = self._state
            too_many = taken > allowed
            self._state = taken - too_many, held
        return too_many

    def mark(self, counted: bool) -> bool:
        before = getattr(self._mine, "marked", False)
        self._mine.marked = counted
        return before

    def counts_me(self) -> bool:
        return threading.get_ident() in self._state[1] or getattr(self._mine, "marked", False)

    def taken(self) -> int:
        return self._state[0]


_own = _Count()

if hasattr(os, "register_at_fork"):
    # The threads that were counted are not in the child, nor is who may have held the lock.
    os.register_at_fork(after_in_child=_own.begin)
