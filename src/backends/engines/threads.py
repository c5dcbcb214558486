"""Backend ``threads``: chunks on a pool of threads that stays alive between calls.

NumPy and SciPy release the interpreter lock while they compute, so that threads run side by side
where no Python is in the loop. BLAS is pinned to one thread meanwhile: the pool is the parallelism.
"""

from __future__ import annotations

from backends.engines.pool import PooledBackend

__all__ = ["ThreadsBackend"]


class ThreadsBackend(PooledBackend):
    """A persistent pool of threads: `n_jobs` with the caller's, which computes too.

    Examples
    --------
    >>> import backends
    >>> with backends.config_context(backend="threads", n_jobs=2):
    ...     backends.sqrt([1.0, 4.0])
    array([1., 2.])
    """

    name = "threads"
