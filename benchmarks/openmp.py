"""What the OpenMP engine reaches, and what it costs, against its targets.

Run ``python benchmarks/openmp.py`` for all of it, or name parts:

* ``peers``: ten million elements and other sizes into a given array, every backend that is
  installed (`make peers`), in one interleaved run, with the share of a streaming triad's bandwidth;
* ``small``: the engine's ufuncs at 1 to 1,000 elements over NumPy's own;
* ``team``: what a parallel region costs, awake and asleep, and what an idle team burns;
* ``stacks``: 100,000 matrices of 8 x 8;
* ``rows``: arrays that NumPy computes row by row;
* ``serial``: the order of single matrices from which BLAS's threads work.

Times are medians of interleaved samples, with the 95 percent interval of `backends.bench.timer`.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import psutil
import scipy.stats

import backends
from backends import blas, kernels, registry
from backends.bench.timer import Timing, compare, ratio
from backends.engines.openmp import OpenmpBackend, load, make_ufunc

FAST = ("add", "multiply", "sin", "cos", "exp", "log", "erf", "ndtri", "norm_isf", "gammaln")
MORE = ("subtract", "divide", "sqrt", "tan", "erfc", "ndtr", "log_ndtr", "erfinv", "gamma")
MORE = (*MORE, "expit", "j0", "negative", "absolute", "tanh", "power", "hypot")


def row(name: str, base: Timing, timing: Timing, elements: int) -> str:
    """Give one line: nanoseconds an element, and times the speed of the first."""
    if timing.fault:
        return f"  {name:16} {timing.fault}"
    compared = ratio(base.seconds, timing.seconds)
    each = np.median(timing.seconds) / elements * 1e9
    return (
        f"  {name:16} {each:8.2f} ns  {compared.value:6.2f} ({compared.low:.2f} to "
        f"{compared.high:.2f})"
    )


def into(engine: Any, kernel: Any, arrays: tuple[Any, ...], out: Any) -> Callable[[], Any]:
    """Give a call that fills `out`."""
    return partial(engine.run, kernel, *arrays, out=out)


def peers(names: list[str], sizes: list[float], seconds: float) -> None:
    """Compare every backend, preallocated output, float64."""
    engine: Any = load()
    jobs = backends.get("threads").n_jobs
    reasons = registry.reasons()
    engines = {
        name: registry.get(name)
        for name in reasons
        if reasons[name] is None and name not in ("openmp", "joblib")
    }
    engines |= {f"openmp {mode}": registry.get("openmp", mode=mode) for mode in ("exact", "fast")}
    # The triad a + 3 b, with streaming stores, in the place of a sum.
    triad = engine.ufunc(np.add, jobs, fast="triad", threshold=1, stream_bytes=1)
    for size in map(int, sizes):
        for name in names:
            kernel = kernels.find(name)
            arrays = kernel.inputs("elements", size, "float64")
            out = np.zeros_like(arrays[0])
            candidates = {
                label: into(each, kernel, arrays, out)
                for label, each in engines.items()
                if each.supports(kernel) is True
            }
            if name == "norm_isf":
                candidates["scipy.stats"] = partial(scipy.stats.norm.isf, arrays[0])
            if size >= 10**6:
                a, b = np.ones(size), np.ones(size)
                candidates["(triad)"] = partial(triad, a, b, out)
            timings = compare(candidates, seconds=seconds).timings
            print(f"{name}, {size:,} elements: times the speed of numpy")
            base = timings["numpy"]
            for label, timing in sorted(
                timings.items(), key=lambda item: float(np.median(item[1].seconds or [9e9]))
            ):
                print(row(label, base, timing, size))
            if name == "norm_isf":
                factor = ratio(timings["scipy.stats"].seconds, timings["openmp fast"].seconds)
                print(f"  openmp fast is {factor.value:.1f} times scipy.stats.norm.isf")
            if "(triad)" in timings:
                moved = len(arrays) + 1
                share = ratio(timings["(triad)"].seconds, timings["openmp fast"].seconds)
                rate = 24 * size / np.median(timings["(triad)"].seconds) / 1e9
                print(
                    f"  triad: {rate:.1f} GB/s; openmp fast reaches "
                    f"{share.value * moved / 3:.0%} of it ({share.low * moved / 3:.0%} to "
                    f"{share.high * moved / 3:.0%})"
                )
            print(flush=True)


def small(seconds: float) -> None:
    """Compare the engine's ufuncs with NumPy's own on small arrays."""
    print("small arrays: time of the engine's ufunc over NumPy's own, into a given array")
    jobs = backends.get("threads").n_jobs
    for name in ("add", "multiply", "sqrt", "sin", "exp", "erf"):
        kernel = kernels.find(name)
        original = getattr(np, name, None) or getattr(scipy.special, name)
        exact, fast = (make_ufunc(kernel, jobs, mode) for mode in ("exact", "fast"))
        for size in (1, 10, 100, 1000):
            arrays = kernel.inputs("elements", size, "float64")
            out = np.zeros(size)
            timings = compare(
                {
                    "numpy": partial(original, *arrays, out),
                    "exact": partial(exact, *arrays, out),
                    "fast": partial(fast, *arrays, out),
                },
                seconds=seconds,
            ).timings
            cells = []
            for label in ("exact", "fast"):
                more = ratio(timings[label].seconds, timings["numpy"].seconds)
                cells.append(
                    f"{label} {(more.value - 1) * 100:+6.1f} % ({(more.low - 1) * 100:+.1f} to "
                    f"{(more.high - 1) * 100:+.1f})"
                )
            median = np.median(timings["numpy"].seconds) * 1e9
            print(f"  {name:9} {size:5} {median:7.0f} ns  {'  '.join(cells)}", flush=True)


def team() -> None:
    """Measure what a region costs by itself, and what an idle team burns."""
    engine: Any = load()
    jobs = backends.get("threads").n_jobs
    for name, pause in (("awake", 0.0), ("asleep for 50 ms", 0.05)):
        engine.region(jobs)
        times = []
        for _ in range(200 if pause == 0.0 else 40):
            time.sleep(pause)
            times.append(engine.region(jobs) * 1e6)
        low, median, high = np.percentile(times, (5, 50, 95))
        print(f"region of {jobs} threads, {name}: {median:.1f} us ({low:.1f} to {high:.1f})")
    engine.region(jobs)
    for wait in (0.0, 0.02, 1.0):
        start = time.process_time()
        time.sleep(max(wait, 0.02))
        print(
            f"CPU time of the {max(wait, 0.02):g} s after a region, from {wait:g} s on: "
            f"{(time.process_time() - start) * 1e3:.1f} ms"
        )


def stacks(seconds: float) -> None:
    """Compare stacks of small matrices."""
    rng = np.random.default_rng(0)
    a = rng.random((100_000, 8, 8)) + 8 * np.eye(8)
    b = rng.random((100_000, 8, 8))
    exact, fast = (OpenmpBackend(mode=mode) for mode in ("exact", "fast"))
    for name, arrays in (
        *(("inv", (a,)), ("det", (a,)), ("solve", (a, b)), ("matmul", (a, b)), ("svd", (b,))),
    ):
        kernel = kernels.find(name)
        timings = compare(
            {
                "numpy": partial(kernel.reference, *arrays),
                "exact": partial(exact.run, kernel, *arrays),
                "fast": partial(fast.run, kernel, *arrays),
            },
            seconds=seconds,
        ).timings
        print(f"{name}, 100,000 of 8 x 8: times the speed of numpy")
        for label, timing in timings.items():
            print(row(label, timings["numpy"], timing, 100_000))


def rows(seconds: float) -> None:
    """Compare arrays that are not one row."""
    jobs = backends.get("threads").n_jobs
    whole = np.random.default_rng(0).uniform(0.1, 3.0, (4000, 4000))
    for what, x in (
        ("every other column", whole[:, ::2]),
        ("transposed, every other row", whole.T[::2]),
        ("three columns of four", whole.reshape(-1, 4)[:, :3]),
        ("other byte order", whole[:2000].astype(whole.dtype.newbyteorder())),
    ):
        for name in ("sin", "sqrt"):
            kernel = kernels.find(name)
            out = np.empty_like(x, dtype="float64")
            timings = compare(
                {
                    "numpy": partial(getattr(np, name), x, out),
                    "exact": partial(make_ufunc(kernel, jobs, "exact"), x, out),
                    "fast": partial(make_ufunc(kernel, jobs, "fast"), x, out),
                },
                seconds=seconds,
            ).timings
            print(f"{name}, {what}: times the speed of numpy")
            for label, timing in timings.items():
                print(row(label, timings["numpy"], timing, x.size))


def serial(seconds: float) -> None:
    """Find the order of single matrices from which BLAS's other threads do something."""
    governed, me = blas.library(), psutil.Process()
    if governed is None or governed.unlimited < 2:
        print("serial: needs a BLAS with two threads")
        return
    main_thread = threading.get_native_id()

    def others() -> float:
        return float(sum(t.user_time + t.system_time for t in me.threads() if t.id != main_thread))

    orders = [8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 80, 96, 110, 128, 160, 200]
    for name in ("matmul", "inv", "solve", "det", "cholesky", "svd", "eigh"):
        kernel = kernels.find(name)
        for dtype in ("float64", "complex128"):
            for order in orders:
                arrays = kernel.inputs("matrix", order, dtype)
                with blas.limited(governed.unlimited):
                    time.sleep(0.25)  # those of the call before have stopped spinning
                    before, end = others(), time.perf_counter() + min(seconds, 0.12)
                    while time.perf_counter() < end:
                        kernel.reference(*arrays)
                    worked = others() - before > 0.02  # two of the system's ticks
                if worked:
                    break
            print(f"{name}, {dtype}: threads from order {order if worked else 'beyond 200'}")


def main() -> None:
    """Run the parts that are asked for."""
    text = __doc__ or ""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = ("peers", "small", "team", "stacks", "rows", "serial")
    parser.add_argument("part", nargs="*", help=f"some of {', '.join(choices)}; all if none")
    parser.add_argument("--time", type=float, default=10.0, help="seconds for each comparison")
    parser.add_argument("--size", type=float, action="append", help="of `peers`; 1e7 if none")
    parser.add_argument("--kernel", action="append", help=f"of `peers`; {', '.join(FAST)} if none")
    parser.add_argument("--all-kernels", action="store_true", help="of `peers`: all there are")
    arguments = parser.parse_args()
    wrong = set(arguments.part) - set(choices)
    if wrong:
        parser.error(f"there is no part {', '.join(sorted(wrong))}: choose of {', '.join(choices)}")
    engine = load()
    if isinstance(engine, str):
        parser.exit(1, f"not measured: {engine}\n")
    print(f"instructions: {engine.INSTRUCTIONS}; jobs: {backends.get('threads').n_jobs}\n")
    parts = arguments.part or choices
    if "team" in parts:
        team()
    if "small" in parts:
        small(arguments.time)
    if "stacks" in parts:
        stacks(arguments.time)
    if "serial" in parts:
        serial(arguments.time)
    if "rows" in parts:
        rows(arguments.time)
    if "peers" in parts:
        names = [*FAST, *MORE] if arguments.all_kernels else arguments.kernel or list(FAST)
        peers(names, arguments.size or [1e7], arguments.time)


if __name__ == "__main__":
    main()
