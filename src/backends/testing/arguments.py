"""Any array that NumPy takes is taken, and what NumPy refuses is refused, with its name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backends.backend import Backend
from backends.errors import UnsupportedKernelError
from backends.testing.base import ELEMENTS, BackendTests

__all__ = ["ArgumentTests"]

DTYPES = ("?", "i1", "u2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", ">f8", ">f4", ">i4")

#: Where operand and result are both strided by 16 bytes (float32) or 64 (float64), NumPy before 2.5
#: takes the wrong elements: ``np.negative(x[::8], out=y[::8])``. Chunks have other strides.
NEGATES_WRONGLY = np.lib.NumpyVersion(np.__version__) < "2.5.0"

relaxed = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


class ArgumentTests(BackendTests):
    """What is given."""

    @relaxed
    @given(data=st.data())
    def test_any_layout_and_dtype(
        self, backend: Backend, elementwise: str, data: st.DataObject
    ) -> None:
        kernel = self.get(backend, elementwise)
        arrays = data.draw(_operands(len(kernel.parameters)))
        if elementwise == "negative" and NEGATES_WRONGLY:
            arrays = [np.ascontiguousarray(x) if np.ndim(x) else x for x in arrays]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = _attempt(kernel.reference, *arrays)
            actual = _attempt(lambda *a: backend.run(kernel, *a), *arrays)
        if isinstance(actual, UnsupportedKernelError) and not self.exact:
            # Refused for a dtype in which the kernel is not offered, or not by every backend.
            assert _result_dtype(expected) != "float64"
        elif isinstance(expected, Exception):
            _same_error(actual, expected)
        else:
            self.compare(kernel, actual, expected, *arrays)

    @relaxed
    @given(data=st.data())
    def test_any_overlap_of_out(self, backend: Backend, data: st.DataObject) -> None:
        kernel = self.get(backend, data.draw(st.sampled_from(["add", "sqrt", "multiply"])))
        buffers = np.arange(1.0, 65.0), np.arange(1.0, 65.0)
        cuts = [
            slice(data.draw(st.integers(0, 8)), None, data.draw(st.sampled_from([1, 2, -1])))
            for _ in range(len(kernel.parameters) + 1)
        ]
        calls: list[Callable[..., Any]] = [kernel.reference, partial(backend.run, kernel)]
        for buffer, run in zip(buffers, calls, strict=True):
            views = [buffer[cut] for cut in cuts]
            length = min(map(len, views))
            *operands, out = (view[:length] for view in views)
            assert run(*operands, out=out) is out
        if self.exact:
            assert np.array_equal(buffers[0], buffers[1])
        else:
            assert kernel.error(buffers[1], buffers[0]) <= kernel.tolerance

    def test_out_of_which_an_operand_is_a_part(self, backend: Backend) -> None:
        kernel = self.get(backend, "add")
        for cut in (np.s_[:1], np.s_[:, :1], np.s_[::-1], np.s_[:, ::-1]):
            whole, y = np.arange(12000.0).reshape(120, 100), np.ones((120, 100))
            expected = whole[cut] + y
            assert backend.run(kernel, whole[cut], y, out=whole) is whole
            assert np.array_equal(whole, expected)

    def test_out_of_length_one_backwards(self, backend: Backend) -> None:
        x, out = np.full(1, 4.0), np.empty(1)[::-1]
        assert backend.run(self.get(backend, "sqrt"), x, out=out) is out
        assert out[0] == 2.0

    def test_products_of_vectors_fill_out(self, backend: Backend) -> None:
        kernel = self.get(backend, "matmul")
        a, v = np.arange(15.0).reshape(3, 5), np.arange(5.0)
        for arrays in ((a, v), (v, a.T), (a[None], v)):
            expected = np.matmul(*arrays)
            out = np.empty_like(expected)
            assert backend.run(kernel, *arrays, out=out) is out
            self.compare(kernel, out, expected, *arrays)

    def test_only_the_lower_triangle_is_read(self, backend: Backend) -> None:
        rng = np.random.default_rng(0)
        m = rng.random((5, 5))
        a = np.tril(m @ m.T + np.eye(5)) + np.triu(np.full((5, 5), 7.0), 1)
        symmetric = np.tril(a) + np.tril(a, -1).T
        for name in ("cholesky", "eigh"):
            kernel = self.get(backend, name)
            for x in (a, np.stack([a] * 3)):
                result = backend.run(kernel, x)
                self.compare(
                    kernel, result, kernel.reference(x), np.broadcast_to(symmetric, x.shape)
                )

    def test_broadcast_and_out_of_more_dimensions(self, backend: Backend) -> None:
        kernel = self.get(backend, "add")
        a, b = np.arange(12.0).reshape(4, 1, 3), np.arange(5.0)[:, None]
        self.compare(kernel, backend.run(kernel, a, b), a + b, a, b)
        out = np.empty((2, 4, 5, 3))
        assert backend.run(kernel, a, b, out=out) is out
        assert np.array_equal(out, np.broadcast_to(a + b, out.shape))

    def test_lists_scalars_and_empty_arrays(self, backend: Backend, name: str) -> None:
        kernel = self.get(backend, name)
        examples: list[Any] = [
            [0.5, 0.25],
            0.5,
            np.float32(0.5),
            np.array(0.5),
            [],
            np.ones((0, 3)),
        ]
        if kernel.blas:
            m = np.array([[4.0, 1.0], [1.0, 3.0]])
            examples = [
                m.tolist(),
                np.ones((0, 2, 2)),
                np.ones((1, 1)),
                m[None],
                m.T,
                m[::-1, ::-1],
            ]
        for x in examples:
            arrays = (x,) * len(kernel.parameters)
            actual = self.run(backend, kernel, *arrays)
            if actual is not None:
                self.compare(kernel, actual, kernel.reference(*arrays), *arrays)

    def test_python_scalars_promote_weakly(self, backend: Backend) -> None:
        kernel = self.get(backend, "multiply")
        x = np.ones(ELEMENTS, np.float32)
        assert backend.run(kernel, x, 2.0).dtype == np.float32
        assert backend.run(kernel, x, np.float64(2.0)).dtype == np.float64

    @pytest.mark.parametrize(
        "shapes",
        [
            ((5,), (5,)),
            ((4, 5), (5,)),
            ((5,), (5, 3)),
            ((40, 5), (5, 3)),
            ((6, 4, 5), (5, 3)),
            ((4, 5), (6, 5, 3)),
            ((2, 1, 4, 5), (3, 5, 2)),
            ((0, 5), (5, 3)),
            ((4, 0), (0, 3)),
            ((7, 4, 5), (5,)),
        ],
    )
    def test_matmul_of_any_shape(self, backend: Backend, shapes: Any) -> None:
        kernel = self.get(backend, "matmul")
        rng = np.random.default_rng(0)
        for dtype in ("float32", "float64", "complex128", "int64"):
            a, b = (np.asarray(rng.integers(-9, 9, shape), dtype) for shape in shapes)
            for x, y in ((a, b), (np.asfortranarray(a), b[..., ::-1][..., ::-1])):
                actual = self.run(backend, kernel, x, y)
                if actual is not None:
                    self.compare(kernel, actual, np.matmul(x, y), x, y)

    def test_solve_takes_one_vector_or_matrices(self, backend: Backend) -> None:
        kernel = self.get(backend, "solve")
        rng = np.random.default_rng(0)
        a = rng.standard_normal((6, 4, 4)) + 4 * np.eye(4)
        for b in (rng.random(4), rng.random((4, 2)), rng.random((6, 4, 3))):
            self.compare(kernel, backend.run(kernel, a, b), np.linalg.solve(a, b), a, b)

    def test_factors_of_matrices_that_are_not_square(self, backend: Backend) -> None:
        kernel = self.get(backend, "svd")
        rng = np.random.default_rng(0)
        for shape in ((3, 5), (5, 3), (6, 3, 5), (2, 3, 5, 3)):
            a = rng.random(shape)
            result, expected = backend.run(kernel, a), np.linalg.svd(a)
            assert type(result) is type(expected)
            self.compare(kernel, result, expected, a)

    def test_read_only_arguments(self, backend: Backend) -> None:
        kernel = self.get(backend, "sqrt")
        x = np.arange(float(ELEMENTS))
        x.flags.writeable = False
        self.compare(kernel, backend.run(kernel, x), np.sqrt(x), x)

    @pytest.mark.parametrize(
        ("arguments", "out", "named"),
        [
            ((np.ones(3), np.ones(4)), None, "x1"),
            ((np.ones((2, 3)), np.ones(2)), None, "x2"),
            ((np.ones(3), np.array(["a", "b", "c"])), None, "x2"),
            (([[1.0], [1.0, 2.0]], 1.0), None, "x1"),
            ((np.ones(3), np.ones(3)), np.empty(4), "out"),
            ((np.ones(3), np.ones(3)), np.empty(3, int), "out"),
            ((np.ones(3), np.ones(3)), np.broadcast_to(np.empty(1), 3), "out"),
            ((np.ones(3), np.ones(3)), [0.0, 0.0, 0.0], "out"),
        ],
    )
    def test_a_wrong_argument_is_named(
        self, backend: Backend, arguments: Any, out: Any, named: str
    ) -> None:
        # hypot has no loop for objects and strings, so that NumPy refuses what we refuse.
        kernel = self.get(backend, "hypot")
        expected = _attempt(lambda: kernel.reference(*arguments, out=out))
        assert isinstance(expected, Exception)
        error = _attempt(lambda: backend.run(kernel, *arguments, out=out))
        _same_error(error, expected)
        assert named in str(error)
        assert "hypot" in str(error)

    def test_objects_are_refused(self, backend: Backend) -> None:
        kernel = self.get(backend, "sin")
        for x in (np.array([None, 1.0]), np.array([1.0, 2.0], dtype=object), {"a": 1}):
            with pytest.raises(TypeError, match="argument x has dtype object"):
                backend.run(kernel, x)

    def test_a_singular_matrix_is_an_error(self, backend: Backend) -> None:
        kernel = self.get(backend, "inv")
        for a in (np.zeros((3, 3)), np.zeros((50, 3, 3))):
            with pytest.raises(np.linalg.LinAlgError, match="ingular"):
                backend.run(kernel, a)
        with pytest.raises(np.linalg.LinAlgError, match="square"):
            backend.run(kernel, np.ones((3, 2)))
        nan = np.full((3, 3), np.nan)
        for name in ("svd", "eigh"):
            with pytest.raises(np.linalg.LinAlgError):
                backend.run(self.get(backend, name), nan)


@st.composite
def _operands(draw: st.DrawFn, count: int) -> list[Any]:
    """Arrays of shapes that broadcast, in any dtype and layout, and Python scalars among them."""
    shapes = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=9)
    ).input_shapes
    operands: list[Any] = []
    for shape in shapes:
        if draw(st.integers(0, 7)) == 0:
            operands.append(draw(st.sampled_from([True, 2, -3, 0.5, -0.0, 1.5 + 0.5j])))
            continue
        dtype = np.dtype(draw(st.sampled_from(DTYPES)))
        # Twice as long in every dimension, so that a view with steps has this shape.
        x = draw(hnp.arrays(dtype, tuple(2 * n for n in shape)))
        steps = [draw(st.sampled_from([1, 2, -1, -2])) for _ in shape]
        x = x[tuple(slice(None, None, step) for step in steps)]
        x = x[tuple(slice(0, n) for n in shape)]
        if draw(st.booleans()):
            x = np.asfortranarray(x) if draw(st.booleans()) else np.ascontiguousarray(x)
            x = x.reshape(shape)  # ascontiguousarray makes 0-d arrays 1-d
        operands.append(x)
    return operands


def _attempt(call: Callable[..., Any], *arrays: Any) -> Any:
    try:
        return call(*arrays)
    except Exception as error:  # Whatever NumPy raises, the backend must raise too.
        return error


def _result_dtype(expected: Any) -> str:
    return str(getattr(expected, "dtype", ""))


def _same_error(actual: Any, expected: Exception) -> None:
    # NumPy's own subclasses of TypeError are private: the public class is what callers catch.
    kinds = (np.linalg.LinAlgError, OverflowError, TypeError, ValueError)
    kind = next(kind for kind in kinds if isinstance(expected, kind))
    assert isinstance(actual, kind), (actual, expected)
