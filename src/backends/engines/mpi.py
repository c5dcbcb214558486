"""Backend ``mpi``: chunks, jobs and scattered arrays on MPI ranks, on one machine or many.

* ``mpiexec -n N python -m mpi4py.futures program.py`` runs the program on rank 0, which hands out;
  the N - 1 other ranks work. A program that is started without ``mpiexec`` starts one itself, of
  `n_jobs` workers on its own machine.
* Workers share no memory: a call's arrays are sent, chunk by chunk, as they lie in memory, and its
  results come back (:attr:`MpiBackend.last_transfer` tells what that cost). What stays for many
  rounds is scattered once.
* A worker that dies ends all of them. Under ``mpiexec`` the program ends too, and mpiexec says of
  what; a program with workers of its own gets a :class:`~backends.errors.WorkerDiedError`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import util
from typing import Any, NamedTuple

import numpy as np

from backends import blas
from backends.backend import check_jobs
from backends.engines import own_ranks, ranks
from backends.engines.chunked import Array, Chunk, ChunkedBackend, compute
from backends.engines.mpi_jobs import MpiJobs
from backends.engines.mpi_pieces import OnRanks
from backends.engines.own_ranks import OwnRanks
from backends.engines.parcels import Parts, outcome
from backends.engines.ranks import Ranks
from backends.jobs.held import Held
from backends.kernel import Kernel
from backends.ram import usable

__all__ = ["MpiBackend", "Transfer"]

#: Chunks on their way for each worker: one that is computed, and one that comes meanwhile.
AHEAD = 2


class Transfer(NamedTuple):
    """What moving the arrays of one call cost.

    Attributes
    ----------
    sent, received : int
        Bytes of operands to the workers, and of results from them.
    computing : float
        Seconds that a worker computed, on average.
    seconds : float
        The rest of the call: packing, sending, waiting, and writing the results.
    """

    sent: int
    received: int
    computing: float
    seconds: float


class MpiBackend(ChunkedBackend):
    """Ranks of an MPI job, which share no memory with the caller.

    Parameters
    ----------
    n_jobs : int
        Ranks that work. -1: under ``mpiexec`` all but rank 0, which hands out; otherwise as many
        as there are cores.

    Attributes
    ----------
    last_transfer : Transfer or None
        What moving arrays cost in the call that was divided last.

    Examples
    --------
    >>> import backends
    >>> if "mpi" in backends.available():
    ...     assert backends.sqrt([1.0, 4.0], backend="mpi").tolist() == [1.0, 2.0]
    """

    name = "mpi"

    # An element travels at about the speed at which one core computes a cheap function of it.
    # `backends bench add sin gammaln --backend mpi` shows which kernels it pays for.
    min_work: float = 2.0**25

    def __init__(self, n_jobs: int = -1) -> None:
        self.last_transfer: Transfer | None = None
        if ranks.is_worker():
            super().__init__(1)  # what a worker calls, it computes itself
        elif ranks.world_size() > 1:
            super().__init__(1)
            self.n_jobs = _of_the_others(n_jobs)
        else:
            super().__init__(n_jobs)

    @classmethod
    def unavailable(cls) -> str | None:
        """Give the reason where MPI is missing, or every rank runs the program."""
        if util.find_spec("mpi4py") is None:
            return f"mpi4py is not installed: {own_ranks.REMEDY}"
        size = ranks.world_size()
        if ranks.is_worker() or (size > 1 and ranks.is_shared()):
            return None
        if size > 1:
            return (
                f"each of the {size} ranks runs this program; start it as "
                f"mpiexec -n {size} python -m mpi4py.futures PROGRAM, and rank 0 runs it with "
                f"{size - 1} worker(s)"
            )
        if own_ranks.find_mpiexec() is None:
            return f"mpiexec is neither beside this Python nor on PATH: {own_ranks.REMEDY}"
        return None

    def start(self) -> None:
        """Begin with no ranks; see :meth:`ChunkedBackend.start`."""
        self._lock = threading.Lock()
        self._own: OwnRanks | None = None

    def share(self, wanted: int) -> AbstractContextManager[Any]:
        """Take all ranks: the cores of this process are not theirs."""
        return nullcontext(_Granted(wanted))

    def ranks(self) -> Ranks:
        """Give the workers: those that live, or new ones."""
        if ranks.world_size() > 1:
            return ranks.world()
        with self._lock:
            if self._own is not None and not self._own.alive():
                self._own.kill()  # mpiexec may be about to
                self._own = None
            if self._own is None:
                self._own = OwnRanks(self.n_jobs)
            return self._own

    def map(
        self, chunks: list[Chunk], operands: tuple[Any, ...], results: tuple[Array, ...]
    ) -> list[set[str]]:
        """Compute the chunks on the ranks; see :meth:`ChunkedBackend.map`."""
        workers = self.ranks()
        begin = time.perf_counter()
        running: dict[Future[Parts], tuple[Array, ...]] = {}
        errors: list[set[str]] = []
        sent = received = 0
        computing = 0.0

        def collect(most: int) -> None:
            """Write what comes back to the results, until `most` chunks are on their way."""
            nonlocal received, computing
            while len(running) > most:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    noted, seconds, arrays = outcome(future)
                    for piece, array in zip(running.pop(future), arrays, strict=True):
                        np.copyto(piece.transpose(_order(piece)), array)
                        received += array.nbytes
                    errors.append(noted)
                    computing += seconds

        try:
            for chunk in chunks:
                collect(AHEAD * self.n_jobs - 1)
                pieces = chunk.of((*operands, *results))
                inputs = [_Piece.of(x) for x in pieces[: len(operands)]]
                outs = pieces[len(operands) :]
                layouts = [(_order(x), x.shape, x.dtype) for x in outs]
                running[workers.submit(_work, chunk.kernel, inputs, layouts)] = outs
                sent += sum(x.data.nbytes for x in inputs if isinstance(x, _Piece))
            collect(0)
        except BaseException as error:
            for future in running:
                future.cancel()
            if not isinstance(error, Exception):  # uncounted: worker
                workers.kill()  # Ctrl-C: what they do may take minutes
            raise
        share = computing / min(self.n_jobs, len(chunks))
        passed = time.perf_counter() - begin
        self.last_transfer = Transfer(sent, received, share, max(passed - share, 0.0))
        return errors

    @contextmanager
    def jobs(self) -> Iterator[dict[str, Any]]:
        """Let ``joblib.Parallel`` run its jobs on the ranks; see :meth:`Backend.jobs`."""
        try:
            yield {"backend": MpiJobs(self), "n_jobs": self.n_jobs}
        except KeyboardInterrupt:
            self.interrupt()
            raise

    def worker_memory(self) -> int:
        """Give the bytes that there are on the smallest machine of the ranks."""
        if ranks.world_size() == 1:
            return usable()  # ranks of this program's own are here
        workers = self.ranks()  # uncounted: worker
        return int(min(workers.each([(usable,)] * workers.size)))  # uncounted: worker

    def scatter(self, pieces: Sequence[Array]) -> Held:
        """Send the pieces to the ranks, where they stay."""
        return OnRanks(self.ranks(), pieces)

    def interrupt(self) -> None:
        """End what ranks of this program's own are doing, now; the next call starts new ones."""
        with self._lock:
            own = self._own
        if own is not None:
            own.kill()
        elif ranks.world_size() > 1:  # uncounted: worker
            ranks.world().kill()

    def close(self) -> None:
        """End ranks of this program's own."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            own.close()


class _Granted(NamedTuple):
    threads: int


def _of_the_others(n_jobs: int) -> int:
    """Count the ranks that are to work, of those that mpiexec started besides this one."""
    check_jobs(n_jobs)
    most = ranks.world_size() - 1
    if n_jobs > most:
        raise ValueError(
            f"n_jobs={n_jobs} is more than the {most} worker(s) that mpiexec started: start "
            f"mpiexec -n {n_jobs + 1}, of which rank 0 hands out, or give -1 for all there are"
        )
    return n_jobs if n_jobs > 0 else max(most + 1 + n_jobs, 1)


class _Piece(NamedTuple):
    """A piece of an array as it travels: contiguous, its axes in memory order, none repeated."""

    data: Array
    order: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        index = tuple(
            slice(0, 1) if stride == 0 and n > 1 else slice(None)
            for n, stride in zip(x.shape, x.strides, strict=True)
        )
        order = _order(x)
        compact = x[(*index, ...)].transpose(order)  # the dots keep an array of no axes one
        return cls(np.array(compact, order="C", copy=None), order, x.shape)

    def array(self) -> Array:
        # The same strides as at home, as far as they matter: the same loops run.
        return np.broadcast_to(self.data.transpose(np.argsort(self.order)), self.shape)


def _order(x: Array) -> tuple[int, ...]:
    """Give the axes of an array from the one with the widest step in memory to the narrowest."""
    return tuple(sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis])))


def _work(
    kernel: Kernel, inputs: list[Any], layouts: list[tuple[Any, ...]]
) -> tuple[set[str], float, list[Array]]:
    """Compute on pieces, on a worker: the floating-point errors, the seconds, the results."""
    begin = time.perf_counter()
    operands = tuple(x.array() if isinstance(x, _Piece) else x for x in inputs)
    made = [np.empty([shape[axis] for axis in order], dtype) for order, shape, dtype in layouts]
    results = tuple(
        x.transpose(np.argsort(order)) for x, (order, *_) in zip(made, layouts, strict=True)
    )
    whole = Chunk(kernel, 0, 0, 0, (False,) * (len(operands) + len(results)))
    with blas.limited(1) if kernel.blas else nullcontext():
        errors = compute(whole, operands, results)
    return errors, time.perf_counter() - begin, made
