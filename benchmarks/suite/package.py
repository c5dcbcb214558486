"""What the package itself costs: calls, imports, memory, threads; and what `install` gains."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

import backends

from . import common

#: Elements so few that a call is all overhead.
FEW = 8
#: Elements of the arrays whose memory is measured: 64 MB each.
MANY = 8_000_000
#: Seconds between two looks at the memory.
LOOK = 0.002

held: dict[str, Any] = {}


def _call(function: Callable[..., Any], *arrays: Any) -> None:
    held["call"] = lambda: function(*arrays)


def track_dispatch(call: str) -> dict[str, Any]:
    """Time an addition of a few elements: NumPy's own, and through the package."""
    return common.sample(held["call"])


def _setup_dispatch(call: str) -> None:
    x = np.ones(FEW)
    if call == "numpy.add":
        _call(np.add, x, x)
        return
    name = call.removeprefix("backends.add on ")
    common.engine(name)
    context = backends.config_context(backend=name)
    context.__enter__()
    held["context"] = context
    _call(backends.add, x, x)


def _teardown_dispatch(call: str) -> None:
    if "context" in held:
        held.pop("context").__exit__(None, None, None)


track_dispatch.setup = _setup_dispatch  # type: ignore[attr-defined]
track_dispatch.teardown = _teardown_dispatch  # type: ignore[attr-defined]
track_dispatch.param_names = ["call"]  # type: ignore[attr-defined]
track_dispatch.params = [  # type: ignore[attr-defined]
    "numpy.add",
    *(f"backends.add on {name}" for name in ("numpy", "threads", "openmp", "auto")),
]


def timeraw_import(module: str) -> str:
    """Time an import in a fresh interpreter."""
    return f"import {module}"


timeraw_import.param_names = ["module"]  # type: ignore[attr-defined]
timeraw_import.params = ["numpy", "backends"]  # type: ignore[attr-defined]
timeraw_import.number = 1  # type: ignore[attr-defined]
timeraw_import.repeat = (6, 20, 3.0)  # type: ignore[attr-defined]


def track_peak_memory(backend: str) -> int:
    """Measure the most memory that `sin` takes besides its input, in all processes."""
    return _peak(held["call"])


def _setup_memory(backend: str) -> None:
    engine = common.engine(backend)
    supported = engine.supports(backends.sin)
    if supported is not True:
        raise NotImplementedError(supported)
    if not engine.divides(backends.sin, np.ones(MANY)) and backend != "numpy":
        raise NotImplementedError("would run in one piece")
    held["backend"] = engine
    engine.run(backends.sin, np.ones(100))  # what it imports and starts once is not this call's
    _call(engine.run, backends.sin, np.linspace(0.0, 1.0, MANY))


def _teardown_memory(backend: str) -> None:
    if "backend" in held:
        held.pop("backend").close()


track_peak_memory.setup = _setup_memory  # type: ignore[attr-defined]
track_peak_memory.teardown = _teardown_memory  # type: ignore[attr-defined]
track_peak_memory.unit = "bytes"  # type: ignore[attr-defined]
track_peak_memory.param_names = ["backend"]  # type: ignore[attr-defined]
# Those on a GPU have memory of their own.
track_peak_memory.params = [  # type: ignore[attr-defined]
    name for name in common.PROFILE.backends if name not in ("cupy", "torch", "jax")
]
if "joblib" not in track_peak_memory.params:  # type: ignore[attr-defined]
    track_peak_memory.params.append("joblib")  # type: ignore[attr-defined]


def _peak(call: Callable[[], Any]) -> int:
    """Give the most bytes that this process and its children held during a call, above before.

    asv's own `peakmem_` sees one process only.
    """
    this = psutil.Process()
    before = _held_by(this)
    most, done = before, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, _held_by(this))
            time.sleep(LOOK)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = call()
        most = max(most, _held_by(this))
    finally:
        done.set()
        watcher.join()
    del result
    return max(most - before, 0)


def _held_by(process: psutil.Process) -> int:
    """Add up the memory of a process and its children; what they share counts once, on Linux."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            found = each.memory_full_info()
        except psutil.Error:  # it has just ended
            continue
        total += getattr(found, "pss", None) or found.rss
    return total


def track_accelerator(function: str, accelerator: str) -> dict[str, Any]:
    """Time functions of NumPy and SciPy with `backends.install()` and without."""
    return common.sample(held["call"])


def _setup_accelerator(function: str, accelerator: str) -> None:
    import scipy.special
    import scipy.stats

    if accelerator == "installed":
        try:
            install = backends.install
        except AttributeError:
            raise NotImplementedError("this commit has no backends.install") from None
        try:
            install()
        except backends.BackendUnavailableError as error:
            raise NotImplementedError(str(error)) from None
    x = np.random.default_rng(0).random(1_000_000)
    functions: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "numpy.add": (np.add, (x, x)),
        "numpy.exp": (np.exp, (x,)),
        "numpy.sin": (np.sin, (x,)),
        "scipy.special.erf": (scipy.special.erf, (x,)),
        "scipy.stats.norm.isf": (scipy.stats.norm.isf, (x,)),
    }
    chosen, arrays = functions[function]
    _call(chosen, *arrays)


track_accelerator.setup = _setup_accelerator  # type: ignore[attr-defined]
track_accelerator.param_names = ["function", "accelerator"]  # type: ignore[attr-defined]
track_accelerator.params = [  # type: ignore[attr-defined]
    ["numpy.add", "numpy.exp", "numpy.sin", "scipy.special.erf", "scipy.stats.norm.isf"],
    ["none", "installed"],
]


def track_threads(of: str) -> int:
    """Record with how many threads the others were measured: settings of the environment count."""
    if of == "n_jobs":
        return int(common.engine("threads").n_jobs)
    common.engine("openmp")
    from threadpoolctl import threadpool_info

    found = [each["num_threads"] for each in threadpool_info() if each["user_api"] == of]
    if not found:
        raise NotImplementedError(f"no library of kind {of} was found")
    return int(max(found))


track_threads.unit = "threads"  # type: ignore[attr-defined]
track_threads.param_names = ["of"]  # type: ignore[attr-defined]
track_threads.params = ["n_jobs", "blas", "openmp"]  # type: ignore[attr-defined]

for _timed in (track_dispatch, track_accelerator):
    _timed.unit = "seconds"  # type: ignore[attr-defined]
    _timed.rounds = common.PROFILE.rounds  # type: ignore[attr-defined]
for _each in (track_dispatch, timeraw_import, track_peak_memory, track_accelerator, track_threads):
    _each.version = common.VERSION  # type: ignore[attr-defined]
