"""Write folders of results as asv 0.6.6 does, of machines and commits that never were.

`python tests/history/synthetic.py FOLDER` makes the large one: 10 machines, 500 commits, 300 rows.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

__all__ = ["Suite", "commit_hash", "machine_name", "write", "write_large"]

DAY = 86_400_000
FIRST = 1_767_225_600_000
COLUMNS = [
    *("result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b"),
    *("stats_q_25", "stats_q_75", "stats_number", "stats_repeat", "samples", "profile"),
]
#: How many times NumPy's speed a backend has on large arrays.
GAIN = {"numpy": 1.0, "threads": 1.8, "openmp": 3.0, "joblib": 0.9, "cupy": 20.0}


@dataclass
class Suite:
    """What is measured: one benchmark a kernel, rows as asv orders them; and peak memory."""

    kernels: Sequence[str] = ("sin", "exp")
    backends: Sequence[str] = ("numpy", "threads", "openmp")
    dtypes: Sequence[str] = ("float64",)
    sizes: Sequence[int] = (1_000, 1_000_000)
    absent: Sequence[str] = ()  # backends that no machine has: NaN

    @property
    def rows(self):
        return list(product(self.backends, self.dtypes, self.sizes))

    @property
    def params(self):
        return [
            [repr(value) for value in axis] for axis in (self.backends, self.dtypes, self.sizes)
        ]


def machine_name(index: int) -> str:
    return f"CPU model {index} with {2 << index % 4} cores"


def commit_hash(index: int) -> str:
    return hashlib.sha1(str(index).encode()).hexdigest()


def write(
    folder: Path,
    suite: Suite = Suite(),  # noqa: B008 - never changed
    *,
    machines: int = 2,
    commits: int | Sequence[int] = 3,
    samples: int = 10,
    noise: float = 0.01,
    spread: float = 0.01,
    slow: Callable[[int, str, str, int], float] | None = None,
    seed: int = 0,
    apart: bool = False,
) -> Path:
    """Write results into `folder`.

    `noise` is that of samples within a run, `spread` that of whole runs; ``slow(commit, kernel,
    backend, size)`` says how many times slower than usual a row is. `apart`: no two machines have
    measured the same commit, as where each night another machine is free.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / "benchmarks.json", {**_benchmarks(suite), "version": 2}, indent=4)
    for machine in range(machines):
        place = folder / machine_name(machine)
        place.mkdir(exist_ok=True)
        _dump(place / "machine.json", {**_machine(machine), "version": 1}, indent=4)
        for number in range(commits) if isinstance(commits, int) else commits:
            commit = number * machines + machine if apart else number
            results = {
                f"elementwise.track_{kernel}": _timed(
                    suite, kernel, machine, commit, rng, (samples, noise, spread), slow
                )
                for kernel in suite.kernels
            }
            # Peak memory: a number, and no samples.
            results["package.peakmem_joblib"] = [[2e8 * (1 + machine)], [], "2", FIRST, 1.5]
            name = commit_hash(commit)
            content = {
                "commit_hash": name,
                "env_name": "virtualenv-py3.13",
                "date": FIRST + commit * DAY,
                "params": {**_machine(machine), "python": "3.13"},
                "python": "3.13",
                "requirements": {},
                "env_vars": {},
                "result_columns": COLUMNS,
                "results": results,
                "durations": {"<build>": 60.0},
                "version": 2,
            }
            _dump(place / f"{name[:8]}-virtualenv-py3.13.json", content)
    return folder


def _benchmarks(suite):
    timed = {
        f"elementwise.track_{kernel}": {
            "code": f"def track_{kernel}(backend, dtype, size): ...",
            "name": f"elementwise.track_{kernel}",
            "param_names": ["backend", "dtype", "size"],
            "params": suite.params,
            "setup_cache_key": None,
            "timeout": 60.0,
            "type": "track",
            "unit": "seconds",
            "version": "1",
        }
        for kernel in suite.kernels
    }
    peak = {
        "code": "...",
        "name": "package.peakmem_joblib",
        "param_names": [],
        "params": [],
        "timeout": 60.0,
        "type": "peakmemory",
        "unit": "bytes",
        "version": "2",
    }
    return {**timed, "package.peakmem_joblib": peak}


def _machine(index):
    return {
        "machine": machine_name(index),
        "os": "Linux 6.1",
        "arch": "x86_64",
        "cpu": f"CPU model {index}",
        "num_cpu": str(2 << index % 4),
        "ram": "8589934592",
        "gpu": "",
        "blas": "openblas 0.3.31",
    }


def _timed(suite, kernel, machine, commit, rng, how, slow):
    samples, noise, spread = how
    numpy = 3e-9 * (1 + suite.kernels.index(kernel) / 7) / (1 + machine / 5)
    usual = []
    for backend, dtype, size in suite.rows:
        start = 0.0 if backend == "numpy" else 5e-6
        one = numpy * (0.6 if dtype == "float32" else 1.0) / GAIN.get(backend, 1.0)
        factor = slow(commit, kernel, backend, size) if slow else 1.0
        usual.append((1e-6 + start + one * size) * factor)
    # Some samples are disturbed, which only ever makes them longer; runs differ as wholes too.
    count = len(usual)
    times = np.array(usual)[:, None] * np.exp(noise * rng.standard_normal((count, samples)))
    disturbed = rng.random((count, samples)) < 0.05
    times *= 1 + disturbed * rng.exponential(10 * noise, (count, samples))
    times *= np.exp(spread * rng.standard_normal((count, 1)) + spread / 2 * rng.standard_normal())
    ordered = np.sort(times)
    low, high = _ranks(samples)
    gone = [backend in suite.absent for backend, *_ in suite.rows]

    def column(values, skipped=None):
        return [skipped if none else v for none, v in zip(gone, np.asarray(values).tolist())]

    def short(values):
        return column([float(f"{value:.4e}") for value in values])

    return [
        column(np.median(times, axis=1), math.nan),
        suite.params,
        *("1", FIRST, 2.5),
        *(short(ordered[:, low]), short(ordered[:, high])),
        *(short(np.quantile(times, q, axis=1)) for q in (0.25, 0.75)),
        *(column([n] * count) for n in (1, samples)),
        column(times),
    ]


def _ranks(count: int) -> tuple[int, int]:
    """Give the places of asv's 99 percent interval of the median (asv_runner.statistics)."""
    below = np.cumsum([math.comb(count, k) / 2**count for k in range(count)])
    low = np.flatnonzero(below <= 0.005)
    assert low.size, "asv makes the interval of fewer than 8 samples in another way"
    return int(low[-1]), int(np.flatnonzero(below >= 0.995)[0])


def _dump(file, content, **form):
    file.write_text(json.dumps(content, **form), encoding="utf-8")


def write_large(folder: Path, *, apart: bool = False) -> Path:
    """Write years of results: 10 machines, 500 commits of each, 300 rows."""
    letters = "abcdefghijklmnopqrstuvwxy"  # 25 kernels x 3 backends x 4 sizes
    suite = Suite(kernels=tuple(letters), sizes=(1_000, 10_000, 100_000, 1_000_000))
    return write(folder, suite, machines=10, commits=500, apart=apart)


if __name__ == "__main__":
    write_large(Path(sys.argv[1]))
