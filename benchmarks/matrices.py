"""What it costs to count the threads of BLAS and LAPACK in calls of NumPy's own.

Run ``python benchmarks/matrices.py``. It prints, for the smallest calls that are counted, the time
of the call without (on one thread of BLAS, and on all) and the time that counting takes, as the
medians and the least of many samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backends import blas
from backends.accelerate import threads


def times(function: Callable[[], Any], samples: int = 200) -> tuple[float, float]:
    """Give the least and the median time of a call, in microseconds."""
    found = []
    for _ in range(samples):
        start = time.perf_counter()
        function()
        found.append((time.perf_counter() - start) * 1e6)
    return min(found), float(np.median(found))


class Nothing:
    """An engine whose calls take no time."""

    @staticmethod
    def original(*call: Any) -> None:
        """Compute nothing."""


def main() -> None:
    """Print the table."""
    order = round(threads.PRODUCTS ** (1 / 3)) + 1
    n, slower = round(threads.LINALG**0.5) + 1, round(threads.SLOWER["svd"] ** 0.5) + 1
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, order, order))
    single_a, single_b = a.astype("f4"), b.astype("f4")
    m = generator.standard_normal((n, n)) + n * np.eye(n)
    positive, few = m @ m.T, m[:slower, :slower]
    vector = np.ones(n)
    long, short = generator.standard_normal((450, 450)), np.ones(450)
    calls = {
        f"matmul, order {order}": lambda: a @ b,
        "the same in float32": lambda: single_a @ single_b,
        "matrix by vector": lambda: long @ short,
        f"inv, order {n}": lambda: np.linalg.inv(m),
        "solve": lambda: np.linalg.solve(m, vector),
        "cholesky": lambda: np.linalg.cholesky(positive),
        "slogdet": lambda: np.linalg.slogdet(m),
        "qr": lambda: np.linalg.qr(m),
        f"svd, order {slower}": lambda: np.linalg.svd(few),
        "eigh": lambda: np.linalg.eigh(few),
        "lstsq": lambda: np.linalg.lstsq(few, short[:slower]),
    }
    threads.jobs()
    real = threads._engine
    threads._engine = lambda: Nothing
    counting = times(lambda: threads._matmul(np.matmul, (a, b), None), 5000)
    passing = times(lambda: threads._matmul(np.matmul, (long, short), None), 5000)
    threads._engine = real
    for name, function in calls.items():
        with blas.limited(1):
            one = times(function)
        every = times(function)
        print(f"{name:24} {one[0]:8.0f} {one[1]:8.0f}    {every[0]:8.0f} {every[1]:8.0f} us")
    print(f"{'to count':24} {counting[0]:8.1f} {counting[1]:8.1f} us")
    print(f"{'not to count':24} {passing[0]:8.1f} {passing[1]:8.1f} us")


if __name__ == "__main__":
    main()
