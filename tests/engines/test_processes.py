"""What the process pool promises besides the contract: memory, cleanliness, dead workers."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest

import backends
from backends import WorkerDiedError
from backends.engines import processes
from backends.engines.processes import JoblibBackend
from backends.engines.shared import BLOCK, NamedBlock
from backends.kernel import REGISTERED

SHM = Path("/dev/shm")

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither fork nor these signals")


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
def calls_another_in_processes(x, /, *, out=None):
    """Call a kernel that would go to a pool of processes again."""
    return np.positive(backends.sqrt(x, backend="joblib", n_jobs=2), out=out)


# Not for the tests that go through all kernels.
for kernel in (process_id, dies, calls_another_in_processes):
    REGISTERED.pop(kernel.name)


@pytest.fixture(scope="module")
def pool():
    with JoblibBackend(2) as backend:
        backend.min_work = 1
        yield backend


def worker_ids(pool):
    return {int(i) for i in pool.run(process_id, np.zeros(100))}


def test_two_other_processes_compute_and_persist(pool):
    first = worker_ids(pool)
    assert len(first) == 2
    assert os.getpid() not in first
    assert worker_ids(pool) == first


def test_no_array_travels_through_a_pipe(pool, monkeypatch):
    sizes = []

    class Recording:
        def __init__(self, executor):
            self.executor = executor

        def submit(self, function, *task):
            sizes.append(len(cloudpickle.dumps(task)))
            return self.executor.submit(function, *task)

    original = JoblibBackend._healthy
    monkeypatch.setattr(JoblibBackend, "_healthy", lambda self: Recording(original(self)))
    x = np.arange(10.0**6)
    assert np.array_equal(pool.run(backends.sqrt, x), np.sqrt(x))
    assert sizes
    assert max(sizes) < 3000


def test_arrays_in_shared_memory_are_not_copied_again(pool, monkeypatch):
    x = pool.asarray(np.arange(1000.0))
    y = pool.run(backends.sqrt, x)
    monkeypatch.setattr(pool._memory, "copy", None)
    z = pool.run(backends.add, x, y[::-1])
    pool.run(backends.add, x, z, out=z)
    ordinary = np.arange(1000.0)
    assert np.array_equal(z, ordinary + (ordinary + np.sqrt(ordinary)[::-1]))
    assert pool.asarray(x) is x


def test_placed_arrays_are_ordinary_ones_to_write_to(pool):
    out = pool.asarray(np.zeros((2, 500)))
    assert out.flags.writeable
    assert pool.run(backends.sqrt, np.ones((2, 500)), out=out) is out
    assert out.min() == 1


def test_objects_are_not_put_into_shared_memory(pool):
    pool.run(backends.sqrt, np.ones(1000))
    with pytest.raises(TypeError, match="dtype object"):
        pool.asarray(np.array([None, "a", 2.0]))


def test_an_operand_given_twice_is_copied_once(pool, monkeypatch):
    copies = []
    original = pool._memory.copy
    monkeypatch.setattr(pool._memory, "copy", lambda x: copies.append(1) or original(x))
    x = np.arange(1000.0)
    assert np.array_equal(pool.run(backends.multiply, x, x), x * x)
    assert len(copies) == 1


def test_an_exception_that_cannot_travel_is_told(pool):
    class OddError(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")

    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def odd(x, /, *, out=None):
        """Raise what cannot be unpickled."""
        if np.size(x):
            raise OddError("this", "that")
        return np.positive(x, out=out)

    with pytest.raises(RuntimeError, match="OddError: this and that") as caught:
        pool.run(odd, np.zeros(100))
    assert not isinstance(caught.value, WorkerDiedError)


def test_nothing_writes_after_an_interrupt_while_others_are_waited_for(pool, monkeypatch):
    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def one_fails(x, /, *, out=None):
        """Fail in the first chunk; the others take their time."""
        if np.size(x) and np.min(x) == 0:
            raise ValueError("the first chunk")
        time.sleep(0.3 if np.size(x) else 0)
        return np.positive(x, out=out)

    def interrupted(futures):
        raise KeyboardInterrupt

    out = pool.asarray(np.full(1000, -1.0))
    monkeypatch.setattr(processes, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.run(one_fails, np.arange(1000.0), out=out)
    after = out.copy()
    time.sleep(0.5)
    assert np.array_equal(out, after)


def test_to_numpy_gives_memory_of_its_own(pool):
    x = pool.asarray(np.arange(10.0))
    assert not pool.seen(pool.to_numpy(x))


def test_memory_is_inputs_and_outputs_once_more():
    x, y = np.ones(10**6), np.ones(10**6, np.float32)
    with JoblibBackend(2) as pool:
        pool.min_work = 1
        for _ in range(5):
            result = pool.run(backends.add, x, y)
            expected = x.nbytes + y.nbytes + result.nbytes
            in_use = [*pool._memory._leased.values(), *pool._memory._idle]
            assert sum(b.size for b in in_use) <= expected
            del result


def test_blas_has_one_thread_in_workers(pool):
    @backends.linear_algebra(core=(2,), flops=lambda a: 1.0, cases={})
    def blas_threads(a, /, *, out=None):
        """Give the number of BLAS threads in force."""
        from backends import blas

        return np.positive(np.full(np.shape(a), blas.library().get(), dtype=float), out=out)

    assert set(pool.run(blas_threads, np.zeros((50, 4, 4))).ravel()) == {1.0}


@posix
def test_a_dead_worker_is_an_error_and_the_next_call_works(pool):
    with pytest.raises(WorkerDiedError, match=r"while computing dies.*next call"):
        pool.run(dies, np.zeros(100))
    x = np.arange(1000.0)
    assert np.array_equal(pool.run(backends.sqrt, x), np.sqrt(x))


@posix
def test_a_worker_killed_from_outside_in_the_middle_is_an_error(pool):
    victim = min(worker_ids(pool))

    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def lasts(x, /, *, out=None):
        """Be killed by the first chunk that runs elsewhere."""
        if np.size(x):
            time.sleep(30 if os.getpid() == victim else 0.2)
            os.kill(victim, signal.SIGKILL)
        return np.positive(x, out=out)

    with pytest.raises(WorkerDiedError):
        pool.run(lasts, np.zeros(100))
    assert victim not in worker_ids(pool)


@posix
def test_a_worker_that_died_between_calls_is_replaced_without_a_word(pool):
    victim = min(worker_ids(pool))
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # The pool notices in its own time; until then a call may still meet the dead worker.
        if pool._executor._flags.broken:
            break
        time.sleep(0.01)
    assert victim not in worker_ids(pool)


def test_an_exception_in_a_worker_is_the_callers(pool):
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        pool.run(backends.inv, np.zeros((10, 2, 2)))


def test_kernels_inside_kernels_run_in_one_piece(pool):
    x = np.arange(1000.0)
    assert np.array_equal(pool.run(calls_another_in_processes, x), np.sqrt(x))
    assert len(psutil.Process().children(recursive=True)) <= 4  # two workers, and trackers


def test_close_ends_the_processes(pool):
    ids = worker_ids(pool)
    pool.close()
    assert not [i for i in ids if psutil.pid_exists(i)]


@posix
@pytest.mark.parametrize("block", sorted({BLOCK, NamedBlock}, key=str))
def test_a_forked_child_has_memory_and_workers_of_its_own(block):
    x = np.arange(1000.0)
    with JoblibBackend(2, block=block) as pool:
        pool.min_work = 1
        shared = pool.run(backends.sqrt, x)
        pool.run(backends.sqrt, x)  # leaves idle memory behind
        child = os.fork()
        if child == 0:
            try:
                placed = pool.asarray(np.zeros(1000))
                placed[:] = 5
                result = pool.run(backends.add, x, shared)
                pool.close()
                os._exit(0 if np.array_equal(result, x + np.sqrt(x)) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert np.array_equal(shared, np.sqrt(x))
        assert np.array_equal(pool.run(backends.add, x, shared), x + np.sqrt(x))


PROGRAM = """
import os, signal, sys, time
import numpy as np
import backends
from backends.engines import shared
from backends.engines import processes
from backends.engines.processes import JoblibBackend
from backends.engines.shared import BLOCK, NamedBlock

@backends.elementwise(domain=(0.0, 1.0), flops=1)
def lasts(x, /, *, out=None):
    "Compute for a long time, in a kernel that only this script knows."
    time.sleep(60 if x.size else 0)
    return np.positive(x, out=out)

@backends.elementwise(domain=(0.0, 1.0), flops=1)
def dies(x, /, *, out=None):
    "End the worker in the middle of its work."
    if x.size:
        os.kill(os.getpid(), signal.SIGKILL)
    return np.positive(x, out=out)

@backends.elementwise(domain=(0.0, 1.0), flops=1)
def twice(x, /, *, out=None):
    "A kernel that only this script knows."
    return np.multiply(x, 2.0, out=out)

pool = JoblibBackend(2, block=getattr(shared, sys.argv[2]))
pool.min_work = 1
x = pool.asarray(np.arange(1000.0))
y = pool.run(twice, x)
assert np.array_equal(y, 2 * np.arange(1000.0))
print("ready", *pool._memory.names(), flush=True)
if sys.argv[1] == "worker":
    try:
        pool.run(dies, x)
    except backends.WorkerDiedError:
        pass
elif sys.argv[1] != "exit":
    pool.run(lasts, x)
"""


@posix
@pytest.mark.parametrize("block", [BLOCK.__name__, "NamedBlock"])
@pytest.mark.parametrize("ending", ["exit", "worker", "interrupt", "kill"])
def test_nothing_is_left_behind(tmp_path, ending, block):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(PROGRAM))
    program = subprocess.Popen(
        [sys.executable, script, ending, block],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    ready, *names = program.stdout.readline().split() or [""]
    assert ready == "ready", program.stderr.read()
    if ending == "interrupt":
        time.sleep(0.5)
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does: parent and workers
    elif ending == "kill":
        time.sleep(0.5)
        program.kill()
    _, errors = program.communicate(timeout=60)
    expected = {"exit": 0, "worker": 0, "interrupt": -signal.SIGINT, "kill": -signal.SIGKILL}
    assert program.returncode == expected[ending], errors
    if ending == "worker":
        # loky's tracker may tell of a semaphore of loky's own, when its worker was killed.
        told = re.compile(r".*resource_tracker.*\n(  warnings\.warn\(.*\n)?")
        errors = told.sub("", errors) if "loky-" in errors else errors
    if ending in ("exit", "worker"):
        assert errors == ""
    if ending == "interrupt":
        assert errors.count("Traceback") == 1  # the user's own; none from the workers
        assert "leaked" not in errors
    # Trackers and orphaned workers notice the death of their parent in their own time.
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        left = _shared_files(program.pid, names)
        alive = [p for p in psutil.process_iter() if _session(p.pid) == program.pid]
        if not left and not alive:
            break
        time.sleep(0.05)
    assert not left
    assert not alive


def _shared_files(pid, names):
    """Give what lies in shared memory under these names, or under one with the process in it."""
    found = SHM.iterdir() if SHM.exists() else ()
    number = re.compile(rf"(?<![0-9a-zA-Z]){pid}(?![0-9a-zA-Z])")  # no part of another's
    return [f for f in found if number.search(f.name) or f.name in names]


def _session(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def test_work_that_could_not_be_sent_is_no_dead_worker():
    from concurrent.futures.process import BrokenProcessPool

    error = processes._explain(BrokenProcessPool("a task has failed to un-serialize"), "sin")
    assert isinstance(error, RuntimeError)
    assert not isinstance(error, WorkerDiedError)
    assert "sin could not be sent to its workers" in str(error)


def test_ctrl_c_while_threads_end_waits_for_them_and_is_raised():
    from backends.engines import pool

    class Interrupting:
        """A future whose owner is interrupted while it is asked to end."""

        asked = 0

        def cancel(self):
            self.asked += 1
            if self.asked == 1:
                raise KeyboardInterrupt
            return True

    future = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        pool._end([future])
    assert future.asked == 2
