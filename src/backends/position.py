"""Where a call stands among what the tuner measures: its dtype, how its arrays lie, its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from backends.kernel import Kernel

__all__ = ["DTYPES", "LAYOUTS", "PLAIN", "SMALL_ORDER", "Position", "of", "volume"]

#: How arrays lie, as far as choices differ by it. Elements of elementwise kernels and of single
#: matrices follow each other in memory or not; of stacks the order of the matrices counts more.
LAYOUTS = ("contiguous", "strided", "small_stack", "stack")
DTYPES = ("float32", "float64", "complex128")
#: Arrays that are nothing else; other subclasses carry more than numbers.
ARRAYS = (np.ndarray, np.memmap)
#: What kernels take besides arrays of other libraries.
PLAIN = (np.ndarray, np.generic, bool, int, float, complex, list, tuple)
#: The native ones only; `dtype.name` takes microseconds.
_NAMES = {np.dtype(name): name for name in DTYPES}
#: Largest order of a small stack's matrices: that of the OpenMP engine's own LU factors.
SMALL_ORDER = 16


class Position(NamedTuple):
    """Where a call stands among what was measured.

    Attributes
    ----------
    dtype, layout : str
        See :data:`DTYPES` and :data:`LAYOUTS`.
    size : int
        Elements; for a single matrix its order, or that of the square one which is as much work.
    """

    dtype: str
    layout: str
    size: int


def of(kernel: Kernel, arrays: Sequence[Any]) -> Position | None:
    """Place a call among what is measured; None where nothing like it is.

    Parameters
    ----------
    kernel : Kernel
        What is called.
    arrays : sequence of array_like
        With what.

    Examples
    --------
    >>> import backends
    >>> of(backends.sin, [np.zeros((10, 10))[:, ::2]])
    Position(dtype='float64', layout='strided', size=50)
    >>> of(backends.matmul, [np.zeros((40, 20)), np.zeros((20, 80))])
    Position(dtype='float64', layout='contiguous', size=40)
    """
    # Others, such as masked arrays and matrices, are for the NumPy that knows them.
    for x in arrays:
        if not isinstance(x, PLAIN) or (isinstance(x, np.ndarray) and type(x) not in ARRAYS):
            return None
    operands = [x for x in arrays if type(x) in ARRAYS and x.ndim]
    if not operands:
        return None
    largest = max(operands, key=lambda x: x.size)
    dtype = _NAMES.get(largest.dtype)
    if dtype is None:
        return None
    layout = "contiguous" if all(x.flags.forc for x in operands) else "strided"
    if not kernel.blas:
        size = largest.size
        if any(x.shape != largest.shape for x in operands):
            try:
                size = math.prod(np.broadcast_shapes(*(x.shape for x in operands)))
            except ValueError:  # NumPy has the words for it
                return None
        return Position(dtype, layout, size)
    if any(x.ndim > 2 for x in operands):
        layout = "small_stack" if max(largest.shape[-2:]) <= SMALL_ORDER else "stack"
        return Position(dtype, layout, largest.size)
    work = volume(kernel, operands)
    order = round(work ** (1 / 3))
    return Position(dtype, layout, order if order**3 <= work else order - 1)


def volume(kernel: Kernel, matrices: Sequence[Any]) -> int:
    """Give the order to the third of square matrices that are as much work.

    A product of m x k and k x n has m k n multiplications; what factors an m x n matrix does some
    m n min(m, n).
    """
    first = matrices[0]
    if len(kernel.core) == 2 and kernel.rows:
        last = matrices[-1]
        return int(first.size * (last.shape[1] if last.ndim == 2 else 1))
    return int(first.size * min(first.shape))
