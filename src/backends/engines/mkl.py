"""Backend ``mkl``: Intel's vector mathematics (VML, high accuracy) and BLAS, from its wheel."""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from typing import Any, ClassVar

import numpy as np

from backends import budget
from backends.engines.foreign import Array, ForeignBackend
from backends.kernel import Kernel

__all__ = ["MklBackend"]

#: Of VML: high accuracy, subnormal numbers kept, no errno and no callback (mkl_vml_defines.h).
MODE = 0x2 | 0x00140000 | 0x100
#: Of CBLAS: row-major order; the factor as it is, or transposed.
ROWS, AS_IS, TRANSPOSED = 101, 111, 112
LIBRARY = re.compile(r"\.(so(\.\d+)*|\d*\.?dll|dylib)$")
LETTERS = {"f": "s", "d": "d", "F": "c", "D": "z"}


class MklBackend(ForeignBackend):
    """MKL on `n_jobs` threads: elementwise and special functions, and products of matrices.

    Examples
    --------
    >>> import backends
    >>> if "mkl" in backends.available():
    ...     assert backends.sqrt([1.0, 4.0], backend="mkl").tolist() == [1.0, 2.0]
    """

    name = library = extra = "mkl"
    functions: ClassVar[dict[str, Any]] = {
        "add": "Add",
        "subtract": "Sub",
        "multiply": "Mul",
        "divide": "Div",
        "power": "Pow",
        "hypot": "Hypot",
        "sqrt": "Sqrt",
        "exp": "Exp",
        "log": "Ln",
        "sin": "Sin",
        "cos": "Cos",
        "tan": "Tan",
        "tanh": "Tanh",
        "erf": "Erf",
        "erfc": "Erfc",
        "erfinv": "ErfInv",
        "ndtr": "CdfNorm",
        "ndtri": "CdfNormInv",
        "norm_isf": "CdfNormInv",
        "gammaln": "LGamma",
        "gamma": "TGamma",
        "j0": "J0",
        "matmul": "gemm",
    }

    @classmethod
    def unavailable(cls) -> str | None:
        """Give the reason where the wheel is missing, or its library cannot be loaded."""
        try:
            _library()
        except metadata.PackageNotFoundError:
            return (
                f'mkl is not installed: pip install "array-backends[{cls.extra}]" (its wheels are '
                "for x86-64)"
            )
        except (OSError, AttributeError) as error:
            return f"mkl is installed but cannot be loaded: {error}; mend it with pip install " + (
                "--force-reinstall mkl intel-openmp"
            )
        return None

    @property
    def import_seconds(self) -> float:
        """Seconds that loading the library took."""
        return _library()[1]

    def compute(
        self, kernel: Kernel, operands: tuple[Array, ...], target: Array | None
    ) -> tuple[Array]:
        """Call MKL on the arrays' memory; see :meth:`ForeignBackend.compute`."""
        if kernel.blas:
            a, b = operands
            return (_matmul(a, b, target),)
        shape = np.broadcast_shapes(*(x.shape for x in operands))
        # In memory order, whichever that is, where all have the same.
        order: Any = (
            "F" if all(x.flags.f_contiguous and x.shape == shape for x in operands) else "C"
        )
        flat = [np.broadcast_to(x, shape).ravel(order) for x in operands]
        result = target
        if result is None or (order == "F" and result.ndim > 1):
            result = np.empty(shape, operands[0].dtype, order)
        letter = LETTERS[result.dtype.char]
        function = _vector(f"vm{letter}{self.functions[kernel.name]}_64", len(flat))
        function(result.size, *(x.ctypes.data for x in flat), result.ctypes.data, MODE)
        if kernel.name == "norm_isf":
            np.negative(result, out=result)
        return (result,)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Hold MKL to its share of threads in this thread: its setting reaches no other."""
        set_ = _library()[0].MKL_Set_Num_Threads_Local
        before = set_(budget.current().threads)
        try:
            yield
        finally:
            set_(before)


@cache
def _library() -> tuple[Any, float]:
    start = time.perf_counter()
    files = list(metadata.distribution("mkl").files or [])
    files += metadata.distribution("intel-openmp").files or []
    found = {}
    # The first loads the others when it is first called, and ends the process where one is missing.
    for part in ("mkl_rt", "mkl_core", "mkl_intel_thread", "mkl_vml_def", "iomp5"):
        places = (str(f.locate()) for f in files if part in f.name and LIBRARY.search(f.name))
        found[part] = next(filter(os.path.exists, places), None)
        if found[part] is None:
            raise OSError(f"its {part} is missing")
    library = ctypes.CDLL(found["mkl_rt"])
    for name in ("MKL_Set_Num_Threads_Local", "vmdSin_64", "cblas_dgemm_64"):
        getattr(library, name)
    return library, time.perf_counter() - start


@cache
def _vector(name: str, operands: int) -> Callable[..., Any]:
    function = getattr(_library()[0], name)
    function.argtypes = [
        ctypes.c_int64,
        *[ctypes.c_void_p] * (operands + 1),
        ctypes.c_int64,
    ]
    function.restype = None
    return function  # type: ignore[no-any-return]


def _matmul(a: Array, b: Array, target: Array | None) -> Array:
    x = a[None, :] if a.ndim == 1 else a
    y = b[:, None] if b.ndim == 1 else b
    loop = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    (n, k), m = x.shape[-2:], y.shape[-1]
    shape = (*loop, *([n] if a.ndim > 1 else []), *([m] if b.ndim > 1 else []))
    result = np.empty(shape, a.dtype) if target is None else target
    letter = LETTERS[a.dtype.char]
    kind: Any = ctypes.c_double if a.dtype.char in "dD" else ctypes.c_float
    # Complex factors are passed by address, real ones by value.
    one, zero = ((kind * 2)(1, 0), (kind * 2)(0, 0)) if a.dtype.kind == "c" else (kind(1), kind(0))
    (x, *left), (y, *right) = _factor(x, loop), _factor(y, loop)
    size = ctypes.c_int64
    if not loop:
        multiply = getattr(_library()[0], f"cblas_{letter}gemm_64")
        sizes = map(size, (n, m, k))
        multiply(
            *(ROWS, left[0], right[0], *sizes),
            *(one, ctypes.c_void_p(x.ctypes.data), size(left[1])),
            *(ctypes.c_void_p(y.ctypes.data), size(right[1])),
            *(zero, ctypes.c_void_p(result.ctypes.data), size(max(m, 1))),
        )
        return result
    multiply = getattr(_library()[0], f"cblas_{letter}gemm_batch_strided_64")
    multiply(
        *(ROWS, left[0], right[0], *map(size, (n, m, k))),
        *(one, ctypes.c_void_p(x.ctypes.data), *map(size, left[1:])),
        *(ctypes.c_void_p(y.ctypes.data), *map(size, right[1:])),
        *(zero, ctypes.c_void_p(result.ctypes.data), size(max(m, 1)), size(n * m)),
        size(int(np.prod(loop))),
    )
    return result


def _factor(x: Array, loop: tuple[int, ...]) -> tuple[Any, int, int, int]:
    """Give a factor in memory that BLAS reads: array, transposition, leading dimension, stride."""
    rows, columns = x.shape[-2:]
    if x.ndim > 2 and x.size == rows * columns:
        x = x.reshape(rows, columns)  # one matrix, for all of the stack
    if x.ndim == 2 and x.flags.f_contiguous and not x.flags.c_contiguous:
        return x, TRANSPOSED, max(rows, 1), 0
    if x.ndim > 2:
        x = np.broadcast_to(x, (*loop, rows, columns))
    x = np.ascontiguousarray(x)
    return x, AS_IS, max(columns, 1), rows * columns if x.ndim > 2 else 0
