"""One budget of threads, proved by counting the threads that run.

How they are counted: teams of the extension count themselves (``busiest``), kernels made here note
which thread or process runs their body and how many do at once, and BLAS is asked for its thread
count in the middle of a call.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import backends
from backends import blas, budget
from backends.engines import openmp
from backends.engines.openmp import OpenmpBackend
from backends.engines.processes import JoblibBackend
from backends.engines.threads import ThreadsBackend
from backends.kernel import REGISTERED

ENGINE = openmp.load()
#: Cores that OpenMP sees: where it sees one, a team has one thread whatever is asked for.
SEEN = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

pytestmark = [
    pytest.mark.skipif(isinstance(ENGINE, str), reason=f"no engine: {ENGINE}"),
    pytest.mark.filterwarnings("ignore:n_jobs=. is more than:UserWarning"),  # one core
]
two_cores = pytest.mark.skipif(SEEN < 2, reason="a limit of 1 differs from 1 core only there")
with_blas = pytest.mark.skipif(blas.library() is None, reason="this BLAS has no count to set")
TEAM = min(2, SEEN)
MATRIX = np.ones((40, 40))


@backends.elementwise(domain=(0.0, 1.0), flops=1)
def process_id(x, /, *, out=None):
    """Give the process that computes."""
    time.sleep(0.05 if np.size(x) else 0)
    return np.positive(np.full(np.shape(x), os.getpid(), dtype=float), out=out)


@backends.elementwise(domain=(0.0, 1.0), flops=1)
def threads_inside(x, /, *, out=None):
    """Give how many threads a team and BLAS have when they are called inside this kernel."""
    found = 0
    if np.size(x):
        engine = openmp.load()
        engine.busiest()
        backends.gammaln(np.linspace(1.0, 9.0, 10**6), backend="openmp", n_jobs=2)
        found = max(engine.busiest(), blas_threads() if blas.library() else 0)
    return np.positive(np.full(np.shape(x), found, dtype=float), out=out)


def blas_threads():
    """Give how many threads BLAS has in a call of backend openmp with two jobs."""
    seen = []

    @backends.linear_algebra(core=(2, 2), rows=True, flops=lambda a, b: 1e12, cases={})
    def asks(x1, x2, /, *, out=None):
        """Note the count."""
        seen.append(blas.library().get())
        return np.matmul(x1, x2, out=out)

    REGISTERED.pop("asks")
    asks(MATRIX, MATRIX, backend="openmp", n_jobs=2)
    return seen[-1]


for kernel in (process_id, threads_inside):
    REGISTERED.pop(kernel.name)


class Watch:
    """A kernel for engines of Python's threads: who runs it, how often, how many at once."""

    def __init__(self, body=lambda: time.sleep(0.005)):
        self.threads, self.most, self._running = [], 0, 0
        lock = threading.Lock()

        @backends.elementwise(domain=(0.0, 1.0), flops=1)
        def watched(x, /, *, out=None):
            """Copy, watched."""
            if np.size(x):
                with lock:
                    self._running += 1
                    self.most = max(self.most, self._running)
                    self.threads.append(threading.get_ident())
                try:
                    body()
                finally:
                    with lock:
                        self._running -= 1
            return np.positive(x, out=out)

        REGISTERED.pop("watched")
        self.kernel = watched


@pytest.fixture(autouse=True)
def two_cores_allowed(monkeypatch):
    """Let every machine be one of two cores at most, and see that nobody is left in the count."""
    usable = budget.usable()
    ENGINE.set_cores(min(2, SEEN))
    monkeypatch.setattr(budget, "usable", lambda: min(2, SEEN))
    assert budget.counter().taken() == 0
    yield
    assert ENGINE.taken() == budget._own.taken() == 0
    assert not ENGINE.counts_me()
    ENGINE.set_cores(usable)


@pytest.fixture(params=["extension", "own"])
def count(request, monkeypatch):
    """Count by the extension, and as where there is none."""
    if request.param == "own":
        monkeypatch.setattr(budget, "counter", lambda: budget._own)
    return budget.counter()


@pytest.fixture
def pool():
    with ThreadsBackend(2) as backend:
        backend.min_work = 1
        yield backend


@pytest.fixture(scope="module")
def processes():
    with JoblibBackend(2) as backend:
        backend.min_work = 1
        yield backend


def team_threads(n_jobs=2):
    """Give how many threads of a team work on one call."""
    ENGINE.busiest()
    ufunc = openmp.make_ufunc(backends.gammaln, n_jobs, "exact", threshold=1)
    ufunc(np.linspace(1.0, 9.0, 10**6))
    return ENGINE.busiest()


def process_ids(processes):
    return {int(i) for i in processes.run(process_id, np.zeros(100))}


# --- the count -------------------------------------------------------------------------------


@given(steps=st.lists(st.tuples(st.integers(0, 4), st.integers(2, 5)), max_size=40))
@pytest.mark.parametrize("own", [False, True])
def test_calls_get_what_is_free_and_at_least_their_own_thread(own, steps):
    counter = budget._Count() if own else ENGINE
    callers = [ThreadPoolExecutor(1) for _ in range(5)]
    held = {}
    try:
        for number, wanted in steps:
            call = callers[number].submit
            if number in held:
                call(counter.give, 0).result()
                del held[number]
            else:
                free = max(wanted, 2) - sum(held.values())
                threads, allowed = call(counter.take, wanted).result()
                assert threads == max(1, min(wanted, free))
                assert allowed == max(wanted, 2)
                assert call(counter.counts_me).result()
                held[number] = threads
            assert counter.taken() == sum(held.values())
    finally:
        for number, caller in enumerate(callers):
            caller.submit(counter.give, 0).result()
            assert not caller.submit(counter.counts_me).result(), number
            caller.shutdown()
    assert counter.taken() == 0


def test_a_call_inside_a_call_is_not_counted_again(count):
    with budget.Share(2) as outer, budget.Share(2) as inner:
        assert (outer.threads, inner.threads, count.taken()) == (2, 1, 2)
    with budget.working(), budget.Share(2) as inner:
        assert (inner.threads, count.taken()) == (1, 0)


def test_one_job_is_not_counted(count):
    with budget.Share(1) as granted:
        assert (granted.threads, count.taken()) == (1, 0)


def shared():
    with budget.Share(2) as granted:
        assert (granted.threads, budget.counter().taken()) == (2, 2)
        assert budget.current() is granted


def works():
    with budget.working():
        assert budget.is_counted()


@pytest.mark.parametrize("call", [shared, works])
def test_ctrl_c_at_any_point_leaves_nobody_counted_for_ever(call, count, interrupted):
    kinds = (budget.Share, budget.working)
    ends = [getattr(kind, name) for kind in kinds for name in ("__enter__", "__exit__")]
    ends += [budget._uncount, budget.is_counted]
    if count is budget._own:
        ends += [count.take.__func__, count.give.__func__]
    for point in interrupted(call, *ends):
        assert not budget.is_counted(), point
        assert count.taken() == 0, point
        shared()
        works()
        assert count.taken() == 0, point
        assert not count.counts_me(), point
        assert budget._mine.frame is budget._mine.share is None


class AtTheEnd(KeyboardInterrupt):
    """Ctrl-C just before a share would be given back."""


def test_ctrl_c_while_what_another_left_is_made_good(count, interrupted):
    def interrupted_end(self, *error):
        raise AtTheEnd

    def twice():
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(AtTheEnd):
            patch.setattr(budget.Share, "__exit__", interrupted_end)
            shared()
        assert count.taken() == 2
        shared()

    for point in interrupted(twice, budget._uncount, budget.is_counted):
        shared()
        assert count.taken() == 0, point


def test_a_call_inside_a_call_is_told_from_one_that_was_interrupted(count):
    def inside():
        with budget.Share(2) as inner:
            return inner.threads, budget.is_counted(), count.taken()

    with budget.Share(2):
        assert inside() == (1, True, 2)
        assert inside() == (1, True, 2)
    assert inside() == (2, True, 2)


def test_just_as_many_workers_step_back_as_there_are_too_many(count):
    with budget.Share(2) as mine, ThreadPoolExecutor(1) as other:
        assert not mine.step_back()
        theirs, _ = other.submit(count.take, 2).result()
        assert (theirs, count.taken()) == (1, 3)
        assert mine.step_back()
        assert count.taken() == 2
        assert not mine.step_back()
        other.submit(count.give, 0).result()
        assert count.taken() == 1
    assert count.taken() == 0


def test_what_is_interrupted_before_it_is_counted_gives_nothing_back(monkeypatch):
    def interrupted(wanted):
        raise KeyboardInterrupt

    real = budget.counter()
    fake = SimpleNamespace(
        take=interrupted, give=real.give, counts_me=real.counts_me, mark=real.mark
    )
    with ThreadPoolExecutor(1) as other:
        other.submit(real.take, 2).result()
        monkeypatch.setattr(budget, "counter", lambda: fake)
        with pytest.raises(KeyboardInterrupt), budget.Share(2):
            pass
        assert real.taken() == 2
        other.submit(real.give, 0).result()


def test_without_the_extension_the_environment_limits(monkeypatch):
    for text, threads in {"1": 1, "2,1": 2, "": 2, "many": 2, "0": 2}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        own = budget._Count()
        assert own.take(2)[0] == threads
        own.give(0)


# --- one call alone --------------------------------------------------------------------------


def test_a_call_alone_has_all_that_it_asks_for(pool, processes):
    both = threading.Barrier(2)
    watch = Watch(lambda: both.wait(60))  # passes where two threads meet, chunk by chunk
    pool.run(watch.kernel, np.zeros(100))
    assert watch.most == 2
    assert team_threads() == TEAM
    assert len(process_ids(processes)) == 2


@with_blas
def test_a_single_matrix_alone_has_all_that_it_asks_for():
    assert blas_threads() == 2


@with_blas
def test_stacks_have_one_blas_thread_in_each_thread():
    seen = set()

    @backends.linear_algebra(core=(2,), flops=lambda a: 1e12, cases={})
    def asks(a, /, *, out=None):
        """Note the thread and the count."""
        if a.size:
            seen.add((threading.get_ident(), blas.library().get()))
            time.sleep(0.001)
        return np.positive(a, out=out)

    REGISTERED.pop("asks")
    with OpenmpBackend(2) as backend:
        backend.run(asks, np.ones((1000, 40, 40)))
    assert {count for _, count in seen} == {1}
    assert len(seen) <= 2


@pytest.mark.parametrize("engine", ["pool", "processes"])
def test_what_a_worker_calls_has_one_thread(engine, request):
    assert set(request.getfixturevalue(engine).run(threads_inside, np.zeros(100))) <= {0, 1}


# --- calls beside each other -----------------------------------------------------------------


@pytest.fixture
def crowd(pool):
    """Keep two threads computing, in another caller's call, until the test ends."""
    both, over = threading.Barrier(3), threading.Event()

    def body():
        if not over.is_set():
            both.wait(60)
            assert over.wait(60)

    watch = Watch(body)
    with ThreadPoolExecutor(1) as other:
        call = other.submit(pool.run, watch.kernel, np.zeros(100))
        both.wait(60)
        assert budget.counter().taken() == 2
        yield
        over.set()
        call.result()


@pytest.mark.usefixtures("crowd")
def test_beside_a_call_that_has_all_cores_a_caller_computes_alone(pool, processes):
    watch = Watch()
    pool.run(watch.kernel, np.zeros(100))
    assert set(watch.threads) == {threading.get_ident()}
    assert team_threads() == 1
    assert process_ids(processes) == {os.getpid()}


@with_blas
@pytest.mark.usefixtures("crowd")
def test_beside_a_call_that_has_all_cores_blas_has_one_thread():
    assert blas_threads() == 1


def test_a_pools_worker_steps_back_when_another_caller_comes(pool):
    both, gate = threading.Barrier(3), threading.Event()
    first = threading.local()

    def body():
        if not hasattr(first, "passed"):  # each thread waits in its first chunk
            first.passed = True
            both.wait(60)
            assert gate.wait(60)

    watch = Watch(body)
    with ThreadPoolExecutor(1) as other:
        call = other.submit(pool.run, watch.kernel, np.zeros(100))
        both.wait(60)
        with budget.Share(2) as granted:
            assert granted.threads == 1
            gate.set()
            call.result()
    caller, worker = sorted(set(watch.threads), key=watch.threads.count)[::-1]
    assert watch.threads.count(worker) == 1
    assert watch.threads.count(caller) == len(watch.threads) - 1 > 1


@two_cores
def test_a_teams_worker_steps_back_when_another_caller_comes():
    x, out = np.linspace(1.0, 9.0, 10**7), np.empty(10**7)
    ours = openmp.make_ufunc(backends.gammaln, 2, "exact")
    ours(x[: 10**5])  # measures what an element costs
    with ThreadPoolExecutor(1) as other:
        for _ in range(20):
            call = other.submit(ours, x, out)
            while budget.counter().taken() < 2 and not call.done():
                time.sleep(0.001)
            with budget.Share(2) as granted:
                while budget.counter().taken() > 2 and not call.done():
                    time.sleep(0.001)
                alone = not call.done() and budget.counter().taken() == 2
                while ENGINE.busiest() > 1 and not call.done():
                    time.sleep(0.001)  # it is not counted any more, and about to go
                alone = alone and not call.done()
                call.result()
                if alone and granted.threads == 1:
                    assert ENGINE.busiest() == 1
                    return
    pytest.fail("the worker never stepped back before the call's end")


def test_a_process_is_not_given_work_when_another_caller_comes(processes, tmp_path):
    gate = tmp_path / "gate"
    notes = tmp_path / "notes"
    notes.mkdir()

    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def gated(x, /, *, out=None):
        """Note that it runs, until it has run; the first ones wait for the gate."""
        if np.size(x):
            note = notes / f"{time.monotonic_ns()}-{os.getpid()}"
            running = len(list(notes.glob("*")))
            note.touch()
            while not gate.exists():
                time.sleep(0.001)
            time.sleep(0.02)
            note.unlink()
            return np.positive(np.full(np.shape(x), running, dtype=float), out=out)
        return np.positive(x, out=out)

    REGISTERED.pop("gated")
    with ThreadPoolExecutor(1) as other:
        call = other.submit(processes.run, gated, np.zeros(100))
        while len(list(notes.glob("*"))) < 2:
            time.sleep(0.001)
        with budget.Share(2) as granted:
            assert granted.threads == 1
            gate.touch()
            beside = call.result()
    # Of the two that were under way one may have seen the other; those after them saw nobody.
    assert np.count_nonzero(beside) <= np.ceil(100 / 8)


@pytest.mark.parametrize("driver", ["ThreadPoolExecutor", "joblib"])
def test_callers_in_many_threads(driver, pool, processes):
    """At most as many threads run as there are callers and, besides, workers in all.

    Callers are never made to wait, and a worker that has begun a chunk ends it. But a worker is
    granted only where callers and workers together are no more than the two cores. So with four
    callers there is never more than one worker, in all engines together, and never more than five
    threads are counted; four calls of two threads each would be eight.
    """
    callers, rounds = 4, 10
    x = np.linspace(1.0, 9.0, 300_000)
    expected = backends.gammaln.reference(x)
    watch = Watch(lambda: time.sleep(0.001))
    most, over = [], threading.Event()
    ENGINE.busiest()

    def look():
        while not over.is_set():
            most.append(budget.counter().taken())
            time.sleep(0.0002)

    def work(caller):
        for step in range(rounds):
            match (caller + step) % 4:
                case 0:
                    pool.run(watch.kernel, np.zeros(100))
                case 1:
                    assert np.array_equal(backends.gammaln(x, backend="openmp", n_jobs=2), expected)
                case 2 if blas.library() is not None:
                    assert blas_threads() <= 2
                case 3:
                    processes.run(backends.sqrt, x)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        if driver == "joblib":
            joblib.Parallel(callers, backend="threading")(
                joblib.delayed(work)(i) for i in range(callers)
            )
        else:
            with ThreadPoolExecutor(callers) as many:
                list(many.map(work, range(callers)))
    finally:
        over.set()
        watcher.join()
    assert max(most) <= callers + 1
    assert watch.most <= callers + 1
    assert ENGINE.busiest() <= callers + 1


# --- limits ----------------------------------------------------------------------------------


@two_cores
@with_blas
@pytest.mark.parametrize(
    ("limit", "api", "expected"),
    [(1, None, (1, 1, 1)), (1, "blas", (2, 1, 2)), (1, "openmp", (1, 1, 1)), (2, None, (2, 2, 2))],
)
def test_threadpool_limits(limit, api, expected, pool):
    meet = threading.Barrier(expected[2])
    watch = Watch(lambda: meet.wait(60))
    with threadpool_limits(limit, api):
        pool.run(watch.kernel, np.zeros(100))
        assert (team_threads(), blas_threads(), watch.most) == expected
    assert (team_threads(), blas_threads()) == (2, 2)


SCRIPT = """
import os, sys, threading, time
import joblib
import numpy as np

def measure(i=0):
    import backends
    from backends import blas
    from backends.engines import openmp
    from backends.kernel import REGISTERED

    seen, running, lock = {"blas": 0, "pool": 0}, [], threading.Lock()

    @backends.linear_algebra(core=(2, 2), rows=True, flops=lambda a, b: 1e12, cases={})
    def asks(x1, x2, /, *, out=None):
        seen["blas"] = blas.library().get()
        return np.matmul(x1, x2, out=out)

    @backends.elementwise(domain=(0.0, 1.0), flops=1e9)
    def watched(x, /, *, out=None):
        if np.size(x):
            with lock:
                running.append(0)
                seen["pool"] = max(seen["pool"], len(running))
            time.sleep(0.05)
            with lock:
                running.pop()
        return np.positive(x, out=out)

    @backends.elementwise(domain=(0.0, 1.0), flops=1e9)
    def process(x, /, *, out=None):
        time.sleep(0.05 if np.size(x) else 0)
        return np.positive(np.full(np.shape(x), os.getpid(), float), out=out)

    for kernel in (asks, watched, process):
        REGISTERED.pop(kernel.name)
    if ORDER == "threads":
        watched(np.zeros(1000), backend="threads")
    x = np.linspace(1.0, 9.0, 10**6)
    backends.gammaln(x, backend="openmp")
    if ORDER == "openmp":
        watched(np.zeros(1000), backend="threads")
    if blas.library() is not None:
        asks(np.ones((40, 40)), np.ones((40, 40)), backend="openmp")
    pids = set()
    if PROCESSES:
        pids = set(process(np.zeros(1000), backend="joblib"))
    team = openmp.load().busiest()
    return max(team, 1), max(seen["blas"], 1), seen["pool"], max(len(pids), 1)
"""


@pytest.fixture
def counted(run_python, monkeypatch):
    """Measure in a process of its own: the threads of a team, of BLAS, of the pool; processes."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)

    def run(then, order="threads", *, processes=True, **environment):
        script = f"ORDER, PROCESSES = {order!r}, {processes}\n{SCRIPT}\n{then}\n"
        lines = run_python(script, **environment).splitlines()
        return [tuple(map(int, line.split())) for line in lines]

    return run


@pytest.mark.parametrize("order", ["threads", "openmp"])
def test_omp_num_threads(counted, order):
    assert counted("print(*measure())", order, OMP_NUM_THREADS="1") == [(1, 1, 1, 1)]


@two_cores
@with_blas
def test_threads_of_blas_by_the_environment_are_no_limit(counted):
    ((team, blas_count, *_),) = counted(
        "print(*measure())", processes=False, OPENBLAS_NUM_THREADS="1"
    )
    usable = min(joblib.cpu_count(), SEEN)
    assert team <= usable
    assert blas_count == usable


@pytest.mark.parametrize("order", ["threads", "openmp"])
def test_threadpool_limits_around_all(counted, order):
    then = """
import threadpoolctl, backends
from backends import budget
budget.counter()  # OpenMP's library must be there to be limited
with threadpoolctl.threadpool_limits(1):
    found = measure()
print(*found)
"""
    assert counted(then, order) == [(1, 1, 1, 1)]


@pytest.mark.parametrize("order", ["threads", "openmp"])
def test_inside_workers_of_joblib(counted, order):
    found = counted(
        "for found in joblib.Parallel(2)(map(joblib.delayed(measure), (0, 1))): print(*found)",
        order,
    )
    share = max(joblib.cpu_count() // 2, 1)
    assert len(found) == 2
    for counts in found:
        assert max(counts) <= share


# --- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["pool", "processes"])
def test_after_an_exception_nobody_is_counted(engine, request):
    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def fails(x, /, *, out=None):
        """Fail in some chunks."""
        if np.size(x) and np.max(x) > 50:
            raise RuntimeError("on purpose")
        return np.positive(x, out=out)

    REGISTERED.pop("fails")
    with pytest.raises(RuntimeError, match="on purpose"):
        request.getfixturevalue(engine).run(fails, np.arange(100.0))
    assert budget.counter().taken() == 0


def test_after_floating_point_errors_nobody_is_counted():
    x = np.full(10**6, -1.0)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        openmp.make_ufunc(backends.log, 2, "exact", threshold=1)(x)
    assert budget.counter().taken() == 0
    with pytest.raises(np.linalg.LinAlgError):
        backends.inv(np.zeros((40, 40)), backend="openmp", n_jobs=2)
    assert budget.counter().taken() == 0


def test_after_ctrl_c_nobody_is_counted(pool):
    once = [_thread.interrupt_main]

    def body():
        if once:
            once.pop()()
        time.sleep(0.01)

    watch = Watch(body)
    with pytest.raises(KeyboardInterrupt):
        pool.run(watch.kernel, np.zeros(100))
    assert budget.counter().taken() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_begins_with_nobody(count, crowd):
    with budget.Share(2):
        child = os.fork()
        if not child:
            problems = count.taken() + budget.is_counted()
            with budget.Share(2) as granted:
                problems += granted.threads != 2
            os._exit(problems + count.taken())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_was_forked_inside_a_call_gives_nothing_back():
    child = None
    with budget.Share(2):
        child = os.fork()
    if not child:
        os._exit(budget.counter().taken() != 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_without_the_extension_the_count_is_pythons(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(budget, "import_module", missing)
    own = budget.counter.__wrapped__()
    assert own is budget._own
    assert own.take(1) == (0, 0)
