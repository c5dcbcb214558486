"""What is timed of a case: a backend's calls, in each of the ways asked for, and their parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from backends.backend import Backend
from backends.bench import ceilings
from backends.bench.cases import Case
from backends.bench.record import BASELINE, Result, Way
from backends.errors import UnsupportedKernelError

__all__ = ["Calls", "Key", "failed", "gather"]

#: A backend's label; and a way, or a part of its calls: "in" and "back" move arrays.
Key: TypeAlias = tuple[str, str]


@dataclass
class Calls:
    """What can be timed, and what cannot.

    Attributes
    ----------
    timed : dict of Key to callable
        The calls, without arguments; the baseline's is the first.
    before : dict of Key to callable
        What must happen before each call of it, untimed.
    firsts : dict of str to float
        Seconds of each backend's first call.
    results : dict of Key to Result
        Those that are known already: refused, failed, in one piece.
    """

    timed: dict[Key, Callable[[], Any]] = field(default_factory=dict)
    before: dict[Key, Callable[[], Any]] = field(default_factory=dict)
    firsts: dict[str, float] = field(default_factory=dict)
    results: dict[Key, Result] = field(default_factory=dict)


def gather(
    case: Case,
    arrays: tuple[Any, ...],
    expected: Any,
    backends: Sequence[Backend],
    ways: Sequence[Way],
) -> Calls:
    """Make the calls of `backends`, each of which but the baseline is called once here.

    A backend that keeps arrays elsewhere is timed with NumPy's arrays, which is what its users
    pay, and in parts: putting the inputs there, computing on them, bringing the result back.

    Parameters
    ----------
    case : Case
        What is computed.
    arrays : tuple of ndarray
        Its inputs.
    expected : ndarray or tuple of ndarray
        The result, of which `out` takes shape and dtype.
    backends : sequence of Backend
        The baseline is the first.
    ways : sequence of {"out", "cold"}
        Besides plain calls.
    """
    found = Calls()
    kernel = case.kernel
    walk = _walker(max(b.n_jobs for b in backends)) if "cold" in ways else None
    for backend in backends:
        label = backend.label
        try:
            call = partial(backend.run, kernel, *arrays)
            if label != BASELINE:
                reason = _reason_not_to_time(backend, case, arrays)
                if reason is not None:
                    found.results[label, "call"] = reason
                    continue
                start = time.perf_counter()
                call()
                found.firsts[label] = time.perf_counter() - start
            found.timed |= {(label, "call"): call, **_parts(backend, case, arrays)}
            if "out" in ways:
                found.timed[label, "out"] = partial(call, out=_empty(expected))
            if walk is not None:
                found.timed[label, "cold"] = call
                found.before[label, "cold"] = walk
        except UnsupportedKernelError as error:
            text = str(error).removeprefix(f"{kernel.name}: ")
            found.results[label, "call"] = Result(label, "refused", reason=text)
        except Exception as error:  # A plug-in's own fault is a result, and the others go on.
            found.results[label, "call"] = failed(label, error)
    return found


def failed(backend: str, error: Exception) -> Result:
    """Give the result of a backend that raised `error`."""
    return Result(backend, "failed", reason=f"{type(error).__name__}: {error}")


def _reason_not_to_time(backend: Backend, case: Case, arrays: tuple[Any, ...]) -> Result | None:
    supported = backend.supports(case.kernel)
    if supported is not True:
        return Result(backend.label, "refused", reason=supported)
    if backend.label != backend.name and not backend.mode_matters(case.kernel, *arrays):
        return Result(backend.label, "one piece", reason=f"the same as {backend.name} there")
    if backend.divides(case.kernel, *arrays):
        return None
    if backend.n_jobs == 1:
        reason = "there is one job"
    elif case.case == "matrix" and not case.kernel.rows:
        reason = "a single matrix does not divide"
    else:
        reason = "too little work for two jobs at this size"
    return Result(backend.label, "one piece", reason=reason)


def _parts(backend: Backend, case: Case, arrays: tuple[Any, ...]) -> dict[Key, Callable[[], Any]]:
    """Give the parts of a call, for a backend that keeps arrays elsewhere."""
    placed = [backend.asarray(x) for x in arrays]
    if all(p is x for p, x in zip(placed, arrays, strict=True)):
        return {}
    result = backend.run(case.kernel, *placed)
    computed = result if isinstance(result, tuple) else (result,)

    def fetch() -> Any:
        # A result that is NumPy's own already is where the user wants it.
        return [x if isinstance(x, np.ndarray) else backend.to_numpy(x) for x in computed]

    return {
        (backend.label, "in"): lambda: [backend.asarray(x) for x in arrays],
        (backend.label, "resident"): partial(backend.run, case.kernel, *placed),
        (backend.label, "back"): fetch,
    }


def _empty(expected: Any) -> Any:
    """Give arrays for a result, their pages there already."""
    if isinstance(expected, tuple):
        return tuple(np.zeros_like(x) for x in expected)
    return np.zeros_like(expected)


def _walker(n_jobs: int) -> Callable[[], Any]:
    """Give what puts other things into the caches: a walk over twice as much as they hold.

    By as many threads as compute, since each core has caches of its own; and reading only, or
    what was written would still be on its way to memory while the clock runs.
    """
    parts = np.array_split(np.ones(2 * ceilings.largest_cache() // 8), n_jobs)

    def walk() -> None:
        with ThreadPoolExecutor(n_jobs) as pool:
            for _ in pool.map(np.sum, parts):
                pass

    return walk
