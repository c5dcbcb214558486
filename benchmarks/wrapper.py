"""What a backend's wrapper costs over calling its library directly, at ten million elements.

Run it with ``python benchmarks/wrapper.py`` in an environment that has the libraries (`make peers`
makes one). Both are timed in one interleaved run; the target is at most 5 percent.
"""

from __future__ import annotations

import argparse
import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import backends
from backends import registry
from backends.bench.timer import compare, ratio

ELEMENTS, ORDER = 10**7, 1500


def torch_calls(x: Any, a: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Give the direct calls of PyTorch."""
    import torch

    yield "add", lambda: torch.add(torch.from_numpy(x), torch.from_numpy(x)).numpy()
    yield "sin", lambda: torch.sin(torch.from_numpy(x)).numpy()
    yield "erf", lambda: torch.special.erf(torch.from_numpy(x)).numpy()
    yield "matmul", lambda: torch.matmul(torch.from_numpy(a), torch.from_numpy(a)).numpy()


def jax_calls(x: Any, a: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Give the direct calls of JAX, compiled once, with its own threads and 64-bit types."""
    import jax

    def call(function: Callable[..., Any], *arrays: Any) -> Callable[[], Any]:
        compiled = jax.jit(function)

        def run() -> Any:
            with jax.enable_x64(True):
                return np.asarray(compiled(*arrays))

        return run

    yield "add", call(jax.numpy.add, x, x)
    yield "sin", call(jax.numpy.sin, x)
    yield "erf", call(jax.scipy.special.erf, x)
    yield "matmul", call(jax.numpy.matmul, a, a)


def numexpr_calls(x: Any, a: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Give the direct calls of numexpr."""
    import numexpr

    yield "add", lambda: numexpr.evaluate("a + b", {"a": x, "b": x})
    yield "sin", lambda: numexpr.evaluate("sin(a)", {"a": x})


def numba_calls(x: Any, a: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Give the direct calls of Numba's compiled ufuncs."""
    import math

    import numba

    def ufunc(signature: str, function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = numba.vectorize([signature], target="parallel")(function)
        return compiled

    add = ufunc("float64(float64, float64)", lambda a, b: a + b)
    erf = ufunc("float64(float64)", lambda a: math.erf(a))
    yield "add", lambda: add(x, x)
    yield "erf", lambda: erf(x)


def mkl_calls(x: Any, a: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Give the direct calls of MKL's vector functions."""
    from backends.engines.mkl import MODE, _library

    library = _library()[0]

    def call(name: str, *arrays: Any) -> Callable[[], Any]:
        function = getattr(library, name)

        def run() -> Any:
            result = np.empty_like(x)
            pointers = [ctypes.c_void_p(y.ctypes.data) for y in (*arrays, result)]
            function(ctypes.c_int64(x.size), *pointers, ctypes.c_int64(MODE))
            return result

        return run

    yield "add", call("vmdAdd_64", x, x)
    yield "sin", call("vmdSin_64", x)
    yield "erf", call("vmdErf_64", x)


CALLS = {
    "torch": torch_calls,
    "jax": jax_calls,
    "numexpr": numexpr_calls,
    "numba": numba_calls,
    "mkl": mkl_calls,
}


def main() -> None:
    """Print, for each library and function, the time through the backend over the direct time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--time", type=float, default=20.0, help="seconds for each comparison")
    parser.add_argument("backend", nargs="*", help=f"some of {', '.join(CALLS)}; all if none")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    x, a = rng.random(ELEMENTS), rng.random((ORDER, ORDER))
    reasons = registry.reasons()
    for name in arguments.backend or CALLS:
        if reasons[name] is not None:
            print(f"{name}: not measured: {reasons[name]}")
            continue
        engine = backends.get(name)
        for kernel, direct in CALLS[name](x, a):
            arrays = (a, a) if kernel == "matmul" else (x,) * len(getattr(backends, kernel).core)
            run = getattr(backends, kernel)
            timings = compare(
                {
                    "wrapped": partial(engine.run, run, *arrays),
                    "direct": direct,
                },
                seconds=arguments.time,
            ).timings
            more = ratio(timings["wrapped"].seconds, timings["direct"].seconds)
            print(
                f"{name} {kernel}: {(more.value - 1) * 100:+.1f} percent "
                f"({(more.low - 1) * 100:+.1f} to {(more.high - 1) * 100:+.1f}), direct "
                f"{np.median(timings['direct'].seconds) * 1e3:.1f} ms"
            )


if __name__ == "__main__":
    main()
