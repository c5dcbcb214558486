"""Backend mpi with real ranks: a program's own, and those of ``mpiexec``; skipped without MPI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
from backends import BackendUnavailableError, WorkerDiedError, ram, registry
from backends.backend import Backend
from backends.engines import own_ranks, parcels, ranks
from backends.engines.mpi import MpiBackend, _Piece
from backends.kernel import REGISTERED
from backends.testing import BackendConformance

HOME = Path(backends.__file__).parents[1]
HEAT = Path(__file__).parents[2] / "examples" / "heat_mpi.py"
REASON = registry.reasons()["mpi"]
needs_mpi = pytest.mark.skipif(REASON is not None, reason=str(REASON))
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither fork nor these signals")


def test_is_there(request):
    if REASON is not None and "mpi" in request.config.getoption("--require").split(","):
        pytest.fail(REASON)
    if REASON is not None:
        pytest.skip(REASON)


# The program's own ranks.


@needs_mpi
class TestMpiCuttingEverything(BackendConformance):
    @classmethod
    def make_backend(cls) -> Backend:
        backend = MpiBackend(2)
        backend.min_work = 1
        return backend


@backends.elementwise(domain=(0.0, 1.0), flops=1)
def process_id(x, /, *, out=None):
    """Give the process that computes."""
    time.sleep(0.05)
    return np.positive(np.full(np.shape(x), os.getpid(), dtype=float), out=out)


@backends.elementwise(domain=(0.0, 1.0), flops=1)
def dies(x, /, *, out=None):
    """Die as if by the system's hand for want of memory."""
    if np.size(x):  # the caller asks for the dtype with an empty array
        os.kill(os.getpid(), signal.SIGKILL)
    return np.positive(x, out=out)


@backends.elementwise(domain=(0.0, 1.0), flops=1)
def calls_another_on_ranks(x, /, *, out=None):
    """Call a kernel that would go to ranks again."""
    return np.positive(backends.sqrt(x, backend="mpi", n_jobs=2), out=out)


# Not for the tests that go through all kernels.
for kernel in (process_id, dies, calls_another_on_ranks):
    REGISTERED.pop(kernel.name)


@pytest.fixture(scope="module")
def pool():
    with MpiBackend(2) as backend:
        backend.min_work = 1
        yield backend


def worker_ids(pool):
    return {int(i) for i in pool.run(process_id, np.zeros(100))}


@needs_mpi
def test_two_other_processes_compute_and_persist(pool):
    first = worker_ids(pool)
    assert len(first) == 2
    assert os.getpid() not in first
    assert worker_ids(pool) == first


@needs_mpi
def test_what_moving_arrays_cost_is_told(pool):
    x = np.arange(10.0**6)
    assert np.array_equal(pool.run(backends.add, x, 1.0), x + 1.0)
    told = pool.last_transfer
    assert told.sent == told.received == x.nbytes
    assert told.seconds > 0
    assert told.computing > 0
    pool.run(backends.add, np.broadcast_to(np.ones(1), x.shape), x)
    assert x.nbytes <= pool.last_transfer.sent < x.nbytes + 1000  # what repeats is sent once


@needs_mpi
def test_kernels_inside_kernels_run_in_one_piece(pool):
    x = np.arange(1000.0)
    assert np.array_equal(pool.run(calls_another_on_ranks, x), np.sqrt(x))


@needs_mpi
def test_results_are_the_callers_to_write(pool):
    x = np.ones((3, 1000))
    y = pool.run(backends.sqrt, x)
    y[:] = 7
    out = np.zeros((3, 1000))
    assert pool.run(backends.sqrt, x, out=out) is out
    assert np.all(out == 1)


@needs_mpi
def test_an_exception_says_where_in_the_worker_it_was_raised(pool):
    with pytest.raises(np.linalg.LinAlgError, match="Singular") as caught:
        pool.run(backends.inv, np.zeros((10, 2, 2)))
    assert "On a worker" in caught.value.__notes__[0]


@needs_mpi
def test_an_exception_that_cannot_travel_is_told(pool):
    class OddError(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    def odd():
        raise OddError("this", "that")

    with pool.jobs() as given, pytest.raises(RuntimeError, match="OddError: this and that"):
        joblib.Parallel(**given)([joblib.delayed(odd)()])


@needs_mpi
def test_jobs_run_on_the_ranks_in_order_with_their_share_of_the_cores(pool):
    def job(i):
        time.sleep(0.02)
        return i, os.getpid(), os.environ["OMP_NUM_THREADS"]

    with pool.jobs() as given:
        results = joblib.Parallel(**given)(joblib.delayed(job)(i) for i in range(20))
    assert [i for i, *_ in results] == list(range(20))
    assert {process for _, process, _ in results} == worker_ids(pool)
    share = os.environ.get("OMP_NUM_THREADS", str(max(1, ranks.budget.cores() // 2)))
    assert {threads for *_, threads in results} == {share}


@needs_mpi
def test_results_of_jobs_come_as_a_generator(pool):
    with pool.jobs() as given:
        parallel = joblib.Parallel(**given, return_as="generator")
        results = parallel(joblib.delayed(lambda i: i * i)(i) for i in range(1000))
        assert list(results) == [i * i for i in range(1000)]


@needs_mpi
def test_what_cannot_be_sent_is_refused_with_the_remedy(pool, tmp_path):
    with (
        (tmp_path / "file").open("w") as file,
        pool.jobs() as given,
        pytest.raises(TypeError, match="within the function, or choose backend threads"),
    ):
        joblib.Parallel(**given)([joblib.delayed(file.write)("text")])


@needs_mpi
def test_a_worker_that_shares_out_has_itself(pool):
    def nested(i):
        inner = backends.get("mpi")
        with inner.jobs() as given, inner.scatter([np.ones(i), np.ones(1)]) as held:
            processes = joblib.Parallel(**given)([joblib.delayed(os.getpid)()] * 2)
            return held.map(len) == [i, 1] and set(processes) == {os.getpid()}

    with pool.jobs() as given:
        assert all(joblib.Parallel(**given)(joblib.delayed(nested)(i) for i in range(4)))


@needs_mpi
@pytest.mark.parametrize("count", [1, 2, 5])
def test_scattered_pieces_stay_where_they_are(pool, count):
    pieces = [np.arange(4.0) + i for i in range(count)]
    with pool.scatter(pieces) as held:
        for factor in (1.0, 2.0):
            sums = held.map(lambda piece, by: float((piece * by).sum()), factor)
            assert sums == [float((piece * factor).sum()) for piece in pieces]
        where = held.map(lambda piece: (os.getpid(), piece.ctypes.data))
        assert held.map(lambda piece: (os.getpid(), piece.ctypes.data)) == where
        assert len({process for process, _ in where}) == min(count, 2)
        with pytest.raises(ValueError, match="read-only"):
            held.map(lambda piece: piece.fill(0))
        assert held.map(len) == [4] * count
    with pytest.raises(ValueError, match="scatter the array again"):
        held.map(len)


@needs_mpi
def test_a_piece_that_cannot_be_sent_leaves_no_worker_waiting_for_it(pool):
    with pytest.raises(TypeError, match="cannot be sent to other processes"):
        pool.scatter([np.ones(3), np.array([threading.Lock()])])
    with pool.scatter([np.ones(3), np.ones(3)]) as held:
        assert held.map(np.sum) == [3.0, 3.0]


@needs_mpi
def test_rounds_of_two_threads_do_not_mix(pool):
    from concurrent.futures import ThreadPoolExecutor

    def rounds(value):
        with pool.scatter([np.full(3, value), np.full(3, value + 0.5)]) as held:
            return [held.map(np.sum) for _ in range(10)]

    with ThreadPoolExecutor(4) as threads:
        for value, results in enumerate(threads.map(rounds, range(8))):
            assert results == [[3 * value, 3 * value + 1.5]] * 10


@needs_mpi
@posix
def test_a_dead_worker_is_an_error_and_the_next_call_works():
    with MpiBackend(2) as pool:
        pool.min_work = 1
        held = pool.scatter([np.ones(3), np.ones(3)])
        with pytest.raises(WorkerDiedError, match="next call"):
            pool.run(dies, np.zeros(100))
        x = np.arange(1000.0)
        assert np.array_equal(pool.run(backends.sqrt, x), np.sqrt(x))
        with pytest.raises(WorkerDiedError, match="scattered is lost"):
            held.map(np.sum)


@needs_mpi
@posix
def test_a_worker_killed_in_the_middle_of_jobs_is_an_error():
    with MpiBackend(2) as pool:
        victim = min(worker_ids_of(pool))

        def job(i):
            if i == 3:
                os.kill(victim, signal.SIGKILL)
            time.sleep(0.1)

        with pool.jobs() as given, pytest.raises(WorkerDiedError):
            joblib.Parallel(**given)(joblib.delayed(job)(i) for i in range(20))
        assert victim not in worker_ids_of(pool)


def worker_ids_of(pool):
    with pool.scatter([np.ones(1)] * pool.n_jobs) as held:
        return set(held.map(lambda _: os.getpid()))


@needs_mpi
def test_close_ends_the_processes():
    before = set(psutil.Process().children(recursive=True))
    with MpiBackend(2) as pool:
        ids = worker_ids_of(pool)
        assert set(psutil.Process().children(recursive=True)) > before
    assert not [i for i in ids if psutil.pid_exists(i)]
    assert set(psutil.Process().children(recursive=True)) <= before


@needs_mpi
@posix
def test_a_forked_child_has_ranks_of_its_own(pool):
    ours = worker_ids(pool)
    child = os.fork()
    if child == 0:
        try:
            theirs = worker_ids(pool)
            pool.close()
            os._exit(0 if len(theirs) == 2 and not theirs & ours else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert worker_ids(pool) == ours


# What there is no MPI for.


def test_without_mpi4py_the_reason_names_the_extra(monkeypatch):
    monkeypatch.setattr("backends.engines.mpi.util.find_spec", lambda name: None)
    assert 'pip install "array-backends[mpi]"' in MpiBackend.unavailable()


def test_without_mpiexec_the_reason_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr("backends.engines.mpi.util.find_spec", lambda name: name)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "mpiexec is neither beside this Python nor on PATH" in MpiBackend.unavailable()
    assert 'pip install "array-backends[mpi]"' in MpiBackend.unavailable()


@posix
def test_an_mpiexec_that_fails_is_an_error_at_once(monkeypatch, tmp_path):
    fake = tmp_path / "mpiexec"
    fake.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setattr(own_ranks, "find_mpiexec", lambda: str(fake))
    pool = MpiBackend(2)
    pool.min_work = 1
    with pytest.raises(BackendUnavailableError, match=r"mpiexec -n 3 .* ended with 3"):
        pool.run(backends.sqrt, np.ones(1000))


@posix
def test_a_stranger_who_connects_is_not_let_in(monkeypatch, tmp_path):
    fake = tmp_path / "mpiexec"
    fake.write_text(
        textwrap.dedent(f"""\
        #!{sys.executable}
        import os, socket, time
        for secret in (b"", b"x" * 64):
            with socket.create_connection(("127.0.0.1", int(os.environ["{own_ranks.PORT}"]))) as s:
                s.sendall(secret)
        """),
        encoding="utf-8",
    )
    fake.chmod(0o755)
    monkeypatch.setattr(own_ranks, "find_mpiexec", lambda: str(fake))
    with pytest.raises(BackendUnavailableError, match="ended with 0"):
        own_ranks.OwnRanks(1)


@given(data=st.data())
def test_a_piece_arrives_as_it_was(data):
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4).map(tuple))
    x = np.arange(float(np.prod([2 * n for n in shape]))).reshape([2 * n for n in shape])
    x = x.transpose(data.draw(st.permutations(range(x.ndim))))
    steps = [data.draw(st.sampled_from([1, 2, -1, -2])) for _ in shape]
    x = x[(*(slice(None, None, step) for step in steps), ...)]
    if data.draw(st.booleans()) and x.ndim:
        x = np.broadcast_to(x[:1], x.shape) if len(x) else x
    piece = _Piece.of(x)
    assert piece.data.flags.c_contiguous
    assert piece.data.size <= x.size
    y = piece.array()
    assert np.array_equal(x, y)
    assert y.dtype == x.dtype


# The ranks of mpiexec.


def mpiexec(tmp_path, count: int, text: str, *, shared: bool = True) -> Any:
    """Run a program on ranks; under mpi4py.futures if `shared`."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(text), encoding="utf-8")
    runner = ["-m", "mpi4py.futures"] if shared else []
    return subprocess.run(
        [own_ranks.find_mpiexec(), "-n", str(count), sys.executable, *runner, str(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), *sys.path])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@needs_mpi
def test_under_mpiexec_the_other_ranks_compute(tmp_path):
    done = mpiexec(
        tmp_path,
        3,
        """
        import os, time
        import joblib, numpy as np
        import backends

        @backends.elementwise(domain=(0.0, 1.0), flops=1)
        def process_id(x, /, *, out=None):
            "Give the process that computes."
            time.sleep(0.1)
            return np.positive(np.full(np.shape(x), os.getpid(), dtype=float), out=out)

        def job(i):
            time.sleep(0.02)
            return i * i, os.getpid()

        if __name__ == "__main__":
            pool = backends.get("mpi")
            pool.min_work = 1
            assert pool.n_jobs == 2
            x = np.arange(1e5).reshape(100, 1000)
            for kernel in (backends.sqrt, backends.gammaln):
                for y in (x, x.T, x[::2, ::3]):
                    expected = kernel.reference(y)
                    assert pool.run(kernel, y).tobytes() == expected.tobytes()
            a = np.random.default_rng(0).random((50, 8, 8))
            assert np.array_equal(pool.run(backends.inv, a), np.linalg.inv(a))
            workers = set(pool.run(process_id, np.zeros(100)))
            assert len(workers) == 2 and os.getpid() not in workers
            with pool.jobs() as given:
                results = joblib.Parallel(**given)(joblib.delayed(job)(i) for i in range(20))
            assert [square for square, _ in results] == [i * i for i in range(20)]
            assert {process for _, process in results} == workers
            with pool.scatter([np.ones(3), np.ones(4), np.ones(5)]) as held:
                assert held.map(np.sum) == [3, 4, 5]
            for n_jobs in (3, 1):
                try:
                    print(backends.get("mpi", n_jobs).n_jobs)
                except ValueError as error:
                    print(error)
        """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "n_jobs=3 is more than the 2 worker(s) that mpiexec started" in done.stdout
    assert "mpiexec -n 4" in done.stdout
    assert done.stdout.endswith("1\n")


@needs_mpi
def test_under_mpiexec_of_two_ranks_one_works(tmp_path):
    done = mpiexec(
        tmp_path,
        2,
        """
        import os
        import joblib, numpy as np
        import backends

        pool = backends.get("mpi")
        with pool.jobs() as given:
            assert joblib.Parallel(**given)(joblib.delayed(abs)(-i) for i in range(3)) == [0, 1, 2]
        with pool.scatter([np.ones(3), np.ones(4)]) as held:
            assert held.map(np.sum) == [3, 4]
            processes = set(held.map(lambda _: os.getpid()))
            assert os.getpid() not in processes
        print(backends.sqrt(4.0, backend="mpi"), len(processes))
        """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "2.0 1\n"


@needs_mpi
def test_where_every_rank_runs_the_program_the_remedy_is_told(tmp_path):
    program = """
        import backends
        try:
            backends.get("mpi")
        except backends.BackendUnavailableError as error:
            print(error, flush=True)
        """
    done = mpiexec(tmp_path, 2, program, shared=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "start it as mpiexec -n 2 python -m mpi4py.futures PROGRAM" in done.stdout


@needs_mpi
def test_under_mpiexec_of_one_rank_there_are_own_ranks(tmp_path):
    program = """
        import os
        import numpy as np
        import backends
        if __name__ == "__main__":
            pool = backends.get("mpi", 1)
            with pool.scatter([np.ones(3)]) as held:
                print(held.map(lambda _: os.getpid() != 0), flush=True)
            pool.close()
        """
    for shared in (True, False):
        done = mpiexec(tmp_path, 1, program, shared=shared)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "[True]\n"


@needs_mpi
@posix
def test_under_mpiexec_a_dead_worker_ends_the_program_with_a_word(tmp_path):
    done = mpiexec(
        tmp_path,
        3,
        """
        import os, signal
        import joblib
        import backends

        def job(i):
            if i == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return i

        if __name__ == "__main__":
            with backends.get("mpi").jobs() as given:
                joblib.Parallel(**given)(joblib.delayed(job)(i) for i in range(10))
            print("not reached")
        """,
    )
    assert done.returncode != 0
    assert "not reached" not in done.stdout
    assert "KILLED BY SIGNAL: 9" in done.stdout + done.stderr or "signal 9" in (
        done.stdout + done.stderr
    )


@needs_mpi
@posix
def test_under_mpiexec_ctrl_c_ends_all(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""\
        import os, time
        import joblib
        import backends

        def job(i):
            if i > 3:
                os.write(1, b"ready\\n")  # in one piece, whatever the other worker writes
                time.sleep(600)

        with backends.get("mpi").jobs() as given:
            joblib.Parallel(**given)(joblib.delayed(job)(i) for i in range(50))
        """),
        encoding="utf-8",
    )
    command = [own_ranks.find_mpiexec(), "-n", "3", sys.executable, "-m", "mpi4py.futures"]
    with subprocess.Popen(
        [*command, str(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), *sys.path])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    ) as running:
        try:
            assert running.stdout.readline() == "ready\n"
            everyone = psutil.Process(running.pid).children(recursive=True)
            assert len(everyone) >= 3
            os.killpg(running.pid, signal.SIGINT)  # as a terminal does
            assert "KeyboardInterrupt" in running.stdout.read()
            assert running.wait(30) != 0
            assert not psutil.wait_procs(everyone, timeout=20)[1]
        finally:
            running.kill()


def test_a_rank_that_was_interrupted_refuses_what_was_sent_before(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(ranks._Me, "interrupted", -1)
    call = parcels.pack((abs, (-2,)))
    assert parcels.unpack(ranks._answer(call, 0)) == (True, 2)
    for parts in (parcels.pack((interrupted, ())), call):
        good, error = parcels.unpack(ranks._answer(parts, 0))
        assert not good
        assert isinstance(error, KeyboardInterrupt)
    assert parcels.unpack(ranks._answer(call, 1)) == (True, 2)


INTERRUPTED = """
    import os, time
    import numpy as np
    import backends
    from backends.engines.mpi import MpiBackend

    def sleeps(_):
        os.write(1, b"ready\\n")  # in one piece, whatever the other worker writes
        time.sleep(600)

    pool = MpiBackend(2)
    with pool.scatter([np.ones(1), np.ones(1)]) as held:
        print(os.getpid(), *held.map(lambda _: os.getpid()), flush=True)
        held.map(sleeps)
    """


@needs_mpi
@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_rank_outlives_a_program_that_is_interrupted_or_killed(tmp_path, number):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(INTERRUPTED), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as running:
        try:
            ids = [int(i) for i in running.stdout.readline().split()]
            assert len(ids) == 3
            assert running.stdout.readline() == "ready\n"
            everyone = psutil.Process(ids[0]).children(recursive=True)
            running.send_signal(number)
            begin = time.monotonic()
            running.wait(30)
            if number == signal.SIGINT:
                assert "KeyboardInterrupt" in running.stderr.read()
                assert time.monotonic() - begin < 10
            gone, alive = psutil.wait_procs(everyone, timeout=20)
            assert not alive
            assert set(ids[1:]) <= {process.pid for process in gone}
        finally:
            running.kill()


# Heat with an exchange at every step.


def heat(*command: str) -> str:
    done = subprocess.run(
        [*command, "--size", "300", "--steps", "50"],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_mpi
@pytest.mark.parametrize("count", [1, 2, 3])
def test_heat_is_the_same_on_ranks(count):
    mpi = [own_ranks.find_mpiexec(), "-n", str(count), sys.executable, str(HEAT), "--form", "mpi"]
    assert heat(*mpi) == heat(sys.executable, str(HEAT))


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_heat_is_the_same_on_threads(jobs):
    threads = ["--form", "threads", "--jobs", jobs]
    assert heat(sys.executable, str(HEAT), *threads) == heat(sys.executable, str(HEAT))


def test_heat_that_is_computed_wrongly_says_so(tmp_path):
    file = tmp_path / "heat_mpi.py"
    text = HEAT.read_text(encoding="utf-8")
    file.write_text(text.replace("around *= RATIO", "around *= 0.9 * RATIO"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, file, "--size", "300", "--steps", "50"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.endswith(": NO\n")


def test_an_mpiexec_that_has_gone_is_told(monkeypatch):
    monkeypatch.setattr(own_ranks, "find_mpiexec", lambda: None)
    with pytest.raises(BackendUnavailableError, match="mpiexec is not there any more: pip install"):
        own_ranks._start(2)


@needs_mpi
def test_own_ranks_have_the_memory_of_this_machine():
    with MpiBackend(2) as backend:
        assert backend.worker_memory() == ram.usable()
