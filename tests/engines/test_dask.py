"""Backend ``dask`` on two processes reached by TCP: ``make test-clusters`` installs Dask."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import joblib
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backends
from backends import BackendUnavailableError, UnsupportedKernelError, kernels, registry
from backends.engines import cluster as clusters
from backends.errors import WorkerDiedError
from backends.testing import BackendConformance

MISSING = registry.reasons()["dask"]
needs_dask = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

if MISSING is None:
    import dask
    import dask.array as da
    import distributed

    from backends.engines.dask import DaskBackend


def test_is_there(request):
    if MISSING is not None and "dask" in request.config.getoption("--require").split(","):
        pytest.fail(MISSING)
    if MISSING is not None:
        pytest.skip(MISSING)


if MISSING is None:

    class TestDask(BackendConformance):
        @classmethod
        def make_backend(cls):
            return DaskBackend(2, "local")

    class TestDaskCuttingEverything(BackendConformance):
        @classmethod
        def pytest_generate_tests(cls, metafunc):
            # A kind of each: every call goes to the workers and back, which takes its time.
            for argument in {"name", "elementwise"} & set(metafunc.fixturenames):
                matrices = ["matmul", "solve", "svd", "det"] if argument == "name" else []
                metafunc.parametrize(argument, [*matrices, "add", "power", "log", "norm_isf"])

        @classmethod
        def make_backend(cls):
            backend = DaskBackend(2, "local")
            backend.min_work = 1
            return backend


@contextmanager
def small_cluster(**options):
    with (
        clusters.environment_kept(),
        dask.config.set(clusters.LASTING),  # workers are killed here time after time
        distributed.LocalCluster(
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            **options,
        ) as made,
    ):
        yield made
        # Else they look for the scheduler for seconds after it has gone, in a thread of their own.
        for client in list(distributed.Client._instances):
            if client.scheduler is not None and client.scheduler.address == made.scheduler_address:
                client.close()


@pytest.fixture(scope="module")
def cluster():
    if MISSING is not None:
        pytest.skip(MISSING)
    with small_cluster(n_workers=2) as made:
        assert made.scheduler_address.startswith("tcp://127.0.0.1:")
        yield made


@pytest.fixture
def engine(cluster):
    """A backend that cuts even small work, on the two processes."""
    address = cluster.scheduler_address
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=180)  # a test before may have killed one
    with DaskBackend(scheduler=address) as backend:
        backend.min_work = 1
        yield backend


@pytest.fixture
def dies_once(tmp_path):
    """A function that kills the process it is called in, but only the first that does."""
    mark = tmp_path / "died"

    def die():
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    yield die
    assert mark.exists(), "no worker was killed: the test shows nothing"


def kernel_that_calls(function):
    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def eventful(x, /, *, out=None):
        """Add one, and call a function where there is something to add to."""
        if np.size(x):
            function()
        return np.add(x, 1.0, out=out)

    return eventful


# --- NumPy's arrays -------------------------------------------------------------------------


@needs_dask
def test_chunks_are_computed_in_two_other_processes(engine, tmp_path):
    def note():
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0.05)

    x = np.arange(1000.0)
    assert np.array_equal(engine.run(kernel_that_calls(note), x), x + 1)
    seen = {int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()}
    assert len(seen) == 2
    assert os.getpid() not in seen


@needs_dask
def test_a_matrix_product_is_cut_and_right(engine):
    a, b = kernels.find("matmul").inputs("matrix", 200, "float64")
    assert engine.divides(backends.matmul, a, b)
    assert backends.matmul.error(engine.run(backends.matmul, a, b), a @ b, a, b) < 100


@needs_dask
def test_small_calls_stay_here(cluster):
    engine = registry.get("dask", scheduler=cluster.scheduler_address)
    assert not engine.divides(backends.add, np.ones(10), np.ones(10))
    assert engine.run(backends.add, 1.0, 2.0) == 3.0


@needs_dask
def test_a_worker_killed_in_the_middle_of_a_kernel_costs_time_only(engine, dies_once):
    x = np.arange(1000.0)
    assert np.array_equal(engine.run(kernel_that_calls(dies_once), x), x + 1)


@needs_dask
def test_a_kernel_that_kills_every_worker_is_an_error():
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    with DaskBackend(2, "local") as engine:
        engine.min_work = 1
        with pytest.raises(WorkerDiedError, match="workers ended while computing eventful"):
            engine.run(kernel_that_calls(die), np.arange(1000.0))


@needs_dask
def test_what_a_kernel_raises_comes_here(engine):
    def refuse():
        raise ZeroDivisionError("not this one")

    with pytest.raises(ZeroDivisionError, match="not this one"):
        engine.run(kernel_that_calls(refuse), np.arange(1000.0))


# --- Dask arrays ----------------------------------------------------------------------------


def chunked(data, x):
    sizes = [data.draw(st.integers(1, max(n, 1))) for n in x.shape]
    return da.from_array(x, chunks=tuple(sizes))


@needs_dask
@pytest.mark.filterwarnings("ignore:Increasing number of chunks")  # Dask's own advice
@pytest.mark.parametrize("name", kernels.every())
@settings(max_examples=10)
@given(data=st.data())
def test_any_blocks_give_the_references_result(name, data):
    kernel = kernels.find(name)
    dtype = data.draw(st.sampled_from(kernel.dtypes))
    case = data.draw(st.sampled_from(sorted(kernel.cases)))
    arrays = kernel.inputs(case, 12 if kernel.blas else 40, dtype)
    result = registry.get("dask", 2).run(kernel, *(chunked(data, x) for x in arrays))
    expected = kernel.reference(*arrays)
    parts = zip(*((r if isinstance(r, tuple) else (r,)) for r in (result, expected)), strict=True)
    for part, known in parts:
        assert isinstance(part, da.Array)
        assert (part.shape, part.dtype) == (known.shape, known.dtype)
    computed = dask.compute(result, scheduler="sync")[0]
    assert type(computed) is type(expected)
    if kernel.blas:
        assert kernel.error(computed, expected, *arrays) <= kernel.tolerance
    else:
        np.testing.assert_array_equal(computed, expected)


@needs_dask
def test_a_lazy_array_stays_lazy_and_an_array_on_the_workers_there(engine):
    def never(block):
        raise AssertionError("nobody asked for this block")

    lazy = da.ones(10, chunks=5).map_blocks(never, dtype=float)
    assert isinstance(engine.run(backends.sin, lazy), da.Array)
    there = engine.asarray(np.linspace(0, 1, 10))
    result = engine.run(backends.sin, there)
    assert len(result.dask) == result.npartitions
    assert np.array_equal(engine.to_numpy(result), np.sin(np.linspace(0, 1, 10)))


@needs_dask
def test_what_is_called_again_is_computed_again(engine, tmp_path):
    def note():
        (tmp_path / f"call-{time.monotonic_ns()}").touch()

    kernel, there = kernel_that_calls(note), engine.asarray(np.linspace(0, 1, 10))
    kept = [engine.run(kernel, there) for _ in range(3)]
    assert len(kept) == 3
    assert len(list(tmp_path.glob("call-*"))) == 3 * there.npartitions


@needs_dask
def test_blocks_may_be_computed_by_the_cluster(engine):
    x = da.arange(1000.0, chunks=100)
    assert engine.to_numpy(engine.run(backends.sqrt, x)).sum() == np.sqrt(np.arange(1000.0)).sum()


@needs_dask
def test_a_worker_killed_in_the_middle_of_a_graph_costs_time_only(engine, dies_once):
    x = da.arange(1000.0, chunks=100)
    result = engine.run(kernel_that_calls(dies_once), x)
    assert np.array_equal(engine.to_numpy(result), np.arange(1.0, 1001.0))


@needs_dask
def test_an_error_on_the_workers_is_raised_where_the_result_was_to_be_there(engine):
    with pytest.raises(np.linalg.LinAlgError, match="ingular"):
        engine.run(backends.inv, engine.asarray(np.zeros((4, 3, 3))))


@needs_dask
def test_numbers_and_numpys_arrays_go_with_dasks():
    engine = registry.get("dask", 2)
    x = da.ones((4, 6), chunks=3, dtype="float32")
    assert engine.run(backends.multiply, x, 2.0).dtype == np.float32
    for other in (np.arange(6.0), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], np.float64(3.0)):
        result = engine.run(backends.add, x, other)
        np.testing.assert_array_equal(result.compute(scheduler="sync"), np.ones((4, 6)) + other)


@needs_dask
def test_the_columns_of_a_right_hand_side_are_solved_side_by_side():
    rng = np.random.default_rng(0)
    a, b = rng.random((6, 6)) + 6 * np.eye(6), rng.random((6, 20))
    x = registry.get("dask", 2).run(
        backends.solve, da.from_array(a, chunks=2), da.from_array(b, chunks=(3, 5))
    )
    assert x.numblocks == (1, 4)
    np.testing.assert_allclose(x.compute(scheduler="sync"), np.linalg.solve(a, b))


@needs_dask
def test_a_matrix_whose_first_block_is_singular_is_solved():
    # Dask's own inv divides by that block.
    a = np.array([[0.0, 1.0], [1.0, 0.0]])
    result = registry.get("dask", 2).run(backends.inv, da.from_array(a, chunks=1))
    np.testing.assert_array_equal(result.compute(scheduler="sync"), a)


@needs_dask
def test_one_real_matrix_has_its_cholesky_factor_computed_in_blocks():
    rng = np.random.default_rng(0)
    m = rng.random((12, 12))
    a = np.tril(m @ m.T + np.eye(12)) + np.triu(np.full((12, 12), 7.0), 1)
    factor = registry.get("dask", 2).run(backends.cholesky, da.from_array(a, chunks=(4, 3)))
    assert factor.npartitions > 1
    np.testing.assert_allclose(factor.compute(scheduler="sync"), np.linalg.cholesky(a))


@needs_dask
def test_what_cannot_be_done_with_dask_arrays_is_refused():
    engine = registry.get("dask", 2)
    x = da.ones((4, 4), chunks=2)
    with pytest.raises(TypeError, match="sin: argument out: Dask arrays cannot be written to"):
        engine.run(backends.sin, np.ones((4, 4)), out=x)
    with pytest.raises(ValueError, match=r"argument x2 .*x2\.compute_chunk_sizes\(\)"):
        engine.run(backends.add, 1.0, x[x > 0])
    with pytest.raises(ValueError, match=r"x1 .* x2 .* do not broadcast"):
        engine.run(backends.add, x, da.ones(3))
    with pytest.raises(TypeError, match="argument x has dtype object"):
        engine.run(backends.sin, da.ones(3).astype(object))
    with pytest.raises(TypeError, match=r"add takes 2 array\(s\)"):
        engine.run(backends.add, x)

    @backends.linear_algebra(core=(2,), flops=lambda a: 1.0, cases={})
    def trace(a, /, *, out=None):
        """Sum the diagonal."""
        return np.trace(a, axis1=-2, axis2=-1, out=out)

    with pytest.raises(UnsupportedKernelError, match="how it divides over the blocks"):
        engine.run(trace, x)


@needs_dask
def test_other_backends_refuse_dask_arrays_and_auto_hands_them_on():
    x = da.ones(4, chunks=2)
    for name in ("numpy", "threads"):
        with pytest.raises(TypeError, match=r"dask.* pass x\.compute\(\), or use backend 'dask'"):
            registry.get(name, 1).run(backends.sin, x)
    assert isinstance(registry.get("auto", 1).run(backends.sin, x), da.Array)


@needs_dask
def test_a_product_larger_than_the_workers_memory(request):
    limit, rows, columns = 400 * 2**20, 2_100_000, 56  # 897 MiB
    with small_cluster(n_workers=2, memory_limit=limit) as small:
        x = da.fromfunction(
            lambda i, j: (i % 7) + j, shape=(rows, columns), chunks=(70_000, -1), dtype=float
        )
        assert x.nbytes > 2 * limit
        engine = DaskBackend(scheduler=small.scheduler_address)
        with engine:
            product = engine.to_numpy(engine.run(backends.matmul, x.T, x))
            left = engine.client().run(lambda: psutil.Process().memory_info().rss)
    pattern = np.arange(7.0)[:, None] + np.arange(columns)
    np.testing.assert_array_equal(product, rows // 7 * (pattern.T @ pattern))
    assert max(left.values()) < limit


# --- jobs, and jobs that meet ---------------------------------------------------------------


@needs_dask
def test_joblib_runs_its_jobs_on_the_workers_and_the_programs_own_where_they_were(engine):
    before = joblib.parallel.get_active_backend()[0]
    with engine.jobs() as given:
        pids = joblib.Parallel(**given)(joblib.delayed(os.getpid)() for _ in range(8))
        assert type(joblib.parallel.get_active_backend()[0]) is type(before)
    assert os.getpid() not in pids


@needs_dask
def test_a_larger_cluster_does_no_more_jobs_at_once_than_asked(cluster, engine):
    def job(_):
        began = time.time()
        time.sleep(0.1)
        return began, time.time()

    with DaskBackend(1, cluster.scheduler_address) as one, one.jobs() as given:
        times = joblib.Parallel(**given)(joblib.delayed(job)(i) for i in range(4))
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(times))


@needs_dask
def test_jobs_that_end_their_workers_or_cannot_be_sent_are_told():
    def kills_itself():
        os.kill(os.getpid(), signal.SIGKILL)

    lock = threading.Lock()
    with DaskBackend(2, "local") as engine:  # whose workers Dask gives up in the end
        with engine.jobs() as given, pytest.raises(TypeError, match="pickle"):
            joblib.Parallel(**given)(joblib.delayed(type)(x) for x in (1, lock))
        with pytest.raises(WorkerDiedError, match="while doing jobs"), engine.jobs() as given:
            joblib.Parallel(**given)(joblib.delayed(kills_itself)() for _ in range(1))


@needs_dask
def test_a_worker_killed_in_the_middle_of_jobs_costs_time_only(engine, dies_once):
    def job(i):
        dies_once()
        return i * i

    with engine.jobs() as given:
        found = joblib.Parallel(**given)(joblib.delayed(job)(i) for i in range(20))
    assert found == [i * i for i in range(20)]


@needs_dask
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way there")
def test_ctrl_c_ends_jobs_in_the_middle_and_their_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time, joblib, backends\n"
        "def job(i):\n"
        f"    open({str(tmp_path)!r} + f'/pid-{{os.getpid()}}', 'w').close()\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    with backends.get('dask', scheduler='local', n_jobs=2).jobs() as given:\n"
        "        joblib.Parallel(**given)(joblib.delayed(job)(i) for i in range(4))\n",
        encoding="utf-8",
    )
    program = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while len(workers := list(tmp_path.glob("pid-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        processes = [psutil.Process(int(path.name.partition("-")[2])) for path in workers]
        program.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in program.communicate(timeout=60)[1]
    finally:
        program.kill()
    assert len(processes) == 2
    assert psutil.wait_procs(processes, timeout=60)[1] == []


@needs_dask
def test_pieces_stay_with_the_workers_between_rounds(engine):
    pieces = np.array_split(np.arange(12.0), 4)
    with engine.scatter(pieces) as held:
        first = held.map(lambda piece: os.getpid())
        assert held.map(lambda piece, power: float((piece**power).sum()), 2) == [
            float((piece**2).sum()) for piece in pieces
        ]
        assert os.getpid() not in first
        big = np.arange(100_000.0)
        assert held.map(lambda piece, x: x.sum(), big) == [big.sum()] * 4
        with pytest.raises(ValueError, match="read-only"):
            held.map(lambda piece: piece.sort())
    with pytest.raises(ValueError, match="given back by close"):
        held.map(np.sum)


@needs_dask
def test_a_worker_killed_between_or_in_rounds_costs_time_only(engine, dies_once):
    def total(piece):
        dies_once()
        return float(piece.sum())

    with engine.scatter(np.array_split(np.arange(12.0), 4)) as held:
        assert held.map(np.size) == [3] * 4
        assert held.map(total) == [3.0, 12.0, 21.0, 30.0]
        assert held.map(total) == [3.0, 12.0, 21.0, 30.0]


# --- which cluster --------------------------------------------------------------------------


def free_port():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


@needs_dask
def test_a_scheduler_that_is_not_there_is_told_before_work_starts(monkeypatch):
    monkeypatch.setattr(clusters, "ANSWER", 0.5)
    address = f"tcp://127.0.0.1:{free_port()}"
    for ask in (
        lambda: backends.get("dask", scheduler=address),
        lambda: backends.sin(np.ones(3), backend="dask"),
    ):
        with (
            backends.config_context(scheduler=address),
            pytest.raises(BackendUnavailableError, match=r"no scheduler answers.*`dask scheduler`"),
        ):
            ask()


@needs_dask
def test_a_scheduler_without_workers_is_told(monkeypatch):
    monkeypatch.setattr(clusters, "FIRST_WORKER", 0.5)
    with (
        distributed.LocalCluster(
            n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as empty,
        pytest.raises(BackendUnavailableError, match=r"has no workers.*`dask worker tcp://"),
    ):
        DaskBackend(scheduler=empty.scheduler_address)


@needs_dask
def test_the_cluster_says_how_many_jobs_there_may_be(cluster, engine):
    assert engine.n_jobs == 2
    assert DaskBackend(1, cluster.scheduler_address).n_jobs == 1
    assert DaskBackend(64, cluster.scheduler_address).n_jobs == 2
    assert DaskBackend(-2, cluster.scheduler_address).n_jobs == 1


@needs_dask
def test_the_programs_own_client_is_found_and_left_open(cluster):
    with distributed.Client(cluster) as client:
        backend = DaskBackend()
        assert backend.client() is client
        backend.close()
        assert client.status == "running"


@needs_dask
def test_the_address_in_dasks_configuration_is_taken(cluster):
    with dask.config.set({"scheduler-address": cluster.scheduler_address}), DaskBackend() as found:
        assert found.client().scheduler.address == cluster.scheduler_address


@needs_dask
def test_processes_are_started_with_one_call_and_ended_with_another():
    before, environment = set(psutil.Process().children(recursive=True)), dict(os.environ)
    with backends.get("dask", scheduler="local", n_jobs=1) as backend:
        found = backend.client().run(lambda: (os.getpid(), os.environ["OMP_NUM_THREADS"]))
        assert [threads for _, threads in found.values()] == ["1"]
        assert os.environ == environment
        assert backend.client() is backend.client()
    for process in set(psutil.Process().children(recursive=True)) - before:
        assert process.pid not in [pid for pid, _ in found.values()]


@needs_dask
def test_processes_started_here_keep_freed_memory_for_the_next_array():
    with DaskBackend(1, "local") as backend:
        found = backend.client().run(os.environ.get, "MALLOC_TRIM_THRESHOLD_")
        assert list(found.values()) == [os.environ.get("MALLOC_TRIM_THRESHOLD_")]


@needs_dask
def test_a_process_started_here_may_die_again_when_dask_looks_for_it():
    def setting():
        return dask.config.get("distributed.deploy.lost-worker-timeout")

    before = setting()
    first, second = DaskBackend(1, "local"), DaskBackend(1, "local")
    for backend in (first, second):
        backend.client()
    first.close()
    assert setting() == "1 day"
    second.close()
    assert setting() == before


@needs_dask
def test_the_same_scheduler_has_one_backend(cluster):
    address = cluster.scheduler_address
    first = backends.get("dask", 2, scheduler=address)
    assert backends.get("dask", 2, scheduler=address) is first
    with backends.config_context(scheduler=address):
        assert backends.get("dask", 2) is first
    assert backends.get("dask", 2, scheduler="local") is not first


@needs_dask
def test_within_a_task_a_kernel_is_computed_there(engine):
    def task():
        return registry.get("dask", 1, scheduler="local").run(backends.sin, np.zeros(10**6)).sum()

    assert engine.client().submit(task).result() == 0.0


@needs_dask
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_is_told_that_the_client_is_not_there(run_python):
    output = run_python(
        "import os, backends\n"
        "if __name__ == '__main__':\n"
        "    with backends.get('dask', scheduler='local', n_jobs=1) as engine:\n"
        "        engine.client()\n"
        "        if os.fork() == 0:\n"
        "            try:\n"
        "                engine.client()\n"
        "            except backends.BackendUnavailableError as error:\n"
        "                print(error, flush=True)\n"
        "            os._exit(0)\n"
        "        os.wait()\n",
        PYTHONWARNINGS="ignore",
    )
    assert "before this process was forked" in output


@needs_dask
def test_a_script_without_a_guard_is_told_which(run_python):
    output = run_python(
        "import backends\n"
        "try:\n"
        "    backends.get('dask', scheduler='local', n_jobs=1).client()\n"
        "except backends.BackendUnavailableError as error:\n"
        "    print(error)\n"
    )
    assert 'if __name__ == "__main__":' in output


@needs_dask
def test_the_bench_tells_what_the_way_there_and_back_costs(engine):
    from backends.bench import calls, cases

    case = cases.plan(["add"], [10_000], ["float64"])[0][0]
    arrays = case.kernel.inputs(case.case, 10_000, "float64")
    found = calls.gather(case, arrays, np.add(*arrays), [registry.get("numpy"), engine], [])
    assert {("dask", way) for way in ("call", "in", "resident", "back")} <= found.timed.keys()
    resident = found.timed["dask", "resident"]()
    assert np.array_equal(engine.to_numpy(resident), np.add(*arrays))


@pytest.mark.parametrize(("times", "error"), [(3, OSError), (4, OSError), (1, TimeoutError)])
def test_what_cannot_be_sent_is_sent_again_after_pauses(times, error):
    from backends.engines import dask_pieces

    class Unreachable:
        """A client whose workers do not answer some times."""

        scheduler = type("scheduler", (), {"address": "tcp://there"})
        calls = 0

        def scatter(self, data, **options):
            self.calls += 1
            if self.calls <= times:
                raise error("nobody")
            return data

    client = Unreachable()
    if times == 3:
        assert dask_pieces.scatter(client, "data", pauses=(0.0,) * 3) == "data"
    else:
        told = "has no workers any more" if error is TimeoutError else "cannot be reached"
        with pytest.raises(WorkerDiedError, match=told):
            dask_pieces.scatter(client, "data", pauses=(0.0,) * 3)
        assert client.calls == times


@pytest.mark.parametrize("lost", [None, OSError, RuntimeError])
def test_where_no_worker_comes_back_the_jobs_end(monkeypatch, lost):
    from backends.engines import dask_jobs

    class Nobody:
        """A client of a scheduler without workers, or of none any more."""

        def nthreads(self):
            if lost is not None:
                raise lost("the scheduler is gone")
            return {}

        def submit(self, *args, **options):
            return self

        def add_done_callback(self, callback):
            pass

        def cancel(self, tasks):
            assert tasks == [self]
            if lost is not None:
                raise lost("the scheduler is gone")

    monkeypatch.setattr(dask_jobs, "FIRST_WORKER", 0.1)
    monkeypatch.setattr(dask_jobs, "LOOK", 0.05)
    jobs = dask_jobs.DaskJobs(Nobody(), 1)
    jobs.configure(1)
    future = jobs.submit(int)
    told = "all workers of Dask are gone" if lost is None else "scheduler does not answer any more"
    with pytest.raises(WorkerDiedError, match=told) as caught:
        future.result(timeout=60)
    assert isinstance(caught.value.__cause__, lost or type(None))


@needs_dask
def test_factors_stay_on_the_workers_together(engine):
    a = np.random.default_rng(0).random((6, 6))
    found = engine.run(backends.svd, engine.asarray(a))
    assert isinstance(found.S, da.Array)
    np.testing.assert_allclose(engine.to_numpy(found.S), np.linalg.svd(a).S)
    assert engine.import_seconds >= 0


@needs_dask
def test_objects_are_not_put_on_the_workers_and_numpys_arrays_need_no_way_back(engine):
    with pytest.raises(TypeError, match="dtype object is no array of numbers"):
        engine.asarray(np.array([object()]))
    x = np.ones(3)
    assert engine.to_numpy(x) is x


@needs_dask
def test_processes_that_cannot_be_started_are_told(monkeypatch):
    def refuse(**_):
        raise OSError("no more processes")

    monkeypatch.setattr(distributed, "LocalCluster", refuse)
    with (
        DaskBackend(1, "local") as engine,
        pytest.raises(BackendUnavailableError, match="1 worker processes could not be started"),
    ):
        engine.client()


@needs_dask
def test_where_dasks_workers_were_never_imported_this_is_no_task(monkeypatch):
    monkeypatch.delitem(sys.modules, "distributed.worker")
    assert not clusters.in_task()
