"""`backends.map` on the workers of Dask, MPI and Ray: the same promises as on this machine's."""

import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import backends
from backends import BackendUnavailableError, JobsFailedError, WorkerDiedError, ram, registry

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
pytestmark = pytest.mark.filterwarnings("ignore:n_jobs=. is more than:UserWarning")  # one core
MISSING = {name: registry.reasons()[name] for name in ("dask", "mpi", "ray")}


@pytest.fixture(autouse=True)
def on_this_machine():
    with backends.config_context(scheduler="local", n_jobs=2):
        yield


@pytest.fixture(scope="module", params=MISSING)
def backend(request):
    """Names of backends that are there; their workers end with the last test."""
    name = request.param
    if MISSING[name] is not None:
        if name in request.config.getoption("--require").split(","):
            pytest.fail(MISSING[name])
        pytest.skip(MISSING[name])
    yield name
    for n_jobs in (1, 2):
        registry.get(name, n_jobs, scheduler="local").close()


def one_after_the_other(times):
    return all(ended <= began for (_, ended), (began, _) in itertools.pairwise(times))


def test_results_come_in_order_from_other_processes(backend):
    def job(x):
        time.sleep(0.3 if x == 0 else 0.001)
        return x * x, os.getpid()

    found = list(backends.map(job, (x for x in range(300)), backend=backend))
    assert [square for square, _ in found] == [x * x for x in range(300)]
    assert os.getpid() not in {process for _, process in found}


def test_results_come_as_they_are_done(backend):
    def job(x):
        time.sleep(1 if x == 0 else 0)
        return -x

    found = list(backends.map(job, range(40), backend=backend, ordered=False))
    assert sorted(found) == [(x, -x) for x in range(40)]
    assert found[0][0] != 0


def test_no_more_jobs_than_asked_for_run_at_once(backend, tmp_path):
    def job(x):
        began = time.time()
        time.sleep(0.1)
        return os.getpid(), began, time.time()

    found = list(backends.map(job, range(4), backend=backend, n_jobs=1))
    # With one job at a time, Ray's backend for joblib runs them here.
    assert backend == "ray" or os.getpid() not in {process for process, *_ in found}
    assert one_after_the_other([times for _, *times in found])


def test_io_jobs_bound_what_is_inside_at_once(backend):
    def job(x):
        with backends.io_slot():
            began = time.time()
            time.sleep(0.05)
            return began, time.time()

    times = sorted(backends.map(job, range(6), backend=backend, io_jobs=1))
    assert one_after_the_other(times)


def test_a_job_that_fails_is_told_with_its_item_and_the_others_go_on(backend):
    def job(x):
        return 1 // x

    with pytest.raises(JobsFailedError, match=r"1 of 5 .* item 2, 0: ZeroDivisionError") as e:
        list(backends.map(job, [1, 1, 0, 1, 1], backend=backend))
    assert e.value.results == {3: 1, 4: 1}


def test_an_item_that_cannot_be_sent_fails_only_its_job(backend):
    with pytest.raises(JobsFailedError, match=r"item 1, .*cannot be sent to worker processes") as e:
        list(backends.map(type, [1, threading.Lock(), "a"], backend=backend, ordered=False))
    assert [failure.index for failure in e.value.failures] == [1]


def test_a_function_that_cannot_be_sent_is_refused_by_the_call(backend):
    with pytest.raises(TypeError, match=r"func=.*cannot be sent.*backend=\"threads\""):
        backends.map(threading.Lock().acquire, [1], backend=backend)


def test_more_memory_than_a_worker_has_is_refused_by_the_call(backend):
    with pytest.raises(ValueError, match=rf"9e\+03 TB.*smallest worker of .*{backend}"):
        backends.map(abs, [1], backend=backend, memory_per_job="9000 TB")
    assert list(backends.map(abs, [-1], backend=backend, memory_per_job="1 MB")) == [1]


@pytest.mark.skipif(MISSING["dask"] is not None, reason=str(MISSING["dask"]))
def test_the_limit_of_dasks_workers_counts():
    limit = registry.get("dask", 2, scheduler="local").worker_memory()
    assert limit < ram.usable()
    with pytest.raises(ValueError, match="memory_per_job"):
        backends.map(abs, [1], backend="dask", memory_per_job=limit + 1)


def test_memory_bounds_how_many_run_at_once(backend):
    def job(x):
        began = time.time()
        time.sleep(0.05)
        return began, time.time()

    needed = registry.get(backend, 2, scheduler="local").worker_memory()
    if needed <= ram.usable() // 2:
        pytest.skip("each worker has its own share of the memory")
    times = sorted(backends.map(job, range(6), backend=backend, memory_per_job=needed))
    assert one_after_the_other(times)


def test_what_is_kept_is_not_done_again(backend, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()

    def job(x, notes=str(notes)):
        Path(notes, f"{x}-{time.monotonic_ns()}").touch()
        return x * x

    for _ in range(2):
        found = list(backends.map(job, range(20), backend=backend, checkpoint=tmp_path / "kept"))
        assert found == [x * x for x in range(20)]
    assert len(list(notes.iterdir())) == 20


def test_large_items_and_results_travel(backend):
    items = [np.full(10**5, float(x)) for x in range(6)]
    found = list(backends.map(np.negative, items, backend=backend))
    assert all(np.array_equal(result, -item) for result, item in zip(found, items, strict=True))


def test_a_loop_that_is_left_ends_the_jobs(backend):
    for found in backends.map(abs, range(10_000), backend=backend):
        if found == 5:
            break
    assert list(backends.map(abs, [-1], backend=backend)) == [1]


@posix
def test_a_job_that_kills_its_worker_is_an_error(backend):
    def job(x):
        if x == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    if backend == "ray":
        pytest.skip("Ray starts another worker, and tells in its own words")
    with pytest.raises(WorkerDiedError, match=r"Jobs under way.*with checkpoint="):
        list(backends.map(job, range(8), backend=backend))
    assert list(backends.map(abs, range(8), backend=backend)) == list(range(8))


@posix
@pytest.mark.skipif(MISSING["dask"] is not None, reason=str(MISSING["dask"]))
@pytest.mark.parametrize("size", [1, 10**5])
def test_a_worker_of_dask_that_is_killed_costs_time_only(size, tmp_path):
    def job(item, mark=str(tmp_path / "died")):
        if item[0] == 7:
            try:
                Path(mark).touch(exist_ok=False)
            except FileExistsError:
                return item.sum()
            os.kill(os.getpid(), signal.SIGKILL)
        return item.sum()

    items = [np.full(size, float(x)) for x in range(20)]
    assert list(backends.map(job, items, backend="dask")) == [x * size for x in range(20)]
    assert (tmp_path / "died").exists()


@pytest.mark.skipif(MISSING["ray"] is not None, reason=str(MISSING["ray"]))
def test_ray_keeps_no_arrays():
    with pytest.raises(BackendUnavailableError, match=r"does not keep arrays.*\"dask\""):
        backends.scatter(np.ones(3), backend="ray")


SURVEY = """
    import os, sys, time
    import backends

    def job(x):
        time.sleep(0.01 if x < 100 else 60)
        with open("notes", "a") as notes:
            notes.write(f"{x}\\n")
        return x * x

    if __name__ == "__main__":
        backend, jobs, loop = sys.argv[1:]
        with backends.config_context(scheduler="local"):
            results = backends.map(
                job, range(int(jobs)), backend=backend, n_jobs=2, checkpoint="kept"
            )
            print(next(results), flush=True)
            if loop == "in the loop":
                time.sleep(60)
            print(sum(results), flush=True)
    """


def begun(folder, *arguments):
    script = folder / "survey.py"
    script.write_text(textwrap.dedent(SURVEY))
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def done_in(folder):
    notes = folder / "notes"
    return [int(x) for x in notes.read_text().split()] if notes.exists() else []


@posix
def test_a_killed_call_goes_on_where_it_was_and_leaves_no_process(backend, tmp_path):
    if backend == "ray":
        pytest.skip("Ray's own daemons end when they notice")
    with begun(tmp_path, backend, "100", "") as program:
        while len(done_in(tmp_path)) < 40 and program.poll() is None:
            time.sleep(0.01)
        family = psutil.Process(program.pid).children(recursive=True)
        program.kill()
        assert psutil.wait_procs(family, timeout=30)[1] == []
    with begun(tmp_path, backend, "100", "") as program:
        out, errors = program.communicate(timeout=120)
    assert out.split() == ["0", str(sum(x * x for x in range(100)))], errors
    done = done_in(tmp_path)
    assert set(done) == set(range(100))
    assert len(done) <= 102


@posix
@pytest.mark.parametrize("loop", ["while it waits", "in the loop"])
def test_ctrl_c_ends_long_jobs_within_two_seconds_and_leaves_no_process(backend, loop, tmp_path):
    if backend == "ray":
        pytest.skip("Ray's own daemons end when they notice")
    with begun(tmp_path, backend, "1000", loop) as program:
        assert program.stdout.readline() == "0\n", program.stderr.read()
        while len(done_in(tmp_path)) < 100 and program.poll() is None:
            time.sleep(0.01)
        time.sleep(0.5)  # now both are in the middle of a minute's job
        family = psutil.Process(program.pid).children(recursive=True)
        began = time.monotonic()
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does
        _, alive = psutil.wait_procs(family, timeout=10)
        errors = program.communicate(timeout=10)[1]
        took = time.monotonic() - began
    assert alive == []
    assert re.search(r"^KeyboardInterrupt", errors, re.MULTILINE), errors
    assert took < 5  # 1 to 1.8 on two busy cores; the machine of a test may be busier
