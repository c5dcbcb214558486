"""The client of a Dask cluster: found in this process, connected by address, or begun here."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import process
from typing import Any

import psutil

from backends.engines.foreign import load
from backends.errors import BackendUnavailableError

__all__ = ["Cluster", "environment_kept", "in_task"]

#: Seconds in which a scheduler must answer, and in which there must be a first worker.
ANSWER = 5
FIRST_WORKER = 30
#: Dask has its workers hand what they free back to the system at once: every temporary array of the
#: next operation is then made of fresh pages (`MALLOC_TRIM_THRESHOLD_=65536 python
#: examples/pulsar_survey.py --beams 24` shows it). None: workers that are started here do not.
TRIM = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
#: A worker that died is started again at once. Dask looks 15 seconds later whether it is there and
#: ends it for good if not: one that died a second time in that moment is never seen again.
LASTING = {"distributed.deploy.lost-worker-timeout": "1 day"}


class Cluster:
    """What a backend needs of Dask: a client whose cluster has workers.

    Parameters
    ----------
    scheduler : str or None
        An address; "local"; or None: the process's own client, the address in Dask's
        configuration, or "local".
    """

    def __init__(self, scheduler: str | None) -> None:
        self._scheduler = scheduler
        self.forget()

    def forget(self) -> None:
        """Begin with no client, and leave what there was alone."""
        self._lock = threading.Lock()
        self._client: Any = None
        self._begun: Any = None

    def find(self) -> Any:
        """Give the client of a cluster that is there, or None where one is to be begun.

        Raises
        ------
        BackendUnavailableError
            There is no scheduler at the address, or it has no workers.
        """
        with self._lock:
            return self._find()

    def client(self, n_jobs: int) -> Any:
        """Give the client, of `n_jobs` processes on this machine where none is there.

        Raises
        ------
        BackendUnavailableError
            There is no scheduler at the address, or no workers, or none can be started.
        """
        with self._lock:
            return self._find() or self._begin(n_jobs)

    def close(self) -> None:
        """End the client, unless it is the program's own, and the processes that were begun."""
        with self._lock:
            client, self._client = self._client, None
            begun, self._begun = self._begun, None
        if client is not None:
            client.close()
        if begun is not None:
            begun.close()
            _end_lasting(self)

    def end_tasks(self) -> None:
        """End the processes that were begun, in the middle of what they do."""
        for nanny in () if self._begun is None else self._begun.workers.values():
            nanny.auto_restart = False  # or another one would be started, and waited for
            # Asked in Dask's way, one that works would be waited for some seconds.
            if nanny.pid is not None:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(nanny.pid).kill()
        self.close()

    def _find(self) -> Any:
        _refuse_after_fork()
        distributed = load("distributed")
        if self._scheduler is None:
            with suppress(ValueError):  # there is none
                return _with_workers(distributed.default_client())
        if self._client is not None and self._client.status == "running":
            return self._client
        address = self._scheduler or load("dask").config.get("scheduler-address", None) or "local"
        if address == "local":
            return None
        try:
            client = distributed.Client(address, timeout=ANSWER, set_as_default=False)
        except (OSError, ValueError) as error:  # nobody is there; it is no address
            raise BackendUnavailableError(
                f"backend 'dask': no scheduler answers at {address!r} ({error}): start one with "
                '`dask scheduler`, and workers with `dask worker ADDRESS`, or take scheduler="'
                'local", workers on this machine'
            ) from None
        try:
            self._client = _with_workers(client)
        except BaseException:
            client.close()
            raise
        return self._client

    def _begin(self, n_jobs: int) -> Any:
        if getattr(process.current_process(), "_inheriting", False):  # uncounted: worker
            # Said here, where the line of the program is in the traceback.
            raise BackendUnavailableError(
                "backend 'dask': its worker processes import the program's main module, which "
                'calls the backend again: put that under `if __name__ == "__main__":`'
            )
        distributed = load("distributed")
        try:
            with environment_kept(), load("dask").config.set(TRIM):
                self._begun = distributed.LocalCluster(
                    n_workers=n_jobs,
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,  # that data went with a worker is made good
                )
        except Exception as error:  # whatever a process meets that cannot start another
            raise BackendUnavailableError(
                f"backend 'dask': {n_jobs} worker processes could not be started "
                f"({type(error).__name__}: {error}); a script that calls the backend must do so "
                'under `if __name__ == "__main__":`, since they import it'
            ) from error
        _begin_lasting(self)
        # Not by way of the scheduler: the workers are on this machine.
        self._client = distributed.Client(self._begun, set_as_default=False, direct_to_workers=True)
        return self._client


@contextmanager
def environment_kept() -> Iterator[None]:
    """Put the environment back after a block.

    Dask sets ``OMP_NUM_THREADS=1`` and others here, for the workers that it starts to inherit, and
    leaves them: all that looks at them later in this process would keep to one thread.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


#: Who needs LASTING: it is a setting of the whole process, put back by the last of them.
_needing: set[Cluster] = set()
_lasting = ExitStack()
_lock = threading.Lock()


def _begin_lasting(cluster: Cluster) -> None:
    with _lock:
        if not _needing:
            _lasting.enter_context(load("dask").config.set(LASTING))
        _needing.add(cluster)


def _end_lasting(cluster: Cluster) -> None:
    with _lock:
        _needing.discard(cluster)
        if not _needing:
            _lasting.close()


def in_task() -> bool:
    """Tell whether this is a task in a Dask worker: all of it is one worker's work."""
    worker = sys.modules.get("distributed.worker")
    if worker is None:
        return False
    with suppress(ValueError):
        worker.get_worker()
        return True  # uncounted: worker
    return False


def _with_workers(client: Any) -> Any:
    """Give the client, once its cluster has a worker."""
    if not client.nthreads():
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER)
        except TimeoutError:
            address = client.scheduler.address
            raise BackendUnavailableError(
                f"backend 'dask': the scheduler at {address} has no workers, and got none within "
                f"{FIRST_WORKER} seconds: start one with `dask worker {address}`"
            ) from None
    return client


#: Whether this process has looked for a client, and whether it was forked from one that had.
_seen = False
_left_behind = False


def _refuse_after_fork() -> None:
    global _seen
    if _left_behind:  # uncounted: fork
        raise BackendUnavailableError(
            "backend 'dask': a Dask client was connected before this process was forked, and its "
            "thread is not here: it would hang. Start processes by the methods 'spawn' or "
            "'forkserver', or use backend 'numpy' here"
        )
    _seen = True


def _after_fork() -> None:  # uncounted: fork
    global _left_behind
    _left_behind = _left_behind or _seen


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
