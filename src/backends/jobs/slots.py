"""Places that few jobs may have at once, on one machine: for what disks and memory can bear.

A place is a file that is locked, so that it holds between threads and processes alike, and is free
again when whoever had it is killed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["Slots", "io_slot", "offered"]

#: Seconds between two looks for a free place: little beside what is worth bounding.
PAUSE = 0.01


class Slots:
    """`count` places in a temporary folder called `name`.

    Examples
    --------
    >>> places = Slots("backends-example", 1)
    >>> with places.take():
    ...     pass
    >>> places.remove()
    """

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place while a block runs; wait until there is one."""
        import filelock

        folder = self._folder()
        folder.mkdir(exist_ok=True)
        while True:
            for number in range(self.count):
                # No singleton: threads that share one would share the place.
                lock = filelock.FileLock(folder / str(number), is_singleton=False)
                try:
                    lock.acquire(blocking=False)
                except filelock.Timeout:
                    continue
                try:
                    yield
                finally:
                    lock.release()
                return
            time.sleep(PAUSE)

    def remove(self) -> None:
        """Delete the folder; nobody may hold a place."""
        shutil.rmtree(self._folder(), ignore_errors=True)

    def _folder(self) -> Path:
        # Asked for where it is used: a worker may be on another machine.
        return Path(tempfile.gettempdir()) / self.name


_offered: ContextVar[Slots | None] = ContextVar("backends.io_slot", default=None)


@contextmanager
def offered(slots: Slots | None) -> Iterator[None]:
    """Let :func:`io_slot` within the block, in this thread, mean a place among `slots`."""
    token = _offered.set(slots)
    try:
        yield
    finally:
        _offered.reset(token)


@contextmanager
def io_slot() -> Iterator[None]:
    """Wait until few enough other jobs read or write, and count as one of them in the block.

    Within a job of :func:`backends.map`, at most `io_jobs` jobs of that call are in such blocks at
    once, on each machine. Anywhere else, and where `io_jobs` was not given, nothing is waited for.

    Examples
    --------
    >>> import backends
    >>> def total(name):
    ...     with backends.io_slot():
    ...         beam = len(name)  # stands for reading a large file
    ...     return beam**2
    >>> list(backends.map(total, ["a", "bc"], io_jobs=1, n_jobs=1))
    [1, 4]
    """
    slots = _offered.get()
    if slots is None:
        yield
        return
    with slots.take():
        yield
