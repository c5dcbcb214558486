"""Independent jobs: one function on many items, on the workers of a backend.

joblib hands the jobs out, to its own processes or threads, to Dask, Ray or MPI; this package bounds
memory and input and output, keeps what is done, and tells which jobs failed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, overload

from backends import config, registry
from backends.backend import Backend
from backends.jobs import packing, room
from backends.jobs.checkpoint import Checkpoint
from backends.jobs.run import IN_PROCESS, ON_MACHINE, Run

__all__ = ["chosen", "map"]


@overload
def map(  # noqa: A001
    func: Callable[[Any], Any],
    items: Iterable[Any],
    /,
    *,
    backend: str | None = ...,
    n_jobs: int | None = ...,
    memory_per_job: int | str | None = ...,
    io_jobs: int | None = ...,
    checkpoint: str | os.PathLike[str] | None = ...,
    ordered: Literal[True] = ...,
    progress: bool | None = ...,
) -> Iterator[Any]: ...


@overload
def map(  # noqa: A001
    func: Callable[[Any], Any],
    items: Iterable[Any],
    /,
    *,
    backend: str | None = ...,
    n_jobs: int | None = ...,
    memory_per_job: int | str | None = ...,
    io_jobs: int | None = ...,
    checkpoint: str | os.PathLike[str] | None = ...,
    ordered: Literal[False],
    progress: bool | None = ...,
) -> Iterator[tuple[int, Any]]: ...


def map(  # noqa: A001 - what it does is what Python's does
    func: Callable[[Any], Any],
    items: Iterable[Any],
    /,
    *,
    backend: str | None = None,
    n_jobs: int | None = None,
    memory_per_job: int | str | None = None,
    io_jobs: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    ordered: bool = True,
    progress: bool | None = None,
) -> Iterator[Any]:
    """Call `func` on each item, several at once, each call a job of its own.

    Parameters
    ----------
    func : callable
        Takes one item. For workers in other processes it must be one that can be pickled: a
        function of a module or script, a lambda, a ``functools.partial``.
    items : iterable
        A generator is read as jobs are handed out, by another thread.
    backend : {"joblib", "threads", "dask", "mpi", "ray", "numpy"}, optional
        Whose workers; "numpy" does one job after the other in the caller's process. If left out,
        what is configured, or "joblib" where that has no workers.
    n_jobs : int, optional
        Jobs at once, with joblib's meaning; what the configuration says if left out. BLAS and
        OpenMP have the machine's cores divided by this within a job.
    memory_per_job : int or str, optional
        What one job needs, in bytes or as "2 GB": no more jobs run at once than fit into what is
        free when the first one begins; on Dask, MPI and Ray, into what each machine has. Refused
        where it is more than the machine has, or the smallest worker of a cluster may have.
    io_jobs : int, optional
        How many jobs may be within ``with backends.io_slot():`` at once, on each machine.
    checkpoint : path, optional
        A folder that keeps each result when its job is done. However the call ends, the same call
        gives what is there, and does only the other jobs.
    ordered : bool, default True
        Give results in the order of the items. Otherwise ``(index, result)`` as jobs are done.
    progress : bool, optional
        Whether to show a bar on stderr, with jobs a second and the time left. If left out, where
        stderr is a terminal.

    Returns
    -------
    iterator
        Arguments are checked by the call; work begins when the first result is asked for, and
        what nobody asks for any more is ended. While many results wait to be taken, no more jobs
        are handed out, so that memory stays bounded.

    Raises
    ------
    TypeError, ValueError
        An argument makes no sense, `func` cannot be pickled, `memory_per_job` is more than there
        is, `checkpoint` was made by another function or version.
    MemoryError
        `memory_per_job` is more than is free.
    BackendUnavailableError
        The backend cannot run here, or has no workers.
    JobsFailedError
        Jobs have failed; raised when all the others are done. In order, results are handed out up
        to the first job that failed; the error has the others.
    WorkerDiedError
        A worker process was killed.

    Examples
    --------
    >>> import backends
    >>> list(backends.map(abs, [-1, 2, -3], n_jobs=2))
    [1, 2, 3]

    With ``extend`` nothing is lost that was done before a job failed:

    >>> done = []
    >>> try:
    ...     done.extend(backends.map(len, ["a", 2, "abc"], backend="threads", n_jobs=2))
    ... except backends.JobsFailedError as error:
    ...     print(done, error.results, error.failures[0].item)
    [1] {2: 3} 2
    """
    if not callable(func):
        raise TypeError(f"func must be a function of one item, not {func!r}")
    if not isinstance(items, Iterable):
        raise TypeError(f"items must be something to go through, not {items!r}")
    if io_jobs is not None and (isinstance(io_jobs, bool) or not isinstance(io_jobs, int)):
        raise TypeError(f"io_jobs must be an integer, not {io_jobs!r}")
    if io_jobs is not None and io_jobs < 1:
        raise ValueError(f"io_jobs={io_jobs}: give at least 1, or leave it out")
    engine = chosen(backend, n_jobs)
    if engine.name not in IN_PROCESS:
        packing.check_function(func)
    needed = None if memory_per_job is None else room.read(memory_per_job)
    if needed is not None and engine.name in ON_MACHINE:
        room.check(needed)
    elif needed is not None and (least := engine.worker_memory()) is not None:
        room.check(needed, least, f"the smallest worker of backend {engine.name!r} may have")
    kept = None if checkpoint is None else Checkpoint(checkpoint)
    if kept is not None:
        kept.open(func)  # what is wrong with it is said now
        kept.close()
    return Run(func, items, engine, needed, io_jobs, kept, ordered, progress).results()


def chosen(backend: str | None, n_jobs: int | None) -> Backend:
    """Give the backend whose workers are meant; see :func:`map`.

    Raises
    ------
    UnknownNameError, BackendUnavailableError
        As :func:`backends.get`; or the backend has no workers.
    """
    if backend is not None:
        engine = registry.get(backend, n_jobs)
        if not _has_workers(engine):
            engine.jobs()  # raises
        return engine
    chosen = config.current().backend
    # The default of kernels, one core, is nobody's wish for jobs.
    if chosen.source != "the default":
        engine = registry.get(chosen.value, n_jobs)
        if _has_workers(engine):
            return engine
    return registry.get("joblib", n_jobs)


def _has_workers(engine: Backend) -> bool:
    return type(engine).jobs is not Backend.jobs
