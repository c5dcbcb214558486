from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backends.accuracy import elementwise_error, normwise_error

INF, NAN = np.inf, np.nan
FLOATS = ["float16", "float32", "float64", "complex64", "complex128"]
both = pytest.mark.parametrize("measure", [elementwise_error, normwise_error])


def arrays(dtypes=FLOATS):
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    return hnp.arrays(st.sampled_from(dtypes), shapes)


# --- what both have in common ----------------------------------------------------------------


@both
@given(x=arrays([*FLOATS, "int32", "bool"]))
def test_array_has_no_error_against_itself(measure, x):
    assert measure(x, x.copy()) == 0.0


@both
@given(x=arrays(), data=st.data())
def test_error_is_never_negative_nor_nan(measure, x, data):
    other = data.draw(hnp.arrays(x.dtype, x.shape))
    assert measure(other, x) >= 0.0


@both
@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (np.ones(2), np.ones(3)),
        (np.ones((1, 2)), np.ones(2)),
        (np.ones(1), np.float64(1.0)),
        (np.ones(2, np.float32), np.ones(2)),
        (np.ones(2), np.ones(2, int)),
        (np.ones(2, complex), np.ones(2)),
        (np.ones(0), np.ones(0, np.float32)),
    ],
)
def test_other_shape_or_dtype_is_an_infinite_error(measure, actual, expected):
    assert measure(actual, expected) == INF


@both
@pytest.mark.parametrize(
    ("actual", "expected"),
    [(NAN, 1.0), (1.0, NAN), (INF, 1.0), (1.0, INF), (-INF, INF), (NAN, INF), (INF, NAN)],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_nan_or_infinity_in_the_wrong_place_is_an_infinite_error(measure, actual, expected, dtype):
    fill = np.array([[1.0, 2.0], [3.0, 4.0]], dtype)
    a, b = fill.copy(), fill.copy()
    a[1, 0], b[1, 0] = actual, expected
    assert measure(a, b) > 1e6


@both
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_nan_or_infinity_in_the_right_place_is_no_error(measure, value):
    x = np.array([[1.0, value], [3.0, 4.0]])
    assert measure(x, x.copy()) == 0.0


@both
def test_wrong_number_beside_an_infinity_is_an_error(measure):
    expected = np.array([[INF, 1.0], [NAN, 2.0]])
    actual = np.array([[INF, 1.0], [NAN, 3.0]])
    assert measure(actual, expected) > 1e6


@both
def test_integers_and_booleans_are_equal_or_wrong(measure):
    assert measure(np.array([1, 2]), np.array([1, 2])) == 0.0
    assert measure(np.array([1, 2]), np.array([1, 3])) == INF
    assert measure(np.array([True]), np.array([False])) == INF


@both
@given(
    dtype=st.sampled_from(["float32", "float64"]),
    steps=st.integers(1, 1000),
    exponent=st.integers(-100, 100),
)
def test_unit_is_the_spacing_at_one_wherever_the_number_is(measure, dtype, steps, exponent):
    expected = np.array([np.ldexp(1.0, exponent)], dtype)
    eps = np.finfo(dtype).eps
    assert measure(expected + steps * eps * expected, expected) == pytest.approx(steps)
    assert measure(expected - steps * eps * expected, expected) == pytest.approx(steps)


# --- elementwise -----------------------------------------------------------------------------


def test_elementwise_error_is_that_of_the_worst_element():
    expected = np.array([1e-200, 1.0, 1e200])
    actual = expected * [1 + 4 * 2.0**-52, 1.0, 1 + 2 * 2.0**-52]
    assert elementwise_error(actual, expected) == pytest.approx(4, rel=0.3)


def test_floor_makes_the_error_of_small_results_absolute():
    actual, expected = np.array([3 * 2.0**-52]), np.array([0.0])
    assert elementwise_error(actual, expected) > 1e100
    assert elementwise_error(actual, expected, floor=1.0) == 3.0
    large = np.array([8.0])
    assert elementwise_error(large + 8 * 2.0**-52, large, floor=1.0) == 1.0


def test_small_part_of_a_complex_number_is_measured_by_its_modulus():
    expected = np.array([1.0 + 1e-20j])
    assert elementwise_error(expected + 1e-20j, expected) < 1e-3
    assert elementwise_error(expected + 4e-16j, expected) == pytest.approx(1.8, abs=0.1)
    assert elementwise_error(expected + 4e-16, expected) == pytest.approx(2.0)
    assert elementwise_error(1j * expected + 1e-20, 1j * expected) < 1e-3


def test_part_of_a_complex_number_that_is_not_a_number_counts():
    assert elementwise_error(np.array([complex(1, NAN)]), np.array([1 + 1j])) == INF
    assert elementwise_error(np.array([complex(INF, 1)]), np.array([complex(INF, 1)])) == 0.0
    assert elementwise_error(np.array([complex(-INF, 1)]), np.array([complex(INF, 1)])) == INF


def test_last_bit_of_a_subnormal_number_is_no_great_error():
    tiny = np.finfo(float).smallest_subnormal
    assert elementwise_error(np.array([2 * tiny]), np.array([tiny])) <= 1.0
    assert elementwise_error(np.array([0.0]), np.array([np.finfo(float).tiny])) > 1e15


def test_overflow_is_infinite_and_not_a_warning():
    most = np.finfo(float).max
    assert elementwise_error(np.array([-most]), np.array([most])) > 1e15
    assert elementwise_error(np.array([INF]), np.array([most])) == INF


# --- normwise --------------------------------------------------------------------------------


def test_normwise_error_is_relative_to_the_largest_element_of_the_matrix():
    expected = np.array([[1.0, 1e-10], [1e-10, 1.0]])
    off = np.array([[0.0, 2.0**-52], [0.0, 0.0]])
    assert normwise_error(expected + off, expected) == pytest.approx(1.0, rel=1e-3)


def test_each_matrix_of_a_stack_is_measured_alone():
    expected = np.stack([np.eye(2), 1e-10 * np.eye(2)])
    actual = expected.copy()
    actual[1, 0, 1] = 1e-10
    assert normwise_error(actual, expected) > 1e15


def test_normwise_error_is_divided_by_the_order_of_the_problem():
    expected = np.eye(4)
    actual = expected * (1 + 8 * 2.0**-52)
    assert normwise_error(actual, expected) == 8.0
    assert normwise_error(actual, expected, (np.ones((4, 4)), np.ones(4), 2.0)) == 2.0
    assert normwise_error(actual, expected, (np.ones((4, 0)),)) == 8.0


@given(x=hnp.arrays("float64", (3, 3), elements=st.floats(-10, 10)), power=st.integers(-60, 60))
def test_normwise_error_does_not_depend_on_the_scale(x, power):
    y, scale = x + 1e-10, np.ldexp(1.0, power)
    assert normwise_error(scale * y, scale * x) == pytest.approx(normwise_error(y, x))


def test_empty_results_have_no_error():
    assert normwise_error(np.ones((0, 3)), np.ones((0, 3)), (np.ones((0, 3)),)) == 0.0
    assert elementwise_error(np.ones((0, 3)), np.ones((0, 3))) == 0.0
