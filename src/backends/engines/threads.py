"""Backend ``threads``: chunks on a pool of threads that stays alive between calls.

NumPy and SciPy release the interpreter lock while they compute, so that threads run side by side
where no Python is in the loop. BLAS is pinned to one thread meanwhile: the pool is the parallelism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backends import blas, budget
from backends.cores import usable
from backends.engines.pool import PooledBackend

if TYPE_CHECKING:
    from backends.jobs.held import Array, Held

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

    @contextmanager
    def jobs(self) -> Iterator[dict[str, Any]]:
        """Run jobs on threads of joblib's; see :meth:`backends.backend.Backend.jobs`."""
        with _others_limited(max(usable() // self.n_jobs, 1)):
            yield {"backend": "threading", "n_jobs": self.n_jobs}

    def scatter(self, pieces: Sequence[Array]) -> Held:
        """Keep the pieces where they are: the threads see them there."""
        from backends.engines.pieces import Views

        return Views(pieces, self._shared_out)

    def _shared_out(self, calls: list[Callable[[], Any]]) -> list[Any]:
        with budget.Share(min(self.n_jobs, len(calls))), blas.limited(1):
            return self.side_by_side([partial(_as_worker, call) for call in calls])


def _as_worker(call: Callable[[], Any]) -> Any:
    with budget.working():
        return call()


@contextmanager
def _others_limited(threads: int) -> Iterator[None]:
    """Let the BLAS of SciPy and others have at most so many threads; NumPy's is governed by us.

    Their count is the process's, and a job in a thread cannot have one of its own.
    """
    from threadpoolctl import ThreadpoolController

    home = Path(np.__file__).parent
    ours = (str(home), str(home.with_name("numpy.libs")))
    changed = []
    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        before = library.num_threads
        if before > threads and not library.filepath.startswith(ours):
            library.set_num_threads(threads)
            changed.append((library, before))
    try:
        yield
    finally:
        for library, before in changed:
            if library.get_num_threads() == threads:  # nobody has set another since
                library.set_num_threads(before)
