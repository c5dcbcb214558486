"""How near backend ``cupy`` comes to CuPy called directly, and to what the GPU can do.

Run it with ``python benchmarks/gpu.py`` on a machine with a GPU and an extra of this package that
installs CuPy (cuda12 or cuda13). All ratios come from interleaved runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import backends
from backends import registry
from backends.bench.timer import compare, ratio

SECONDS = 20.0
ORDER, ELEMENTS = 8192, 10**8


def products(cupy: Any, engine: Any) -> None:
    """Print what a product of resident matrices takes longer than CuPy's own."""
    for dtype in ("float32", "float64"):
        a = engine.asarray(np.random.default_rng(0).random((ORDER, ORDER), np.dtype(dtype).type))

        def direct(a: Any = a) -> None:
            cupy.matmul(a, a)
            cupy.cuda.get_current_stream().synchronize()

        timings = compare(
            {"backend": lambda a=a: engine.run(backends.matmul, a, a), "direct": direct},
            seconds=SECONDS,
        ).timings
        more = ratio(timings["backend"].seconds, timings["direct"].seconds)
        print(
            f"matmul {ORDER} {dtype}: {(more.value - 1) * 100:+.1f} percent of CuPy's time "
            f"({(more.low - 1) * 100:+.1f} to {(more.high - 1) * 100:+.1f}; target 5)"
        )


def bandwidth(cupy: Any, engine: Any) -> None:
    """Print how much of the device's copy bandwidth a resident norm_isf reaches."""
    q = engine.asarray(np.random.default_rng(0).random(ELEMENTS))
    target = cupy.empty_like(q)

    def copy() -> None:
        cupy.copyto(target, q)
        cupy.cuda.get_current_stream().synchronize()

    # Both read and write every element once.
    timings = compare(
        {"copy": copy, "norm_isf": lambda: engine.run(backends.norm_isf, q)}, seconds=SECONDS
    ).timings
    share = ratio(timings["copy"].seconds, timings["norm_isf"].seconds)
    rate = 2 * q.nbytes / np.median(timings["copy"].seconds) / 1e9
    print(
        f"norm_isf of {ELEMENTS:,}: {share.value:.0%} of the copy bandwidth ({share.low:.0%} to "
        f"{share.high:.0%}; target 80%), which is {rate:,.0f} GB/s"
    )


def transfers(cupy: Any, engine: Any) -> None:
    """Print how much of the bandwidth from and to page-locked memory transfers reach."""
    import cupyx

    x = np.random.default_rng(0).random(ELEMENTS)
    pinned = cupyx.empty_pinned(x.shape, x.dtype)
    pinned[:] = x
    there = cupy.empty(x.shape)

    def wait(call: Any) -> None:
        call()
        cupy.cuda.get_current_stream().synchronize()

    timings = compare(
        {
            "raw in": lambda: wait(lambda: there.set(pinned)),
            "raw out": lambda: there.get(out=pinned),
            "in": lambda: engine.asarray(x),
            "in from page-locked": lambda: engine.asarray(pinned),
            "out": lambda: engine.to_numpy(there),
        },
        seconds=SECONDS,
    ).timings
    for name, raw in (("in", "raw in"), ("in from page-locked", "raw in"), ("out", "raw out")):
        share = ratio(timings[raw].seconds, timings[name].seconds)
        rate = x.nbytes / np.median(timings[raw].seconds) / 1e9
        print(
            f"transfer {name}: {share.value:.0%} of the page-locked bandwidth ({share.low:.0%} to "
            f"{share.high:.0%}; target 80%), which is {rate:.1f} GB/s"
        )


if __name__ == "__main__":
    reason = registry.reasons()["cupy"]
    if reason is not None:
        raise SystemExit(f"nothing is measured: {reason}")
    import cupy

    with backends.get("cupy") as engine:
        products(cupy, engine)
        bandwidth(cupy, engine)
        transfers(cupy, engine)
