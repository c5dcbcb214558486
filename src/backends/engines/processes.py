"""Backend ``joblib``: chunks on joblib's loky processes, arrays in shared memory.

A worker is sent a kernel's name, a few numbers that say where the arrays are, and which piece is
its own. It reads its operands from shared memory and writes its result there; no array passes
through a pipe. Results stay in shared memory, so that the next call need not copy them in.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from backends import blas, budget, workers
from backends.engines import tasks
from backends.engines.chunked import ENGINES, Array, Chunk, ChunkedBackend
from backends.engines.shared import BLOCK, Block, Pool
from backends.errors import WorkerDiedError
from backends.kernel import NUMERIC_KINDS

if TYPE_CHECKING:
    from backends.jobs.held import Held

__all__ = ["JoblibBackend"]

#: Seconds after which an idle worker ends; a later call starts another. As joblib's default.
IDLE_SECONDS = 300


class JoblibBackend(ChunkedBackend):
    """A persistent pool of `n_jobs` processes.

    Results lie in shared memory for as long as they are used; :meth:`asarray` puts inputs there
    too, and then nothing is copied. A process that is forked while it holds such arrays shares
    them with its child, unlike ordinary ones: copy what the child is to change.

    Examples
    --------
    >>> import backends, numpy as np
    >>> with backends.get("joblib", n_jobs=2) as engine:
    ...     x = engine.asarray(np.zeros(1_000_000))
    ...     float(engine.run(backends.cos, x).mean())
    1.0
    """

    name = "joblib"

    # A call costs some milliseconds to hand out and, for ordinary arrays, a copy of the inputs.
    # `backends bench add sin gammaln --backend joblib --size 100000,300000,1000000,3000000`
    # shows where it begins to pay.
    min_work: float = 2.0**24

    def __init__(self, n_jobs: int = -1, *, block: Block = BLOCK) -> None:
        self._block = block
        super().__init__(n_jobs)

    def start(self) -> None:
        """Begin with no processes and no shared memory; see :meth:`ChunkedBackend.start`."""
        self._lock = threading.Lock()
        self._executor: Any = None
        self._memory = Pool(self._block)

    def asarray(self, x: Any) -> Array:
        """Put `x` in shared memory, where it is used without copying; it is found there again."""
        array = np.asarray(x)
        if array.dtype.kind not in NUMERIC_KINDS:
            raise TypeError(f"joblib: an array of dtype {array.dtype} is no array of numbers")
        return array if self.seen(array) else self._memory.copy(array)

    def to_numpy(self, x: Any) -> Array:
        """Copy `x` to ordinary memory, where it outlives this backend's pool and forks apart."""
        return np.array(x) if self.seen(x) else np.asarray(x)

    def seen(self, array: Array) -> bool:
        """Tell whether `array` lies in shared memory of this backend."""
        return self._memory.find(array) is not None

    def place(self, operand: Array) -> Array:
        """Copy an operand to shared memory unless it lies there."""
        return operand if self.seen(operand) else self._memory.copy(operand)

    def empty_like(self, prototype: Array) -> Array:
        """Make a result's array in shared memory."""
        return self._memory.empty(prototype.shape, prototype.dtype, prototype.strides)

    def map(
        self, chunks: list[Chunk], operands: tuple[Any, ...], results: tuple[Array, ...]
    ) -> list[set[str]]:
        """Compute the chunks in the processes; see :meth:`ChunkedBackend.map`."""
        places = tuple(self._where(x) for x in operands), tuple(self._where(x) for x in results)
        names = self._memory.names()
        each = [(chunk, *places, names) for chunk in chunks]
        return self._finish(tasks.work, each, chunks[0].kernel.name)

    def scatter(self, pieces: Sequence[Array]) -> Held:
        """Put the pieces into shared memory, unless they lie there."""
        from backends.engines.pieces import SharedPieces

        return SharedPieces(self, [self.asarray(piece) for piece in pieces])

    def apply(
        self, func: Callable[..., Any], pieces: Sequence[Array], args: tuple[Any, ...]
    ) -> list[Any]:
        """Call ``func(piece, *args)`` in the processes, on pieces in shared memory."""
        name = getattr(func, "__qualname__", type(func).__qualname__)
        args = tuple(self.place(x) if tasks.is_large(x) else x for x in args)
        # Small ones are not there, and sent along with the function.
        args = tuple((self._where(x) or x) if isinstance(x, np.ndarray) else x for x in args)
        call = tasks.pickled(name, func, args)
        # Placed: those of a parent, after a fork, are not in this process's shared memory.
        placed = [self.place(piece) for piece in pieces]
        names = self._memory.names()
        each = [(call, self._where(piece), names) for piece in placed]
        with budget.Share(min(self.n_jobs, len(each))):
            return self._finish(tasks.call, each, name)

    def _finish(
        self, function: Callable[..., Any], each: list[tuple[Any, ...]], name: str
    ) -> list[Any]:
        """Have each task done; when this returns or raises, none is being done any more."""
        executor: Any = None
        futures: list[Future[Any]] = []
        try:
            executor = self._healthy()
            _submit(executor, function, each, futures)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            self._kill(executor)
            raise _explain(error, name) from error
        except BaseException as error:
            # A task may take minutes, and memory it writes to must not be used again before it
            # has ended: after a kernel's own error wait for the others, at Ctrl-C end them.
            try:
                if not isinstance(error, Exception):
                    raise
                for future in futures:
                    future.cancel()
                wait(futures)
            except BaseException:
                self._kill(executor or self._executor)
                raise
            raise

    @contextmanager
    def jobs(self) -> Iterator[dict[str, Any]]:
        """Lend processes to joblib: its own, not those that compute kernels.

        See :meth:`backends.backend.Backend.jobs`.
        """
        try:
            yield {"backend": "loky", "n_jobs": self.n_jobs}
        except Exception:
            raise
        except BaseException:
            _kill_lent()
            raise

    def close(self) -> None:
        """End the processes and give idle shared memory back."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)
        self.trim()

    def trim(self) -> None:
        """Give shared memory that no array is in back to the system."""
        self._memory.trim()

    def _kill(self, executor: Any) -> None:
        """End the workers of one executor, now; a call that another has is left alone."""
        while executor is not None:
            try:
                with self._lock:
                    if self._executor is executor:
                        self._executor = None
                # Not shutdown(kill_workers=True): its thread stumbles over work that is still
                # queued, and leaves workers alive that go on writing to memory.
                for worker in list(executor._processes):
                    with suppress(psutil.NoSuchProcess):
                        psutil.Process(worker).kill()
                executor.shutdown(wait=True)
                return
            except KeyboardInterrupt:  # uncounted: race
                continue  # not before they have ended; the first one is being raised already

    def _where(self, x: Any) -> Any:
        return self._memory.find(x) if isinstance(x, np.ndarray) else x

    def _healthy(self) -> Any:
        """Give an executor whose workers live: one that died since the last call is replaced.

        There was nothing to lose; the executor itself may notice only in the middle of this call.
        """
        executor = self._running()
        if executor._flags.broken or not all(map(_alive, list(executor._processes))):
            self._kill(executor)
            executor = self._running()
        return executor

    def _running(self) -> Any:
        # Its own executor, not joblib.Parallel: that one makes a folder in /dev/shm at each call,
        # and loky's reusable one is restarted whenever the program's own joblib calls differ.
        from joblib.externals.loky import ProcessPoolExecutor

        with self._lock:
            if self._executor is None:
                self._executor = ProcessPoolExecutor(
                    max_workers=self.n_jobs,
                    timeout=IDLE_SECONDS,
                    initializer=_initialize,
                    initargs=(os.getpid(),),
                )
            return self._executor


def _submit(
    executor: Any,
    function: Callable[..., Any],
    each: list[tuple[Any, ...]],
    futures: list[Future[Any]],
) -> None:
    """Hand tasks out, to as many processes at once as the call was granted; fewer as others come.

    What was handed out is in `futures` also when this raises.
    """
    share = budget.current()
    places = share.threads
    running: set[Future[Any]] = set()
    for task in each:
        while len(running) >= places:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()  # raises what the kernel raised: no more tasks then
            while places > 1 and share.step_back():
                places -= 1
        futures.append(executor.submit(function, *task))
        running.add(futures[-1])


def _explain(error: BrokenProcessPool, name: str) -> Exception:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if not isinstance(error, TerminatedWorkerError):
        return RuntimeError(f"joblib: {name} could not be sent to its workers: {error.__cause__}")
    return WorkerDiedError(
        f"joblib: a worker process died while computing {name}: killed from outside, by the "
        "system for want of memory, or with another thread's call that was interrupted. Nothing "
        "was returned; the next call starts new workers (fewer n_jobs need less memory)"
    )


def _alive(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # uncounted: race
        return False


def _kill_lent() -> None:
    """Kill those of joblib's workers that it overlooked when it ended them; see ``_kill``."""
    from joblib.externals.loky import reusable_executor

    executor = reusable_executor._executor
    if executor is not None and executor._flags.shutdown:  # uncounted: race
        for worker in list(executor._processes):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(worker)
                for each in (*process.children(recursive=True), process):
                    each.kill()


@atexit.register
def _let_go() -> None:
    """Free executors, which have ended by now, while the modules that they log with still exist."""
    # A forked child has none: `start` was called there.
    for engine in list(ENGINES):
        if isinstance(engine, JoblibBackend):
            engine._executor = None


def _initialize(parent: int) -> None:  # uncounted: worker
    """Prepare a worker: one BLAS thread, Ctrl-C left to the parent, no life without it."""
    workers.leave_ctrl_c_to_parent()
    workers.end_with(parent)
    blas.acquire(1, _initialize)
