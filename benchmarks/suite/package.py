"""What the package itself costs: calls, imports, memory, threads; and what `install` gains."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

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


class Dispatch:
    """An addition of a few elements: NumPy's own, and through the package."""

    version = common.VERSION
    unit = "seconds"
    param_names: ClassVar = ["call"]
    params: ClassVar = [
        "numpy.add",
        *(f"backends.add on {name}" for name in ("numpy", "threads", "openmp", "auto")),
    ]

    def setup(self, call: str) -> None:
        x = np.ones(FEW)
        self.call: Callable[[], Any] = partial(np.add, x, x)
        if call != "numpy.add":
            name = call.removeprefix("backends.add on ")
            common.engine(name)
            add = common.find("add")
            self.context = backends.config_context(backend=name)
            self.context.__enter__()
            self.call = partial(add, x, x)
            self.call()  # where the backend has no `add`, this says so, and is skipped

    def teardown(self, call: str) -> None:
        if hasattr(self, "context"):
            self.context.__exit__(None, None, None)

    def track_call(self, call: str) -> dict[str, Any]:
        """Time one call."""
        return common.sample(self.call)


class Import:
    """An import in a fresh interpreter; that of NumPy is part of the package's."""

    version = common.VERSION
    param_names: ClassVar = ["module"]
    params: ClassVar = ["numpy", "backends"]
    number = 1
    repeat = (6, 20, 3.0)

    def timeraw_import(self, module: str) -> str:
        """Give what is timed."""
        return f"import {module}"


class Memory:
    """The most memory that `sin` takes besides its input, in this process and its workers.

    asv's own `peakmem_` does not see joblib's workers. Backends of GPUs have memory of their own.
    """

    version = common.VERSION
    unit = "bytes"
    param_names: ClassVar = ["backend"]
    params: ClassVar = ["numpy", "threads", "joblib", "openmp", "numexpr", "numba", "mkl"]

    def setup(self, backend: str) -> None:
        self.engine = common.engine(backend)
        self.sin = common.find("sin")
        supported = self.engine.supports(self.sin)
        if supported is not True:
            raise NotImplementedError(supported)
        self.x = np.linspace(0.0, 1.0, MANY)
        if backend != "numpy" and not self.engine.divides(self.sin, self.x):
            raise NotImplementedError("would run in one piece")
        # What it imports and starts once is not this call's.
        self.engine.run(self.sin, self.x[:100_000])

    def teardown(self, backend: str) -> None:
        if hasattr(self, "engine"):
            self.engine.close()

    def track_peak(self, backend: str) -> int:
        """Watch the memory during a call."""
        this = psutil.Process()
        before = most = _held_by(this)
        done = threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.is_set():
                most = max(most, _held_by(this))
                time.sleep(LOOK)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            result = self.engine.run(self.sin, self.x)
        finally:
            done.set()
            watcher.join()
        most = max(most, _held_by(this))
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
        total += getattr(found, "pss", 0) or found.rss
    return total


class Accelerator:
    """Functions of NumPy and SciPy, with `backends.install()` and without."""

    version = common.VERSION
    unit = "seconds"
    param_names: ClassVar = ["function", "accelerator"]
    params: ClassVar = [
        ["numpy.add", "numpy.exp", "numpy.sin", "scipy.special.erf", "scipy.stats.norm.isf"],
        ["none", "installed"],
    ]

    def setup(self, function: str, accelerator: str) -> None:
        import scipy.special
        import scipy.stats

        if accelerator == "installed":
            _install()
        x = np.random.default_rng(0).random(1_000_000)
        self.call = {
            "numpy.add": partial(np.add, x, x),
            "numpy.exp": partial(np.exp, x),
            "numpy.sin": partial(np.sin, x),
            "scipy.special.erf": partial(scipy.special.erf, x),
            "scipy.stats.norm.isf": partial(scipy.stats.norm.isf, x),
        }[function]

    def track_function(self, function: str, accelerator: str) -> dict[str, Any]:
        """Time one call."""
        return common.sample(self.call)


def _install() -> None:
    if not hasattr(backends, "install"):
        raise NotImplementedError("this commit has no backends.install")
    try:
        backends.install()
    except backends.BackendUnavailableError as error:
        raise NotImplementedError(str(error)) from None


class Threads:
    """With how many threads the others were measured: settings of the environment count."""

    version = common.VERSION
    unit = "threads"
    param_names: ClassVar = ["of"]
    params: ClassVar = ["n_jobs", "blas", "openmp"]

    def setup(self, of: str) -> None:
        engine = common.engine("openmp" if of == "openmp" else "threads")
        self.count = int(engine.n_jobs)
        if of != "n_jobs":
            from threadpoolctl import threadpool_info

            counts = [each["num_threads"] for each in threadpool_info() if each["user_api"] == of]
            if not counts:  # Apple's Accelerate, for one
                raise NotImplementedError(f"threadpoolctl knows nothing of the {of} in use here")
            self.count = max(counts)

    def track_count(self, of: str) -> int:
        """Count, which is not to be compared."""
        return self.count
