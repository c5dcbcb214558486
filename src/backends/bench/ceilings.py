"""What this machine can do at most, measured, and how near to that a result comes.

A roofline: a call takes at least as long as its arithmetic at the rate of a product of matrices,
and at least as long as moving its arrays at the bandwidth of the caches or the memory they lie in.
Ceilings are bests, where results are medians. They are those of all the `n_jobs` threads, also for
a result that used one: what is left is what could be gained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from backends import blas, kernels, registry
from backends.bench.record import Ceilings, Level, Rates
from backends.bench.timer import ratio
from backends.caches import cache_bytes
from backends.errors import BackendUnavailableError

__all__ = ["largest_cache", "measure", "place"]

#: Sizes of caches where the system does not tell them.
SECOND, THIRD = 2**20, 2**25
#: Order of the matrices: large enough for a BLAS's best rate, and a fraction of a second's work.
ORDER = 1024
#: Seconds that a sample lasts at least.
SAMPLE = 1e-3
#: Parts of a cache that working sets fill. The best of them counts: less of the call itself is
#: in a large one, more of it fits beside what else is in the cache in a small one.
PARTS = (1 / 8, 1 / 4, 1 / 2)


def measure(n_jobs: int, seconds: float) -> Ceilings:
    """Measure the ceilings.

    Parameters
    ----------
    n_jobs : int
        Threads, besides one.
    seconds : float
        Budget, about.

    Examples
    --------
    >>> found = measure(1, seconds=0.1)
    >>> [level.name for level in found.levels], list(found.gemm)
    (['L2', 'L3', 'memory'], ['float32', 'float64'])
    """
    second = cache_bytes(2) or SECOND
    third = max(largest_cache(), 2 * n_jobs * second)
    # STREAM's rule for arrays is four times the caches; here memory is shared with others.
    most = psutil.virtual_memory().available // 4
    memory = [min(4 * third, most)]
    inner = [second * part for part in PARTS]
    middle = [third * part for part in PARTS]
    triads = {jobs: _triads(jobs) for jobs in dict.fromkeys((1, n_jobs))}
    count = sum(len(sizes) for sizes in (inner, middle, memory)) * len(triads[1]) + 2
    each = seconds / (2 * count)

    def bandwidth(sizes: Sequence[float], nearest: int) -> Rates:
        rates = [
            max(_bandwidth(call, factor * size, each) for size in sizes for call in calls)
            # Each thread's own cache counts.
            for calls, factor in ((triads[1], 1), (triads[n_jobs], nearest))
        ]
        return Rates(rates[0], max(rates))

    found = [bandwidth(inner, n_jobs), bandwidth(middle, 1), bandwidth(memory, 1)]
    # A nearer level is no slower: a small set is in all of them.
    for i in (1, 0):
        found[i] = Rates(max(found[i].one, found[i + 1].one), max(found[i].all, found[i + 1].all))
    return Ceilings(
        n_jobs=n_jobs,
        triad=["threads", "openmp"][: len(triads[1])],
        levels=[
            Level("L2", n_jobs * second, found[0]),
            Level("L3", third, found[1]),
            Level("memory", None, found[2]),
        ],
        gemm={dtype: _gemm(dtype, n_jobs, each) for dtype in ("float32", "float64")},
    )


def largest_cache() -> int:
    """Give the bytes of all caches of the third level together.

    Many-core processors have one for each few cores.

    Examples
    --------
    >>> largest_cache() >= cache_bytes(3)
    True
    """
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cache/index3/shared_cpu_list")
    try:
        count = len({file.read_text() for file in files})
    except OSError:
        count = 1
    return (cache_bytes(3) or THIRD) * max(count, 1)


def place(
    ceilings: Ceilings,
    seconds: Sequence[float],
    flops: float,
    moved: float,
    dtype: str,
    noise: float,
) -> tuple[float, str, bool]:
    """Give a result's share of its ceiling, what binds it, and whether it is above it.

    Parameters
    ----------
    ceilings : Ceilings
        What was measured.
    seconds : sequence of float
        Time of one call in each round.
    flops, moved : float
        Floating-point operations and bytes of a call.
    dtype : str
        Of the arrays. Complex numbers count as their real parts.
    noise : float
        Relative noise of the row.

    Examples
    --------
    >>> rate = Rates(1e9, 2e9)
    >>> found = Ceilings(2, [], [Level("memory", None, rate)], {"float64": rate})
    >>> place(found, [0.004] * 6, 1e6, 4e6, "float64", 0.0)
    (0.5, 'memory', False)
    """
    least, bound = _bound(ceilings, flops, moved, dtype)
    share = ratio([least] * len(seconds), seconds)
    return share.value, bound, share.low > 1 + noise


def _bound(ceilings: Ceilings, flops: float, moved: float, dtype: str) -> tuple[float, str]:
    """Give the least seconds of a call, and what sets them."""
    real = {"complex64": "float32"}.get(dtype, dtype)
    gemm = ceilings.gemm.get(real) or ceilings.gemm["float64"]
    # What fits into a cache may come from there, also where the rest does not.
    transfer, nearer, name = 0.0, 0.0, ""
    for level in ceilings.levels:
        if moved > nearer:
            farther = moved if level.size is None else min(level.size, moved)
            transfer += (farther - nearer) / level.bandwidth.all
            nearer, name = farther, level.name
    arithmetic = flops / gemm.all
    return (arithmetic, "GEMM") if arithmetic > transfer else (transfer, name)


def _triads(jobs: int) -> list[Callable[..., Any]]:
    """Give calls ``f(a, b, out=y)`` that read two arrays and write a third.

    The kernel `add` does; the engine's triad writes past the caches where arrays are larger.
    """
    calls: list[Callable[..., Any]] = [
        partial(registry.get("threads", jobs).run, kernels.find("add"))
    ]
    try:
        engine: Any = registry.get("openmp", jobs, mode="exact")
    except BackendUnavailableError:
        return calls
    if engine.supports(kernels.find("add")) is True:
        calls.append(engine.triad())
    return calls


def _bandwidth(call: Callable[..., Any], size: float, seconds: float) -> float:
    """Give bytes a second on three arrays of `size` bytes together."""
    count = max(int(size) // 24, 1)
    a, b, y = (np.ones(count) for _ in range(3))
    return 24 * count / _best(partial(call, a, b, out=y), seconds)


def _gemm(dtype: str, n_jobs: int, seconds: float) -> Rates:
    a = np.ones((ORDER, ORDER), dtype)
    rates = []
    for threads in (1, n_jobs):
        with blas.limited(threads):
            rates.append(2.0 * ORDER**3 / _best(partial(np.matmul, a, a), seconds))
    return Rates(rates[0], max(rates))


def _best(call: Callable[[], Any], seconds: float) -> float:
    """Give the shortest seconds of a call, within about `seconds`."""
    end = time.perf_counter() + seconds
    call()
    batch, best = 1, math.inf
    while True:
        start = time.perf_counter()
        for _ in range(batch):
            call()
        now = time.perf_counter()
        best = min(best, (now - start) / batch)
        if now >= end:
            return best
        batch = max(batch, math.ceil(SAMPLE / best))
