"""Backend ``joblib``: chunks on joblib's loky processes, arrays in shared memory.

A worker is sent a kernel's name, a few numbers that say where the arrays are, and which piece is
its own. It reads its operands from shared memory and writes its result there; no array passes
through a pipe. Results stay in shared memory, so that the next call need not copy them in.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import psutil

from backends import blas, budget
from backends.engines.chunked import Array, Chunk, ChunkedBackend, compute
from backends.engines.shared import BLOCK, Attachments, Block, Pool, Reference
from backends.errors import WorkerDiedError
from backends.kernel import NUMERIC_KINDS

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
        tasks = [(chunk, *places, self._memory.names()) for chunk in chunks]
        executor: Any = None
        futures: list[Future[set[str]]] = []
        try:
            executor = self._healthy()
            _submit(executor, tasks, futures)
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            self._kill(executor)
            raise _explain(error, chunks[0].kernel.name) from error
        except BaseException as error:
            # A chunk may take minutes, and memory it writes to must not be used again before it
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

    def close(self) -> None:
        """End the processes and give idle shared memory back."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)
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
            except KeyboardInterrupt:
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


def _submit(executor: Any, tasks: list[tuple[Any, ...]], futures: list[Future[set[str]]]) -> None:
    """Hand tasks out, to as many processes at once as the call was granted; fewer as others come.

    What was handed out is in `futures` also when this raises.
    """
    share = budget.current()
    places = share.threads
    running: set[Future[set[str]]] = set()
    for task in tasks:
        while len(running) >= places:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()  # raises what the kernel raised: no more tasks then
            while places > 1 and share.step_back():
                places -= 1
        futures.append(executor.submit(_work, *task))
        running.add(futures[-1])


def _explain(error: BrokenProcessPool, kernel: str) -> Exception:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if not isinstance(error, TerminatedWorkerError):
        return RuntimeError(f"joblib: {kernel} could not be sent to its workers: {error.__cause__}")
    return WorkerDiedError(
        f"joblib: a worker process died while computing {kernel}: killed from outside, by the "
        "system for want of memory, or with another thread's call that was interrupted. Nothing "
        "was returned; the next call starts new workers (fewer n_jobs need less memory)"
    )


def _alive(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@cache
def _attachments() -> Attachments:
    return Attachments()


def _initialize(parent: int) -> None:
    """Prepare a worker: one BLAS thread, Ctrl-C left to the parent, no life without it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    blas.acquire(1, _initialize)
    if os.name != "nt":  # Windows does not tell that a parent has gone
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    # loky's workers notice that their parent was killed when they next want work; one in the
    # middle of an hour's work would go on, and hold its memory.
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(
    chunk: Chunk, operands: tuple[Any, ...], results: tuple[Reference, ...], names: frozenset[str]
) -> set[str]:
    attachments = _attachments()
    attachments.keep(names)
    arrays = tuple(attachments.array(x) if isinstance(x, Reference) else x for x in operands)
    try:
        return compute(chunk, arrays, tuple(attachments.array(x) for x in results))
    except Exception as error:  # Whatever the kernel raises must reach the caller.
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # It cannot travel: a class of its own, or one with other arguments.
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
