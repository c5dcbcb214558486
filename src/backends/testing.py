"""The conformance suite: what every backend must do, as tests to subclass.

A backend's author writes, in a test module of their own package::

    from backends.testing import BackendConformance

    class TestMine(BackendConformance):
        @classmethod
        def make_backend(cls):
            return MyBackend(n_jobs=2)

and pytest runs every test below on it. The extra ``array-backends[testing]`` has what it needs.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backends import blas, kernels
from backends.backend import Backend
from backends.kernel import Kernel

__all__ = ["BackendConformance"]

#: Sizes at which every kernel is compared: elements, and the order of matrices.
ELEMENTS, ORDER = 1001, 24

DTYPES = ("?", "i1", "u2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", ">f8", ">f4", ">i4")

relaxed = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


class BackendConformance:
    """Tests that hold for any backend; subclass it and supply :meth:`make_backend`.

    Attributes
    ----------
    exact : bool
        Results are compared bit by bit with the reference's. Set it to False for a backend that
        computes in another way: each kernel's own tolerance holds then.
    """

    exact = True

    @classmethod
    def make_backend(cls) -> Backend:
        """Give the backend under test; one that divides even small work finds more."""
        raise NotImplementedError("supply make_backend() in your subclass")

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        """Give each test that asks for ``name`` or ``elementwise`` the backend's own kernels."""
        for argument in {"name", "elementwise"} & set(metafunc.fixturenames):
            with cls.make_backend() as backend:
                names = [
                    name
                    for name, kernel in kernels.every().items()
                    if backend.supports(kernel) is True
                    and (argument == "name" or not any(kernel.core))
                ]
            metafunc.parametrize(argument, names)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Iterator[Backend]:
        """One backend for the whole class, closed at its end."""
        with cls.make_backend() as backend:
            yield backend

    # What it says of itself

    def test_is_available_and_named(self, backend: Backend) -> None:
        assert isinstance(backend, Backend)
        assert type(backend).unavailable() is None
        assert backend.name == type(backend).name
        assert backend.n_jobs >= 1

    def test_supports_gives_true_or_a_reason(self, backend: Backend) -> None:
        for kernel in kernels.every().values():
            answer = backend.supports(kernel)
            assert answer is True or (isinstance(answer, str) and answer)

    def test_some_kernel_is_supported(self, backend: Backend) -> None:
        assert any(backend.supports(kernel) is True for kernel in kernels.every().values())

    def test_can_be_used_after_close(self, backend: Backend) -> None:
        kernel = self.some(backend)
        arrays = kernel.inputs(next(iter(kernel.cases)), 64, "float64")
        backend.run(kernel, *arrays)
        backend.close()
        backend.close()
        self.compare(kernel, backend.run(kernel, *arrays), kernel.reference(*arrays), *arrays)

    # Results

    def test_agrees_with_the_reference(self, backend: Backend, name: str) -> None:
        kernel = self.get(backend, name)
        for dtype in kernel.dtypes:
            for case in kernel.cases:
                arrays = kernel.inputs(case, ORDER if kernel.blas else ELEMENTS, dtype)
                before = [x.copy() for x in arrays]
                actual = backend.run(kernel, *arrays)
                self.compare(kernel, actual, kernel.reference(*arrays), *arrays)
                assert all(map(np.array_equal, before, arrays)), "an argument was changed"

    def test_fills_out_and_returns_it(self, backend: Backend, name: str) -> None:
        kernel = self.get(backend, name)
        for dtype in kernel.dtypes:
            arrays = kernel.inputs(
                next(iter(kernel.cases)), ORDER if kernel.blas else ELEMENTS, dtype
            )
            expected = kernel.reference(*arrays)
            if not isinstance(expected, tuple):
                out: Any = np.full_like(np.asarray(expected), 7)
                assert backend.run(kernel, *arrays, out=out) is out
                self.compare(kernel, out, np.asarray(expected), *arrays)
                continue
            out = tuple(np.full_like(x, 7) for x in expected)
            result = backend.run(kernel, *arrays, out=out)
            assert type(result) is type(expected)
            assert all(r is o for r, o in zip(result, out, strict=True))
            self.compare(kernel, result, expected, *arrays)

    def test_special_values(self, backend: Backend, elementwise: str) -> None:
        kernel = self.get(backend, elementwise)
        for dtype in (np.float32, np.float64):
            info: Any = np.finfo(dtype)
            points = [0.0, 1.0, 0.5, 1e-3, 2.0, 30.0, 171.0, np.inf, np.nan, info.max, info.tiny]
            points += [info.smallest_subnormal, info.tiny / 8, info.eps, np.pi, 1e6]
            x = np.array([*points, *(-p for p in points)], dtype)
            arrays = np.meshgrid(*[x] * len(kernel.parameters), indexing="ij")
            with np.errstate(all="ignore"):
                expected = kernel.reference(*arrays)
                self.compare(kernel, backend.run(kernel, *arrays), expected, *arrays)

    def test_floating_point_warnings_are_the_references(
        self, backend: Backend, elementwise: str
    ) -> None:
        kernel = self.get(backend, elementwise)
        # Long enough to be divided, with the trouble in one place only.
        for value in (0.0, -1.0, np.inf, 800.0, 1e300, -1e300, 1e-310):
            x = np.full(ELEMENTS, 0.5)
            x[-3] = value
            arrays = (x,) * len(kernel.parameters)
            expected = _floating_errors(kernel.reference, *arrays)
            assert _floating_errors(lambda *a: backend.run(kernel, *a), *arrays) == expected, value

    def test_errstate_raise_is_obeyed(self, backend: Backend) -> None:
        kernel = self.get(backend, "log")
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError, match="in log"):
            backend.run(kernel, np.zeros(ELEMENTS))
        with np.errstate(divide="ignore"):
            assert np.all(backend.run(kernel, np.zeros(ELEMENTS)) == -np.inf)

    def test_a_floating_point_warning_comes_once(self, backend: Backend) -> None:
        kernel = self.get(backend, "log")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            backend.run(kernel, np.zeros(ELEMENTS))
        assert [str(w.message) for w in caught] == ["divide by zero encountered in log"]

    # Arguments

    @relaxed
    @given(data=st.data())
    def test_any_layout_and_dtype(
        self, backend: Backend, elementwise: str, data: st.DataObject
    ) -> None:
        kernel = self.get(backend, elementwise)
        arrays = data.draw(_operands(len(kernel.parameters)))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = _attempt(kernel.reference, *arrays)
            actual = _attempt(lambda *a: backend.run(kernel, *a), *arrays)
        if isinstance(expected, Exception):
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
        assert np.array_equal(buffers[0], buffers[1])

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
            self.compare(kernel, backend.run(kernel, *arrays), kernel.reference(*arrays), *arrays)

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
                self.compare(kernel, backend.run(kernel, x, y), np.matmul(x, y), x, y)

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

    # Company

    def test_leaves_blas_threads_as_they_were(self, backend: Backend) -> None:
        library = blas.library()
        kernel = self.get(backend, "matmul")
        if library is None:
            pytest.skip("this NumPy's BLAS has no thread count to look at")
        before = library.get()
        backend.run(kernel, *kernel.inputs("matrix", 100, "float64"))
        backend.run(kernel, *kernel.inputs("stack", 100, "float64"))
        assert library.get() == before

    def test_many_threads_may_call_at_once(self, backend: Backend) -> None:
        kernel = self.some(backend)
        case = next(iter(kernel.cases))
        inputs = [kernel.inputs(case, 200, "float64", seed) for seed in range(16)]
        barrier = threading.Barrier(8)

        def call(seed: int) -> Any:
            if seed < 8:
                barrier.wait(60)
            return [backend.run(kernel, *inputs[seed]) for _ in range(5)][-1]

        with ThreadPoolExecutor(8) as pool:
            for arrays, result in zip(inputs, pool.map(call, range(16)), strict=True):
                self.compare(kernel, result, kernel.reference(*arrays), *arrays)

    def test_data_goes_there_and_back(self, backend: Backend) -> None:
        kernel = self.some(backend)
        arrays = kernel.inputs(next(iter(kernel.cases)), 200, "float64")
        placed = [backend.asarray(x) for x in arrays]
        for x, p in zip(arrays, placed, strict=True):
            assert np.array_equal(backend.to_numpy(p), x)
            assert backend.asarray(p) is p
        result = backend.to_numpy(backend.run(kernel, *placed))
        self.compare(kernel, result, kernel.reference(*arrays), *arrays)

    # Helpers

    def get(self, backend: Backend, name: str) -> Kernel:
        """Give a kernel, or skip the test with the backend's reason for not having it."""
        kernel = kernels.find(name)
        supported = backend.supports(kernel)
        if supported is not True:
            pytest.skip(f"{backend.name} refuses: {supported}")
        return kernel

    def some(self, backend: Backend) -> Kernel:
        """Give a kernel that the backend has."""
        return next(k for k in kernels.every().values() if backend.supports(k) is True)

    def compare(self, kernel: Kernel, actual: Any, expected: Any, *arrays: Any) -> None:
        """Assert that `actual` is what NumPy would have returned."""
        assert type(actual) is type(expected)
        pairs = (
            list(zip(actual, expected, strict=True))
            if isinstance(expected, tuple)
            else [(actual, expected)]
        )
        for a, e in pairs:
            assert type(a) is type(e)
            assert a.dtype == e.dtype
            assert a.shape == e.shape
        # Blocks of another size may sum products in another order: BLAS is never exact.
        if self.exact and not kernel.blas:
            np.testing.assert_array_equal(actual, expected)
            if expected.dtype.kind in "fc":
                zero = expected == 0
                signs = [np.signbit(x.real[zero]) for x in (actual, expected)]
                np.testing.assert_array_equal(*signs)
        else:
            assert kernel.error(actual, expected, *arrays) <= kernel.tolerance


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


def _same_error(actual: Any, expected: Exception) -> None:
    # NumPy's own subclasses of TypeError are private: the public class is what callers catch.
    kinds = (np.linalg.LinAlgError, OverflowError, TypeError, ValueError)
    kind = next(kind for kind in kinds if isinstance(expected, kind))
    assert isinstance(actual, kind), (actual, expected)


def _floating_errors(call: Callable[..., Any], *arrays: Any) -> set[str]:
    errors: set[str] = set()
    with np.errstate(all="call", call=lambda error, flag: errors.add(error)):
        call(*arrays)
    return errors
