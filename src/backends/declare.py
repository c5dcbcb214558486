"""Decorators that make a kernel of a documented function: ``elementwise``, ``linear_algebra``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from backends import accuracy
from backends.kernel import Arrays, Entry, ErrorMeasure, Inputs, Kernel

__all__ = ["REAL", "REAL_AND_COMPLEX", "elementwise", "linear_algebra"]

REAL = ("float32", "float64")
REAL_AND_COMPLEX = (*REAL, "complex128")

#: Elements of a benchmark's arrays. Those of functions that memory limits must be larger than the
#: caches; from HARD operations an element on arithmetic is the limit, whatever the size.
SIZE, LARGE_SIZE, HARD = 500_000, 4_000_000, 10


def elementwise(
    *,
    domain: tuple[float, float] | tuple[tuple[float, float], ...],
    flops: float,
    dtypes: tuple[str, ...] = REAL,
    tolerance: float = 4.0,
    crosses_zero: bool = False,
    precise: Callable[..., Any] | None = None,
    family: str = "elementwise",
) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a kernel of a function that treats each element alone.

    Parameters
    ----------
    domain : pair of float, or one pair for each argument
        Interval from which benchmark inputs are drawn, uniformly.
    flops : float
        Nominal floating-point operations an element.
    dtypes : tuple of str
        The dtypes it is offered in.
    tolerance : float
        Largest error in units of machine epsilon.
    crosses_zero : bool
        Measure the error against 1 where the result is below 1: near a zero in the middle of the
        domain a relative error says nothing.
    precise : callable, optional
        ``precise(mp, *numbers)``: the function of one element by mpmath, for the bench to count
        the wrong digits of every backend, the reference included.
    family : str
        The table it belongs to.

    Examples
    --------
    >>> import backends, numpy as np
    >>> @backends.elementwise(domain=(0.0, 1.0), flops=3)
    ... def logistic_step(x, /, *, out=None):
    ...     "One step of the logistic map, ``4 x (1 - x)``."
    ...     return np.multiply(4.0 * x, 1.0 - np.asarray(x), out=out)
    >>> float(logistic_step(0.5, backend="threads"))
    1.0
    """

    def decorate(reference: Callable[..., Any]) -> Kernel:
        code = getattr(reference, "__code__", None)
        domains: Any = domain if isinstance(domain[0], tuple) else (domain,)
        if len(domains) == 1 and code is not None:
            domains *= code.co_posonlyargcount

        def inputs(size: int, dtype: np.dtype[Any], rng: np.random.Generator) -> Arrays:
            return tuple(_uniform(low, high, size, dtype, rng) for low, high in domains)

        return Kernel(
            reference,
            family=family,
            core=(0,) * len(domains),
            cases={"elements": inputs},
            flops=lambda *_: float(flops),
            size=SIZE if flops >= HARD else LARGE_SIZE,
            dtypes=dtypes,
            tolerance=tolerance,
            error=functools.partial(accuracy.elementwise_error, floor=1.0 if crosses_zero else 0.0),
            entry=None if precise is None else functools.partial(_entry, precise),
        )

    return decorate


def _entry(precise: Callable[..., Any], mp: Any, arrays: Arrays, index: tuple[int, ...]) -> Any:
    return precise(mp, *(mp.mpmathify(x[index].item()) for x in arrays))


def linear_algebra(
    *,
    core: tuple[int, ...],
    flops: Callable[..., float],
    cases: Mapping[str, Inputs],
    size: int = 1000,
    dtypes: tuple[str, ...] = REAL_AND_COMPLEX,
    tolerance: float = 50.0,
    error: ErrorMeasure = accuracy.normwise_error,
    entry: Entry | None = None,
    rows: bool = False,
) -> Callable[[Callable[..., Any]], Kernel]:
    """Make a kernel of a function on matrices, or on stacks of them; see :class:`Kernel`.

    `flops` takes the core shape of each argument and counts one item.
    """
    return functools.partial(
        Kernel,
        family="linear algebra",
        core=core,
        cases=cases,
        flops=flops,
        size=size,
        dtypes=dtypes,
        tolerance=tolerance,
        error=error,
        entry=entry,
        rows=rows,
        blas=True,
    )


def _uniform(
    low: float, high: float, size: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    if dtype.kind == "c":
        return (rng.uniform(low, high, size) + 1j * rng.uniform(low, high, size)).astype(dtype)
    x = rng.random(size, dtype=dtype.type)
    x *= dtype.type(high - low)
    x += dtype.type(low)
    return x
