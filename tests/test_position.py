from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import backends
from backends import position
from backends.position import Position, of


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=5))
def test_elements_are_those_of_the_result(shapes):
    a, b = (np.zeros(shape) for shape in shapes.input_shapes)
    place = of(backends.add, [a, b])
    if not (a.ndim or b.ndim):
        assert place is None
    else:
        assert place.size == math.prod(shapes.result_shape)


@pytest.mark.parametrize(
    ("array", "layout"),
    [
        (np.zeros((4, 5)), "contiguous"),
        (np.zeros((4, 5)).T, "contiguous"),
        (np.zeros((4, 5))[:, ::2], "strided"),
        (np.zeros(9)[::-1], "strided"),
    ],
)
def test_layout_is_how_the_elements_lie(array, layout):
    assert of(backends.sin, [array]).layout == layout
    assert of(backends.add, [np.zeros(array.shape), array]).layout == layout


@pytest.mark.parametrize("dtype", position.DTYPES)
def test_dtype_is_that_of_the_largest_array(dtype):
    assert of(backends.add, [np.zeros(3, dtype), 1.0]).dtype == dtype
    assert of(backends.add, [np.float64(1.0), np.zeros(3, dtype)]).dtype == dtype


@pytest.mark.parametrize(
    "arrays",
    [[1.0], [np.float64(1.0)], [[1.0, 2.0]], [np.zeros(3, ">f8")], [np.zeros(3, int)], [None]],
)
def test_what_is_not_measured_has_no_position(arrays):
    assert of(backends.sin, arrays) is None


def test_shapes_that_do_not_fit_are_numpys_to_refuse():
    assert of(backends.add, [np.zeros(3), np.zeros(4)]) is None


@given(st.sampled_from(["matmul", "solve"]), st.integers(1, 60))
def test_a_square_matrix_has_its_order(name, n):
    kernel = getattr(backends, name)
    assert of(kernel, [np.zeros((n, n))] * 2).size == n
    assert of(backends.svd, [np.zeros((n, n))]).size == n


def test_a_product_is_placed_by_its_multiplications():
    tall = of(backends.matmul, [np.zeros((10_000, 10)), np.zeros((10, 10))])
    assert tall == Position("float64", "contiguous", 100)
    vector = of(backends.matmul, [np.zeros((100, 10)), np.zeros(10)])
    assert vector.size == 10


@pytest.mark.parametrize(
    ("order", "layout"), [(8, "small_stack"), (16, "small_stack"), (17, "stack")]
)
def test_stacks_are_placed_by_the_order_of_their_matrices(order, layout):
    arrays = [np.zeros((5, order, order)), np.zeros((order, order))]
    assert of(backends.matmul, arrays) == Position("float64", layout, 5 * order**2)
