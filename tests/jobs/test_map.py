"""What `backends.map` promises: order, failures, memory, threads, and an end when it is told so."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from functools import partial

import numpy as np
import psutil
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

import backends
from backends import BackendUnavailableError, JobsFailedError, WorkerDiedError
from backends.backend import Backend
from backends.jobs import stream

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
pytestmark = pytest.mark.filterwarnings("ignore:n_jobs=. is more than:UserWarning")  # one core
EACH = pytest.mark.parametrize("backend", ["joblib", "threads", "numpy"])


@EACH
def test_results_come_in_order_of_items(backend):
    def slow_first(x):
        time.sleep(0.2 if x == 0 else 0)
        return x * x

    assert list(backends.map(slow_first, range(40), backend=backend, n_jobs=2)) == [
        x * x for x in range(40)
    ]


@EACH
def test_results_come_as_they_are_done_with_their_index(backend):
    def slow_first(x):
        time.sleep(0.5 if x == 0 else 0)
        return -x

    found = list(backends.map(slow_first, range(9), backend=backend, n_jobs=2, ordered=False))
    assert sorted(found) == [(x, -x) for x in range(9)]
    assert backend == "numpy" or found[0][0] != 0


@settings(max_examples=25)
@given(
    items=st.lists(st.integers(), max_size=30),
    bad=st.sets(st.integers(0, 29)),
    backend=st.sampled_from(["threads", "numpy"]),
    ordered=st.booleans(),
)
def test_nothing_is_lost_whatever_fails(items, bad, backend, ordered):
    """What is handed out and what the error holds are, together, every job once."""

    def job(pair):
        index, item = pair
        if index in bad:
            raise ValueError(item)
        return item

    bad = {index for index in bad if index < len(items)}
    results, failures = [], []
    arguments = {"backend": backend, "n_jobs": 2, "ordered": ordered}
    try:
        results.extend(backends.map(job, list(enumerate(items)), **arguments))
    except JobsFailedError as error:
        failures = error.failures
        left = error.results
    else:
        left = {}
    assert [failure.index for failure in failures] == sorted(bad)
    assert all(failure.item == (failure.index, items[failure.index]) for failure in failures)
    done = dict(enumerate(results) if ordered else results)
    assert not done.keys() & left.keys()
    assert done | left == {i: x for i, x in enumerate(items) if i not in bad}
    if ordered:
        assert len(results) == min(bad, default=len(items))


@EACH
def test_error_names_the_item_and_has_what_was_raised(backend):
    class OwnError(Exception):
        pass

    def job(name):
        if name == "beam2":
            raise OwnError("no pulse")
        return name

    with pytest.raises(JobsFailedError, match=r"1 of 3 .* 1, 'beam2': OwnError: no pulse") as e:
        list(backends.map(job, ["beam1", "beam2", "beam3"], backend=backend, n_jobs=2))
    [failure] = e.value.failures
    assert failure[:2] == (1, "beam2")
    assert "no pulse" in str(failure.exception)
    assert e.value.__cause__ is failure.exception
    assert e.value.results == {2: "beam3"}


def test_exception_of_a_worker_tells_where_it_was_raised():
    def job(x):
        return 1 / x

    with pytest.raises(JobsFailedError) as e:
        list(backends.map(job, [1, 0], n_jobs=2, backend="joblib"))
    exception = e.value.failures[0].exception
    assert type(exception) is ZeroDivisionError
    assert any("return 1 / x" in note or "in job" in note for note in exception.__notes__)


@pytest.mark.parametrize("backend", ["joblib", "threads"])
def test_what_ends_a_program_only_fails_a_job(backend):
    def job(x):
        if x == 3:
            sys.exit("given up")
        return x

    with pytest.raises(JobsFailedError, match="given up") as e:
        list(backends.map(job, range(5), n_jobs=2, backend=backend, ordered=False))
    assert e.value.failures[0].item == 3


def test_exceptions_and_results_that_cannot_travel_fail_only_their_job():
    class NeedyError(Exception):
        def __init__(self, one, two):
            super().__init__(one)
            self.two = two

    def job(x):
        if x == 1:
            raise NeedyError("one", "two")
        return threading.Lock() if x == 2 else x

    with pytest.raises(JobsFailedError) as e:
        list(backends.map(job, range(4), n_jobs=2, backend="joblib"))
    assert [f.index for f in e.value.failures] == [1, 2]
    assert "NeedyError: one" in str(e.value.failures[0].exception)
    assert "pickle" in str(e.value.failures[1].exception)


def test_item_that_cannot_be_sent_fails_only_its_job():
    items = [1, threading.Lock(), 3]
    with pytest.raises(JobsFailedError, match=r"1 of 3 .*item 1, .*cannot be sent to worker") as e:
        list(backends.map(type, items, n_jobs=2, backend="joblib"))
    assert e.value.results == {2: int}
    assert list(backends.map(type, items, n_jobs=2, backend="threads")) == [type(x) for x in items]


def test_function_that_cannot_be_pickled_is_refused_before_work():
    lock = threading.Lock()

    def job(x):
        with lock:
            return x

    with pytest.raises(TypeError, match=r"func=.*cannot be sent.*backend=\"threads\""):
        backends.map(job, [1], backend="joblib", n_jobs=2)
    assert list(backends.map(job, [1], backend="threads", n_jobs=2)) == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((3, [1]), TypeError, "func must be a function"),
        ((abs, 3), TypeError, "items must be"),
        ((abs, [1], {"n_jobs": 0}), ValueError, "n_jobs=0"),
        ((abs, [1], {"io_jobs": 0}), ValueError, "io_jobs=0"),
        ((abs, [1], {"io_jobs": 1.5}), TypeError, "io_jobs must be an integer"),
        ((abs, [1], {"memory_per_job": "2 zebras"}), ValueError, "no amount of memory"),
        ((abs, [1], {"memory_per_job": "9000 TB"}), ValueError, "more than the .* there are on"),
        ((abs, [1], {"backend": "openmp"}), BackendUnavailableError, "no workers.*joblib"),
        ((abs, [1], {"backend": "thread"}), LookupError, "did you mean 'threads'"),
    ],
)
def test_mistakes_are_told_by_the_call(arguments, error, words):
    *positional, named = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(error, match=words):
        backends.map(*positional, **named)


def test_workers_are_those_of_the_argument_else_of_the_configuration_else_processes():
    def where(_):
        return os.getpid(), threading.current_thread() is threading.main_thread()

    def kind(**given):
        process, is_main = next(iter(backends.map(where, [1, 2], n_jobs=2, **given)))
        return ("numpy" if is_main else "threads") if process == os.getpid() else "joblib"

    assert kind() == "joblib"
    with backends.config_context(backend="threads"):
        assert kind() == "threads"
        assert kind(backend="joblib") == "joblib"
    with backends.config_context(backend="numpy"):
        assert kind() == "numpy"
    with backends.config_context(backend="openmp"):  # has no workers
        assert kind() == "joblib"
    with backends.config_context(backend="threads", n_jobs=1):
        assert len(set(backends.map(where, range(4)))) == 1


def test_nothing_is_done_before_the_first_result_is_asked_for():
    seen = []
    results = backends.map(seen.append, [1], backend="threads", n_jobs=1)
    assert seen == []
    list(results)
    assert seen == [1]


@pytest.mark.parametrize("ordered", [True, False])
def test_slow_loop_over_results_holds_the_jobs_back(ordered, monkeypatch):
    monkeypatch.setattr(stream, "MOST_WAITING", 5)
    read = 0

    def items():
        nonlocal read
        for x in range(2000):
            read += 1
            yield x

    results = backends.map(abs, items(), backend="threads", n_jobs=2, ordered=ordered)
    next(results)
    time.sleep(0.3)
    assert read <= 20
    assert len(list(results)) == 1999


def test_slow_first_job_holds_the_others_back_and_lets_them_go(monkeypatch):
    monkeypatch.setattr(stream, "MOST_WAITING", 5)
    done = []
    go_on = threading.Event()

    def job(x):
        if x == 0:
            go_on.wait(30)
        done.append(x)
        return x

    results = backends.map(job, range(500), backend="threads", n_jobs=2)
    threading.Timer(0.5, go_on.set).start()
    assert next(results) == 0
    assert len(done) < 60
    assert list(results) == list(range(1, 500))


def test_failed_first_job_holds_nobody_back(monkeypatch):
    monkeypatch.setattr(stream, "MOST_WAITING", 5)

    def job(x):
        return 1 / x

    with pytest.raises(JobsFailedError) as e:
        list(backends.map(job, range(500), backend="threads", n_jobs=2))
    assert len(e.value.results) == 499


def test_error_of_the_items_reaches_the_caller():
    def items():
        yield 1
        raise OSError("no such list")

    with pytest.raises(OSError, match="no such list"):
        list(backends.map(abs, items(), n_jobs=2, backend="threads"))


def test_loop_that_is_left_ends_the_jobs_and_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in backends.map(partial(pow, 2), range(10_000), n_jobs=2, backend="threads"):
            if found > 100:
                break
        assert found == 128


@pytest.mark.parametrize("backend", ["joblib", "threads"])
def test_libraries_within_a_job_keep_to_its_share_of_the_cores(backend, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")

    def job(_):
        scipy.linalg.inv(np.linalg.inv(np.eye(8)))
        backends.gammaln(np.linspace(1.0, 9.0, 10**6), backend="openmp", n_jobs=2)
        # Ours tells what the process may have; a thread's calls keep to OpenMP's limit for it.
        libraries = [x for x in threadpool_info() if x["internal_api"] != "array_backends"]
        return max((library["num_threads"] for library in libraries), default=1)

    if "openmp" not in backends.available():
        pytest.skip("no engine with threads of its own")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    before = [library["num_threads"] for library in threadpool_info()]
    found = list(backends.map(job, range(6), backend=backend, n_jobs=2))
    assert max(found) <= max(cores // 2, 1)
    assert [library["num_threads"] for library in threadpool_info()] == before


@posix
def test_killed_worker_is_told_with_the_jobs_under_way():
    def job(x):
        if x == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with pytest.raises(WorkerDiedError, match=r"worker process died.*under way.*checkpoint="):
        list(backends.map(job, range(6), n_jobs=2, backend="joblib"))
    assert list(backends.map(abs, range(6), n_jobs=2, backend="joblib")) == list(range(6))


def test_backends_without_workers_say_so():
    class Own(Backend):
        name = "own"

        def run(self, kernel, *arrays, out=None):
            """Not called."""

    with pytest.raises(BackendUnavailableError, match=r"'own' has no workers.*\"ray\""):
        Own(1).jobs()
    with pytest.raises(BackendUnavailableError, match=r"'own' does not keep arrays.*\"threads\""):
        Own(1).scatter([])


# --- Ctrl-C ------------------------------------------------------------------------------------

LOOPS = {
    "while it waits": "for x in results: pass",
    "in the loop": "for x in results: time.sleep(0.003)",
    "in a list": "list(results)",
}


@posix
@pytest.mark.parametrize("backend", ["joblib", "threads"])
@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_ends_a_hundred_thousand_jobs_and_leaves_no_process(backend, loop, tmp_path):
    script = tmp_path / "survey.py"
    script.write_text(
        textwrap.dedent(f"""
            import time
            import backends

            def job(x):
                time.sleep(0.001 if x else 0.5)
                return x

            if __name__ == "__main__":
                results = backends.map(
                    job, (x for x in range(100_000)), backend={backend!r}, n_jobs=2, progress=True
                )
                assert next(results) == 0
                print("begun", flush=True)
                {LOOPS[loop]}
        """)
    )
    _ended_by_ctrl_c(script, tmp_path)


@posix
def test_ctrl_c_does_not_wait_for_long_jobs(tmp_path):
    script = tmp_path / "long.py"
    script.write_text(
        textwrap.dedent("""
            import time
            import backends

            def job(x):
                time.sleep(60 if x else 0)
                return x

            if __name__ == "__main__":
                results = backends.map(job, range(10), backend="joblib", n_jobs=2)
                assert next(results) == 0
                print("begun", flush=True)
                time.sleep(60)
        """)
    )
    _ended_by_ctrl_c(script, tmp_path)


def _ended_by_ctrl_c(script, folder):
    with (folder / "stderr").open("w+") as errors:
        # A session of its own: a terminal interrupts the workers, too.
        program = subprocess.Popen(
            [sys.executable, script],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        try:
            assert program.stdout.readline() == "begun\n", (folder / "stderr").read_text()
            time.sleep(0.5)
            family = [program.pid, *(p.pid for p in psutil.Process(program.pid).children(True))]
            began = time.monotonic()
            os.killpg(program.pid, signal.SIGINT)
            program.wait(30)
            took = time.monotonic() - began
            left = [pid for pid in family if _lives(pid, within=2 - took)]
        finally:
            for process in psutil.process_iter():
                if process.pid in family:
                    process.kill()
            program.stdout.close()
        errors.seek(0)
        text = errors.read()
    assert program.returncode in (1, 130, -signal.SIGINT), text
    assert "KeyboardInterrupt" in text
    assert "exception calling callback" not in text
    assert took < 2
    assert left == []
    assert not list(folder.glob("backends-*"))


def _lives(pid, within):
    end = time.monotonic() + max(within, 0)
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            return True
        time.sleep(0.02)
    return False


def test_a_job_that_could_not_be_sent_is_no_dead_worker():
    from concurrent.futures.process import BrokenProcessPool

    from backends.jobs.run import Run

    error = Run._explain(None, BrokenProcessPool("a task has failed to un-serialize"))
    assert not isinstance(error, WorkerDiedError)
    assert "could not be sent to its worker" in str(error)


def test_a_job_in_a_thread_of_several_may_have_more_than_one(monkeypatch):
    from backends.jobs import job

    monkeypatch.setattr(job, "usable", lambda: 8)
    assert list(backends.map(abs, range(4), backend="threads", n_jobs=2)) == [0, 1, 2, 3]
