"""What the thread pool promises besides the contract."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import special

import backends
from backends.engines.threads import ThreadsBackend
from backends.kernel import REGISTERED


@backends.elementwise(domain=(0.0, 1.0), flops=1)
def slow_identity(x, /, *, out=None):
    """Wait, then copy: long enough for another thread to be watched."""
    time.sleep(0.02)
    return np.positive(x, out=out)


@backends.elementwise(domain=(0.0, 1.0), flops=1)
def where_it_ran(x, /, *, out=None):
    """Give the identity of the thread that computes."""
    result = np.full(np.shape(x), threading.get_ident() % 2**52, dtype=float)
    return np.positive(result, out=out)


@backends.elementwise(domain=(0.0, 1.0), flops=1)
def calls_another_kernel(x, /, *, out=None):
    """Call a kernel that the configuration sends to the same pool."""
    return np.positive(backends.sqrt(x), out=out)


@backends.elementwise(domain=(0.0, 1.0), flops=1)
def fails_at_the_end(x, /, *, out=None):
    """Fail in the last chunk, after a moment in the others."""
    if np.size(x) and np.max(x) == 99:
        raise RuntimeError("the last chunk")
    time.sleep(0.02)
    return np.positive(x, out=out)


# Not for the tests that go through all kernels.
for kernel in (slow_identity, where_it_ran, calls_another_kernel, fails_at_the_end):
    REGISTERED.pop(kernel.name)


@pytest.fixture
def pool():
    with ThreadsBackend(2) as backend:
        backend.min_work = 1
        yield backend


def test_work_is_shared_by_two_threads_of_which_one_is_the_callers(pool):
    # One of two may take all chunks where each is over at once: make them last.
    seen = set()
    for _ in range(5):
        seen |= set(pool.run(where_it_ran, np.zeros(10**6)))
    assert threading.get_ident() % 2**52 in seen
    assert len(seen) <= 2


def test_chunks_run_side_by_side(pool):
    running, most = 0, 0
    lock = threading.Lock()

    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def counts(x, /, *, out=None):
        """Count how many of these run at once."""
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return np.positive(x, out=out)

    pool.run(counts, np.zeros(100))
    assert most == 2


def test_threads_persist_between_calls_and_end_with_close(pool):
    pool.run(slow_identity, np.zeros(100))
    first = {t.ident for t in threading.enumerate() if t.name.startswith("backends")}
    pool.run(slow_identity, np.zeros(100))
    assert {t.ident for t in threading.enumerate() if t.name.startswith("backends")} == first
    assert len(first) == 1
    pool.close()
    assert not any(t.ident in first for t in threading.enumerate())


def test_kernels_inside_kernels_run_in_one_piece(pool):
    # With both threads waiting for a third, this would hang.
    with backends.config_context(backend="threads", n_jobs=2):
        result = pool.run(calls_another_kernel, np.arange(1000.0))
    assert np.array_equal(result, np.sqrt(np.arange(1000.0)))


def test_nothing_writes_to_out_after_an_error(pool):
    out = np.zeros(100)
    with pytest.raises(RuntimeError, match="the last chunk"):
        pool.run(fails_at_the_end, np.arange(100.0), out=out)
    after = out.copy()
    time.sleep(0.1)
    assert np.array_equal(out, after)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_results_are_right_after_a_fork(pool):
    x = np.arange(1000.0)
    pool.run(backends.sqrt, x)
    child = os.fork()
    if child == 0:
        ok = np.array_equal(pool.run(backends.sqrt, x), np.sqrt(x))
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_short_call_does_not_wait_for_another_callers_long_one(pool):
    started = threading.Event()

    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def occupies(x, /, *, out=None):
        """Keep both threads busy until the short call has ended."""
        if np.size(x):
            started.set()
            assert over.wait(60)
        return np.positive(x, out=out)

    over = threading.Event()
    with ThreadPoolExecutor(1) as other:
        long = other.submit(pool.run, occupies, np.zeros(100))
        assert started.wait(60)
        pool.run(backends.sqrt, np.ones(100))
        over.set()
        long.result()


def test_kernels_inside_kernels_are_configured_as_the_caller_is(pool):
    seen = set()

    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def asks(x, /, *, out=None):
        """Note the backend in force."""
        seen.add(backends.get_config().backend.value)
        time.sleep(0.01 if np.size(x) else 0)
        return np.positive(x, out=out)

    with backends.config_context(backend="threads"):
        pool.run(asks, np.zeros(100))
    assert seen == {"threads"}


def test_small_work_stays_in_the_calling_thread():
    with ThreadsBackend(2) as backend:
        seen = set(backend.run(where_it_ran, np.zeros(1000)))
        assert seen == {threading.get_ident() % 2**52}
        assert not backend.divides(backends.sin, np.zeros(1000))
        assert backend.divides(backends.sin, np.zeros(10**6))


def test_a_single_matrix_divides_only_where_rows_are_independent():
    a = np.eye(600)
    with ThreadsBackend(2) as backend:
        assert backend.divides(backends.matmul, a, a)
        assert not backend.divides(backends.matmul, a[0], a)
        assert not backend.divides(backends.inv, a)
        assert backend.divides(backends.inv, np.broadcast_to(np.eye(8), (10**5, 8, 8)))


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("make", [np.ma.masked_array, np.matrix], ids=["masked", "matrix"])
def test_arrays_that_are_more_than_numbers_are_refused(make):
    with ThreadsBackend(2) as backend, pytest.raises(TypeError, match=r"argument x is a .*asarray"):
        backend.run(backends.sin, make([[1.0, 2.0]]))


def test_memory_maps_are_plain_arrays(tmp_path, pool):
    x = np.memmap(tmp_path / "x", float, "w+", shape=1000)
    x[:] = np.arange(1000.0)
    result = pool.run(backends.sqrt, x)
    assert type(result) is type(np.sqrt(x))
    assert np.array_equal(result, np.sqrt(x))


def test_special_function_errors_are_raised_where_scipy_is_asked_to(pool):
    x = np.array([-1.0, 2.0, 3.0, 4.0])
    assert pool.run(backends.gammaln, x)[0] == np.inf
    with special.errstate(all="raise"), pytest.raises(special.SpecialFunctionError):
        pool.run(backends.gammaln, x)
