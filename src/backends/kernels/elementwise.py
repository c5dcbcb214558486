"""Elementwise kernels: NumPy's own ufuncs.

The flops are nominal: 1 for what the processor does in one instruction, and for the others the
order of magnitude of a good implementation, so that rates can be compared between backends.
"""

# Over 300 lines: most of it is what each kernel's page in the documentation is made from.
from __future__ import annotations

from typing import Any

import numpy as np

from backends.declare import REAL, REAL_AND_COMPLEX, elementwise

__all__ = [
    "absolute",
    "add",
    "cos",
    "divide",
    "exp",
    "hypot",
    "log",
    "multiply",
    "negative",
    "power",
    "sin",
    "sqrt",
    "subtract",
    "tan",
    "tanh",
]


@elementwise(
    domain=(-10.0, 10.0),
    flops=1,
    dtypes=REAL_AND_COMPLEX,
    crosses_zero=True,
    precise=lambda mp, x1, x2: x1 + x2,
)
def add(x1: Any, x2: Any, /, *, out: Any = None) -> Any:
    """Add elementwise, ``x1 + x2``.

    Parameters
    ----------
    x1, x2 : array_like of number, shapes that broadcast
        The terms.
    out : ndarray of the broadcast shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape and NumPy's promoted dtype.

    Raises
    ------
    TypeError
        An argument is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        The shapes do not broadcast, or `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.add([1.0, 2.0], 0.5)
    array([1.5, 2.5])
    """
    return np.add(x1, x2, out=out)


@elementwise(
    domain=(-10.0, 10.0),
    flops=1,
    dtypes=REAL_AND_COMPLEX,
    crosses_zero=True,
    precise=lambda mp, x1, x2: x1 - x2,
)
def subtract(x1: Any, x2: Any, /, *, out: Any = None) -> Any:
    """Subtract elementwise, ``x1 - x2``.

    Parameters
    ----------
    x1, x2 : array_like of number, shapes that broadcast
        Minuend and subtrahend.
    out : ndarray of the broadcast shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape and NumPy's promoted dtype.

    Raises
    ------
    TypeError
        An argument is not numeric (or both are bool), or `out` cannot hold the result's dtype.
    ValueError
        The shapes do not broadcast, or `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.subtract([1.0, 2.0], 0.5)
    array([0.5, 1.5])
    """
    return np.subtract(x1, x2, out=out)


@elementwise(
    domain=(-10.0, 10.0), flops=1, dtypes=REAL_AND_COMPLEX, precise=lambda mp, x1, x2: x1 * x2
)
def multiply(x1: Any, x2: Any, /, *, out: Any = None) -> Any:
    """Multiply elementwise, ``x1 * x2``.

    Parameters
    ----------
    x1, x2 : array_like of number, shapes that broadcast
        The factors.
    out : ndarray of the broadcast shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape and NumPy's promoted dtype.

    Raises
    ------
    TypeError
        An argument is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        The shapes do not broadcast, or `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.multiply([1.0, 2.0], 0.5)
    array([0.5, 1. ])
    """
    return np.multiply(x1, x2, out=out)


@elementwise(
    domain=(0.5, 10.0), flops=1, dtypes=REAL_AND_COMPLEX, precise=lambda mp, x1, x2: x1 / x2
)
def divide(x1: Any, x2: Any, /, *, out: Any = None) -> Any:
    """Divide elementwise, ``x1 / x2``; integers give floating point.

    Parameters
    ----------
    x1, x2 : array_like of number, shapes that broadcast
        Dividend and divisor. A zero divisor gives an infinity or NaN and NumPy's warning.
    out : ndarray of the broadcast shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape and NumPy's promoted dtype.

    Raises
    ------
    TypeError
        An argument is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        The shapes do not broadcast, or `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.divide([1.0, 2.0], 4)
    array([0.25, 0.5 ])
    """
    return np.divide(x1, x2, out=out)


@elementwise(domain=(-10.0, 10.0), flops=1, precise=lambda mp, x: -x)
def negative(x: Any, /, *, out: Any = None) -> Any:
    """Turn the sign, elementwise.

    Parameters
    ----------
    x : array_like of number
        Of any shape.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape and dtype of `x`.

    Raises
    ------
    TypeError
        `x` is not numeric, or boolean, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.negative([1.0, -2.0])
    array([-1.,  2.])
    """
    return np.negative(x, out=out)


@elementwise(domain=(-10.0, 10.0), flops=1, precise=lambda mp, x: abs(x))
def absolute(x: Any, /, *, out: Any = None) -> Any:
    """Take the absolute value, elementwise.

    Parameters
    ----------
    x : array_like of number
        Of any shape.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, and of its dtype, or for complex numbers the real one.

    Raises
    ------
    TypeError
        `x` is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.absolute([1.0, -2.0])
    array([1., 2.])
    """
    return np.absolute(x, out=out)


@elementwise(
    domain=(0.0, 100.0), flops=1, dtypes=REAL_AND_COMPLEX, precise=lambda mp, x: mp.sqrt(x)
)
def sqrt(x: Any, /, *, out: Any = None) -> Any:
    """Take the non-negative square root, elementwise.

    Parameters
    ----------
    x : array_like of number
        Of any shape. Negative real numbers give NaN and NumPy's warning.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point or complex.

    Raises
    ------
    TypeError
        `x` is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.sqrt([1.0, 4.0])
    array([1., 2.])
    """
    return np.sqrt(x, out=out)


@elementwise(
    domain=(-10.0, 10.0), flops=20, dtypes=REAL_AND_COMPLEX, precise=lambda mp, x: mp.exp(x)
)
def exp(x: Any, /, *, out: Any = None) -> Any:
    """Raise e to the power `x`, elementwise.

    Parameters
    ----------
    x : array_like of number
        Of any shape. Above 709.78 the float64 result overflows to infinity, with NumPy's warning.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point or complex.

    Raises
    ------
    TypeError
        `x` is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.exp([0.0, 1.0])
    array([1.        , 2.71828183])
    """
    return np.exp(x, out=out)


@elementwise(
    domain=(0.01, 100.0),
    flops=20,
    dtypes=REAL_AND_COMPLEX,
    crosses_zero=True,
    precise=lambda mp, x: mp.log(x),
)
def log(x: Any, /, *, out: Any = None) -> Any:
    """Take the natural logarithm, elementwise.

    Parameters
    ----------
    x : array_like of number
        Of any shape. Zero gives minus infinity, negative real numbers NaN, with NumPy's warning.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point or complex.

    Raises
    ------
    TypeError
        `x` is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.log([1.0, 10.0])
    array([0.        , 2.30258509])
    """
    return np.log(x, out=out)


@elementwise(
    domain=(-10.0, 10.0),
    flops=20,
    dtypes=REAL_AND_COMPLEX,
    crosses_zero=True,
    precise=lambda mp, x: mp.sin(x),
)
def sin(x: Any, /, *, out: Any = None) -> Any:
    """Take the sine, elementwise.

    Parameters
    ----------
    x : array_like of number
        Angles in radians, of any shape. Infinities give NaN and NumPy's warning.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point or complex.

    Raises
    ------
    TypeError
        `x` is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.sin([0.0, 0.5])
    array([0.        , 0.47942554])
    """
    return np.sin(x, out=out)


@elementwise(
    domain=(-10.0, 10.0),
    flops=20,
    dtypes=REAL_AND_COMPLEX,
    crosses_zero=True,
    precise=lambda mp, x: mp.cos(x),
)
def cos(x: Any, /, *, out: Any = None) -> Any:
    """Take the cosine, elementwise.

    Parameters
    ----------
    x : array_like of number
        Angles in radians, of any shape. Infinities give NaN and NumPy's warning.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point or complex.

    Raises
    ------
    TypeError
        `x` is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.cos([0.0, 0.5])
    array([1.        , 0.87758256])
    """
    return np.cos(x, out=out)


@elementwise(
    domain=(-10.0, 10.0),
    flops=25,
    dtypes=REAL_AND_COMPLEX,
    tolerance=16.0,
    precise=lambda mp, x: mp.tan(x),
)
def tan(x: Any, /, *, out: Any = None) -> Any:
    """Take the tangent, elementwise.

    Parameters
    ----------
    x : array_like of number
        In radians, of any shape.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point or complex.

    Raises
    ------
    TypeError
        `x` is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.tan([0.0, 1.0])
    array([0.        , 1.55740772])
    """
    return np.tan(x, out=out)


@elementwise(
    domain=(-3.0, 3.0), flops=25, dtypes=REAL_AND_COMPLEX, precise=lambda mp, x: mp.tanh(x)
)
def tanh(x: Any, /, *, out: Any = None) -> Any:
    """Take the hyperbolic tangent, elementwise.

    Parameters
    ----------
    x : array_like of number
        Of any shape.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point or complex.

    Raises
    ------
    TypeError
        `x` is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.tanh([0.0, 1.0])
    array([0.        , 0.76159416])
    """
    return np.tanh(x, out=out)


@elementwise(
    domain=((0.1, 10.0), (-3.0, 3.0)),
    flops=40,
    dtypes=REAL_AND_COMPLEX,
    tolerance=16.0,
    precise=lambda mp, x1, x2: mp.power(x1, x2),
)
def power(x1: Any, x2: Any, /, *, out: Any = None) -> Any:
    """Raise to a power elementwise, ``x1 ** x2``.

    Parameters
    ----------
    x1, x2 : array_like of number, shapes that broadcast
        Bases and exponents. A negative real base with a fractional exponent gives NaN and
        NumPy's warning.
    out : ndarray of the broadcast shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape and NumPy's promoted dtype.

    Raises
    ------
    TypeError
        An argument is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        The shapes do not broadcast, `out` has another shape or is read-only, or an integer is
        raised to a negative integer power.

    Examples
    --------
    >>> import backends
    >>> backends.power([1.0, 2.0, 3.0], 2)
    array([1., 4., 9.])
    """
    return np.power(x1, x2, out=out)


@elementwise(
    domain=(-10.0, 10.0), flops=10, dtypes=REAL, precise=lambda mp, x1, x2: mp.hypot(x1, x2)
)
def hypot(x1: Any, x2: Any, /, *, out: Any = None) -> Any:
    """Give the hypotenuse elementwise, ``sqrt(x1**2 + x2**2)``, without overflow on the way.

    Parameters
    ----------
    x1, x2 : array_like of real number, shapes that broadcast
        The legs.
    out : ndarray of the broadcast shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape, floating point.

    Raises
    ------
    TypeError
        An argument is not a real number, or `out` cannot hold the result's dtype.
    ValueError
        The shapes do not broadcast, or `out` has another shape or is read-only.

    Examples
    --------
    >>> import backends
    >>> backends.hypot([3.0, 5.0], [4.0, 12.0])
    array([ 5., 13.])
    """
    return np.hypot(x1, x2, out=out)
