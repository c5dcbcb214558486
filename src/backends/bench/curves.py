"""What is tuned and checked: curves of sizes, the arrays on them, and who competes there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from backends import kernels, registry
from backends.backend import Backend, count_jobs
from backends.errors import BackendUnavailableError
from backends.kernel import Arrays, Kernel

__all__ = [
    "BASELINE",
    "Candidate",
    "Curve",
    "Supply",
    "best_seconds",
    "call",
    "close",
    "plan",
    "promising",
    "roster",
]

#: Order of the matrices in stacks.
ORDERS = {"small_stack": 8, "stack": 48}
#: Backends that give every bit of the reference by their contract; for others only mode "fast".
EXACT = ("threads", "joblib", "openmp")


class Curve(NamedTuple):
    """Calls that differ in their size alone: elements, or the order of single matrices."""

    kernel: Kernel
    dtype: str
    layout: str

    @property
    def of_orders(self) -> bool:
        """Whether sizes are orders."""
        return self.kernel.blas and self.layout not in ORDERS

    def fit(self, size: float) -> int:
        """Give the nearest size that there is; stacks have whole matrices."""
        unit = ORDERS[self.layout] ** 2 if self.layout in ORDERS else 1
        return max(round(size / unit), 1) * unit


class Supply:
    """The arrays of one kernel and dtype; elements are drawn once and cut to size."""

    def __init__(self, kernel: Kernel, dtype: str) -> None:
        self.kernel, self.dtype = kernel, dtype
        self._elements: Arrays = ()

    def arrays(self, layout: str, size: int) -> Arrays:
        """Make the arrays of a call; nobody may write to them.

        Examples
        --------
        >>> import backends
        >>> (x,) = Supply(backends.sin, "float32").arrays("strided", 10)
        >>> x.shape, x.strides
        ((10,), (8,))
        """
        if not self.kernel.blas:
            step = 1 if layout == "contiguous" else 2
            if not self._elements or len(self._elements[0]) < step * size:
                self._elements = self._inputs(step * size)
            arrays = tuple(x[: step * size : step] for x in self._elements)
        elif layout in ORDERS:
            order = ORDERS[layout]
            count = size // order**2
            arrays = tuple(np.repeat(x[np.newaxis], count, axis=0) for x in self._inputs(order))
        else:
            arrays = self._inputs(size)
            if layout == "strided":
                arrays = tuple(np.repeat(x, 2, axis=-1)[..., ::2] for x in arrays)
        for x in arrays:
            x.flags.writeable = False  # one backend must not spoil what the others are given
        return arrays

    def _inputs(self, size: int) -> Arrays:
        return self.kernel.inputs(next(iter(self.kernel.cases)), size, self.dtype)


class Candidate(NamedTuple):
    """A backend with a number of jobs, and the modes in which it may be chosen."""

    backend: str
    n_jobs: int
    modes: tuple[str, ...]

    @property
    def mode(self) -> str:
        """The mode that it runs in."""
        return self.modes[0]

    @property
    def engine(self) -> Backend:
        """What runs."""
        return registry.get(self.backend, self.n_jobs, mode=self.mode)


#: What every other candidate has to beat.
BASELINE = Candidate("numpy", 1, ("exact", "fast"))


def plan(names: Sequence[str]) -> list[Curve]:
    """List the curves of kernels, all if none is named.

    Raises
    ------
    UnknownNameError
        A kernel does not exist.
    """
    chosen = [kernels.find(name) for name in names] or list(kernels.every().values())
    return [
        Curve(kernel, dtype, layout)
        for kernel in chosen
        for dtype in kernel.dtypes
        for layout in ("contiguous", "strided", *(ORDERS if kernel.blas else ()))
    ]


def roster(kernel: Kernel, arrays: Arrays) -> tuple[list[Candidate], list[str]]:
    """Give who may compete in calls like this one, and notes on who could not start."""
    cores = count_jobs(-1)
    # One job of many is no more than numpy, but for loops that are faster by themselves.
    jobs = sorted({cores, *(2**i for i in range(1, cores.bit_length()))})
    found: dict[Backend, Candidate] = {}
    notes: dict[str, None] = {}
    for name in registry.available():
        if name in ("auto", BASELINE.backend):
            continue
        for n_jobs in jobs:
            for mode in ("exact", "fast"):
                try:
                    engine = registry.get(name, n_jobs, mode=mode)
                    supported = engine.supports(kernel) is True
                except BackendUnavailableError as error:
                    notes[str(error)] = None
                    continue
                except Exception as error:  # A plug-in's own fault: the others go on.
                    notes[f"backend {name!r}: {type(error).__name__}: {error}"] = None
                    continue
                if not supported or (mode == "exact" and name not in EXACT):
                    continue
                parted = engine.takes_mode and engine.mode_matters(kernel, *arrays)
                if engine.takes_mode and mode == "fast" and not parted and name in EXACT:
                    continue  # the exact one stands for both
                # One object where the number of jobs makes no difference to it.
                modes = (mode,) if parted or name not in EXACT else BASELINE.modes
                found.setdefault(engine, Candidate(name, n_jobs, modes))
    return list(found.values()), list(notes)


def call(candidate: Candidate, kernel: Kernel, arrays: Arrays) -> Callable[[], Any]:
    """Give a call without arguments, as the timer wants it; what a kernel's call ends in."""
    return partial(candidate.engine.call, kernel, arrays, None)


def close(candidates: Iterable[Candidate]) -> None:
    """End the threads and processes of candidates; processes complain if the program ends first."""
    for engine in {candidate.engine for candidate in candidates}:
        engine.close()


def best_seconds(function: Callable[[], Any], *, enough: float = 0.005) -> float:
    """Give the shortest of a few calls after a first one: a look, and no measurement."""
    function()
    best, end = np.inf, time.perf_counter() + enough
    for _ in range(5):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() >= end:
            break
    return float(best)


def promising(
    calls: Mapping[Candidate, Callable[[], Any]], *, within: float
) -> tuple[list[Candidate], list[str]]:
    """Try each call, and keep those at most `within` times slower than the fastest, and openmp's.

    Processes and distant libraries cost a hundred times more than what they compete with; two
    calls show it. openmp stays, since what starts its threads weighs differently at each size.
    """
    seconds, notes = {}, []
    for candidate, function in calls.items():
        try:
            seconds[candidate] = best_seconds(function)
        except Exception as error:  # A backend's own fault takes it out, and the others go on.
            if candidate == BASELINE:
                raise
            notes.append(f"{candidate.backend}: {type(error).__name__}: {error}")
    limit = within * min(seconds.values())
    kept = [c for c, s in seconds.items() if c.backend == "openmp" or s <= limit]
    return [c for c in kept if c != BASELINE], notes
