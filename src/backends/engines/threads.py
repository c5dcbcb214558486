"""Backend ``threads``: chunks on a pool of threads that stays alive between calls.

NumPy and SciPy release the interpreter lock while they compute, so that threads run side by side
where no Python is in the loop. BLAS is pinned to one thread meanwhile: the pool is the parallelism.
"""

from __future__ import annotations

from typing import Any

from backends.engines.chunked import Array, Chunk, ChunkedBackend
from backends.engines.pool import MIN_WORK, Pool

__all__ = ["ThreadsBackend"]


class ThreadsBackend(ChunkedBackend):
    """A persistent pool of threads: `n_jobs` with the caller's, which computes too.

    Examples
    --------
    >>> import backends
    >>> with backends.config_context(backend="threads", n_jobs=2):
    ...     backends.sqrt([1.0, 4.0])
    array([1., 2.])
    """

    name = "threads"
    min_work = MIN_WORK

    def start(self) -> None:
        """Begin with no threads; see :meth:`ChunkedBackend.start`."""
        self._pool = Pool(self.n_jobs)

    def map(
        self, chunks: list[Chunk], operands: tuple[Any, ...], results: tuple[Array, ...]
    ) -> list[set[str]]:
        """Compute the chunks, in this thread too; see :meth:`ChunkedBackend.map`."""
        return self._pool.map(chunks, operands, results)

    def close(self) -> None:
        """End the threads."""
        self._pool.close()
