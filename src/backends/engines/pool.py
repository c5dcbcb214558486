"""A pool of threads that computes chunks side by side and stays alive between calls."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from backends import budget
from backends.engines.chunked import Array, Chunk, ChunkedBackend, compute

__all__ = ["PooledBackend"]

T = TypeVar("T")

#: Least work in a chunk, in flops plus bytes moved. Handing a chunk to a thread and hearing back
#: takes tens of microseconds; a chunk of this work takes some hundreds. `backends bench add sin
#: gammaln --backend threads --size 30000,60000,120000` shows where it begins to pay.
MIN_WORK = 2.0**20


class PooledBackend(ChunkedBackend):
    """Cuts a call into chunks for a persistent pool of threads, `n_jobs` with the caller's."""

    min_work = MIN_WORK

    def start(self) -> None:
        """Begin with no threads; see :meth:`ChunkedBackend.start`."""
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def map(
        self, chunks: list[Chunk], operands: tuple[Any, ...], results: tuple[Array, ...]
    ) -> list[set[str]]:
        """Compute the chunks, in this thread too; see :meth:`ChunkedBackend.map`."""
        return self.side_by_side([partial(compute, chunk, operands, results) for chunk in chunks])

    def side_by_side(self, calls: list[Callable[[], T]]) -> list[T]:
        """Make the calls, in this thread too, and give their results in order.

        At most ``budget.current().threads`` at once. None runs any more when this returns or
        raises.
        """
        left = deque(enumerate(calls))
        share = budget.current()
        results: list[Any] = [None] * len(calls)

        def work(*, is_caller: bool) -> None:
            while left and (is_caller or not share.step_back()):
                try:
                    index, call = left.popleft()
                except IndexError:  # another thread took the last one # uncounted: race
                    break
                results[index] = call()

        others: list[Future[None]] = []
        try:
            for _ in range(share.threads - 1):
                # In a copy of the caller's context: a kernel inside a kernel is configured alike.
                run = partial(copy_context().run, partial(work, is_caller=False))
                others.append(self._submit(run))
            work(is_caller=True)
            for other in others:
                # One that has not begun has nothing left to do.
                if not other.cancel():
                    other.result()
            return results
        finally:
            # On an error or Ctrl-C no thread may go on writing to arrays the caller owns again.
            left.clear()
            _end(others)

    def close(self) -> None:
        """End the threads."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.n_jobs - 1, thread_name_prefix="backends")
            return self._pool.submit(work)


def _end(futures: list[Future[None]]) -> None:
    """Wait for what has begun, also through Ctrl-C, which is raised then."""
    interrupted = False
    while True:
        try:
            wait([future for future in futures if not future.cancel()])
            break
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
