"""How far a result is from the right one, in units of machine epsilon."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["elementwise_error", "normwise_error"]


def elementwise_error(
    actual: Any, expected: Any, arrays: tuple[Any, ...] = (), *, floor: float = 0.0
) -> float:
    """Give the largest elementwise error relative to ``max(abs(expected), floor)``.

    Parameters
    ----------
    actual, expected : array_like
        Of the same shape and dtype; anything else is an infinite error.
    arrays : tuple
        The arguments that gave them; not used here.
    floor : float
        Errors of results below it count as absolute errors.

    Examples
    --------
    >>> import numpy as np
    >>> elementwise_error(1.0 + np.finfo(float).eps, np.float64(1.0))
    1.0
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf")
    if actual.dtype.kind not in "fc":
        return 0.0 if np.array_equal(actual, expected) else float("inf")
    if actual.dtype.kind == "c":
        parts = [(actual.real, expected.real), (actual.imag, expected.imag)]
        scale = np.abs(expected)
    else:
        parts, scale = [(actual, expected)], np.abs(expected)
    # Below the smallest normal number the spacing no longer shrinks with the result.
    info = np.finfo(actual.dtype)
    with np.errstate(all="ignore"):
        scale = np.fmax(np.nan_to_num(scale, posinf=info.max), max(floor, info.tiny))
        return max((_part_error(a, e, scale) for a, e in parts), default=0.0) / float(info.eps)


def _part_error(actual: Any, expected: Any, scale: Any) -> float:
    finite = np.isfinite(expected)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    if not np.all(same | finite) or not np.all(np.isfinite(actual) | same):
        return float("inf")
    off = np.where(same, 0.0, np.abs(actual - expected) / scale)
    return float(off.max(initial=0.0))


def normwise_error(actual: Any, expected: Any, arrays: tuple[Any, ...] = ()) -> float:
    """Give the largest error of an item relative to its largest element and the problem's size.

    The error bound of a backward-stable algorithm grows with the order of the matrix, so the
    error is divided by it too.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf")
    if actual.size == 0:
        return 0.0
    if actual.dtype.kind not in "fc":
        return 0.0 if np.array_equal(actual, expected) else float("inf")
    finite = np.isfinite(expected)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    if not np.all(same | (finite & np.isfinite(actual))):
        return float("inf")
    order = max((np.shape(x)[-1] for x in arrays if np.ndim(x)), default=1)
    axes = tuple(range(max(actual.ndim - 2, 0), actual.ndim))
    info = np.finfo(actual.dtype)
    with np.errstate(all="ignore"):
        off = np.where(same, 0.0, np.abs(actual - expected))
        largest = np.abs(np.where(finite, expected, 0)).max(axis=axes, keepdims=True)
        return float((off / np.maximum(largest, info.tiny)).max()) / (
            float(info.eps) * max(order, 1)
        )
