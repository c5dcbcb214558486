"""Workers that are MPI ranks, driven by ``mpi4py.futures``.

* Under ``mpiexec -n N python -m mpi4py.futures program.py`` rank 0 runs the program and hands out,
  and the other ranks work (:class:`WorldRanks`). A program that was started without ``mpiexec``
  has ranks of its own (:mod:`backends.engines.own_ranks`).
* What travels is packed once (:mod:`backends.engines.parcels`): arrays go by MPI as they lie in
  memory, without being pickled.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from typing import Any

from backends import budget
from backends.engines.parcels import Parts, outcome, pack, perform

__all__ = [
    "BACKOFF",
    "Ranks",
    "WorldRanks",
    "begin",
    "is_shared",
    "is_worker",
    "world",
    "world_size",
]

#: Seconds that ranks sleep at most before they look for work again. Large messages advance only
#: when they look: mpi4py's own 0.001 halves the speed at which arrays travel.
BACKOFF = 0.0001
#: How launchers tell a process how many ranks they started.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")


class Ranks(ABC):
    """Workers, each with its own memory.

    Attributes
    ----------
    size : int
        How many there are.
    """

    size: int

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Parts]:
        """Have a worker that is free call the function; see :func:`outcome`.

        Raises
        ------
        TypeError
            It, or its arguments, cannot be pickled.
        """
        return self.send(_packed(function, args))

    @abstractmethod
    def send(self, call: Parts) -> Future[Parts]:
        """Have a worker that is free make a packed call."""

    def each(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Make as many calls as there are workers, each on a worker of its own.

        Each is a function and its arguments.
        """
        # Workers take what comes next. So each waits until all have one of these calls, and none
        # of another thread's can come between.
        parcels = [_packed(_together, call) for call in calls]  # one alone would wait forever
        try:
            with self._lock:
                futures = [self.send(parcel) for parcel in parcels]
            return [outcome(future) for future in futures]
        except BaseException as error:
            if not isinstance(error, Exception):
                self.kill()  # Ctrl-C: what they do may take minutes
            raise

    @abstractmethod
    def alive(self) -> bool:
        """Tell whether the workers are there, as far as is known."""

    @abstractmethod
    def kill(self) -> None:
        """End what they are doing, now, if they are this program's own to end."""

    @abstractmethod
    def close(self) -> None:
        """End them, if they are this program's own to end."""


class WorldRanks(Ranks):
    """Ranks 1 and higher of the ``mpiexec`` under which this program runs."""

    def __init__(self, size: int) -> None:
        from mpi4py.futures import MPIPoolExecutor

        super().__init__(size)
        self._interrupts = 0
        # Functions travel by value: workers need not import the program, but modules beside it.
        self._executor = MPIPoolExecutor(
            use_pkl5=True,
            main=False,
            path=list(sys.path),
            backoff=BACKOFF,
            initializer=None if is_worker() else begin,
        )

    def send(self, call: Parts) -> Future[Parts]:
        """Have a worker make a packed call; see :meth:`Ranks.send`."""
        future: Future[Parts] = self._executor.submit(_answer, call, self._interrupts)
        return future

    def alive(self) -> bool:
        """Tell that they live: where one dies, mpiexec ends all, this program with them."""
        return True

    def kill(self) -> None:
        """Leave them alone, which would take this program with them, and have them forget Ctrl-C.

        A terminal interrupts them as well. One of them then refuses calls that were sent before
        this: what waits may be with it sooner than this program can take it back.
        """
        self._interrupts += 1  # uncounted: worker

    def close(self) -> None:
        """Leave them alone: they end with the program."""


def _packed(function: Callable[..., Any], args: tuple[Any, ...]) -> Parts:
    """Pack a call.

    Raises
    ------
    TypeError
        It cannot be pickled.
    """
    try:
        return pack((function, args))
    except Exception as error:  # objects raise what they like where they cannot be pickled
        raise TypeError(
            f"mpi: what is to be called, or its arguments, cannot be sent to other processes: "
            f"{error}. Open files, locks and connections within the function, or choose backend "
            "threads, which sends nothing"
        ) from error


@cache
def world() -> WorldRanks:
    """Give the other ranks of the ``mpiexec`` under which this program runs.

    A worker that asks has itself.
    """
    return WorldRanks(1 if is_worker() else world_size() - 1)


def world_size() -> int:
    """Count the ranks that run this program's ``mpiexec``: 1 without one."""
    told = [os.environ[name] for name in SIZES if name in os.environ]
    if "mpi4py.MPI" not in sys.modules and not any(text.isdecimal() for text in told):
        return 1  # importing MPI would start it
    from mpi4py import MPI

    return int(MPI.COMM_WORLD.size)


def is_shared() -> bool:
    """Tell whether ``python -m mpi4py.futures`` made workers of the other ranks."""
    core = sys.modules.get("mpi4py.futures._core")
    return getattr(core, "SharedPool", None) is not None


class _Me:
    """What this process is."""

    is_worker = False
    #: How often the program had been interrupted when a call was, here.
    interrupted = -1


def is_worker() -> bool:
    """Tell whether this process is such a worker, in which nothing is shared out again."""
    return _Me.is_worker


def begin() -> None:
    """Prepare a worker: its share of its machine's cores, for BLAS and OpenMP."""
    from joblib.parallel import ParallelBackendBase
    from mpi4py import MPI
    from mpi4py.futures import get_comm_workers
    from threadpoolctl import threadpool_limits

    _Me.is_worker = True
    # By names: under MPICH's NOLOCAL (own_ranks.py), MPI takes each rank for a machine of its own.
    machine = MPI.Get_processor_name()
    here = get_comm_workers().allgather(machine).count(machine)
    share = str(max(1, budget.cores() // here))
    threads = os.environ.setdefault("OMP_NUM_THREADS", share)
    for variable in ParallelBackendBase.MAX_NUM_THREADS_VARS:
        os.environ.setdefault(variable, threads)
    # The libraries that are loaded have read the environment already.
    threadpool_limits(int(threads) if threads.isdecimal() else int(share))


def _answer(call: Parts, interrupts: int) -> Parts:
    """Make a packed call, unless one was interrupted here that was sent between the same two."""
    if _Me.interrupted < interrupts:
        try:
            return perform(call, KeyboardInterrupt)
        except KeyboardInterrupt:
            _Me.interrupted = interrupts
    return pack((False, KeyboardInterrupt()))


def _together(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function when every worker is about to."""
    from mpi4py.futures import get_comm_workers

    meeting = get_comm_workers().Ibarrier()
    while not meeting.Test():
        time.sleep(0.0005)  # a worker may be busy for long, and MPI's own wait takes a core
    return function(*args)
