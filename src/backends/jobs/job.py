"""One job as a worker sees it: what to call, on how many threads, and what comes of it."""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from backends import blas, budget, workers
from backends.cores import usable
from backends.jobs.checkpoint import Checkpoint
from backends.jobs.packing import Thrown, pack
from backends.jobs.room import Room
from backends.jobs.slots import Slots, offered

__all__ = ["Job", "Outcome"]


class Outcome(NamedTuple):
    """What came of one job.

    Its result is in `value`, as bytes if `is_packed`; or in the checkpoint under `key` if
    `is_kept`.
    """

    index: int  # type: ignore[assignment] # not the tuple's own
    key: bytes | None = None
    value: Any = None
    error: BaseException | Thrown | None = None
    is_packed: bool = False
    is_kept: bool = False


class Job:
    """Calls `func` on one item, wherever it is run; no exception leaves it.

    Parameters
    ----------
    func : callable
        What the user wants done.
    at_once : int
        Jobs that run at once, which share the cores.
    checkpoint : Checkpoint, optional
        Where to keep the result.
    io : Slots, optional
        What :func:`backends.io_slot` means within the job.
    room : Room, optional
        What to take before the job begins, because it needs memory.
    is_callers : bool
        Whether workers are processes that the caller's started, and are to end with it.
    """

    # No dataclass: Dask wants it hashable, whatever `func` is.
    def __init__(
        self,
        func: Callable[[Any], Any],
        at_once: int,
        checkpoint: Checkpoint | None = None,
        io: Slots | None = None,
        room: Room | None = None,
        *,
        is_callers: bool = False,
    ) -> None:
        self.func, self.at_once = func, at_once
        self.checkpoint, self.io, self.room = checkpoint, io, room
        self.is_callers = is_callers
        self.machine, self.process = platform.node(), os.getpid()

    def __call__(self, index: int, key: bytes | None, item: Any) -> Outcome:
        """Do the job."""
        near = self.machine == platform.node()
        is_elsewhere = not near or self.process != os.getpid()
        try:
            with ExitStack() as stack:
                if self.room is not None:  # uncounted: worker
                    stack.enter_context(self.room.take())
                stack.enter_context(offered(self.io))
                result = self._call(item, is_elsewhere)
            if self.checkpoint is None and not is_elsewhere:
                return Outcome(index, value=result)
            packed = pack(result)
        # SystemExit: a job that gives up must not end the others.
        except (Exception, SystemExit) as error:
            return Outcome(index, key, error=Thrown.of(error) if is_elsewhere else error)
        # At once, and not when the caller hears of it: that may be a batch of jobs later.
        is_kept = near and self.checkpoint is not None and self.checkpoint.try_put(key, packed)
        return Outcome(index, key, None if is_kept else packed, is_packed=True, is_kept=is_kept)

    def _call(self, item: Any, is_elsewhere: bool) -> Any:
        threads = max(usable() // self.at_once, 1)
        if is_elsewhere:
            workers.keep_to(threads)
            if self.is_callers:  # uncounted: worker
                workers.leave_ctrl_c_to_parent()
                workers.end_with(self.process)
            return self.func(item)
        if self.at_once == 1:
            return self.func(item)
        _keep_thread_to(threads)
        with blas.limited(blas.permitted(threads)):
            if threads > 1:
                return self.func(item)
            with budget.working():
                return self.func(item)


_mine = threading.local()


def _keep_thread_to(threads: int) -> None:
    """Let OpenMP's libraries have at most so many threads in this thread, a worker, for good."""
    # A job may import a module that brings a library with it: those after it are limited then.
    seen = threads, len(sys.modules)
    if getattr(_mine, "seen", None) == seen:
        return
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().select(user_api="openmp").lib_controllers:
        if library.num_threads > threads:
            library.set_num_threads(threads)
    _mine.seen = seen
