"""Special functions: SciPy's own ufuncs."""

# Over 300 lines: most of it is what each kernel's page in the documentation is made from.
from __future__ import annotations

import functools
from typing import Any

import numpy as np
from scipy import special

from backends.declare import REAL_AND_COMPLEX, elementwise

__all__ = [
    "erf",
    "erfc",
    "erfinv",
    "expit",
    "gamma",
    "gammaln",
    "j0",
    "log_ndtr",
    "ndtr",
    "ndtri",
    "norm_isf",
]

special_function = functools.partial(elementwise, family="special functions")


@special_function(
    domain=(-3.0, 3.0),
    flops=30,
    dtypes=REAL_AND_COMPLEX,
    tolerance=16.0,
    precise=lambda mp, x: mp.erf(x),
)
def erf(x: Any, /, *, out: Any = None) -> Any:
    r"""Error function, :math:`\frac{2}{\sqrt\pi} \int_0^x e^{-t^2}\,dt`, elementwise.

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

    References
    ----------
    NIST Digital Library of Mathematical Functions, 7.2.1.

    Examples
    --------
    >>> import backends
    >>> backends.erf([0.0, 1.0])
    array([0.        , 0.84270079])
    """
    return special.erf(x, out=out)


@special_function(
    domain=(-3.0, 10.0),
    flops=40,
    dtypes=REAL_AND_COMPLEX,
    tolerance=4096.0,
    precise=lambda mp, x: mp.erfc(x),
)
def erfc(x: Any, /, *, out: Any = None) -> Any:
    r"""Complementary error function, :math:`1 - \operatorname{erf}(x)`, elementwise.

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

    Notes
    -----
    The tolerance is wide because the reference itself loses digits where the result is small.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 7.2.2.

    Examples
    --------
    >>> import backends
    >>> backends.erfc([0.0, 1.0])
    array([1.        , 0.15729921])
    """
    return special.erfc(x, out=out)


@special_function(domain=(-1.0, 1.0), flops=30, tolerance=64.0, precise=lambda mp, y: mp.erfinv(y))
def erfinv(y: Any, /, *, out: Any = None) -> Any:
    """Inverse of the error function, elementwise.

    Parameters
    ----------
    y : array_like of real number
        Of any shape. -1 and 1 give infinities; outside [-1, 1] the result is NaN.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `y`, floating point.

    Raises
    ------
    TypeError
        `y` is not a real number, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 7.17.

    Examples
    --------
    >>> import backends
    >>> backends.erfinv([0.0, 0.5])
    array([0.        , 0.47693628])
    """
    return special.erfinv(y, out=out)


@special_function(
    domain=(-8.0, 8.0),
    flops=40,
    dtypes=REAL_AND_COMPLEX,
    tolerance=4096.0,
    precise=lambda mp, x: mp.erfc(-x / mp.sqrt(2)) / 2,
)
def ndtr(x: Any, /, *, out: Any = None) -> Any:
    r"""Distribution function of the standard normal, elementwise.

    :math:`\Phi(x) = \frac12 \operatorname{erfc}(-x / \sqrt2)`, the chance of a value below `x`.

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

    Notes
    -----
    The tolerance is wide because the reference itself loses digits where the result is small.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 7.18 and 8.11.

    Examples
    --------
    >>> import backends
    >>> backends.ndtr([0.0, 1.0])
    array([0.5       , 0.84134475])
    """
    return special.ndtr(x, out=out)


@special_function(
    domain=(-8.0, 8.0),
    flops=60,
    tolerance=4096.0,
    precise=lambda mp, x: mp.log(mp.erfc(-x / mp.sqrt(2)) / 2),
)
def log_ndtr(x: Any, /, *, out: Any = None) -> Any:
    """Logarithm of the distribution function of the standard normal, elementwise.

    Parameters
    ----------
    x : array_like of real number
        Of any shape.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point.

    Raises
    ------
    TypeError
        `x` is not a real number, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    Notes
    -----
    The tolerance is wide because the reference itself loses digits where the result is small.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 7.18 and 8.11.

    Examples
    --------
    >>> import backends
    >>> backends.log_ndtr([0.0, -40.0])
    array([-6.93147181e-01, -8.04608442e+02])
    """
    return special.log_ndtr(x, out=out)


@special_function(
    domain=(0.0, 1.0),
    flops=30,
    tolerance=64.0,
    crosses_zero=True,
    precise=lambda mp, p: mp.sqrt(2) * mp.erfinv(2 * p - 1),
)
def ndtri(p: Any, /, *, out: Any = None) -> Any:
    r"""Quantile function of the standard normal: the inverse of :func:`ndtr`, elementwise.

    Parameters
    ----------
    p : array_like of real number
        Probabilities, of any shape. 0 and 1 give infinities; outside [0, 1] the result is NaN.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `p`, floating point.

    Raises
    ------
    TypeError
        `p` is not a real number, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    References
    ----------
    M. J. Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied
    Statistics 37 (1988) 477-484, defines the function; the reference is SciPy's (Cephes).

    Examples
    --------
    >>> import backends
    >>> backends.ndtri([0.5, 0.975])
    array([0.        , 1.95996398])
    """
    return special.ndtri(p, out=out)


@special_function(
    domain=(0.0, 1.0),
    flops=30,
    tolerance=64.0,
    crosses_zero=True,
    precise=lambda mp, q: -mp.sqrt(2) * mp.erfinv(2 * q - 1),
)
def norm_isf(q: Any, /, *, out: Any = None) -> Any:
    r"""Inverse survival function of the standard normal, elementwise.

    The value that a standard normal variable exceeds with probability `q`:
    :math:`-\Phi^{-1}(q)`, as ``scipy.stats.norm.isf(q)``.

    Parameters
    ----------
    q : array_like of real number
        Probabilities, of any shape. 0 and 1 give infinities; outside [0, 1] the result is NaN.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `q`, floating point. Where SciPy's method always gives float64, a float32
        argument gives float32 here, as for every other kernel.

    Raises
    ------
    TypeError
        `q` is not a real number, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    References
    ----------
    N. L. Johnson, S. Kotz, N. Balakrishnan, "Continuous Univariate Distributions", volume 1,
    2nd edition, chapter 13.

    Examples
    --------
    >>> import backends
    >>> backends.norm_isf([0.5, 0.025])
    array([-0.        ,  1.95996398])
    """
    if isinstance(out, np.ndarray) and not out.flags.forc:
        # Before NumPy 2.5, np.negative in place goes wrong where elements are 64 bytes apart.
        return np.negative(special.ndtri(q), out=out)
    result = special.ndtri(q, out=out)
    if out is None and np.ndim(result):
        out = result  # fresh memory costs as much as the arithmetic
    return np.negative(result, out=out)


@special_function(
    domain=(0.1, 30.0),
    flops=50,
    tolerance=64.0,
    crosses_zero=True,
    precise=lambda mp, x: mp.log(abs(mp.gamma(x))),
)
def gammaln(x: Any, /, *, out: Any = None) -> Any:
    r"""Logarithm of the absolute value of the gamma function, elementwise.

    Parameters
    ----------
    x : array_like of real number
        Of any shape. 0, -1, -2, ... give infinity.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point.

    Raises
    ------
    TypeError
        `x` is not a real number, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 5.2.

    Examples
    --------
    >>> import backends
    >>> backends.gammaln([0.5, 10.0])
    array([ 0.57236494, 12.80182748])
    """
    return special.gammaln(x, out=out)


@special_function(
    domain=(0.1, 30.0),
    flops=50,
    dtypes=REAL_AND_COMPLEX,
    tolerance=256.0,
    precise=lambda mp, x: mp.gamma(x),
)
def gamma(x: Any, /, *, out: Any = None) -> Any:
    r"""Gamma function, :math:`\int_0^\infty t^{x-1} e^{-t}\,dt` where that converges, elementwise.

    Parameters
    ----------
    x : array_like of number
        Of any shape. Poles as SciPy has them.
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

    References
    ----------
    NIST Digital Library of Mathematical Functions, 5.2.1.

    Examples
    --------
    >>> import backends
    >>> backends.gamma([0.5, 5.0])
    array([ 1.77245385, 24.        ])
    """
    return special.gamma(x, out=out)


@special_function(domain=(-10.0, 10.0), flops=25, precise=lambda mp, x: 1 / (1 + mp.exp(-x)))
def expit(x: Any, /, *, out: Any = None) -> Any:
    r"""Logistic function, :math:`1 / (1 + e^{-x})`, elementwise.

    Parameters
    ----------
    x : array_like of real number
        Of any shape.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point.

    Raises
    ------
    TypeError
        `x` is not a real number, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    References
    ----------
    C. M. Bishop, "Pattern Recognition and Machine Learning" (2006), equation 4.59.

    Examples
    --------
    >>> import backends
    >>> backends.expit([0.0, 1.0])
    array([0.5       , 0.73105858])
    """
    return special.expit(x, out=out)


# MKL's is 113 epsilons off in this domain, SciPy's 2 (against mpmath): absolute errors of 2.5e-14.
@special_function(
    domain=(0.0, 50.0),
    flops=50,
    tolerance=256.0,
    crosses_zero=True,
    precise=lambda mp, x: mp.besselj(0, x),
)
def j0(x: Any, /, *, out: Any = None) -> Any:
    r"""Bessel function of the first kind of order 0, elementwise.

    Parameters
    ----------
    x : array_like of real number
        Of any shape.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point.

    Raises
    ------
    TypeError
        `x` is not a real number, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 10.2.2.

    Examples
    --------
    >>> import backends
    >>> backends.j0([0.0, 1.0])
    array([1.        , 0.76519769])
    """
    return special.j0(x, out=out)
