"""What a bench runs: how one case becomes a row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from backends import config, machine, registry
from backends.backend import Backend
from backends.bench import calls, digits, timer
from backends.bench.calls import Calls, Key
from backends.bench.cases import Case
from backends.bench.ceilings import place
from backends.bench.record import BASELINE, Ceilings, Result, Row, Way
from backends.kernel import Kernel

__all__ = ["measure"]

#: In the order of a row's results.
WAYS: tuple[Way, ...] = ("call", "resident", "out", "cold")


def measure(
    case: Case,
    backends: Sequence[Backend],
    *,
    seconds: float,
    ways: Sequence[Way] = (),
    ceilings: Ceilings | None = None,
) -> Row:
    """Time one case on every backend that can share it out.

    Parameters
    ----------
    case : Case
        What is computed.
    backends : sequence of Backend
        Besides the baseline.
    seconds : float
        Budget, for all that is done here; what is slow takes longer, for its least rounds.
    ways : sequence of {"out", "cold"}
        Besides plain calls: into a given array, and with nothing in the caches.
    ceilings : Ceilings, optional
        What the machine can do at most, to place the results below it.
    """
    end = time.perf_counter() + seconds
    kernel = case.kernel
    arrays = kernel.inputs(case.case, case.size, case.dtype)
    for x in arrays:
        x.flags.writeable = False  # one backend must not spoil what the others are given
    everyone = (registry.get(BASELINE), *backends)
    row = Row(
        kernel=kernel.name,
        family=kernel.family,
        case=case.case,
        size=case.size,
        shape="x".join(map(str, np.shape(arrays[0]))),
        dtype=case.dtype,
        results=[],
    )
    try:
        start = time.perf_counter()
        expected = everyone[0].run(kernel, *arrays)
        first = time.perf_counter() - start
        found = calls.gather(case, arrays, expected, everyone, ways)
        found.firsts[BASELINE] = first
        # Where processes had to start first, half of the time is left for timing.
        end = max(end, time.perf_counter() + seconds / 2)
        row = _timed(row, kernel, arrays, expected, everyone, found, end)
    except Exception as error:  # Without the baseline there is nothing to compare with.
        return msgspec.structs.replace(row, results=[calls.failed(BASELINE, error)])
    if ceilings is None:
        return row
    work = kernel.flops(*arrays), kernel.bytes_moved(expected, *arrays)
    outside = {backend.label for backend in everyone if not _on_cores(backend)}
    placed = [r if r.backend in outside else _placed(r, row, ceilings, *work) for r in row.results]
    return msgspec.structs.replace(row, results=placed)


def _timed(
    row: Row,
    kernel: Kernel,
    arrays: tuple[Any, ...],
    expected: Any,
    backends: Sequence[Backend],
    found: Calls,
    end: float,
) -> Row:
    """Fill `row` by timing the calls that were found, and checking what they give."""
    to_numpy = {backend.label: backend.to_numpy for backend in backends}
    exact = None
    if not isinstance(expected, tuple):
        exact = digits.sample(kernel, arrays, np.shape(expected))
    errors: dict[str, float] = {}
    known: dict[bytes, float] = {}
    # The timer knows its candidates by text.
    labels = {" ".join(key): key for key in found.timed}

    def check(label: str, result: Any) -> str:
        name, way = labels[label]
        if way in ("in", "back"):
            return ""
        back = to_numpy[name]
        result = tuple(map(back, result)) if isinstance(result, tuple) else back(result)
        fault = _difference(kernel, result, expected, arrays)
        if exact is not None and not fault:
            # Most backends give the same bits, and exact arithmetic takes its time.
            bits = result[tuple(zip(*exact.indices))].tobytes()
            if bits not in known:
                known[bits] = digits.largest_error(exact, result)
            errors[label] = known[bits]
        return fault

    compared = timer.compare(
        {label: found.timed[key] for label, key in labels.items()},
        seconds=max(end - time.perf_counter(), 0.0),
        check=check,
        drop_slow=True,
        before={label: found.before[key] for label, key in labels.items() if key in found.before},
    )
    work = kernel.flops(*arrays), kernel.bytes_moved(expected, *arrays)
    results = dict(found.results)
    for label, key in labels.items():
        if key[1] in WAYS:
            result = _result(key, label, compared, *work)
            results[key] = msgspec.structs.replace(result, error=errors.get(label))
    for name, first in found.firsts.items():
        results[name, "call"] = msgspec.structs.replace(
            results[name, "call"],
            first=first,
            transfer_in=_moving(compared.timings.get(f"{name} in")),
            transfer_out=_moving(compared.timings.get(f"{name} back")),
        )
    order = [(backend.label, way) for backend in backends for way in WAYS]
    return msgspec.structs.replace(
        row,
        results=[results[key] for key in order if key in results],
        noise=compared.noise,
        drift=compared.drift,
    )


def _moving(timing: timer.Timing | None) -> float | None:
    if timing is None or not timing.seconds:
        return None
    median = float(np.median(timing.seconds))
    # Handing on an array that is there already takes less than a microsecond.
    return None if median < 2e-6 else median


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
    if isinstance(expected, np.ndarray) and _same_bits(result, expected):
        return ""  # without the time that measuring the error takes
    error = kernel.error(result, expected, *arrays)
    if error <= kernel.tolerance:
        return ""
    if not np.isfinite(error):
        return "has NaN or infinity where the reference has not, or the reverse"
    return f"differs from the reference by {error:.3g} eps; {kernel.tolerance:g} are allowed"


def _same_bits(actual: Any, wanted: Any) -> bool:
    return np.array_equal(_words(actual), _words(wanted))


def _words(x: Any) -> Any:
    return np.ascontiguousarray(x).reshape(-1).view(np.uint32)


def _result(key: Key, label: str, compared: timer.Comparison, flops: float, moved: float) -> Result:
    backend, way = key
    timing = compared.timings[label]
    if timing.fault:
        status = "invalid" if timing.invalid else "failed"
        return Result(backend, status, way, reason=timing.fault)  # type: ignore[arg-type]
    median = float(np.median(timing.seconds))
    result = Result(
        backend,
        "ok",
        way,  # type: ignore[arg-type]
        seconds=timing.seconds,
        median=median,
        flops_per_second=flops / median,
        bytes_per_second=moved / median,
    )
    if compared.timings[f"{BASELINE} call"].fault:
        return result
    if key == (BASELINE, "call"):
        return msgspec.structs.replace(result, speedup=1.0, low=1.0, high=1.0)
    ratio = compared.ratio(label)
    return msgspec.structs.replace(
        result, speedup=ratio.value, low=ratio.low, high=ratio.high, verdict=ratio.verdict
    )


def _on_cores(backend: Backend) -> bool:
    """Tell whether it computes on this machine's cores, whose ceilings were measured."""
    if not backend.takes_device or not machine.describe().gpu:
        return True
    return bool(config.current().device.value == "cpu")


def _placed(result: Result, row: Row, ceilings: Ceilings, flops: float, moved: float) -> Result:
    if result.status != "ok":
        return result
    share, bound, above = place(ceilings, result.seconds, flops, moved, row.dtype, row.noise or 0.0)
    return msgspec.structs.replace(result, ceiling=share, bound=bound, above=above)
