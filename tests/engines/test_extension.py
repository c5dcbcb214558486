"""The C extension by itself: what it refuses, and what the Python code above it never asks for."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

import backends
from backends import accelerate
from backends.engines import floating
from backends.engines.extension import load
from backends.engines.openmp import make_ufunc

engine = load()
pytestmark = pytest.mark.skipif(isinstance(engine, str), reason=f"no engine: {engine}")


@pytest.fixture
def private():
    """A ufunc over stacks of matrices that nobody else has, called by NumPy's own code."""
    yield engine.stack("solve", 1)
    engine.straighten()


@pytest.mark.parametrize("function", ["describe", "state"])
@pytest.mark.parametrize("given", [3, np.dot, None])
def test_what_is_no_ufunc_is_refused(function, given):
    with pytest.raises(TypeError, match=f"^{function}: a ufunc is needed, not "):
        getattr(engine, function)(given)


@pytest.mark.parametrize("function", ["restore", "counts", "count_anew", "unreached"])
@pytest.mark.parametrize("given", [np.arcsinh, 3])
def test_what_has_its_own_loops_is_refused(function, given):
    with pytest.raises(ValueError, match="has its own loops"):
        getattr(engine, function)(given)


def test_names_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"^there is no stack of svd$"):
        engine.stack("svd", 2)
    with pytest.raises(ValueError, match=r"^there is no fast sinus$"):
        engine.ufunc(np.sin, 2, fast="sinus")
    with pytest.raises(ValueError, match=r"^ufunc matmul has no elementwise loop$"):
        engine.ufunc(np.matmul, 2)


def test_a_ufunc_that_others_call_is_left_to_them(private):
    engine.divert(private, lambda *_: None, 0.0)
    for take in (lambda: engine.replace(private), lambda: engine.divert(private, print, 0.0)):
        with pytest.raises(RuntimeError, match=r"^ufunc solve is called by other code than NumPy"):
            take()


def test_calls_of_matrices_are_diverted_and_those_with_a_vector_are_not(private):
    calls = []

    def function(ufunc, arguments, keywords):
        calls.append((ufunc, len(arguments), keywords))
        return "diverted"

    engine.divert(private, function, 8.0)
    a, b = np.eye(3), np.ones((3, 2))
    assert private(a, b) == "diverted"
    assert private(a, b, casting="no") == "diverted"
    assert calls == [(private, 2, None), (private, 2, {"casting": "no"})]
    assert np.array_equal(private(np.eye(1), np.ones((1, 1))), [[1.0]])  # too few elements
    with pytest.raises(ValueError, match="does not have enough dimensions"):
        private(a, np.ones(3))
    engine.straighten()
    assert np.array_equal(private(a, b), b)
    assert len(calls) == 2


def test_who_wants_one_thread_is_not_counted():
    before = engine.taken()
    assert engine.take(1) == (0, 0)
    assert engine.taken() == before
    assert not engine.counts_me()


def test_an_empty_region_takes_no_time_or_little():
    assert engine.region(1) == 0.0
    assert engine.region(2) >= 0.0


def test_of_several_results_the_first_ones_elements_are_counted():
    x = np.linspace(-3.0, 3.0, 5000)
    expected = np.modf(x)
    accelerate.count(True)
    try:
        with backends.install(n_jobs=2, threshold=1):
            actual = np.modf(x)
            calls, elements, *_ = engine.counts(np.modf)
    finally:
        accelerate.count(False)
    assert (calls, elements) == (1, 5000)
    assert all(map(np.array_equal, actual, expected))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("stream_bytes", "factor"), [(1, 3), (2**62, 1)])
def test_the_triad_is_computed_where_stores_go_past_the_caches(dtype, stream_bytes, factor):
    triad = engine.ufunc(np.add, 2, fast="triad", threshold=1, stream_bytes=stream_bytes)
    # Whole numbers: exact, however it is computed.
    a, b = np.random.default_rng(0).integers(-100, 100, (2, 30_001)).astype(dtype)
    out = np.empty_like(a)
    assert triad(a, b, out=out) is out
    assert np.array_equal(out, a + factor * b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gamma_near_the_largest_number(dtype):
    x = np.array([171.0, 171.59, 171.605, 171.62, 171.624, 171.6244, 171.63, 172.0], dtype)
    fast = make_ufunc(backends.gamma, 1, "fast")
    with np.errstate(over="ignore"):
        actual, expected = fast(x), scipy.special.gamma(x)
    assert np.array_equal(np.isinf(actual), np.isinf(expected))
    ends = np.isfinite(expected)
    assert backends.gamma.error(actual[ends], expected[ends], x[ends]) <= backends.gamma.tolerance


def test_what_is_raised_while_python_is_asked_within_a_loop_is_raised_after_it():
    class HandlerError(Exception):
        pass

    def handler():  # as of a signal, which Python handles when it is asked something
        raise HandlerError("from a handler")

    ours = engine.ufunc(scipy.special.gammaln, 2, special=True, threshold=1)
    x = np.linspace(1.0, 2.0, 1000)

    def compute():
        for _ in range(100):  # the loop's end is where it may be raised
            ours(x)

    engine.connect(handler)
    try:
        with pytest.raises(HandlerError, match="from a handler"):
            compute()
    finally:
        engine.connect(floating.special_errors_wanted)
    assert np.array_equal(ours(x), scipy.special.gammaln(x))


def test_a_backend_says_what_it_is():
    from backends.engines.openmp import OpenmpBackend
    from backends.engines.threads import ThreadsBackend

    assert repr(ThreadsBackend(1)) == "<backend threads, n_jobs=1>"
    assert repr(OpenmpBackend(1, mode="fast")) == "<backend openmp, n_jobs=1, mode=fast>"


def test_neither_team_nor_blas_is_told(monkeypatch):
    from backends.engines import openmp

    monkeypatch.setattr(openmp, "load", lambda: "built without a C compiler")
    monkeypatch.setattr(openmp.blas, "library", lambda: None)
    assert openmp.OpenmpBackend.unavailable() == (
        "built without a C compiler; nor has this NumPy a BLAS whose threads can be set"
    )
    monkeypatch.undo()
    engine_ = openmp.OpenmpBackend(1)
    monkeypatch.setattr(openmp.blas, "library", lambda: None)
    assert "no BLAS library whose threads" in engine_.supports(backends.matmul)


def test_stacks_of_two_types_are_for_lapack():
    a = np.broadcast_to(np.eye(3), (10, 3, 3))
    b = np.ones((10, 3, 1), "float32")
    with backends.config_context(mode="fast"):
        found = backends.solve(a, b, backend="openmp", n_jobs=2)
    assert found.dtype == np.float64
    assert np.array_equal(found, np.linalg.solve(a, b))


def test_bodies_that_are_no_single_ufunc_have_no_loop():
    from backends.engines.tracing import ufunc_of

    def kernel(body):
        return backends.elementwise(domain=(0.1, 1.0), flops=1)(body)

    def looks(x, /, *, out=None):
        """Look at a value."""
        return np.sin(x) if x[0] else x

    def three(x, /, *, out=None):
        """Call three."""
        return np.sin(np.cos(np.exp(x)))

    def reduces(x, /, *, out=None):
        """Reduce."""
        return np.add.reduce(x)

    for body in (looks, three, reduces):
        assert ufunc_of(kernel(body)) is None

    def cascade(x, /, *, out=None):
        """Call three."""
        return np.exp(np.sin(np.cos(x)))

    made = kernel(cascade)
    with pytest.raises(ValueError, match="the body of cascade is no ufunc"):
        make_ufunc(made, 2, "exact")


def test_special_errors_are_not_wanted_where_scipy_is_not_imported(monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "scipy.special")
    assert not floating.special_errors_wanted()


def test_memory_of_nothing_is_an_empty_array():
    from backends.engines.lending import numpy_over

    assert numpy_over(None, 0, (0, 3), np.dtype("float32")).shape == (0, 3)


def test_a_blas_that_is_not_known_is_always_told_its_threads(monkeypatch):
    from backends import backend

    small = np.eye(2)
    assert not backend._reaches_threads(backends.matmul, (small, small))
    monkeypatch.setattr(backend, "_has_openblas", lambda: False)
    assert backend._reaches_threads(backends.matmul, (small, small))


def test_an_out_of_objects_is_refused_by_name():
    with pytest.raises(TypeError, match="out"):
        backends.sin(np.ones(3), out=np.empty(3, object), backend="numpy")


def test_workers_on_this_machine_have_no_memory_of_their_own():
    assert backends.get("threads", n_jobs=1).worker_memory() is None
