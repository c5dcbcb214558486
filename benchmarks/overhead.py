"""What the package itself costs: a call, a choice, an import, a start, a job, the pool's memory.

Run it with ``python benchmarks/overhead.py`` in the environment that `make bench` sets up; or with
the names of measurements, as in ``python benchmarks/overhead.py startup``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import psutil

import backends
from backends.bench.timer import compare, ratio

SECONDS = 10.0


def calls() -> None:
    """Print what a call of a kernel takes longer than the NumPy function that it runs."""
    x, a = np.linspace(0.0, 1.0, 10), np.eye(16)
    backends.sin(x), backends.matmul(a, a)
    pairs = {
        "sin of 10 elements": (lambda: np.sin(x), lambda: backends.sin(x)),
        "matmul of 16 x 16": (lambda: np.matmul(a, a), lambda: backends.matmul(a, a)),
    }
    for name, (direct, ours) in pairs.items():
        timings = compare({"direct": direct, "backends": ours}, seconds=SECONDS).timings
        seconds = np.array([timings["direct"].seconds, timings["backends"].seconds])
        more = np.sort(seconds[1] - seconds[0]) * 1e9
        low, middle, high = np.quantile(more, [0.05, 0.5, 0.95])
        print(
            f"{name}: NumPy {np.median(seconds[0]) * 1e9:.0f} ns, backends {middle:.0f} ns more "
            f"(5th to 95th percentile {low:.0f} to {high:.0f})"
        )


def choosing() -> None:
    """Print what backend auto takes longer than backend numpy where it chooses numpy."""
    kernels = {"sin": np.linspace(0.0, 1.0, 10), "add": np.ones(10), "matmul": np.eye(8)}
    for name, x in kernels.items():
        kernel = getattr(backends, name)
        arrays = (x,) * len(kernel.core)
        chosen = backends.explain(name, *arrays, backend="auto").backend
        calls = {
            engine: partial(backends.get(engine).caller(kernel), kernel, arrays, None)
            for engine in ("numpy", "auto")
        }
        timings = compare(calls, seconds=SECONDS / 2).timings
        seconds = [np.array(timings[engine].seconds) for engine in ("numpy", "auto")]
        low, middle, high = np.quantile((seconds[1] - seconds[0]) * 1e9, [0.05, 0.5, 0.95])
        print(
            f"auto, {name}, which goes to {chosen}: {middle:.0f} ns more than numpy "
            f"(5th to 95th percentile {low:.0f} to {high:.0f})"
        )


def imports() -> None:
    """Print how much longer ``import backends`` takes than ``import numpy``."""

    def start(module: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        return time.perf_counter() - begin

    rounds = [(start("backends"), start("numpy")) for _ in range(21)]
    ours, numpys = zip(*rounds, strict=True)
    found = ratio(ours, numpys)
    print(
        f"import backends: {found.value:.2f} times import numpy ({found.low:.2f} to "
        f"{found.high:.2f}), interpreter start included"
    )


def startup() -> None:
    """Print how much later a program starts under ``backends run`` than under ``python``."""
    launcher = shutil.which("backends", path=str(Path(sys.executable).parent))
    if launcher is None:
        raise SystemExit("no command `backends` beside this Python: install the package there")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "empty.py"
        program.write_text("import numpy\n")
        commands = {
            "import numpy": [sys.executable, str(program)],
            "import backends": [sys.executable, "-c", "import backends"],
            "backends run": [launcher, "run", str(program)],
        }
        rounds = []
        for _ in range(41):
            seconds = []
            for command in commands.values():
                begin = time.perf_counter()
                subprocess.run(command, check=True)
                seconds.append(time.perf_counter() - begin)
            rounds.append(seconds)
    milliseconds = np.array(rounds[1:]) * 1e3  # the first brings the files into memory
    for name, column in zip(commands, milliseconds.T, strict=True):
        low, middle, high = np.quantile(column - milliseconds[:, 0], [0.05, 0.5, 0.95])
        fastest = column.min() - milliseconds[:, 0].min()
        print(
            f"start with {name}: {np.median(column):.0f} ms, {middle:.0f} more than import numpy "
            f"(5th to 95th percentile {low:.0f} to {high:.0f}; {fastest:.0f} of the fastest)"
        )


def ten_milliseconds(number: int) -> int:
    """Do the job of :func:`jobs`."""
    end = time.perf_counter() + 0.010
    while time.perf_counter() < end:
        pass
    return number


def jobs() -> None:
    """Print what jobs of ten milliseconds take longer by backends.map than by joblib alone.

    Workers are there already; ``benchmarks/workloads.py overhead`` has their start in it.
    """
    n_jobs, count = joblib.cpu_count(), 100 * joblib.cpu_count()

    def alone() -> None:
        job = joblib.delayed(ten_milliseconds)
        list(joblib.Parallel(n_jobs, return_as="generator")(job(n) for n in range(count)))

    def ours() -> None:
        list(backends.map(ten_milliseconds, range(count), backend="joblib", n_jobs=n_jobs))

    found = compare({"joblib": alone, "backends.map": ours}, seconds=4 * SECONDS, quiet=False)
    more = found.ratio("backends.map")
    seconds = np.median(found.timings["joblib"].seconds)
    print(
        f"{count} jobs of 10 ms on {n_jobs} workers: joblib {seconds:.2f} s, "
        f"by backends.map {(1 / more.value - 1) * 100:.1f} percent more "
        f"({(1 / more.high - 1) * 100:.1f} to {(1 / more.low - 1) * 100:.1f})"
    )


def memory() -> None:
    """Print the peak of memory of the process pool over that of the serial call."""
    x = np.linspace(0.0, 1.0, 10**7)

    def peak(name: str) -> int:
        engine = backends.get(name, 2)
        engine.run(backends.sin, x[: 10**6])  # workers are started, and have NumPy loaded
        before = _memory()
        most, done = 0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.is_set():
                most = max(most, _memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        result = engine.run(backends.sin, x)
        done.set()
        watcher.join()
        del result
        return most - before

    serial, pool = peak("numpy"), peak("joblib")
    print(
        f"joblib, sin of 10,000,000 elements: peak {(pool - serial) / 1e6:.0f} MB more than "
        f"serial; inputs and outputs once are {2 * x.nbytes / 1e6:.0f} MB"
    )


def _memory() -> int:
    """Give the memory of this process and its children, shared pages counted once."""
    me = psutil.Process()
    return sum(p.memory_full_info().pss for p in (me, *me.children(recursive=True)))


if __name__ == "__main__":
    every = {f.__name__: f for f in (calls, choosing, imports, startup, jobs, memory)}
    for name in sys.argv[1:] or every:
        every[name]()
