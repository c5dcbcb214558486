"""What a bench runs: the cases, and how one case becomes a row."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import psutil

from backends import kernels, registry
from backends.backend import Backend
from backends.bench import digits, timer
from backends.bench.record import BASELINE, Result, Row
from backends.errors import UnsupportedKernelError
from backends.kernel import Kernel

__all__ = ["Case", "SizeError", "measure", "plan"]


#: What is timed: a backend's name, and whether it is a "call" with NumPy's arrays, what it is made
#: of where arrays are moved ("in", "compute", "out").
_Key: TypeAlias = tuple[str, str]


class SizeError(ValueError):
    """The arrays of a case would not fit in memory."""


class Case(NamedTuple):
    """One row to be: a kernel, one of its kinds of input, a size and a dtype."""

    kernel: Kernel
    case: str
    size: int
    dtype: str


def plan(
    names: Sequence[str], sizes: Sequence[int], dtypes: Sequence[str]
) -> tuple[list[Case], list[str]]:
    """List the cases of a bench, and what of the request does not exist, with the reason.

    Parameters
    ----------
    names : sequence of str
        Kernels; empty for all.
    sizes : sequence of int
        Elements, or orders of matrices; empty for each kernel's own default.
    dtypes : sequence of str
        Names of dtypes.

    Raises
    ------
    UnknownNameError
        A kernel does not exist.
    SizeError
        A case would need more memory than there is.
    """
    chosen = [kernels.find(name) for name in dict.fromkeys(names)]
    chosen = chosen or list(kernels.every().values())
    cases, skipped = [], []
    for kernel in chosen:
        for dtype in dtypes:
            if dtype not in kernel.dtypes:
                skipped.append(f"{kernel.name} has no {dtype}: {', '.join(kernel.dtypes)}")
                continue
            for size in dict.fromkeys(sizes or [kernel.size]):
                cases += [Case(kernel, case, size, dtype) for case in kernel.cases]
    for case in cases:
        _must_fit(case)
    return cases, skipped


def measure(case: Case, backends: Sequence[Backend], *, seconds: float) -> Row:
    """Time one case on every backend that can share it out.

    A backend that keeps arrays elsewhere is timed with NumPy's arrays, which is what its users
    pay, and in parts: putting the inputs there, computing on them, bringing the result back.

    Parameters
    ----------
    case : Case
        What is computed.
    backends : sequence of Backend
        Besides the baseline.
    seconds : float
        Budget.
    """
    kernel = case.kernel
    arrays = kernel.inputs(case.case, case.size, case.dtype)
    for x in arrays:
        x.flags.writeable = False  # one backend must not spoil what the others are given
    baseline = registry.get(BASELINE)
    candidates: dict[_Key, Callable[[], Any]] = {
        (BASELINE, "call"): partial(baseline.run, kernel, *arrays)
    }
    results: dict[_Key, Result] = {}
    firsts: dict[str, float] = {}
    for backend in backends:
        try:
            reason = _reason_not_to_time(backend, case, arrays)
            if reason is not None:
                results[backend.label, "call"] = reason
                continue
            call = partial(backend.run, kernel, *arrays)
            start = time.perf_counter()
            call()
            firsts[backend.label] = time.perf_counter() - start
            candidates |= {(backend.label, "call"): call, **_parts(backend, kernel, arrays)}
        except UnsupportedKernelError as error:
            results[backend.label, "call"] = Result(
                backend.label, "refused", reason=str(error).removeprefix(f"{kernel.name}: ")
            )
        except Exception as error:  # A plug-in's own fault is a result, and the others go on.
            results[backend.label, "call"] = _failed(backend.label, error)
    try:
        results |= _compare(case, arrays, (baseline, *backends), candidates, firsts, seconds)
    except Exception as error:  # Without the baseline there is nothing to compare with.
        results[BASELINE, "call"] = _failed(BASELINE, error)
    order = [(b.label, kind) for b in (baseline, *backends) for kind in ("call", "compute")]
    return Row(
        kernel=kernel.name,
        family=kernel.family,
        case=case.case,
        size=case.size,
        shape="x".join(map(str, np.shape(arrays[0]))),
        dtype=case.dtype,
        results=[results[key] for key in order if key in results],
    )


def _failed(backend: str, error: Exception) -> Result:
    return Result(backend, "failed", reason=f"{type(error).__name__}: {error}")


def _parts(
    backend: Backend, kernel: Kernel, arrays: tuple[Any, ...]
) -> dict[_Key, Callable[[], Any]]:
    """Give the parts of a call, for a backend that keeps arrays elsewhere."""
    placed = [backend.asarray(x) for x in arrays]
    if all(p is x for p, x in zip(placed, arrays, strict=True)):
        return {}
    result = backend.run(kernel, *placed)
    computed = result if isinstance(result, tuple) else (result,)

    def fetch() -> Any:
        # A result that is NumPy's own already is where the user wants it.
        return [x if isinstance(x, np.ndarray) else backend.to_numpy(x) for x in computed]

    return {
        (backend.label, "in"): lambda: [backend.asarray(x) for x in arrays],
        (backend.label, "compute"): partial(backend.run, kernel, *placed),
        (backend.label, "out"): fetch,
    }


def _compare(
    case: Case,
    arrays: tuple[Any, ...],
    backends: Sequence[Backend],
    candidates: dict[_Key, Callable[[], Any]],
    firsts: dict[str, float],
    seconds: float,
) -> dict[_Key, Result]:
    kernel = case.kernel
    start = time.perf_counter()
    expected = backends[0].run(kernel, *arrays)
    firsts[BASELINE] = time.perf_counter() - start
    to_numpy = {backend.label: backend.to_numpy for backend in backends}
    exact = None
    if not isinstance(expected, tuple):
        exact = digits.sample(kernel, arrays, np.shape(expected))
    errors: dict[str, float] = {}
    # The timer knows its candidates by text.
    labels = {" ".join(key): key for key in candidates}

    def check(label: str, result: Any) -> str:
        name, kind = labels[label]
        if kind in ("in", "out"):
            return ""
        back = to_numpy[name]
        result = tuple(map(back, result)) if isinstance(result, tuple) else back(result)
        fault = _difference(kernel, result, expected, arrays)
        if exact is not None and not fault:
            errors[label] = digits.largest_error(exact, result)
        return fault

    timings = timer.compare(
        {label: candidates[key] for label, key in labels.items()}, seconds=seconds, check=check
    ).timings
    work = kernel.flops(*arrays), kernel.bytes_moved(expected, *arrays)
    base = timings[next(iter(labels))].seconds
    results = {
        key: _result(*key, timings[label], base, *work, errors.get(label))
        for label, key in labels.items()
    }
    for name, kind in candidates:
        if kind == "call":
            results[name, kind] = msgspec.structs.replace(
                results[name, kind],
                first=firsts[name],
                transfer_in=_part(results.get((name, "in"))),
                transfer_out=_part(results.get((name, "out"))),
            )
    return results


def _part(result: Result | None) -> float | None:
    # Handing on an array that is there already takes less than a microsecond.
    return None if result is None or (result.median or 0) < 2e-6 else result.median


def _difference(kernel: Kernel, result: Any, expected: Any, arrays: tuple[Any, ...]) -> str:
    """Say how a result differs from the reference's by more than it may, or give nothing."""
    pairs = zip(
        result if isinstance(result, tuple) else (result,),
        expected if isinstance(expected, tuple) else (expected,),
        strict=False,
    )
    for actual, wanted in pairs:
        if actual.shape != wanted.shape:
            return f"has shape {actual.shape} instead of {wanted.shape}"
        if actual.dtype != wanted.dtype:
            return f"has dtype {actual.dtype} instead of {wanted.dtype}"
    error = kernel.error(result, expected, *arrays)
    if error <= kernel.tolerance:
        return ""
    if not np.isfinite(error):
        return "has NaN or infinity where the reference has not, or the reverse"
    return f"differs from the reference by {error:.3g} eps; {kernel.tolerance:g} are allowed"


def _reason_not_to_time(backend: Backend, case: Case, arrays: tuple[Any, ...]) -> Result | None:
    supported = backend.supports(case.kernel)
    if supported is not True:
        return Result(backend.label, "refused", reason=supported)
    if backend.divides(case.kernel, *arrays):
        return None
    if backend.n_jobs == 1:
        reason = "there is one job"
    elif case.case == "matrix" and not case.kernel.rows:
        reason = "a single matrix does not divide"
    else:
        reason = "too little work for two jobs at this size"
    return Result(backend.label, "one piece", reason=reason)


def _result(
    backend: str,
    kind: str,
    timing: timer.Timing,
    baseline: Sequence[float],
    flops: float,
    moved: float,
    error: float | None,
) -> Result:
    resident = kind != "call"
    if timing.fault:
        status = "invalid" if timing.invalid else "failed"
        return Result(backend, status, resident=resident, reason=timing.fault)  # type: ignore[arg-type]
    median = float(np.median(timing.seconds))
    result = Result(
        backend,
        "ok",
        resident=resident,
        seconds=timing.seconds,
        median=median,
        flops_per_second=flops / median,
        bytes_per_second=moved / median,
        error=error,
    )
    if not baseline:
        return result
    compared = timer.ratio(baseline, timing.seconds)
    return msgspec.structs.replace(
        result,
        speedup=compared.value,
        low=compared.low,
        high=compared.high,
        verdict="" if backend == BASELINE else compared.verdict,
    )


def _must_fit(case: Case) -> None:
    # Sizes are compared on a small case, which is cheap to make, and scaled up: matrices grow
    # with the square of their order. Inputs, copies of them where backends keep them, and results.
    small = 16
    small_bytes = sum(x.nbytes for x in case.kernel.inputs(case.case, small, case.dtype))
    growth = (min(case.size, 1e100) / small) ** (2 if case.kernel.blas else 1)
    needed, free = 6 * small_bytes * growth, psutil.virtual_memory().available
    if needed > free:
        meaning = "order of the matrices" if case.kernel.blas else "number of elements"
        raise SizeError(
            f"{case.kernel.name} at size {case.size:.6g} (the {meaning}) needs about "
            f"{needed / 1e9:.3g} GB; {free / 1e9:.3g} GB are free. Choose a smaller --size"
        )
