"""How many threads NumPy's own calls may have, proved by counting those that run."""

from __future__ import annotations

import ast
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import backends
from backends import ConfigError, blas, budget, config, config_context, set_config
from backends.accelerate import threads
from backends.cores import usable
from backends.engines import openmp

ENGINE = openmp.load()
SEEN = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
CORES = min(SEEN, usable())

pytestmark = [
    pytest.mark.skipif(isinstance(ENGINE, str), reason=f"no engine: {ENGINE}"),
    pytest.mark.filterwarnings("ignore:n_jobs=. is more than:UserWarning"),
]
two_cores = pytest.mark.skipif(CORES < 2, reason="a limit of 1 differs from 1 core only there")
with_blas = pytest.mark.skipif(
    blas.library() is None or blas.library().unlimited < 2, reason="BLAS has no threads to count"
)
#: Large enough to be counted in each of the calls below.
ORDER = 400
MATRIX = np.random.default_rng(0).standard_normal((ORDER, ORDER)) + ORDER * np.eye(ORDER)


@pytest.fixture(autouse=True)
def as_before():
    """Take back what a test installs, and see that nothing of it is left."""
    before = None if blas.library() is None else blas.library().get()
    yield
    threads.uninstall()
    assert budget.counter().taken() == 0
    assert blas._wishes == {}
    assert before is None or blas.library().get() == before


@pytest.fixture
def seen(monkeypatch):
    """Note BLAS's threads and the budget's count in the middle of each diverted call."""
    found = []
    real = threads._engine()

    class Engine:
        divert, straighten = real.divert, real.straighten

        @staticmethod
        def original(*call):
            found.append((blas.library().get(), budget.counter().taken()))
            return real.original(*call)

    monkeypatch.setattr(threads, "_engine", lambda: Engine)
    return found


def in_thread(function):
    with ThreadPoolExecutor(1) as other:
        return other.submit(function).result()


@contextmanager
def held(wanted):
    """Let another thread have a share of the budget."""
    over, begun = threading.Event(), threading.Event()

    def hold():
        with budget.Share(wanted):
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(60)
    try:
        yield
    finally:
        over.set()
        thread.join()


def team_threads():
    """Give how many threads of a team work on one call that asks for two."""
    ENGINE.busiest()
    openmp.make_ufunc(backends.gammaln, 2, "exact", threshold=1)(np.linspace(1.0, 9.0, 10**6))
    return ENGINE.busiest()


# --- the number of jobs ----------------------------------------------------------------------

SOURCES = ("config_context", "set_config", "install", "environment", "file")


@with_blas
@given(chosen=st.sets(st.sampled_from(SOURCES)))
def test_the_strongest_source_wins(chosen):
    numbers = {source: number for number, source in enumerate(SOURCES, 1) if source in chosen}
    config._found = tuple(
        config.Layer(source, n_jobs=numbers[source]) for source in SOURCES[3:] if source in chosen
    )
    try:
        threads.install(numbers.get("install"))
        set_config(n_jobs=numbers.get("set_config"))
        with config_context(n_jobs=numbers.get("config_context")):
            assert threads.jobs() == next(iter(numbers.values()), usable())
    finally:
        threads.uninstall()
        config._found = ()
        set_config(n_jobs=None)


def test_a_change_shows_at_the_next_call():
    assert threads.jobs() == usable()
    set_config(n_jobs=1)
    assert threads.jobs() == 1
    with config_context(n_jobs=3):
        assert threads.jobs() == 3
        with config_context(mode="fast"):
            assert threads.jobs() == 3
    threads.install(2)
    assert threads.jobs() == 1
    set_config(n_jobs=None)
    assert threads.jobs() == 2
    threads.uninstall()
    assert threads.jobs() == usable()


def test_negative_numbers_leave_cores_to_others(monkeypatch):
    monkeypatch.setattr(threads, "usable", lambda: 4)
    for n_jobs, expected in ((-1, 4), (-2, 3), (-4, 1), (-9, 1)):
        with config_context(n_jobs=n_jobs):
            assert threads.jobs() == expected


def test_contexts_are_those_of_the_calling_thread():
    threads.install(3)
    with config_context(n_jobs=1):
        assert (threads.jobs(), in_thread(threads.jobs)) == (1, 3)


def test_threads_that_differ_do_not_mix():
    def ask(n_jobs):
        with config_context(n_jobs=n_jobs):
            return {threads.jobs() for _ in range(2000)}

    with ThreadPoolExecutor(4) as many:
        assert list(many.map(ask, (1, 2, 3, 4))) == [{1}, {2}, {3}, {4}]


def test_asking_neither_raises_nor_warns():
    with config_context(n_jobs=10**6):
        assert threads.jobs() == 16 * usable()


@pytest.mark.parametrize(
    ("n_jobs", "error"), [(0, ValueError), (10**6, ValueError), (2.0, TypeError)]
)
def test_what_is_no_number_of_jobs_is_refused(n_jobs, error):
    threads.install(2)
    with pytest.raises(error, match="n_jobs"):
        threads.install(n_jobs)
    assert threads.jobs() == 2


def test_wrong_settings_are_refused_when_installed(monkeypatch):
    monkeypatch.setenv("BACKENDS_N_JOBS", "many")
    with pytest.raises(ConfigError, match="BACKENDS_N_JOBS='many' is not an integer"):
        threads.install(None)
    assert not threads._diverts


# --- BLAS ------------------------------------------------------------------------------------


CALLS = {
    "matmul": lambda: np.matmul(MATRIX, MATRIX),
    "inv": lambda: np.linalg.inv(MATRIX),
    "solve": lambda: np.linalg.solve(MATRIX, MATRIX),
    "svd": lambda: np.linalg.svd(MATRIX, compute_uv=False),
    "eigh": lambda: np.linalg.eigvalsh(MATRIX + MATRIX.T),
    "cholesky": lambda: np.linalg.cholesky(MATRIX @ MATRIX.T),
    "stack": lambda: np.linalg.slogdet(np.stack([MATRIX, MATRIX])),
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))


@two_cores
@with_blas
@calls
def test_blas_is_counted(call, seen):
    expected = call()
    threads.install(2)
    found = call()
    assert seen[-1] == (2, 2)
    assert budget.counter().taken() == 0
    with config_context(n_jobs=1):
        call()
    assert seen[-1] == (1, 0)
    # Not to the bit: that depends on how many threads BLAS has.
    assert np.allclose(found, expected)


@two_cores
@with_blas
@calls
def test_blas_takes_what_is_free(call, seen):
    threads.install(2)
    with held(CORES):
        call()
        assert seen[-1] == (1, CORES + 1)
    call()
    assert seen[-1] == (2, 2)


@two_cores
@with_blas
def test_a_call_inside_a_counted_one_leaves_blas_alone(seen):
    threads.install(2)
    with budget.Share(2), blas.limited(2):
        CALLS["matmul"]()
    assert seen[-1] == (2, 2)
    with budget.working(), blas.limited(1):
        CALLS["matmul"]()
    assert seen[-1] == (1, 0)
    backends.matmul(MATRIX, MATRIX, backend="openmp", n_jobs=2)
    assert seen[-1] == (2, 2)


@with_blas
@pytest.mark.parametrize(
    "call",
    [
        lambda: np.matmul(np.ones((1000, 1000)), np.ones(1000)),
        lambda: np.matmul(np.ones(1000), np.ones((1000, 1000))),
        lambda: np.matmul(np.ones((ORDER, ORDER), int), np.ones((ORDER, ORDER), int)),
        lambda: np.matmul([[1.0]], np.ones((1, 10**6))),
        lambda: np.linalg.inv(np.ones((20000, 3, 3)) + np.eye(3)),
    ],
    ids=["vector", "row vector", "integers", "a list", "small matrices"],
)
def test_calls_of_little_work_for_blas_are_not_counted(call, seen):
    threads.install(2)
    call()
    assert not any(taken for _, taken in seen)


@two_cores
@with_blas
def test_errors_are_numpys_and_leave_nobody_counted():
    threads.install(2)
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        np.linalg.inv(np.zeros((ORDER, ORDER)))
    with pytest.raises(ValueError, match="mismatch in its core dimension"):
        np.matmul(np.ones((ORDER, 500)), np.ones((ORDER, 500)))
    with pytest.raises(TypeError, match="takes from 2 to 3 positional arguments"):
        np.matmul(np.ones((500, 500)))
    assert budget.counter().taken() == 0


def test_out_and_keywords_reach_numpy():
    threads.install(2)
    out = np.empty((ORDER, ORDER))
    assert np.matmul(MATRIX, MATRIX, out=out) is out
    assert np.matmul(MATRIX, MATRIX, dtype="f4", casting="same_kind").dtype == "f4"
    assert np.matmul(MATRIX, MATRIX, axes=[(1, 0), (0, 1), (0, 1)]).shape == (ORDER, ORDER)


# --- BLAS that is not asked through ufuncs -------------------------------------------------------


@two_cores
@with_blas
def test_what_is_no_ufunc_has_as_many_threads_as_installed():
    get, set_ = blas.library().get, blas.library().set
    before = get()
    set_(2)
    try:
        threads.install(None)
        assert get() == 2
        threads.install(2)
        assert get() == 2
        threads.install(1)
        assert get() == 1
        threads.install(1)
        assert get() == 1
        threads.uninstall()
        assert get() == 2
    finally:
        set_(before)


@two_cores
@with_blas
def test_the_context_may_ask_for_more_than_was_installed(seen):
    threads.install(1)
    CALLS["inv"]()
    with config_context(n_jobs=2):
        CALLS["inv"]()
    assert seen == [(1, 0), (2, 2)]
    assert blas.library().get() == 1


@two_cores
@with_blas
def test_limits_inside_and_outside_are_put_back(seen):
    get = blas.library().get
    threads.install(1)
    with threadpool_limits(1, "blas"):
        assert get() == 1
    assert get() == 1
    threads.uninstall()
    assert get() == blas.library().unlimited
    with threadpool_limits(1, "blas"):
        threads.install(2)
        CALLS["inv"]()
        assert seen == [(1, 0)]
        assert get() == 1
        threads.uninstall()
        assert get() == 1
    assert get() == blas.library().unlimited


@two_cores
@with_blas
def test_uninstalled_during_a_call_of_another_thread():
    threads.install(1)
    over, begun = threading.Event(), threading.Event()

    def compute():
        with blas.limited(2):
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=compute)
    thread.start()
    begun.wait(60)
    threads.uninstall()
    assert blas.library().get() == 2
    over.set()
    thread.join()
    assert blas.library().get() == blas.library().unlimited


@two_cores
@with_blas
def test_a_count_that_somebody_else_set_since_is_left():
    get, set_ = blas.library().get, blas.library().set
    before = get()
    set_(before + 2)
    threads.install(1)
    set_(before + 1)
    threads.uninstall()
    assert get() == before + 1
    set_(before)


# --- threadpoolctl ---------------------------------------------------------------------------


def our_entries():
    return [lib for lib in threadpool_info() if lib["internal_api"] == "array_backends"]


def test_threadpoolctl_lists_us_once():
    threads.register()
    threads.register()
    (entry,) = our_entries()
    assert entry["user_api"] == "openmp"
    assert entry["num_threads"] == usable()
    assert entry["filepath"] == os.path.realpath(ENGINE.__file__)


@two_cores
@pytest.mark.parametrize(("api", "expected"), [("openmp", 1), (None, 1), ("blas", 2)])
def test_limits_of_the_main_thread_hold_for_all_threads(api, expected):
    threads.register()
    with threadpool_limits(1, api):
        assert (team_threads(), in_thread(team_threads)) == (expected, expected)
        with threadpool_limits(2, api):
            assert (team_threads(), in_thread(team_threads)) == (2, 2)
        assert our_entries()[0]["num_threads"] == min(expected, usable())
    assert (team_threads(), in_thread(team_threads)) == (2, 2)
    assert our_entries()[0]["num_threads"] == usable()


@two_cores
def test_limits_of_another_thread_hold_for_that_one():
    threads.register()
    entered, look = threading.Barrier(2, timeout=60), threading.Barrier(2, timeout=60)

    def limited():
        with threadpool_limits(1, "openmp"):
            found = team_threads()
            entered.wait()
            look.wait()
        return found, team_threads()

    with ThreadPoolExecutor(1) as other:
        answer = other.submit(limited)
        entered.wait()
        assert team_threads() == 2
        # Overlapping blocks: the one that began later ends last.
        with threadpool_limits(1, "openmp"):
            look.wait()
            assert answer.result()[0] == 1
    assert (team_threads(), in_thread(team_threads)) == (2, 2)


@two_cores
def test_a_limit_of_as_many_as_there_are_cores_is_none():
    threads.register()
    with threadpool_limits(usable(), "openmp"), budget.Share(usable() + 1) as share:
        allowed = share.threads
    with budget.Share(usable() + 1) as share:
        assert share.threads >= allowed >= usable()


def test_registering_is_left_to_who_imports_threadpoolctl(run_python):
    out = run_python(
        "import sys; from backends.accelerate import threads; threads.jobs(); "
        "print({'joblib', 'threadpoolctl', 'multiprocessing'} & set(sys.modules))",
        COVERAGE_PROCESS_CONFIG="",  # counting lines brings in some of them
    )
    assert out.strip() == "set()"


# --- workers ---------------------------------------------------------------------------------

MEASURE = """
import os, sys
import numpy as np

def measure(n_jobs=None):
    import backends
    from backends import blas, budget
    from backends.accelerate import threads
    from backends.engines import openmp

    threads.install(n_jobs)
    seen, engine = [], threads._engine()

    class Engine:
        divert, straighten = engine.divert, engine.straighten

        @staticmethod
        def original(*call):
            seen.append(blas.library().get() if blas.library() else 1)
            return engine.original(*call)

    threads._engine = lambda: Engine
    matrix = np.random.default_rng(0).standard_normal((400, 400))
    np.matmul(matrix, matrix)
    engine.busiest()
    jobs = threads.jobs()
    openmp.make_ufunc(backends.gammaln, jobs, "exact", threshold=1)(np.linspace(1.0, 9.0, 10**6))
    result = max(jobs, 1), max(engine.busiest(), 1), max(seen)
    threads._engine = lambda: engine
    threads.uninstall()
    return result
"""


@pytest.fixture
def measured(run_python, monkeypatch):
    """Measure in workers of a program of its own: jobs, threads of a team, threads of BLAS."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    # Where lines are counted, a process that is forked while a thread counts may never begin.
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "")

    def run(then, top="", **environment):
        body = "\n    ".join(["if __name__ == '__main__':", *then.strip().splitlines()])
        return ast.literal_eval(run_python(f"{MEASURE}\n{top}\n{body}\n", **environment))

    return run


METHODS = pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())


@two_cores
@with_blas
def test_a_program_of_its_own(measured):
    program = "print(measure())"
    assert measured(program) == (usable(), CORES, usable())
    assert measured(program, OMP_NUM_THREADS="1")[1:] == (1, 1)
    assert measured(program, BACKENDS_N_JOBS="1") == (1, 1, 1)
    assert measured("print(measure(1))") == (1, 1, 1)


POOL = """
import multiprocessing
with multiprocessing.get_context({method!r}).Pool(2) as pool:
    print(pool.map(measure, [{n_jobs}] * 2))
"""


@METHODS
def test_workers_of_multiprocessing_have_one_thread(method, measured):
    found = measured(POOL.format(method=method, n_jobs=None))
    assert found == [(1, 1, 1)] * 2


@METHODS
def test_workers_of_multiprocessing_that_are_told_have_more(method, measured):
    found = measured(POOL.format(method=method, n_jobs=2))
    # After a fork there is no team, as ever; here it had none before.
    assert {jobs for jobs, *_ in found} == {2}
    found = measured(POOL.format(method=method, n_jobs=None), BACKENDS_N_JOBS="2")
    assert {jobs for jobs, *_ in found} == {2}


@two_cores
@METHODS
def test_workers_of_multiprocessing_keep_to_omp_num_threads(method, measured):
    found = measured(POOL.format(method=method, n_jobs=None), OMP_NUM_THREADS="1")
    assert [counts[1:] for counts in found] == [(1, 1)] * 2
    found = measured(POOL.format(method="spawn", n_jobs=None), OMP_NUM_THREADS="2")
    assert [counts[:1] for counts in found] == [(usable(),)] * 2


def test_workers_that_install_while_they_are_set_up(measured):
    top = "from backends.accelerate import threads\nthreads.install(None)\nthreads.jobs()\n"
    assert measured(POOL.format(method="spawn", n_jobs=None), top) == [(1, 1, 1)] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_workers_forked_while_installed(measured):
    then = """
from backends.accelerate import threads
threads.install(None)
threads.jobs()
measure()
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(measure, [None] * 2))
"""
    assert measured(then) == [(1, 1, 1)] * 2


def test_workers_of_executors_have_one_thread(measured):
    then = """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
    print(list(pool.map(measure, [None] * 2)))
"""
    assert measured(then) == [(1, 1, 1)] * 2


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_workers_of_joblib_have_their_share(backend, workers, measured):
    then = f"""
import joblib
print(joblib.Parallel({workers}, backend={backend!r})(joblib.delayed(measure)() for _ in range(2)))
"""
    share = max(joblib.cpu_count() // workers, 1)
    for _, team, of_blas in measured(then):
        assert max(team, of_blas) <= share


def test_daemons_with_an_environment_of_one_thread(measured):
    # As Dask's nanny starts its workers; their tasks run in threads.
    then = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as workers:
    print(list(workers.map(lambda i: measure()[1:], range(1))))
"""
    found = measured(then, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    assert found == [(1, 1)]


# --- threads of the program ------------------------------------------------------------------


@two_cores
@with_blas
@pytest.mark.parametrize("driver", ["ThreadPoolExecutor", "joblib"])
def test_threads_that_call_at_once_share_the_cores(driver, seen):
    """Teams and BLAS together: cores, and one thread for each caller that comes on top."""
    threads.install(None)
    callers, most, over = 3, [], threading.Event()
    ufunc = openmp.make_ufunc(backends.gammaln, usable(), "exact", threshold=1)
    x = np.linspace(1.0, 9.0, 10**5)

    def look():
        while not over.is_set():
            most.append(budget.counter().taken())
            over.wait(0.0002)

    def work(caller):
        for step in range(20):
            if (caller + step) % 2:
                CALLS["matmul"]()
            else:
                ufunc(x)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        if driver == "joblib":
            joblib.Parallel(callers, "threading")(joblib.delayed(work)(i) for i in range(callers))
        else:
            with ThreadPoolExecutor(callers) as many:
                list(many.map(work, range(callers)))
    finally:
        over.set()
        watcher.join()
    assert 1 < max(most) <= usable() + callers - 1
    assert all(of_blas <= usable() for of_blas, _ in seen)
