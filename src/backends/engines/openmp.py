"""Backend ``openmp``: NumPy's and SciPy's own loops on a team of threads, or faster loops.

* Elementwise kernels are ufuncs made by the extension ``backends._openmp``: in mode ``exact`` the
  reference's loop cut over the team, bit for bit the same; in mode ``fast`` SIMD loops of our own
  where there is one, within a few ULP.
* Stacks of matrices are cut too, BLAS on one thread each; in mode ``fast`` small ones have LU
  factors of our own for `inv`, `det` and `solve`. Single matrices have BLAS threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from backends import arguments, blas, budget
from backends.backend import Support, in_one_piece
from backends.caches import LARGE, cache_bytes
from backends.engines.extension import load
from backends.engines.pool import PooledBackend
from backends.engines.tracing import ufunc_of
from backends.errors import UnsupportedKernelError
from backends.kernel import Kernel

__all__ = ["OpenmpBackend", "load", "make_ufunc"]

#: Matrices a job from which a stack is cut; fewer ones share BLAS threads one after another.
MATRICES_PER_JOB = 4
#: Kernels that spend their time within BLAS: it takes a lock in every call, so that threads with
#: small matrices would wait for each other (`python benchmarks/openmp.py stacks`).
WAITING = ("matmul", "inv", "det", "solve")
#: Order of matrices that BLAS computes serially in any case.
SMALL = 16


class OpenmpBackend(PooledBackend):
    """A team of `n_jobs` OpenMP threads.

    Parameters
    ----------
    n_jobs : int
        Threads, with joblib's meaning.
    mode : {"exact", "fast"}
        Results bit for bit as NumPy's and SciPy's, or within a few ULP and sooner.

    Examples
    --------
    >>> import backends
    >>> backends.matmul([[1.0, 2.0]], [[3.0], [4.0]], backend="openmp")
    array([[11.]])
    """

    name = "openmp"
    takes_mode = True
    #: Elements from which loops are cut; 0: as measured.
    threshold = 0
    #: Bytes of operands from which results go past the caches; None: the size of the caches.
    stream_bytes: int | None = None

    def __init__(self, n_jobs: int = -1, *, mode: str = "exact") -> None:
        super().__init__(n_jobs)
        self.mode = mode
        self._ufuncs: dict[Kernel, np.ufunc] = {}

    @classmethod
    def unavailable(cls) -> str | None:
        """Give the reason where there is neither a team of threads nor a BLAS with threads."""
        engine = load()
        if isinstance(engine, str) and blas.library() is None:
            return f"{engine}; nor has this NumPy a BLAS whose threads can be set"
        return None

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.name if self.mode == "exact" else f"{self.name} ({self.mode})"

    def supports(self, kernel: Kernel) -> Support:
        """Tell that it has what reaches BLAS, and what is one ufunc."""
        if kernel.blas:
            if blas.library() is not None:
                return True
            return "this NumPy has no BLAS library whose threads can be set"
        engine = load()
        if isinstance(engine, str):
            return engine
        if ufunc_of(kernel) is None:
            return "openmp cuts the loop of a ufunc, and the body of this kernel is no single one"
        return True

    def divides(self, kernel: Kernel, *arrays: Any) -> bool:
        """Tell whether more than one thread would share the work, or a faster loop does it."""
        if kernel.blas:
            return self.n_jobs > 1
        engine = load()
        large = max(np.size(x) for x in arrays) >= getattr(engine, "LEAST", 0)
        return self.mode == "fast" or (self.n_jobs > 1 and large)

    def mode_matters(self, kernel: Kernel, *arrays: Any) -> bool:
        """Tell whether there is a faster loop, or a way of our own for small matrices."""
        if kernel.blas:
            return _is_small(kernel, arrays, None)
        engine = load()
        if isinstance(engine, str) or not engine.has_fast(kernel.name):
            return False
        return all(np.asarray(x).dtype in ("float64", "float32") for x in arrays)

    def run(self, kernel: Kernel, *arrays: Any, out: Any = None) -> Any:
        """Compute with `n_jobs` threads; see :meth:`backends.backend.Backend.run`."""
        if kernel.blas:
            if self.mode == "fast" and _is_small(kernel, arrays, out):
                function = partial(_run_small, kernel.name, self.n_jobs)
                return in_one_piece(kernel, arrays, out, backend=self.name, function=function)
            waits = kernel.name in WAITING and _are_small(arrays)
            if self.n_jobs > 1 and not waits and self._is_stack(kernel, arrays):
                return super().run(kernel, *arrays, out=out)
            if waits or self.n_jobs == 1:
                return in_one_piece(kernel, arrays, out, backend=self.name)
            with budget.Share(blas.permitted(self.n_jobs)) as share:
                return in_one_piece(
                    kernel, arrays, out, blas_threads=share.threads, backend=self.name
                )
        for x in arrays if out is None else (*arrays, out):
            if type(x) is not np.ndarray:
                # A masked array's domain, say, is known by NumPy's own ufuncs.
                arguments.plain(self.name, kernel, arrays, out)
                break
        ufunc: Callable[..., Any] | None = self._ufuncs.get(kernel)
        if ufunc is None:
            supported = self.supports(kernel)
            if supported is not True:
                raise UnsupportedKernelError(f"{kernel.name}: {supported}")
            ufunc = self._ufuncs[kernel] = make_ufunc(
                kernel,
                self.n_jobs,
                self.mode,
                threshold=self.threshold,
                stream_bytes=self.stream_bytes,
            )
        if len(arrays) != len(kernel.core):
            ufunc = kernel.reference  # to refuse it: a ufunc would write to the array too many
        return in_one_piece(kernel, arrays, out, backend=self.name, function=ufunc)

    def triad(self) -> np.ufunc:
        """Make a ufunc that moves bytes as fast as memory and caches let it, for the bench.

        That is ``a + 3 b`` with stores that go past the caches, STREAM's triad [1]_, from the
        size of the caches on, and ``a + b`` below: three arrays either way.

        References
        ----------
        .. [1] J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance
           Computers", IEEE TCCA Newsletter, December 1995.
        """
        engine: Any = load()
        size = cache_bytes(3) or LARGE
        ufunc: np.ufunc = engine.ufunc(
            np.add, self.n_jobs, fast="triad", threshold=1, stream_bytes=size
        )
        return ufunc

    def _is_stack(self, kernel: Kernel, arrays: tuple[Any, ...]) -> bool:
        """Tell whether there are matrices enough for each thread to have some."""
        matrices = 1
        for x, core in zip(arrays, kernel.core, strict=False):
            if isinstance(x, np.ndarray) and x.ndim > core > 0:
                matrices = max(matrices, int(np.prod(x.shape[: x.ndim - core])))
        return matrices >= MATRICES_PER_JOB * self.n_jobs

    def __repr__(self) -> str:
        return f"<backend {self.name}, n_jobs={self.n_jobs}, mode={self.mode}>"


def _are_small(arrays: tuple[Any, ...]) -> bool:
    """Tell whether BLAS computes each of these matrices serially in any case."""
    return all(isinstance(x, np.ndarray) and max(x.shape[-2:], default=0) <= SMALL for x in arrays)


def _is_small(kernel: Kernel, arrays: tuple[Any, ...], out: Any) -> bool:
    """Tell whether these are stacks of small matrices, which our own LU factors are for."""
    if kernel.name not in ("inv", "det", "solve") or isinstance(load(), str):
        return False
    engine: Any = load()
    for x in (*arrays, *(() if out is None else (out,))):
        if type(x) is not np.ndarray or x.dtype not in ("float64", "float32"):
            return False
        if x.dtype != arrays[0].dtype or not x.dtype.isnative:
            return False
    matrices = arrays[0]
    if matrices.ndim < 3 or not 0 < matrices.shape[-1] == matrices.shape[-2] <= engine.SMALL:
        return False
    if kernel.name == "solve":
        b = arrays[1]
        return bool(
            b.ndim > 2 and b.shape[-2] == matrices.shape[-1] and 0 < b.shape[-1] <= engine.SMALL
        )
    return True


@cache
def _stack_ufunc(name: str, n_jobs: int) -> np.ufunc:
    engine: Any = load()
    ufunc: np.ufunc = engine.stack(name, n_jobs)
    return ufunc


def _run_small(name: str, n_jobs: int, *arrays: Any, out: Any = None) -> Any:
    """Compute with our own LU factors, errors as numpy.linalg raises them."""
    with np.errstate(all="ignore", invalid="call", call=_singular):
        return _stack_ufunc(name, n_jobs)(*arrays, out=out)


def _singular(error: str, flag: int) -> None:
    raise np.linalg.LinAlgError("Singular matrix")


def make_ufunc(
    kernel: Kernel, n_jobs: int, mode: str, *, threshold: int = 0, stream_bytes: int | None = None
) -> np.ufunc:
    """Make the ufunc that computes `kernel` on `n_jobs` threads.

    Parameters
    ----------
    kernel : Kernel
        One whose body is a ufunc.
    n_jobs : int
        Threads, at least 1.
    mode : {"exact", "fast"}
        The reference's loop, or a faster one where there is one.
    threshold : int
        Elements from which it is cut; 0: measured, as calls come.
    stream_bytes : int, optional
        Bytes of operands from which results are written past the caches; the size of the caches.

    Examples
    --------
    >>> import backends
    >>> sine = make_ufunc(backends.sin, 2, "exact")
    >>> sine, sine.types == np.sin.types[:-1]
    (<ufunc 'sin'>, True)
    """
    engine: Any = load()
    step = ufunc_of(kernel)
    if step is None:
        raise ValueError(f"the body of {kernel.name} is no ufunc")
    ufunc: np.ufunc = engine.ufunc(
        step.ufunc,
        n_jobs,
        fast=kernel.name if mode == "fast" and engine.has_fast(kernel.name) else None,
        negated=step.negated,
        special=kernel.family == "special functions",
        threshold=threshold,
        stream_bytes=(cache_bytes(3) or LARGE) if stream_bytes is None else stream_bytes,
    )
    return ufunc
