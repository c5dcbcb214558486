"""The BLAS thread count belongs to the whole process: it is lent, and given back as it was."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
from backends import blas, linear_algebra

pytestmark = [
    pytest.mark.skipif(blas.library() is None, reason="this BLAS has no thread count to set"),
    pytest.mark.filterwarnings("ignore:n_jobs=2 is more than:UserWarning"),  # one core
]

#: Unlike any wish below, so that what is put back cannot be mistaken for a wish.
OUTSIDE = 3


@pytest.fixture(autouse=True)
def outside():
    found = blas.library().get()
    blas.library().set(OUTSIDE)
    yield
    assert blas._wishes == {}
    blas.library().set(found)


def count():
    return blas.library().get()


@pytest.fixture
def watched():
    """A kernel that notes how many BLAS threads it is given."""
    seen = []

    @linear_algebra(core=(2, 2), rows=True, flops=lambda a, b: 1e12, cases={})
    def watched(x1, x2, /, *, out=None):
        seen.append(count())
        if np.size(x1) and np.isnan(x1).any():
            raise np.linalg.LinAlgError("not a number")
        return np.matmul(x1, x2, out=out)

    watched.seen = seen
    return watched


# --- wishes ----------------------------------------------------------------------------------


def test_library_is_named():
    found = blas.library()
    assert found.name
    assert found.get() == OUTSIDE
    assert found is blas.library()


def test_library_is_the_one_that_numpy_calls():
    import threadpoolctl
    from scipy import linalg  # noqa: F401 - SciPy's wheel has a BLAS of its own

    info = threadpoolctl.threadpool_info()
    blas.library().set(2)
    changed = [
        lib["filepath"]
        for lib, now in zip(info, threadpoolctl.threadpool_info(), strict=True)
        if lib["num_threads"] != now["num_threads"]
    ]
    assert len(changed) == 1
    assert "numpy" in changed[0] or len([x for x in info if x["user_api"] == "blas"]) == 1


def test_wish_holds_until_released():
    blas.acquire(1, 1)
    assert count() == 1
    blas.release(1)
    assert count() == OUTSIDE


def test_wish_may_be_for_more_than_there_was():
    with blas.limited(4):
        assert count() == 4
    assert count() == OUTSIDE


def test_smallest_wish_holds_in_any_order():
    with blas.limited(2):
        with blas.limited(4):
            assert count() == 2
        assert count() == 2
        with blas.limited(1):
            assert count() == 1
            with blas.limited(4):
                assert count() == 1
        assert count() == 2
    assert count() == OUTSIDE


def test_wishes_may_end_in_another_order_than_they_began():
    blas.acquire(1, 1)
    blas.acquire(2, 2)
    blas.acquire(4, 4)
    blas.release(1)
    assert count() == 2
    blas.release(2)
    assert count() == 4
    blas.release(4)
    assert count() == OUTSIDE


def test_count_is_put_back_after_an_exception():
    with pytest.raises(ZeroDivisionError), blas.limited(1):
        _ = 1 / 0
    assert count() == OUTSIDE


def test_next_wish_begins_with_the_count_of_its_own_time():
    with blas.limited(1):
        pass
    blas.library().set(2)
    with blas.limited(1):
        pass
    assert count() == 2


@given(steps=st.lists(st.integers(-6, 4).filter(bool), max_size=30))
def test_count_is_the_smallest_wish_or_what_was_outside(steps):
    held = {}
    try:
        for number, step in enumerate(steps):
            if step > 0:
                blas.acquire(step, number)
                held[number] = step
            elif held:
                wish = list(held)[-step % len(held)]
                del held[wish]
                blas.release(wish)
            assert count() == min(held.values(), default=OUTSIDE)
    finally:
        for wish in held:
            blas.release(wish)
    assert count() == OUTSIDE


def test_wishes_of_many_threads_overlap():
    start = threading.Barrier(8)

    def work(number):
        rng = np.random.default_rng(number)
        start.wait()
        for wish in rng.integers(1, 5, 100):
            with blas.limited(int(wish)):
                if count() > wish:
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert count() == OUTSIDE


def test_a_wish_that_was_never_made_is_not_taken_back_from_others():
    with blas.limited(1):
        blas.release("interrupted before it was made")
        assert count() == 1
    assert count() == OUTSIDE


class AtTheEnd(KeyboardInterrupt):
    """Ctrl-C just before a limit would be released."""


@pytest.fixture
def unreleased():
    """Limit BLAS to one thread, and be interrupted before that is released."""
    real = blas.limited.__exit__

    def interrupted_end(self, *error):
        raise AtTheEnd

    def call():
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(AtTheEnd):
            patch.setattr(blas.limited, "__exit__", interrupted_end)
            limit()
        assert blas.limited.__exit__ is real
        assert count() == 1

    return call


ENDS = (blas.limited.__enter__, blas.limited.__exit__, blas.acquire, blas.release)


def limit(threads=1):
    with blas.limited(threads):
        assert count() == threads


def test_ctrl_c_at_any_point_leaves_no_limit_for_ever(interrupted):
    for point in interrupted(limit, *ENDS):
        limit(2)
        assert count() == OUTSIDE, point
        assert blas._wishes == {}, point


def test_ctrl_c_while_what_another_left_is_made_good(interrupted, unreleased):
    def twice():
        unreleased()
        limit(2)

    for point in interrupted(twice, *ENDS, blas._forget_interrupted, blas.limited.interrupted):
        limit(2)
        assert count() == OUTSIDE, point
        assert blas._wishes == {}, point


def test_what_is_permitted_is_not_what_was_left_by_ctrl_c(unreleased, monkeypatch):
    governed = blas.library()._replace(unlimited=9)
    monkeypatch.setattr(blas, "library", lambda: governed)
    unreleased()
    assert blas.permitted(8) == OUTSIDE
    assert (count(), blas._wishes) == (OUTSIDE, {})


def test_a_count_that_was_set_after_ctrl_c_stands(unreleased):
    unreleased()
    blas.library().set(2)
    limit()
    assert count() == 2


def test_ctrl_c_ends_no_wish_of_others(unreleased):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(blas.acquire, 2, "theirs").result()
        unreleased()
        limit()
        assert count() == 2
        pool.submit(blas.release, "theirs").result()
    assert count() == OUTSIDE
    with blas.limited(2):
        unreleased()
        limit()
        assert count() == 2
    assert count() == OUTSIDE


def test_smaller_wish_of_another_thread_holds_here():
    with ThreadPoolExecutor(1) as pool, blas.limited(2):
        pool.submit(blas.acquire, 1, 1).result()
        assert count() == 1
        pool.submit(blas.release, 1).result()
        assert count() == 2


# --- backends --------------------------------------------------------------------------------

LARGE = np.ones((17, 17))  # one element more than 256 is enough for BLAS to start threads


@pytest.mark.parametrize(("backend", "threads"), [("numpy", 1), ("openmp", 2), ("threads", 1)])
def test_backend_sets_the_count_while_a_kernel_runs_and_puts_it_back(backend, threads, watched):
    expected = LARGE @ LARGE
    with backends.config_context(backend=backend, n_jobs=2):
        np.testing.assert_array_equal(watched(LARGE, LARGE), expected)
        out = np.empty_like(LARGE)
        assert watched(LARGE, LARGE, out=out) is out
    # Empty arrays are how shapes are asked for, where the count does not matter.
    assert watched.seen.count(threads) >= 2
    assert set(watched.seen) <= {threads, OUTSIDE}
    assert watched.seen[-1] == threads
    assert count() == OUTSIDE


@pytest.mark.parametrize("backend", ["numpy", "openmp", "threads"])
def test_backend_puts_the_count_back_after_an_exception(backend, watched):
    wrong = np.full_like(LARGE, np.nan)
    for out in (None, np.empty_like(LARGE)):
        with pytest.raises(np.linalg.LinAlgError, match="not a number"):
            watched(wrong, LARGE, out=out, backend=backend, n_jobs=2)
        assert count() == OUTSIDE
        with pytest.raises(ValueError, match="x1"):
            watched(LARGE, np.ones((18, 17)), out=out, backend=backend, n_jobs=2)
        assert count() == OUTSIDE


def test_count_holds_for_lists_whatever_their_size(watched):
    watched([[1.0]], [[1.0]], backend="numpy")
    assert watched.seen[-1] == 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_openmp_gives_blas_as_many_threads_as_jobs(n_jobs, watched):
    watched(LARGE, LARGE, backend="openmp", n_jobs=n_jobs)
    assert watched.seen == [n_jobs]


def test_kernel_without_blas_leaves_the_count_alone():
    seen = []

    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def counting(x, /, *, out=None):
        seen.append(count())
        return np.add(x, 1.0, out=out)

    counting(np.ones(1000), backend="numpy")
    assert seen == [OUTSIDE]


def test_backends_that_overlap_in_time_restore_the_count():
    def work(backend):
        for _ in range(50):
            backends.matmul(LARGE, LARGE, backend=backend, n_jobs=2)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, ["numpy", "openmp", "threads"] * 2))
    assert count() == OUTSIDE


# --- processes -------------------------------------------------------------------------------

FORK = """
import os
import signal
import sys
import threading
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)  # we mean to fork
from backends import blas

library = blas.library()
library.set(3)
blas.acquire(1, 1)
held, done = threading.Event(), threading.Event()

def hold():  # as a thread in the middle of acquire() does, at the moment of the fork
    with blas._lock:
        held.set()
        done.wait()

holder = threading.Thread(target=hold)
holder.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)  # ends it where it waits for a lock that nobody holds
    problems = []
    if library.get() != 3:
        problems.append(f"a wish of the parent's is left: {library.get()}")
    with blas.limited(2):
        if library.get() != 2:
            problems.append(f"the parent's wish still counts: {library.get()}")
    if library.get() != 3:
        problems.append(f"not put back: {library.get()}")
    print(*problems, sep="; ", file=sys.stderr)
    sys.stderr.flush()
    os._exit(len(problems))
_, status = os.waitpid(child, 0)
done.set()
holder.join()
assert os.waitstatus_to_exitcode(status) == 0
assert library.get() == 1
blas.release(1)
assert library.get() == 3
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_child_has_no_wishes_and_no_held_lock(run_python):
    run_python(FORK)


def test_without_a_library_nothing_is_governed(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(blas, "library", lambda: None)
        assert blas.permitted(3) == 3
        assert blas.set_outside(5) == 5
        with blas.limited(1):
            pass


def test_a_library_that_no_road_leads_to_has_no_direct_one():
    class Other:
        dynlib = object()

    assert blas._direct(Other()) is None
