"""Backend ``numpy``: one core, one BLAS thread. The honest baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from backends import blas, budget
from backends.backend import Backend, check_jobs, in_one_piece
from backends.kernel import Kernel

if TYPE_CHECKING:
    from backends.jobs.held import Array, Held

__all__ = ["NumpyBackend"]


class NumpyBackend(Backend):
    """NumPy and SciPy as they are, with BLAS pinned to one thread while a kernel runs.

    Examples
    --------
    >>> import backends
    >>> NumpyBackend().run(backends.sqrt, [1.0, 4.0])
    array([1., 2.])
    """

    name = "numpy"

    def __init__(self, n_jobs: int = 1) -> None:
        check_jobs(n_jobs)
        super().__init__(1)

    def divides(self, kernel: Kernel, *arrays: Any) -> bool:
        """Tell that nothing is shared out: there is one job."""
        return False

    # Directly: a microsecond is what calling a kernel may cost.
    call = staticmethod(in_one_piece)

    def run(self, kernel: Kernel, *arrays: Any, out: Any = None) -> Any:
        """Compute in the calling thread; see :meth:`backends.backend.Backend.run`."""
        return in_one_piece(kernel, arrays, out)

    def jobs(self) -> AbstractContextManager[dict[str, Any]]:
        """Run jobs one after the other; see :meth:`backends.backend.Backend.jobs`."""
        return nullcontext({"n_jobs": 1})

    def scatter(self, pieces: Sequence[Array]) -> Held:
        """Keep the pieces where they are: the serial form of what others share out."""
        from backends.engines.pieces import Views

        return Views(pieces, _one_after_the_other)


def _one_after_the_other(calls: list[Callable[[], Any]]) -> list[Any]:
    with blas.limited(1), budget.working():
        return [call() for call in calls]
