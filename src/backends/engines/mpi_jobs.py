"""joblib's jobs on MPI ranks, within ``MpiBackend.jobs()``."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from backends.engines.parcels import Parts, outcome
from backends.engines.ranks import Ranks, is_worker

__all__ = ["MpiJobs", "Workers"]


class Workers(Protocol):
    """What of backend ``mpi`` is needed here."""

    n_jobs: int

    def ranks(self) -> Ranks:
        """Give the workers: those that live, or new ones."""

    def interrupt(self) -> None:
        """End what they are doing, if they are the program's own."""


class MpiJobs(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc] # joblib has no types
    """What joblib asks of a backend; its batches of short jobs travel together.

    Parameters
    ----------
    backend : Workers
        Whose ranks work.
    """

    supports_retrieve_callback = True

    def __init__(self, backend: Workers, **more: Any) -> None:
        super().__init__(**more)
        self._backend = backend
        self._futures: weakref.WeakSet[Future[Parts]] = weakref.WeakSet()

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Count the ranks that will work."""
        return self._backend.n_jobs if n_jobs < 0 else min(n_jobs, self._backend.n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Begin, and count the jobs at once: those of one worker joblib would run here."""
        self.parallel = parallel
        return max(self.effective_n_jobs(n_jobs), 1 if is_worker() else 2)

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Future[Parts]], None] | None = None
    ) -> Future[Parts]:
        """Have a rank call `func`."""
        try:
            future = self._backend.ranks().submit(func)
        except Exception as error:  # Raised here it would be lost: a callback may be what calls.
            future = Future()
            future.set_exception(error)
        self._futures.add(future)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit  # what joblib before 1.5 calls

    def retrieve_result_callback(self, out: Future[Parts]) -> Any:
        """Give what a job returned, or raise what it raised."""
        return outcome(out)

    def terminate(self) -> None:
        """Keep the ranks: the next call uses them again."""
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Take back what has not begun, and end what has if the ranks are the program's own."""
        futures = list(self._futures)
        for future in futures:
            future.cancel()
        if any(future.running() for future in futures):
            self._backend.interrupt()
