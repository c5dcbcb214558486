"""How many digits are right: errors in ULP against mpmath, on a sample of what was timed.

A unit in the last place (ULP) is the distance between neighbouring floating-point numbers at the
exact value. The best that rounding allows is half of one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backends.kernel import Kernel

__all__ = ["Sample", "largest_error", "sample"]

#: Entries that are looked at: of an elementwise result, and of a product of matrices, each of
#: which is a sum of a thousand terms.
ELEMENTS, ENTRIES = 200, 25
#: Decimal digits of the exact values: enough for the cancellation in each kernel's domain.
DIGITS = 50


class Sample(NamedTuple):
    """Some entries of a result, and their values to `DIGITS` digits."""

    indices: tuple[tuple[int, ...], ...]
    exact: tuple[Any, ...]


def sample(kernel: Kernel, arrays: tuple[Any, ...], shape: tuple[int, ...]) -> Sample | None:
    """Choose entries of ``kernel(*arrays)``, of the given shape, and compute them exactly.

    Returns
    -------
    Sample or None
        None where the kernel has no high-precision counterpart, or not for these arrays.

    Examples
    --------
    >>> import backends
    >>> x = np.linspace(0.0, 1.0, 100)
    >>> chosen = sample(backends.sin, (x,), x.shape)
    >>> largest_error(chosen, np.sin(x)) < 1 < largest_error(chosen, np.sin(x) + 1e-15)
    True
    """
    if kernel.entry is None or 0 in shape:
        return None
    # Imported here: measuring speed alone does not need it. A context of our own, since the
    # precision of mpmath's belongs to the user.
    import mpmath

    mp = mpmath.MPContext()
    mp.dps = DIGITS
    rng = np.random.default_rng(0)
    count = ENTRIES if kernel.blas else ELEMENTS
    chosen = {tuple(int(rng.integers(n)) for n in shape) for _ in range(count)}
    indices = tuple(sorted(chosen))
    exact = tuple(kernel.entry(mp, arrays, index) for index in indices)
    return None if None in exact else Sample(indices, exact)


def largest_error(sample: Sample, result: Any) -> float:
    """Give the largest error of `result` at the sampled entries, in ULP of its dtype.

    Infinity where a value is not finite. A complex number's error is the larger of its parts',
    in ULP of its modulus.
    """
    info = np.finfo(result.dtype)
    worst = 0.0
    for index, exact in zip(sample.indices, sample.exact, strict=True):
        actual = result[index].item()
        if not np.isfinite(actual):
            return float("inf")
        mp = exact.context
        # Below the smallest normal number the spacing no longer shrinks.
        exponent = int(mp.frexp(abs(exact))[1]) - 1 if exact else int(info.minexp)
        ulp = mp.ldexp(1, max(exponent, int(info.minexp)) - int(info.nmant))
        off = mp.mpmathify(actual) - exact
        worst = max(worst, float(max(abs(mp.re(off)), abs(mp.im(off))) / ulp))
    return worst
