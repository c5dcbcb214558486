from __future__ import annotations

import mpmath
import numpy as np
import pytest

from backends import kernels
from backends.bench import digits


@pytest.mark.parametrize("name", sorted(kernels.every()))
def test_the_reference_is_within_its_tolerance_of_the_exact_values(name):
    kernel = kernels.find(name)
    for dtype in kernel.dtypes:
        for case in kernel.cases:
            arrays = kernel.inputs(case, 24 if kernel.blas else 1000, dtype)
            result = kernel.reference(*arrays)
            if isinstance(result, tuple):
                continue
            chosen = digits.sample(kernel, arrays, result.shape)
            if kernel.entry is None or (name == "det" and case == "matrix"):
                assert chosen is None
            else:
                error = digits.largest_error(chosen, result)
                # ULPs near a zero are more than epsilons: j0 and gammaln cross zero.
                assert 0 <= error < 1e5
                if name in ("add", "subtract", "sqrt") and dtype != "complex128":
                    assert error <= 0.5


def exact(*values):
    mp = mpmath.MPContext()
    mp.dps = 50
    return digits.Sample(tuple((i,) for i in range(len(values))), tuple(map(mp.mpf, values)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("start", [1.0, 1.5, 1000.0, 0.0, "tiny", "smallest_subnormal"])
def test_the_neighbouring_number_is_one_ulp_away(dtype, start):
    value = dtype(getattr(np.finfo(dtype), start) if isinstance(start, str) else start)
    above = np.nextafter(value, dtype(np.inf))
    assert digits.largest_error(exact(float(value)), np.array([above])) == 1.0
    assert digits.largest_error(exact(float(value)), np.array([value])) == 0.0


def test_a_number_that_is_not_finite_is_infinitely_wrong():
    for wrong in (np.nan, np.inf):
        assert digits.largest_error(exact(1.0, 2.0), np.array([1.0, wrong])) == np.inf


def test_the_precision_of_the_users_own_mpmath_is_left_alone():
    before = mpmath.mp.dps
    x = np.array([0.5])
    digits.sample(kernels.find("sin"), (x,), x.shape)
    assert mpmath.mp.dps == before


def test_nothing_is_sampled_from_nothing():
    x = np.empty(0)
    assert digits.sample(kernels.find("sin"), (x,), x.shape) is None
