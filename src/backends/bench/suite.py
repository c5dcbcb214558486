"""What a bench runs: the cases, and how one case becomes a row."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import psutil

from backends import kernels, registry
from backends.backend import Backend
from backends.bench import timer
from backends.bench.record import BASELINE, Result, Row
from backends.kernel import Kernel

__all__ = ["Case", "SizeError", "measure", "plan"]


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
    chosen = [kernels.find(name) for name in names] or list(kernels.every().values())
    cases, skipped = [], []
    for kernel in chosen:
        for dtype in dtypes:
            if dtype not in kernel.dtypes:
                skipped.append(f"{kernel.name} has no {dtype}: {', '.join(kernel.dtypes)}")
                continue
            for size in sizes or [kernel.size]:
                cases += [Case(kernel, case, size, dtype) for case in kernel.cases]
    for case in cases:
        _must_fit(case)
    return cases, skipped


def measure(
    case: Case, backends: Sequence[Backend], *, seconds: float, resident: bool = False
) -> Row:
    """Time one case on every backend that can share it out.

    Parameters
    ----------
    case : Case
        What is computed.
    backends : sequence of Backend
        Besides the baseline.
    seconds : float
        Budget.
    resident : bool
        Time each backend also with inputs that lie where it keeps them, where that is elsewhere.
    """
    kernel = case.kernel
    arrays = kernel.inputs(case.case, case.size, case.dtype)
    baseline = registry.get(BASELINE)
    candidates: dict[tuple[str, bool], Any] = {
        (BASELINE, False): partial(baseline.run, kernel, *arrays)
    }
    results: dict[tuple[str, bool], Result] = {}
    for backend in backends:
        reason = _reason_not_to_time(backend, kernel, arrays)
        if reason is not None:
            results[backend.name, False] = reason
            continue
        candidates[backend.name, False] = partial(backend.run, kernel, *arrays)
        if resident:
            placed = [backend.asarray(x) for x in arrays]
            if any(p is not x for p, x in zip(placed, arrays, strict=True)):
                candidates[backend.name, True] = partial(backend.run, kernel, *placed)
    expected = baseline.run(kernel, *arrays)
    by_name = {backend.name: backend for backend in (baseline, *backends)}
    labels = {f"{name} {resident}": (name, resident) for name, resident in candidates}

    def check(label: str, result: Any) -> str:
        back = by_name[labels[label][0]].to_numpy
        result = tuple(map(back, result)) if isinstance(result, tuple) else back(result)
        error = kernel.error(result, expected, *arrays)
        if error <= kernel.tolerance:
            return ""
        return f"differs from the reference by {error:.3g} eps; {kernel.tolerance:g} are allowed"

    timings = timer.compare(
        {label: candidates[key] for label, key in labels.items()}, seconds=seconds, check=check
    )
    work = kernel.flops(*arrays), kernel.bytes_moved(expected, *arrays)
    base = timings[f"{BASELINE} False"].seconds
    for label, key in labels.items():
        results[key] = _result(*key, timings[label], base, *work)
    order = [(b.name, r) for b in (baseline, *backends) for r in (False, True)]
    return Row(
        kernel=kernel.name,
        family=kernel.family,
        case=case.case,
        size=case.size,
        shape="x".join(map(str, np.shape(arrays[0]))),
        dtype=case.dtype,
        results=[results[key] for key in order if key in results],
    )


def _reason_not_to_time(backend: Backend, kernel: Kernel, arrays: tuple[Any, ...]) -> Result | None:
    supported = backend.supports(kernel)
    if supported is not True:
        return Result(backend.name, "refused", reason=supported)
    if not backend.divides(kernel, *arrays):
        if backend.n_jobs == 1:
            reason = "there is one job"
        else:
            reason = "too little work for two jobs, or a single matrix that does not divide"
        return Result(backend.name, "one piece", reason=reason)
    return None


def _result(
    backend: str,
    resident: bool,
    timing: timer.Timing,
    baseline: Sequence[float],
    flops: float,
    moved: float,
) -> Result:
    if timing.fault:
        status = "invalid" if timing.invalid else "failed"
        return Result(backend, status, resident=resident, reason=timing.fault)  # type: ignore[arg-type]
    median = float(np.median(timing.seconds))
    compared = timer.ratio(baseline, timing.seconds)
    return Result(
        backend,
        "ok",
        resident=resident,
        seconds=timing.seconds,
        median=median,
        speedup=compared.value,
        low=compared.low,
        high=compared.high,
        verdict="" if backend == BASELINE else compared.verdict,
        flops_per_second=flops / median,
        bytes_per_second=moved / median,
    )


def _must_fit(case: Case) -> None:
    # Sizes are compared on a small case, which is cheap to make, and scaled up: matrices grow
    # with the square of their order. Inputs, a shared copy of them, and two results of each.
    small = 16
    small_bytes = sum(x.nbytes for x in case.kernel.inputs(case.case, small, case.dtype))
    growth = (case.size / small) ** (2 if case.kernel.blas else 1)
    needed, free = 4 * small_bytes * growth, psutil.virtual_memory().available
    if needed > free or case.size > sys.maxsize:
        meaning = "order of the matrices" if case.kernel.blas else "number of elements"
        raise SizeError(
            f"{case.kernel.name} at size {case.size:,} (the {meaning}) needs about "
            f"{needed / 1e9:,.1f} GB; {free / 1e9:,.1f} GB are free. Choose a smaller --size"
        )
