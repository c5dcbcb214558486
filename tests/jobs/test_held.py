"""Arrays kept where the workers are: every backend on this machine, and the processes' memory."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import cloudpickle
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
from backends import WorkerDiedError, blas, budget
from backends.engines.processes import JoblibBackend
from backends.engines.tasks import LARGE

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither fork nor these signals")
on_each = pytest.mark.parametrize("backend", ["numpy", "threads", "joblib"])


@pytest.fixture(scope="module", autouse=True)
def workers():
    yield
    for name in ("joblib", "threads"):
        backends.get(name, 2).close()


@pytest.fixture
def pool():
    with JoblibBackend(2) as backend:
        yield backend


def scatter(array, backend, **options):
    return backends.scatter(array, backend=backend, n_jobs=2, **options)


@on_each
@given(
    shape=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    axis=st.integers(0, 2),
    dtype=st.sampled_from(["f8", "f4", "i4", "c16", "?"]),
    transposed=st.booleans(),
)
def test_the_pieces_are_the_array(backend, shape, axis, dtype, transposed):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    array = array.T if transposed else array
    axis %= array.ndim
    with scatter(array, backend, axis=axis) as held:
        pieces = held.map(np.copy)
    assert np.array_equal(np.concatenate(pieces, axis), array)
    assert all(piece.dtype == array.dtype for piece in pieces)


@on_each
def test_rounds_meet_and_go_on_with_what_they_found(backend):
    x = np.random.default_rng(1).standard_normal((1000, 3)) + 5
    with scatter(x, backend) as held:
        mean = held.map_reduce(lambda piece: piece.sum(axis=0), np.add) / len(x)
        squares = held.map_reduce(lambda p, mean: ((p - mean) ** 2).sum(axis=0), np.add, mean)
    assert mean == pytest.approx(x.mean(axis=0))
    assert squares / len(x) == pytest.approx(x.var(axis=0))


@on_each
def test_results_come_in_the_order_of_the_pieces(backend):
    def late(piece):
        time.sleep(0.1 if piece[0] == 0 else 0)
        return piece.tolist()

    with scatter(np.arange(8), backend) as held:
        assert np.concatenate(held.map(late)).tolist() == list(range(8))
        assert held.map_reduce(late, lambda a, b: a + b) == list(range(8))


@on_each
def test_pieces_are_read_only_and_the_array_stays_writable(backend):
    def writes(piece):
        piece[0] = 1

    x = np.zeros(10)
    with scatter(x, backend) as held, pytest.raises(ValueError, match="read-only"):
        held.map(writes)
    x[0] = 1


@on_each
def test_an_exception_is_the_callers_and_the_next_round_works(backend):
    def fails(piece):
        if 2 in piece:
            raise KeyError("the third")

    with scatter(np.arange(8), backend) as held:
        with pytest.raises(KeyError, match="the third"):
            held.map(fails)
        assert held.map_reduce(np.sum, np.add) == 28


@on_each
def test_what_was_given_back_is_not_mapped(backend):
    held = scatter(np.arange(8), backend)
    held.close()
    with pytest.raises(ValueError, match="scatter the array again"):
        held.map(np.sum)
    held.close()


@on_each
def test_jobs_compute_on_one_thread_each(backend):
    def threads(piece):
        return (1 if blas.library() is None else blas.library().get()), budget.is_counted()

    with scatter(np.arange(8), backend) as held:
        assert set(held.map(threads)) == {(1, True)}
    assert not budget.is_counted()


def test_threads_share_the_pieces_with_the_caller():
    def where(piece):
        time.sleep(0.02)
        return threading.get_ident()

    with scatter(np.arange(8), "threads") as held:
        found = held.map(where)
    assert len(set(found)) == 2
    assert threading.get_ident() in found


@pytest.mark.parametrize("backend", ["numpy", "threads"])
def test_in_this_process_nothing_is_copied(backend):
    x = np.arange(8.0)
    with scatter(x, backend) as held:
        assert all(np.shares_memory(piece, x) for piece in held.map(lambda piece: piece))


def test_threads_see_the_callers_settings():
    with backends.config_context(mode="fast"), scatter(np.arange(8), "threads") as held:
        modes = held.map(lambda piece: backends.get_config().mode.value)
    assert set(modes) == {"fast"}


@pytest.mark.parametrize(
    ("array", "options", "error", "message"),
    [
        (3.0, {}, ValueError, "array: a single number has no axis"),
        (np.zeros(3), {"axis": 1}, np.exceptions.AxisError, "axis 1 is out of bounds"),
        (np.array([None, "a"]), {"backend": "joblib"}, TypeError, "dtype object"),
        (np.zeros(3), {"backend": "thread"}, backends.UnknownNameError, "did you mean 'threads'"),
        (np.zeros(3), {"n_jobs": 0}, ValueError, "n_jobs=0 has no meaning"),
        (np.zeros(3), {"backend": "auto"}, backends.BackendUnavailableError, "has no workers"),
    ],
)
def test_what_cannot_be_scattered_is_refused(array, options, error, message):
    with pytest.raises(error, match=message):
        backends.scatter(array, **{"n_jobs": 2, **options})


# The processes' own promises.


def where(piece):
    time.sleep(0.05)
    return os.getpid()


def test_other_processes_compute_and_stay_between_rounds():
    with scatter(np.arange(8), "joblib") as held:
        first = set(held.map(where))
        assert len(first) == 2
        assert os.getpid() not in first
        assert set(held.map(where)) == first


def test_no_array_travels_through_a_pipe(pool, monkeypatch):
    sizes, submitted = [], []

    class Recording:
        def __init__(self, executor):
            self.executor = executor

        def submit(self, function, *task):
            sizes.append(len(cloudpickle.dumps(task)))
            submitted.append(self.executor.submit(function, *task))
            return submitted[-1]

    original = JoblibBackend._healthy
    monkeypatch.setattr(JoblibBackend, "_healthy", lambda self: Recording(original(self)))
    x, weights = np.arange(10.0**6), np.ones(LARGE // 8)
    with pool.scatter(np.array_split(x, 8)) as held:
        totals = held.map(lambda piece, w: float(piece[: w.size].sum() * w.min()), weights)
    assert totals == [float(piece.sum()) for piece in np.array_split(x, 8)]
    assert len(sizes) == 8
    assert max(sizes) < 3000


def test_pieces_are_copied_once_for_all_rounds(pool, monkeypatch):
    with pool.scatter(np.array_split(np.arange(1000.0), 4)) as held:
        monkeypatch.setattr(pool._memory, "copy", None)
        for _ in range(3):
            assert held.map_reduce(np.sum, np.add) == 499500


def test_arrays_in_shared_memory_are_not_copied_at_all(pool, monkeypatch):
    x = pool.asarray(np.arange(1000.0))
    monkeypatch.setattr(pool._memory, "copy", None)
    with pool.scatter(np.array_split(x, 4)) as held:
        assert held.map_reduce(np.sum, np.add) == 499500


def test_closing_gives_the_memory_back(pool):
    with pool.scatter(np.array_split(np.arange(1000.0), 4)) as held:
        held.map(np.sum)
        assert len(pool._memory.names()) == 4
    assert not pool._memory.names()


def test_what_cannot_be_sent_is_told_before_work_starts(pool, monkeypatch):
    monkeypatch.setattr(pool, "_healthy", None)
    lock = threading.Lock()
    with (
        pool.scatter([np.arange(8)]) as held,
        pytest.raises(TypeError, match=r"test_what_cannot.*cannot be sent.*lock.*threads"),
    ):
        held.map(lambda piece: lock)


@posix
def test_a_dead_worker_is_an_error_and_the_pieces_are_still_there(pool):
    def dies(piece):
        os.kill(os.getpid(), signal.SIGKILL)

    with pool.scatter(np.array_split(np.arange(1000.0), 4)) as held:
        with pytest.raises(WorkerDiedError, match=r"while computing .*dies"):
            held.map(dies)
        assert held.map_reduce(np.sum, np.add) == 499500


@posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # told from 3.12 on
def test_a_forked_child_has_the_pieces_too(pool):
    with pool.scatter(np.array_split(np.arange(1000.0), 4)) as held:
        held.map(np.sum)
        child = os.fork()
        if child == 0:
            try:
                result = held.map_reduce(np.sum, np.add)
                pool.close()
                os._exit(0 if result == 499500 else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert held.map_reduce(np.sum, np.add) == 499500


PROGRAM = """
import time
import numpy as np
import backends

def lasts(piece):
    time.sleep(60)

if __name__ == "__main__":
    with backends.scatter(np.zeros(1000), backend="joblib", n_jobs=2) as held:
        held.map(len)
        print("ready", flush=True)
        held.map(lasts)
"""


@posix
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_round_that_is_ended_leaves_no_process(tmp_path, ending):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    program = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert program.stdout.readline() == "ready\n", program.stderr.read()
    workers = psutil.Process(program.pid).children(recursive=True)
    time.sleep(0.5)
    if ending == signal.SIGINT:
        os.killpg(program.pid, ending)  # as a terminal does: parent and workers
    else:
        program.kill()
    program.communicate(timeout=60)
    assert program.returncode == -ending
    _, left = psutil.wait_procs(workers, timeout=30)
    assert not [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
