"""A kernel is a documented function: its body is the reference, its data say what it costs.

* The body computes with NumPy or SciPy on whatever it is given: it is the serial baseline, the
  oracle of every test, and (through NumPy's dispatch protocols) the GPU implementation.
* The data, which a decorator of :mod:`backends.declare` adds, say what it costs, how it divides,
  what its inputs look like and how exact it must be.
* Calling a kernel runs it on the backend that the configuration chooses; how it is chosen is not
  known here: :mod:`backends.registry` puts the router in (see ``Kernel.router``).
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["REGISTERED", "Inputs", "Kernel"]

Arrays: TypeAlias = tuple[Any, ...]
#: ``inputs(size, dtype, rng)`` makes the arrays of one benchmark case.
Inputs: TypeAlias = "Callable[[int, np.dtype[Any], np.random.Generator], Arrays]"
#: ``call(kernel, arrays, out)``: a backend's :meth:`~backends.backend.Backend.call`.
Call: TypeAlias = "Callable[[Kernel, Arrays, Any], Any]"
#: ``error(actual, expected, arrays)`` in units of the result's machine epsilon.
ErrorMeasure: TypeAlias = Callable[[Any, Any, Arrays], float]
#: ``entry(mp, arrays, index)``: one entry of the result by mpmath's context `mp`, to its precision.
Entry: TypeAlias = "Callable[[Any, Arrays, tuple[int, ...]], Any]"

#: Every kernel that has been defined, by name. :mod:`backends.kernels` fills it with ours.
REGISTERED: dict[str, Kernel] = {}

#: ``dtype.kind`` of what kernels compute on: bool, integers, floating point, complex.
NUMERIC_KINDS = "biufc"


class Kernel:
    """A function that runs on the configured backend, with its reference and its data.

    Kernels are made by :func:`backends.elementwise` and :func:`backends.linear_algebra`.

    Attributes
    ----------
    name, family : str
        The function's name, and the table it belongs to.
    reference : callable
        ``reference(*arrays, out=None)``: the undispatched NumPy or SciPy body.
    parameters : tuple of str
        Names of the array arguments.
    core : tuple of int
        For each argument, how many trailing dimensions one item takes: 0 for elementwise kernels,
        2 for matrices. The dimensions before are the loop over which work is divided.
    rows : bool
        Whether row i of the result depends only on row i of the first argument, so that a single
        matrix divides too.
    blas : bool
        Whether the body reaches BLAS or LAPACK, so that their thread count matters.
    dtypes : tuple of str
        The dtypes it is offered, tested and timed in.
    cases : mapping of str to callable
        Benchmark inputs: ``cases[case](size, dtype, rng)`` gives the arrays.
    size : int
        Default size of the benchmark: elements, or the order n of the matrices.
    tolerance : float
        Largest error against the reference, in units of machine epsilon, that is still right.
    entry : callable or None
        ``entry(mp, arrays, index)``: one entry of the result in mpmath's arithmetic, as the
        judge of the reference itself; None where there is none that ends in time.
    """

    #: ``router(kernel, backend, n_jobs)`` gives what runs it; set once by backends.registry.
    router: ClassVar[Callable[[Kernel, str | None, int | None], Call]]

    def __init__(
        self,
        reference: Callable[..., Any],
        *,
        family: str,
        core: tuple[int, ...],
        cases: Mapping[str, Inputs],
        flops: Callable[..., float],
        size: int,
        dtypes: tuple[str, ...],
        tolerance: float,
        error: ErrorMeasure,
        entry: Entry | None = None,
        rows: bool = False,
        blas: bool = False,
    ) -> None:
        self.name, self.parameters = _signature(reference, len(core))
        functools.update_wrapper(self, reference)
        self.reference = reference
        self.family = family
        self.core = core
        self.cases = cases
        self.size = size
        self.dtypes = dtypes
        self.tolerance = tolerance
        self.entry = entry
        self.rows = rows
        self.blas = blas
        self._item_flops = flops
        self._error = error
        if not self.__module__.startswith("backends."):
            # Ours first, so that a name that is taken is refused where it is given.
            for module in ("linalg", "elementwise", "special"):
                import_module(f"backends.kernels.{module}")
        known = REGISTERED.setdefault(self.name, self)
        if known.__module__ != self.__module__:
            raise ValueError(
                f"kernel {self.name} is already defined in {known.__module__}: choose another name"
            )
        REGISTERED[self.name] = self  # a notebook's cell that is run again defines it again

    def __call__(
        self,
        *arrays: Any,
        out: Any = None,
        backend: str | None = None,
        n_jobs: int | None = None,
    ) -> Any:
        """Run on the configured backend, or for this call on `backend` with `n_jobs`."""
        return Kernel.router(self, backend, n_jobs)(self, arrays, out)

    @property
    def __signature__(self) -> Any:
        """The body's parameters, and the two that every kernel has besides."""
        import inspect  # here: only help() and editors ask

        own = inspect.signature(self.reference)
        keyword = inspect.Parameter.KEYWORD_ONLY
        more = [inspect.Parameter(n, keyword, default=None) for n in ("backend", "n_jobs")]
        return own.replace(parameters=[*own.parameters.values(), *more])

    def __repr__(self) -> str:
        return f"<kernel {self.name}({', '.join(self.parameters)}, /, *, out=None): {self.family}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        # A module's kernel is pickled by name. One from a script, a notebook or inside a function
        # cannot be imported by a worker process: it is made there again from its function, which
        # cloudpickle carries.
        module = sys.modules.get(self.__module__)
        if self.__module__ != "__main__" and getattr(module, self.name, None) is self:
            return str(self.name)
        data = {
            key: getattr(self, key)
            for key in (
                *("family", "core", "cases", "size", "dtypes", "tolerance", "entry", "rows"),
                "blas",
            )
        }
        data.update(flops=self._item_flops, error=self._error)
        return _rebuild, (self.reference, data)

    def flops(self, *arrays: Any) -> float:
        """Count the floating-point operations of one call, nominally (complex ones as four).

        Examples
        --------
        >>> import backends, numpy as np
        >>> backends.matmul.flops(np.ones((4, 3)), np.ones((3, 5)))
        120.0
        """
        operands = [np.asarray(x) for x in arrays]
        loops, cores = [], []
        for x, core in zip(operands, self.core, strict=True):
            loops.append(x.shape[: max(x.ndim - core, 0)])
            cores.append(x.shape[max(x.ndim - core, 0) :])
        # Most calls have loops of one shape; broadcasting takes longer than all the rest.
        loop = loops[0] if len(set(loops)) == 1 else np.broadcast_shapes(*loops)
        weight = 4.0 if any(x.dtype.kind == "c" for x in operands) else 1.0
        return math.prod(loop) * weight * self._item_flops(*cores)

    def bytes_moved(self, result: Any, *arrays: Any) -> float:
        """Count the bytes of one call: every input read once, every result written once."""
        results = result if isinstance(result, tuple) else (result,)
        return float(sum(np.asarray(x).nbytes for x in (*arrays, *results)))

    def inputs(self, case: str, size: int, dtype: DTypeLike, seed: int = 0) -> Arrays:
        """Make the arrays of benchmark `case` ("elements", "matrix" or "stack").

        Parameters
        ----------
        case : str
            One of ``cases``.
        size : int
            Number of elements, or order of the matrices.
        dtype : dtype
            One of ``dtypes``.
        seed : int
            Of the random numbers: the same seed gives the same arrays.
        """
        return self.cases[case](size, np.dtype(dtype), np.random.default_rng(seed))

    def error(self, actual: Any, expected: Any, *arrays: Any) -> float:
        """Measure the largest error of `actual`, in units of machine epsilon.

        NaN or infinity in the wrong place, a wrong shape or a wrong dtype is an infinite error.
        """
        return self._error(actual, expected, arrays)

    def probe(self, *arrays: Any) -> Any:
        """Ask the reference itself for the dtype and item shape of the result, without computing.

        Every argument keeps its dtype and its trailing `core` dimensions; those before are
        replaced by one of length 0, which the result has then too. A vector where a matrix could
        be has none to replace, and a Python scalar stays as it is, since it promotes weakly.
        """
        with np.errstate(all="ignore"):
            return self.reference(*map(_hollow, arrays, self.core))


def _signature(reference: Callable[..., Any], count: int) -> tuple[str, tuple[str, ...]]:
    """Give name and array parameters of a body, which must be ``f(x1, x2, /, *, out=None)``."""
    code = getattr(reference, "__code__", None)
    if code is not None:
        arrays = code.co_varnames[: code.co_posonlyargcount]
        others = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
        if len(arrays) == count == code.co_argcount and "out" in others:
            return reference.__name__, arrays
    name = getattr(reference, "__name__", "f")
    wanted = ", ".join(f"x{i + 1}" for i in range(count))
    raise TypeError(
        f"kernel {name}: make its arrays positional-only and out keyword-only: "
        f"def {name}({wanted}, /, *, out=None)"
    )


def _rebuild(reference: Callable[..., Any], data: dict[str, Any]) -> Kernel:
    return Kernel(reference, **data)


def _hollow(x: Any, core: int) -> Any:
    if isinstance(x, (bool, int, float, complex)) and not isinstance(x, np.generic):
        return x
    a = np.asarray(x)
    if a.ndim < core:
        return np.zeros(a.shape, a.dtype)
    return np.zeros((0, *a.shape[a.ndim - core :]), a.dtype)
