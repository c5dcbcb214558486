"""Backend ``openmp``: linear algebra on `n_jobs` BLAS threads, chosen at run time."""

from __future__ import annotations

from typing import Any

from backends import blas
from backends.backend import Backend, Support, in_one_piece
from backends.kernel import Kernel

__all__ = ["OpenmpBackend"]


class OpenmpBackend(Backend):
    """The BLAS and LAPACK that NumPy calls, on `n_jobs` threads for as long as a kernel runs.

    Examples
    --------
    >>> import backends
    >>> backends.matmul([[1.0, 2.0]], [[3.0], [4.0]], backend="openmp")
    array([[11.]])
    """

    name = "openmp"

    @classmethod
    def unavailable(cls) -> str | None:
        """Give the reason where NumPy's BLAS has no thread count to set."""
        if blas.library() is None:
            return (
                "no BLAS library whose threads can be set is loaded by this NumPy; NumPy's wheels "
                "(pip install --force-reinstall numpy) bring OpenBLAS, which can"
            )
        return None

    def supports(self, kernel: Kernel) -> Support:
        """Tell that it has what reaches BLAS, and nothing else."""
        if kernel.blas:
            return True
        return "openmp sets BLAS threads, so it has the linear algebra only; threads has the rest"

    def divides(self, kernel: Kernel, *arrays: Any) -> bool:
        """Tell whether there is more than one BLAS thread to share the work."""
        return self.n_jobs > 1

    def run(self, kernel: Kernel, *arrays: Any, out: Any = None) -> Any:
        """Compute with BLAS on `n_jobs` threads; see :meth:`backends.backend.Backend.run`."""
        return in_one_piece(kernel, arrays, out, blas_threads=self.n_jobs, backend=self.name)
