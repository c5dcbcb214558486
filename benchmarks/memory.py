"""What memory from the pool gains and costs, against NumPy's own and against `out=`.

Run ``python benchmarks/memory.py`` for all of it, or name parts:

* ``sum``: ``a = b + c`` of float64, at sizes around those from which the pool gives out blocks;
* ``temporaries``: a function with four of them, each size in a process of its own, for malloc
  remembers what it was asked for;
* ``zeros``: ``np.zeros``, not touched and filled, where blocks are reused and must be cleared;
* ``small``: arrays of ten elements, which the pool has nothing to do with.

NumPy's handler belongs to a context, so the candidates take turns in one process: each sample runs
in a context with the pool or in one without. Medians, and their ratio to the first with its 95
percent interval (`backends.bench.timer.ratio`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

import numpy as np

from backends.accelerate import memory
from backends.bench.timer import ratio

KIB = 1024


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Time one call, as the mean of a few."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def compare(title: str, calls: dict[str, tuple[Context, Callable[[], Any]]], rounds: int) -> None:
    """Time the calls in turns and print a line."""
    one = max(1e-7, min(context.run(seconds, call, 3) for context, call in calls.values()))
    repeats = max(1, int(2e-4 / one))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (context, call) in calls.items():
            samples[name].append(context.run(seconds, call, repeats))
    base, *_ = samples.values()
    cells = []
    for name, found in samples.items():
        cell = f"{name} {np.median(found) * 1e6:9.2f} us"
        if found is not base:
            r = ratio(found, base)
            cell += f" {r.value:5.2f} ({r.low:.2f} to {r.high:.2f})"
        cells.append(cell)
    print(f"{title:>10}  " + "   ".join(cells), flush=True)


def sums(plain: Context, pool: Context, rounds: int) -> None:
    """Compare ways to add two arrays."""
    for bytes_ in [2**k * KIB for k in range(5, 17)] + [80_000_000]:
        b, c = np.ones(bytes_ // 8), np.ones(bytes_ // 8)
        out, held = np.empty_like(b), {}

        def into(b: Any = b, c: Any = c, out: Any = out) -> None:
            np.add(b, c, out=out)

        def fresh(where: str, b: Any = b, c: Any = c, held: Any = held) -> None:
            held[where] = b + c

        compare(
            f"{bytes_ // KIB} KiB",
            {
                "out=": (plain, into),
                "NumPy": (plain, lambda fresh=fresh: fresh("plain")),
                "pool": (pool, lambda fresh=fresh: fresh("pool")),
            },
            rounds,
        )


def temporaries(plain: Context, pool: Context, rounds: int) -> None:
    """Run each size in a process of its own."""
    for kib in [2**k for k in range(5, 16)]:
        command = [sys.executable, __file__, "--temporaries", str(kib), "--rounds", str(rounds)]
        subprocess.run(command, check=True)


def temporary(kib: int, plain: Context, pool: Context, rounds: int) -> None:
    """Compare ways to compute with intermediate results of one size."""
    b, c = np.ones(kib * KIB // 8), np.ones(kib * KIB // 8)
    x, y, z, w = (np.empty_like(b) for _ in range(4))

    def into() -> Any:
        np.add(b, c, out=x)
        np.subtract(b, c, out=y)
        np.multiply(x, y, out=z)
        return np.subtract(z, x, out=w)[0]

    def fresh() -> Any:
        x = b + c
        y = b - c
        z = x * y
        w = z - x
        return w[0]

    calls = {"out=": (plain, into), "NumPy": (plain, fresh), "pool": (pool, fresh)}
    compare(f"{kib} KiB", calls, rounds)


def zeros(plain: Context, pool: Context, rounds: int) -> None:
    """Compare np.zeros, with blocks that were used before in the pool."""
    for touched in (False, True):
        print("filled" if touched else "not touched")
        for bytes_ in [2**k * KIB for k in range(7, 17)] + [80_000_000]:

            def make(n: int = bytes_ // 8, touched: bool = touched) -> None:
                a = np.zeros(n)
                if touched:
                    a.fill(1.0)

            compare(f"{bytes_ // KIB} KiB", {"NumPy": (plain, make), "pool": (pool, make)}, rounds)


def small(plain: Context, pool: Context, rounds: int) -> None:
    """Compare arrays of ten elements."""
    b = np.ones(10)
    for title, call in (("add", lambda: b + b), ("empty", lambda: np.empty(10))):
        compare(title, {"NumPy": (plain, call), "pool": (pool, call)}, 20 * rounds)


def main() -> None:
    """Run the parts named."""
    parts = {"sum": sums, "temporaries": temporaries, "zeros": zeros, "small": small}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; all by default")
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--temporaries", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    plain, pool = copy_context(), copy_context()
    if reason := pool.run(memory.install):
        raise SystemExit(reason)
    if arguments.temporaries:
        temporary(arguments.temporaries, plain, pool, arguments.rounds)
        return
    for name in arguments.parts or parts:
        print(name, flush=True)
        parts[name](plain, pool, arguments.rounds)


if __name__ == "__main__":
    main()
