"""Backend ``dask``: on the workers of a Dask cluster, one on this machine or one elsewhere.

* NumPy's arrays are cut, the pieces sent to the workers, and the results brought back: bit for bit
  the reference's. The way there and back costs more than most kernels do; ``backends bench
  --backend dask`` tells the three apart.
* Dask arrays stay what they are. Where all their blocks are on the workers already, so are the
  result's when the call returns; a lazy array, which may be larger than memory, gives a lazy one.
* A worker that dies costs time only: pieces are kept here too, and what it was to compute is
  computed by another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import numpy as np

from backends.arguments import Bound
from backends.backend import check_jobs, count_jobs
from backends.engines.blockwise import is_dask, lazy
from backends.engines.chunked import Array, Chunk, ChunkedBackend, compute
from backends.engines.cluster import Cluster, in_task
from backends.engines.dask_jobs import DaskJobs
from backends.engines.dask_pieces import OnWorkers, Pieces, scatter, told
from backends.engines.foreign import load, missing, seconds_to_import
from backends.jobs.held import Held
from backends.kernel import NUMERIC_KINDS, Kernel
from backends.ram import usable

__all__ = ["DaskBackend"]


class DaskBackend(ChunkedBackend):
    """The workers of a Dask cluster.

    Parameters
    ----------
    n_jobs : int
        Processes on this machine, with joblib's meaning; of a cluster that is there already, how
        many of its workers' threads are counted on, -1 for all.
    scheduler : str, optional
        The address of a scheduler; or "local", for processes on this machine with one thread each,
        which end with this one. Without it, as Dask does: the program's own
        ``distributed.Client``, the address in Dask's configuration (``DASK_SCHEDULER_ADDRESS``),
        or "local".

    Notes
    -----
    Processes on this machine import the program's main module: a script makes its calls under
    ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import backends
    >>> if "dask" in backends.available():
    ...     import dask.array
    ...     x = dask.array.ones((4, 4), chunks=2)
    ...     assert backends.sqrt(x, backend="dask").sum().compute(scheduler="sync") == 16.0
    """

    name = "dask"
    takes_scheduler = True

    # As joblib's, and a copy to each worker and back through a socket: `backends bench matmul erf
    # --backend dask --size 1e7` shows that elementwise functions never pay for it.
    min_work: float = 2.0**26

    def __init__(self, n_jobs: int = -1, scheduler: str | None = None) -> None:
        self._cluster = Cluster(scheduler)
        super().__init__()
        check_jobs(n_jobs)
        client = self._cluster.find()
        if client is None:
            self.n_jobs = count_jobs(n_jobs)
        else:
            threads = sum(client.nthreads().values())
            self.n_jobs = max(min(n_jobs, threads) if n_jobs > 0 else threads + 1 + n_jobs, 1)

    @classmethod
    def unavailable(cls) -> str | None:
        """Give the reason where Dask is missing or does not work."""
        return missing("distributed", "dask")

    @property
    def import_seconds(self) -> float:
        """Seconds that importing Dask took."""
        return seconds_to_import("distributed") + seconds_to_import("dask.array")

    def start(self) -> None:
        """Begin with no client; see :meth:`ChunkedBackend.start`."""
        self._cluster.forget()

    def client(self) -> Any:
        """Give the ``distributed.Client`` that there is, or one of workers that start now.

        Raises
        ------
        BackendUnavailableError
            There is no scheduler, or it has no workers; says what would mend it.
        """
        return self._cluster.client(self.n_jobs)

    def close(self) -> None:
        """End the processes that were started here, and the connection to others."""
        self._cluster.close()

    def divides(self, kernel: Kernel, *arrays: Any) -> bool:
        """Tell whether this call would be shared among the workers."""
        return any(map(is_dask, arrays)) or super().divides(kernel, *arrays)

    def run(self, kernel: Kernel, *arrays: Any, out: Any = None) -> Any:
        """Compute on the workers; see :meth:`backends.backend.Backend.run`.

        Of Dask arrays the result is one too. Of lazy ones it is computed when it is asked for.
        """
        own = [x for x in (*arrays, *(out if isinstance(out, tuple) else (out,))) if is_dask(x)]
        if not own:
            return super().run(kernel, *arrays, out=out)
        if not all(map(_is_computed, own)):
            return lazy(kernel, arrays, out)
        result = lazy(kernel, tuple(_renamed(x) if is_dask(x) else x for x in arrays), out)
        if isinstance(result, tuple):
            return type(result)(*self._computed(list(result), kernel.name))
        return self._computed([result], kernel.name)[0]

    def asarray(self, x: Any) -> Any:
        """Put `x` on the workers, as a Dask array of one block a job."""
        if is_dask(x):
            return x
        array = np.asarray(x)
        if array.dtype.kind not in NUMERIC_KINDS:
            raise TypeError(f"dask: an array of dtype {array.dtype} is no array of numbers")
        axis = next((i for i, n in enumerate(array.shape) if n >= self.n_jobs), 0)
        pieces = np.array_split(array, self.n_jobs, axis) if array.ndim else [array]
        pieces = [piece for piece in pieces if piece.size] or [array]
        with told("what was put on the workers"):
            futures = scatter(self.client(), pieces)
        chunks = tuple(
            tuple(piece.shape[axis] for piece in pieces) if i == axis else (n,)
            for i, n in enumerate(array.shape)
        )
        return _of_blocks(futures, chunks, array.dtype)

    def to_numpy(self, x: Any) -> Array:
        """Bring `x` here; a lazy array is computed on the workers first."""
        if not is_dask(x):
            return np.asarray(x)
        with told("a Dask array"):
            return np.asarray(x.compute(scheduler=self.client()))

    def map(
        self, chunks: list[Chunk], operands: tuple[Any, ...], results: tuple[Array, ...]
    ) -> list[set[str]]:
        """Compute the chunks on the workers; see :meth:`ChunkedBackend.map`."""
        count = len(operands)
        cut = chunks[0].cut[:count]
        items, targets = [], []
        for chunk in chunks:
            pieces = chunk.of((*operands, *results))
            targets.append(pieces[count:])
            own = tuple(x for x, c in zip(pieces, cut, strict=False) if c)
            like = tuple((x.shape, x.dtype) for x in targets[-1])
            alone = Chunk(chunk.kernel, chunk.axis, 0, chunk.stop - chunk.start, chunk.cut)
            items.append((alone, own, like))
        whole = [x for x, c in zip(operands, cut, strict=True) if not c]
        with told(f"computing {chunks[0].kernel.name}"):
            done = Pieces(self.client(), items).map(_work, *whole)
        for into, (computed, _) in zip(targets, done, strict=True):
            for target, x in zip(into, computed, strict=True):
                np.copyto(target, x)
        return [errors for _, errors in done]

    @contextmanager
    def jobs(self) -> Iterator[dict[str, Any]]:
        """Give the arguments with which ``joblib.Parallel`` runs its jobs on the workers."""
        client = self.client()
        given = {"backend": DaskJobs(client, self.n_jobs), "n_jobs": self.n_jobs}
        # A cluster's workers begin whatever they have threads for.
        if self.n_jobs < sum(client.nthreads().values()):
            given["pre_dispatch"] = self.n_jobs
        try:
            with told("doing jobs"):
                yield given
        except KeyboardInterrupt:
            # Dask cannot stop a task that runs; its process can be ended where it is one of ours.
            self._cluster.end_tasks()
            raise

    def worker_memory(self) -> int:
        """Give the bytes that the smallest worker may have."""
        return int(min(self.client().run(_memory).values()))

    def scatter(self, pieces: Sequence[Array]) -> Held:
        """Put the pieces on the workers."""
        return OnWorkers(self.client(), pieces)

    def _count(self, kernel: Kernel, bound: Bound) -> int:
        # Within a task, which is one worker's, a kernel is computed there.
        return 1 if in_task() else super()._count(kernel, bound)

    def _computed(self, results: list[Any], name: str) -> list[Any]:
        """Have the blocks computed and kept where they are, and wait for it."""
        client, distributed = self.client(), load("distributed")
        with told(f"computing {name}"):
            there: list[Any] = client.persist(results)
            for future in distributed.futures_of(there):
                future.exception()  # waits, and fetches nothing
                if future.status != "finished":
                    future.result()  # raises
        return there


def _of_blocks(futures: list[Any], chunks: tuple[tuple[int, ...], ...], dtype: Any) -> Any:
    name = f"there-{uuid4().hex}"
    keys = [(name, *place) for place in np.ndindex(*map(len, chunks))]
    blocks = dict(zip(keys, futures, strict=True))
    return load("dask.array").Array(blocks, name, chunks, dtype=dtype)


def _renamed(x: Any) -> Any:
    """Give an array on the workers under a new name.

    Of arrays of the same names Dask gives what it computed before, as long as that is kept: a
    benchmark would time nothing.
    """
    blocks = x.__dask_graph__().layers[x.name]
    futures = [blocks[x.name, *place] for place in np.ndindex(*x.numblocks)]
    return _of_blocks(futures, x.chunks, x.dtype)


def _is_computed(x: Any) -> bool:
    """Tell whether all blocks of a Dask array lie on workers: it is a graph of nothing else."""
    layers = x.__dask_graph__().layers
    future = load("distributed").Future
    return len(layers) == 1 and all(isinstance(v, future) for v in layers[x.name].values())


def _memory(dask_worker: Any) -> int:  # uncounted: worker
    """Give the bytes that a worker may have; in a worker."""
    return int(dask_worker.memory_manager.memory_limit or usable())


def _work(  # uncounted: worker
    item: tuple[Chunk, tuple[Array, ...], tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]],
    *whole: Any,
) -> tuple[tuple[Array, ...], set[str]]:
    """Compute one chunk; in a worker."""
    chunk, pieces, like = item
    own, common = iter(pieces), iter(whole)
    cut = chunk.cut[: len(pieces) + len(whole)]
    operands = tuple(next(own) if c else next(common) for c in cut)
    results = tuple(np.empty(shape, dtype) for shape, dtype in like)
    return results, compute(chunk, operands, results)
