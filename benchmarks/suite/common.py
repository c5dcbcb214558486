"""What all benchmarks share: the lists of parameters, the clock, and one benchmark for a kernel.

* The lists are the same on every machine: asv knows a result by its place in them. What a machine,
  or a commit, has not is skipped with the reason.
* The environment variable ``BACKENDS_ASV_PROFILE`` chooses among three lists. A combination costs
  most of a second before anything is measured, since asv starts a process for it. What one list
  has, the larger ones have too: results of a small profile go on in a larger one.
* Times are stored, and ratios made of them later: for asv less is always better.
* These files measure old commits too. They use nothing of the package that is younger than them
  without asking whether it is there.
"""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from backends import kernels, registry

__all__ = ["BACKENDS", "PROFILE", "PROFILES", "engine", "find", "of_family", "of_other", "sample"]

#: As tables call them: "openmp (fast)" is openmp in mode "fast".
BACKENDS = (
    *("numpy", "threads", "joblib", "openmp", "openmp (fast)"),
    *("cupy", "torch", "jax", "numexpr", "numba", "mkl", "dask", "mpi"),
)
VARIABLE = "BACKENDS_ASV_PROFILE"
#: Raised with every change of what is measured: results of another version are not compared.
VERSION = "1"
#: Samples of a benchmark: fewer where a call takes long, and never fewer than an interval needs.
LEAST, MOST = 6, 20
#: A sample is the fastest of so many: what disturbs a call only makes it longer.
FASTEST_OF = 3
#: Seconds of calls before the first sample.
WARM_UP = 0.05


class Profile(NamedTuple):
    """What is measured, and for how long.

    `sizes` are numbers of elements, `orders` those of matrices. `seconds` is for one combination
    of parameters in one round; asv runs the rounds far apart, so that a slow spell of the machine
    is in one of them only.
    """

    backends: tuple[str, ...]
    dtypes: tuple[str, ...]
    complex_too: bool
    sizes: tuple[int, ...]
    orders: tuple[int, ...]
    seconds: float
    rounds: int


PROFILES = {
    "quick": Profile(
        backends=("numpy", "threads", "openmp", "openmp (fast)"),
        dtypes=("float64",),
        complex_too=False,
        sizes=(1_000_000,),
        orders=(200,),
        seconds=0.25,
        rounds=1,
    ),
    "regular": Profile(
        backends=BACKENDS,
        dtypes=("float64",),
        complex_too=False,
        sizes=(10_000, 1_000_000),
        orders=(200, 500),
        seconds=0.5,
        rounds=2,
    ),
    "full": Profile(
        backends=BACKENDS,
        dtypes=("float32", "float64"),
        complex_too=True,
        sizes=(1_000, 10_000, 100_000, 1_000_000, 10_000_000),
        orders=(30, 100, 200, 500, 1_000),
        seconds=0.5,
        rounds=2,
    ),
}


def _profile() -> Profile:
    # Taken out: the package reads variables of this form as its own settings, and warns of others.
    name = os.environ.pop(VARIABLE, "") or "regular"
    if name not in PROFILES:
        raise ValueError(f"{VARIABLE}={name!r}: give one of {', '.join(PROFILES)}")
    return PROFILES[name]


PROFILE = _profile()


def of_family(family: str) -> dict[str, Callable[..., Any]]:
    """Give a benchmark of each kernel of a family, by the name that asv will know it by."""
    return {
        f"track_{name}": _benchmark(kernel)
        for name, kernel in sorted(kernels.every().items())
        if kernel.family == family
    }


def of_other(name: str) -> Callable[..., Any]:
    """Give the benchmark of a kernel that only another commit has: a module's ``__getattr__``.

    asv takes the list of benchmarks from the newest commit. Without this, what an older one does
    not have yet would be a failure there.
    """
    if not name.startswith("track_"):
        raise AttributeError(name)

    def setup(place: int) -> None:
        raise NotImplementedError(f"this commit has no {name.removeprefix('track_')}")

    def track(place: int) -> None: ...

    benchmark: Any = track
    benchmark.__name__ = name
    benchmark.setup, benchmark.unit, benchmark.version = setup, "seconds", VERSION
    # asv asks for the parameters at a place in its list, and there are never so many.
    benchmark.params = list(range(100_000))
    return track


def find(name: str) -> Any:
    """Give a kernel by its name.

    Raises
    ------
    NotImplementedError
        This commit does not have it: asv skips the benchmark.
    """
    found = kernels.every().get(name)
    if found is None:
        raise NotImplementedError(f"this commit has no {name}")
    return found


def engine(label: str) -> Any:
    """Give a backend by its label.

    Raises
    ------
    NotImplementedError
        It cannot run here, or this commit does not have it: asv skips the benchmark.
    """
    name = label.removesuffix(" (fast)")
    try:
        return registry.get(name, mode="fast") if name != label else registry.get(name)
    except (LookupError, ImportError, RuntimeError) as error:
        raise NotImplementedError(str(error)) from None
    except TypeError:  # a commit before there were modes
        raise NotImplementedError(f"this commit has no {label}") from None


def sample(call: Callable[[], Any], seconds: float = PROFILE.seconds) -> dict[str, Any]:
    """Time a call as asv stores it: the seconds of one, in each sample."""
    end, once = time.perf_counter() + WARM_UP, math.inf
    for _ in range(1000):
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        once = min(once, now - start)
        if now >= end:
            break
    # As long as fits, so that each sample has its share of what disturbs.
    number = max(1, int(seconds / MOST / FASTEST_OF / once))
    samples: list[float] = []
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        while len(samples) < LEAST or (len(samples) < MOST and time.perf_counter() < end):
            found = min(_seconds(call, number) for _ in range(FASTEST_OF))
            # Five digits: more would only make the files larger.
            samples.append(float(f"{found:.5g}"))
    finally:
        gc.enable()
    return {"samples": samples, "number": number}


def _seconds(call: Callable[[], Any], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - start) / number


def _benchmark(kernel: Any) -> Callable[..., Any]:
    matrices = kernel.blas
    held: dict[str, Any] = {}

    def setup(backend: str, dtype: str, size: int) -> None:
        held["backend"], held["call"] = _call(kernel, backend, dtype, size)

    def track(backend: str, dtype: str, size: int) -> dict[str, Any]:
        return sample(held["call"])

    def teardown(backend: str, dtype: str, size: int) -> None:
        if "backend" in held:
            held["backend"].close()

    benchmark: Any = track
    benchmark.__name__ = f"track_{kernel.name}"
    benchmark.setup, benchmark.teardown = setup, teardown
    benchmark.unit, benchmark.version = "seconds", VERSION
    benchmark.rounds = PROFILE.rounds
    benchmark.param_names = ["backend", "dtype", "size"]
    dtypes = [*PROFILE.dtypes, *(["complex128"] if matrices and PROFILE.complex_too else [])]
    benchmark.params = [
        list(PROFILE.backends),
        dtypes,
        list(PROFILE.orders if matrices else PROFILE.sizes),
    ]
    return track


def _call(kernel: Any, label: str, dtype: str, size: int) -> tuple[Any, Callable[[], Any]]:
    """Give a backend and its call, the result of which is right.

    Raises
    ------
    NotImplementedError
        There is nothing to measure.
    ArithmeticError
        The result is wrong: its time would be no result.
    """
    if dtype not in kernel.dtypes:
        raise NotImplementedError(f"{kernel.name} has no {dtype}")
    backend = engine(label)
    supported = backend.supports(kernel)
    if supported is not True:
        raise NotImplementedError(supported)
    arrays = kernel.inputs(next(iter(kernel.cases)), size, dtype)
    if label == "numpy":
        return backend, partial(backend.run, kernel, *arrays)
    # What runs in one piece is numpy's time under another name; noise would make one the winner.
    # Commits of the first hours have modes, but do not tell where they matter.
    matters = getattr(backend, "mode_matters", None)
    if label != backend.name and matters and not matters(kernel, *arrays):
        raise NotImplementedError(f"the same as {backend.name}")
    if not backend.divides(kernel, *arrays):
        raise NotImplementedError("would run in one piece")
    result = backend.run(kernel, *arrays)
    result = tuple(map(backend.to_numpy, result)) if isinstance(result, tuple) else result
    result = result if isinstance(result, tuple) else backend.to_numpy(result)
    error = kernel.error(result, kernel.reference(*arrays), *arrays)
    if not error <= kernel.tolerance:
        raise ArithmeticError(f"wrong by {error:.3g} eps; {kernel.tolerance:g} are allowed")
    return backend, partial(backend.run, kernel, *arrays)
