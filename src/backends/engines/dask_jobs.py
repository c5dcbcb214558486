"""joblib's jobs on the workers of a Dask cluster, within ``DaskBackend.jobs()``.

joblib's own backend for Dask is told of tasks that ended well only: where a job kills its workers,
or cannot be pickled, it waits forever.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any

import cloudpickle
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from backends.engines.cluster import FIRST_WORKER
from backends.engines.dask_pieces import ATTEMPTS, LARGE, scatter
from backends.errors import WorkerDiedError

__all__ = ["DaskJobs"]

#: Seconds between two looks at whether there are workers.
LOOK = 1.0


class DaskJobs(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc] # joblib has no types
    """What joblib asks of a backend; its batches of short jobs travel together.

    Parameters
    ----------
    client : distributed.Client
        Whose workers work.
    most : int
        Jobs at once.
    """

    supports_retrieve_callback = True

    def __init__(self, client: Any, most: int, **more: Any) -> None:
        super().__init__(**more)
        self._client, self._most = client, most
        self._tasks: set[Any] = set()
        self._open: set[Future[Any]] = set()
        self._ended = threading.Event()

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Count the jobs at once."""
        return self._most if n_jobs < 0 else min(n_jobs, self._most)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """Begin, and count the jobs at once: those of one worker joblib would run here."""
        self.parallel = parallel
        self._ended = threading.Event()
        threading.Thread(target=self._watch, args=(self._ended,), daemon=True).start()
        return max(self.effective_n_jobs(n_jobs), 2)

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Future[Any]], None] | None = None
    ) -> Future[Any]:
        """Have a worker call `func`."""
        future: Future[Any] = Future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        if callback is not None:
            future.add_done_callback(callback)
        try:
            self._send(future, cloudpickle.dumps(func), ATTEMPTS)
        except Exception as error:  # Raised here it would be lost: a callback may be what calls.
            _fail(future, error)
        return future

    apply_async = submit  # what joblib before 1.5 calls

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Give what a job returned, or raise what it raised."""
        return out.result()

    def terminate(self) -> None:
        """Keep the workers: the next call uses them again."""
        self._ended.set()
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Take back what has not begun."""
        tasks, self._tasks = self._tasks, set()
        self._client.cancel(list(tasks))

    def _watch(self, ended: threading.Event) -> None:
        """Give up where no worker is left: Dask waits for one, and starts none that died early."""
        gone = f"all workers of Dask are gone, and none came back in {FIRST_WORKER} seconds"
        since = time.monotonic()
        # More than one: a look may itself take as long, while the scheduler restarts.
        misses = 0
        while not ended.wait(LOOK):
            cause, lost = None, gone
            try:
                misses = 0 if self._client.nthreads() else misses + 1
            except Exception as error:  # Dask's own classes, and those of the network
                cause, lost = error, f"Dask's scheduler does not answer any more ({error})"
                misses += 1
            if not misses:
                since = time.monotonic()
            elif misses > 1 and time.monotonic() - since > FIRST_WORKER:
                with suppress(Exception):  # The client has ended, too.
                    self.abort_everything()
                for future in list(self._open):
                    told = WorkerDiedError(lost)
                    told.__cause__ = cause
                    _fail(future, told)
                return

    def _send(self, future: Future[Any], data: bytes, attempts: int) -> None:
        # What is large goes to a worker, and not by way of the scheduler, which would keep it.
        sent = scatter(self._client, data) if len(data) >= LARGE else data
        task = self._client.submit(_perform, sent, pure=False)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, future, data, attempts - 1))

    def _done(self, future: Future[Any], data: bytes, attempts: int, task: Any) -> None:
        is_wanted = task in self._tasks
        self._tasks.discard(task)
        try:
            try:
                result = task.result()
            except CancelledError:  # a worker died with what it was to be called with
                if not (is_wanted and attempts):
                    raise
                self._send(future, data, attempts)
                return
        except BaseException as error:
            _fail(future, error)
        else:
            with suppress(InvalidStateError):  # It was given up.
                future.set_result(result)


def _fail(future: Future[Any], error: BaseException) -> None:
    with suppress(InvalidStateError):  # It has a result by now.
        future.set_exception(error)


def _perform(data: bytes) -> Any:  # uncounted: worker
    """Make a call that was packed; in a worker."""
    return pickle.loads(data)()
