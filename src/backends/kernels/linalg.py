"""Linear algebra kernels: ``numpy.linalg`` on matrices and on stacks of matrices.

Operation counts are those of G. H. Golub and C. F. Van Loan, "Matrix Computations", 4th edition
(2013), leading terms only.
"""

# Over 300 lines: most of it is what each kernel's page in the documentation is made from.
from __future__ import annotations

from typing import Any

import numpy as np

from backends import accuracy
from backends.declare import linear_algebra
from backends.kernel import Arrays, Inputs

__all__ = ["cholesky", "det", "eigh", "inv", "matmul", "solve", "svd"]

#: Order of the matrices of a "stack" benchmark: small enough that a call apiece would be overhead.
SMALL = 8


def _matrix(
    n: int, dtype: np.dtype[Any], rng: np.random.Generator, *stack: int
) -> np.ndarray[Any, Any]:
    # Entries of variance e/n keep the determinant of any order far from overflow (Stirling).
    shape = (*stack, n, n)
    a = rng.standard_normal(shape)
    if dtype.kind == "c":
        a = (a + 1j * rng.standard_normal(shape)) / np.sqrt(2.0)
    return np.asarray(a * np.sqrt(np.e / n), dtype=dtype)


def _well_conditioned(
    n: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    # The spectrum of a random matrix fills a disc of radius sqrt(e); 4 I moves it away from zero.
    a = _matrix(n, dtype, rng)
    a += 4 * np.eye(n, dtype=dtype)
    return a


def _symmetric(n: int, dtype: np.dtype[Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    a = _matrix(n, dtype, rng)
    return np.asarray((a + a.conj().T) / 2)


def _positive_definite(
    n: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    a = _matrix(n, dtype, rng)
    return np.asarray(a @ a.conj().T + np.eye(n, dtype=dtype))


def _one(make: Any) -> Inputs:
    return lambda n, dtype, rng: (make(n, dtype, rng),)


def _two(make: Any) -> Inputs:
    return lambda n, dtype, rng: (make(n, dtype, rng), _matrix(n, dtype, rng))


def _stack(count: int) -> Inputs:
    """Stacks of small matrices with as many elements as one matrix of order n has."""

    def make(n: int, dtype: np.dtype[Any], rng: np.random.Generator) -> Arrays:
        items = max(n * n // SMALL**2, 1)
        return tuple(_matrix(SMALL, dtype, rng, items) for _ in range(count))

    return make


def _det_error(actual: Any, expected: Any, arrays: Arrays) -> float:
    return accuracy.elementwise_error(actual, expected) / max(int(np.shape(arrays[0])[-1]), 1)


def _svd_error(actual: Any, expected: Any, arrays: Arrays) -> float:
    """Compare singular values, and the product with the matrix: vectors are not unique."""
    a = np.asarray(arrays[0])
    if len(actual) != 3 or [np.shape(x) for x in actual] != [x.shape for x in expected]:
        return float("inf")
    u, s, vh = actual
    k = s.shape[-1]
    product = np.matmul(u[..., :k] * s[..., None, :], vh[..., :k, :])
    return max(
        accuracy.normwise_error(s, expected[1], arrays),
        accuracy.normwise_error(product, a.astype(product.dtype), arrays),
        _unitary_error(u, arrays),
        _unitary_error(vh, arrays),
    )


def _unitary_error(u: Any, arrays: Arrays) -> float:
    product = np.matmul(u, np.conj(np.swapaxes(u, -1, -2)))
    identity = np.broadcast_to(np.eye(u.shape[-1], dtype=u.dtype), product.shape)
    return accuracy.normwise_error(product, identity, arrays)


def _eigh_error(actual: Any, expected: Any, arrays: Arrays) -> float:
    """Compare the eigenvalues, and ``v diag(w) v^H`` with the matrix: vectors are not unique."""
    if len(actual) != 2 or [np.shape(x) for x in actual] != [x.shape for x in expected]:
        return float("inf")
    (w, v), (expected_w, expected_v) = actual, expected
    product = np.matmul(v * w[..., None, :], np.conj(np.swapaxes(v, -1, -2)))
    reference = np.matmul(
        expected_v * expected_w[..., None, :], np.conj(np.swapaxes(expected_v, -1, -2))
    )
    return max(
        accuracy.normwise_error(np.atleast_1d(w), np.atleast_1d(expected_w), arrays),
        accuracy.normwise_error(product, reference, arrays),
        _unitary_error(v, arrays),
    )


def _store(result: Any, out: Any) -> Any:
    """Give `result`, in `out` where one is given: ``numpy.linalg`` has no such argument."""
    if out is None:
        return result
    if not isinstance(result, tuple):
        _copy(result, out)
        return out
    if not isinstance(out, tuple) or len(out) != len(result):
        raise TypeError(f"out: give a tuple of {len(result)} arrays, or None")
    for array, target in zip(result, out, strict=True):
        _fits(array, target)
    for array, target in zip(result, out, strict=True):
        _copy(array, target)
    return out if type(result) is tuple else type(result)(*out)


def _fits(result: Any, out: Any) -> None:
    if not hasattr(out, "dtype"):
        raise TypeError(f"out: must be an array, not {type(out).__name__}")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("out: is read-only")
    if np.shape(out) != np.shape(result):
        raise ValueError(f"out: has shape {np.shape(out)}, the result has {np.shape(result)}")
    if not np.can_cast(result.dtype, out.dtype, casting="same_kind"):
        raise TypeError(f"out: has dtype {out.dtype}, which cannot hold {result.dtype}")


def _copy(result: Any, out: Any) -> None:
    _fits(result, out)
    np.copyto(out, result, casting="same_kind")


def _matmul_entry(mp: Any, arrays: Arrays, index: tuple[int, ...]) -> Any:
    a, b = arrays
    row, column = a[(*index[:-1], slice(None))], b[(*index[:-2], slice(None), index[-1])]
    return mp.fdot(row.tolist(), column.tolist())


def _det_entry(mp: Any, arrays: Arrays, index: tuple[int, ...]) -> Any:
    (a,) = arrays
    if a.shape[-1] > SMALL:
        return None  # it would take minutes
    return mp.det(mp.matrix(a[index].tolist()))


@linear_algebra(
    core=(2, 2),
    rows=True,
    entry=_matmul_entry,
    flops=lambda a, b: 2.0 * (a[-2] if len(a) > 1 else 1) * a[-1] * (b[-1] if len(b) > 1 else 1),
    cases={"matrix": _two(_matrix), "stack": _stack(2)},
)
def matmul(x1: Any, x2: Any, /, *, out: Any = None) -> Any:
    """Multiply matrices, stacks of matrices, or a matrix and a vector: ``x1 @ x2``.

    Parameters
    ----------
    x1 : array_like of number, shape (..., n, k) or (k,)
        Left factor.
    x2 : array_like of number, shape (..., k, m) or (k,)
        Right factor. Dimensions before the last two broadcast.
    out : ndarray, shape (..., n, m), optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Shape (..., n, m), without n or m where that factor is a vector; NumPy's promoted dtype.

    Raises
    ------
    TypeError
        An argument is not numeric, or `out` cannot hold the result's dtype.
    ValueError
        The shapes do not match, an argument is 0-d, or `out` has another shape or is read-only.

    Notes
    -----
    2 n k m operations for a product.

    References
    ----------
    Golub and Van Loan, "Matrix Computations", section 1.1.

    Examples
    --------
    >>> import backends
    >>> backends.matmul([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])
    array([3., 7.])
    """
    return np.matmul(x1, x2, out=out)


@linear_algebra(
    core=(2,), flops=lambda a: 2.0 * a[-1] ** 3, cases={"matrix": _one(_well_conditioned)}
)
def inv(a: Any, /, *, out: Any = None) -> Any:
    """Invert a matrix, or each of a stack.

    Parameters
    ----------
    a : array_like of number, shape (..., n, n)
        What is inverted.
    out : ndarray, shape (..., n, n), optional
        Where the result goes.

    Returns
    -------
    ndarray
        Shape (..., n, n), floating point or complex.

    Raises
    ------
    numpy.linalg.LinAlgError
        `a` is singular, or not square.
    TypeError, ValueError
        `a` is not numeric, or `out` does not fit.

    Notes
    -----
    2 n**3 operations: LU factors and n right-hand sides.

    References
    ----------
    Golub and Van Loan, "Matrix Computations", section 3.4.

    Examples
    --------
    >>> import backends
    >>> backends.inv([[2.0, 0.0], [0.0, 4.0]])
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return _store(np.linalg.inv(a), out)


def _solve_flops(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    return 2.0 / 3.0 * a[-1] ** 3 + 2.0 * a[-1] ** 2 * (b[-1] if len(b) > 1 else 1)


@linear_algebra(core=(2, 2), flops=_solve_flops, cases={"matrix": _two(_well_conditioned)})
def solve(a: Any, b: Any, /, *, out: Any = None) -> Any:
    """Solve linear equations, ``a @ x = b``, for one matrix or each of a stack.

    Parameters
    ----------
    a : array_like of number, shape (..., n, n)
        Coefficients.
    b : array_like of number, shape (n,) or (..., n, m)
        Right-hand sides: one vector, or the columns of matrices.
    out : ndarray of the shape of the result, optional
        Where the result goes.

    Returns
    -------
    ndarray
        Shape (..., n) or (..., n, m), floating point or complex.

    Raises
    ------
    numpy.linalg.LinAlgError
        `a` is singular, or not square.
    TypeError, ValueError
        An argument is not numeric, the shapes do not match, or `out` does not fit.

    Notes
    -----
    2/3 n**3 + 2 n**2 m operations: LU factors and m right-hand sides.

    References
    ----------
    Golub and Van Loan, "Matrix Computations", section 3.4.

    Examples
    --------
    >>> import backends
    >>> backends.solve([[2.0, 0.0], [0.0, 4.0]], [1.0, 1.0])
    array([0.5 , 0.25])
    """
    return _store(np.linalg.solve(a, b), out)


@linear_algebra(
    core=(2,),
    flops=lambda a: 4.0 * a[-2] ** 2 * a[-1] + 8.0 * a[-2] * a[-1] ** 2 + 9.0 * a[-1] ** 3,
    cases={"matrix": _one(_matrix)},
    size=400,
    error=_svd_error,
)
def svd(a: Any, /, *, out: Any = None) -> Any:
    """Factor into singular vectors and values, ``a = u @ diag(s) @ vh``, full matrices.

    Parameters
    ----------
    a : array_like of number, shape (..., m, n)
        What is factored.
    out : tuple of three ndarray, optional
        Where `u`, `s` and `vh` go.

    Returns
    -------
    SVDResult
        NumPy's named tuple: ``U`` of shape (..., m, m), ``S`` of shape (..., min(m, n)),
        descending, and ``Vh`` of shape (..., n, n); floating point or complex, ``S`` real.

    Raises
    ------
    numpy.linalg.LinAlgError
        `a` has fewer than two dimensions, or the iteration does not converge.
    TypeError, ValueError
        `a` is not numeric, or `out` does not fit.

    Notes
    -----
    4 m**2 n + 8 m n**2 + 9 n**3 operations. Signs of the vectors are not unique.

    References
    ----------
    Golub and Van Loan, "Matrix Computations", section 8.6.

    Examples
    --------
    >>> import backends
    >>> backends.svd([[3.0, 0.0], [0.0, 4.0]]).S
    array([4., 3.])
    """
    return _store(np.linalg.svd(a), out)


@linear_algebra(
    core=(2,),
    flops=lambda a: 2.0 / 3.0 * a[-1] ** 3,
    cases={"matrix": _one(_matrix), "stack": _stack(1)},
    tolerance=1e5,  # times the condition number: of 15,625 random matrices, a few have 1e5
    error=_det_error,
    entry=_det_entry,
)
def det(a: Any, /, *, out: Any = None) -> Any:
    """Give the determinant of a matrix, or of each of a stack.

    Parameters
    ----------
    a : array_like of number, shape (..., n, n)
        Square matrices.
    out : ndarray, shape (...), optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Shape (...), floating point or complex.

    Raises
    ------
    numpy.linalg.LinAlgError
        `a` is not square.
    TypeError, ValueError
        `a` is not numeric, or `out` does not fit.

    Notes
    -----
    2/3 n**3 operations: the product of the LU factors' diagonal. Its relative error grows with
    the matrix's condition number, hence the wide tolerance.

    References
    ----------
    Golub and Van Loan, "Matrix Computations", section 3.2.

    Examples
    --------
    >>> import backends
    >>> round(float(backends.det([[2.0, 0.0], [0.0, 4.0]])), 6)
    8.0
    """
    return _store(np.linalg.det(a), out)


@linear_algebra(
    core=(2,), flops=lambda a: a[-1] ** 3 / 3.0, cases={"matrix": _one(_positive_definite)}
)
def cholesky(a: Any, /, *, out: Any = None) -> Any:
    """Factor a positive-definite matrix, or each of a stack: ``a = L @ L^H``.

    Parameters
    ----------
    a : array_like of number, shape (..., n, n)
        Hermitian, positive definite; only the lower triangle is read.
    out : ndarray, shape (..., n, n), optional
        Where the result goes.

    Returns
    -------
    ndarray
        Lower triangular, shape (..., n, n), floating point or complex.

    Raises
    ------
    numpy.linalg.LinAlgError
        `a` is not positive definite, or not square.
    TypeError, ValueError
        `a` is not numeric, or `out` does not fit.

    Notes
    -----
    1/3 n**3 operations.

    References
    ----------
    Golub and Van Loan, "Matrix Computations", section 4.2.

    Examples
    --------
    >>> import backends
    >>> backends.cholesky([[4.0, 0.0], [0.0, 9.0]])
    array([[2., 0.],
           [0., 3.]])
    """
    return _store(np.linalg.cholesky(a), out)


@linear_algebra(
    core=(2,),
    flops=lambda a: 9.0 * a[-1] ** 3,
    cases={"matrix": _one(_symmetric)},
    size=400,
    error=_eigh_error,
)
def eigh(a: Any, /, *, out: Any = None) -> Any:
    """Give eigenvalues and eigenvectors of a Hermitian matrix, or of each of a stack.

    Parameters
    ----------
    a : array_like of number, shape (..., n, n)
        Hermitian (real: symmetric); only the lower triangle is read.
    out : tuple of two ndarray, optional
        Where the eigenvalues and the eigenvectors go.

    Returns
    -------
    EighResult
        NumPy's named tuple: ``eigenvalues`` of shape (..., n), ascending, and ``eigenvectors``
        of shape (..., n, n), in columns; floating point or complex, eigenvalues real.

    Raises
    ------
    numpy.linalg.LinAlgError
        `a` is not square, or the iteration does not converge.
    TypeError, ValueError
        `a` is not numeric, or `out` does not fit.

    Notes
    -----
    9 n**3 operations. Signs of the vectors are not unique.

    References
    ----------
    Golub and Van Loan, "Matrix Computations", section 8.3.

    Examples
    --------
    >>> import backends
    >>> backends.eigh([[2.0, 0.0], [0.0, 1.0]]).eigenvalues
    array([1., 2.])
    """
    return _store(np.linalg.eigh(a), out)
