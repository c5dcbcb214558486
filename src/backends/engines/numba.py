"""Backend ``numba``: ufuncs that Numba compiles for all cores, from scalar functions."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, ClassVar

import numpy as np

from backends import budget
from backends.engines.foreign import Array, ForeignBackend, load
from backends.kernel import Kernel

__all__ = ["NumbaBackend"]

SQRT1_2 = math.sqrt(0.5)


class NumbaBackend(ForeignBackend):
    """Numba's ``vectorize(target="parallel")`` on `n_jobs` threads, compiled once a dtype.

    The functions are those of C's mathematics library that Numba calls.

    Examples
    --------
    >>> import backends
    >>> if "numba" in backends.available():
    ...     assert backends.sqrt([1.0, 4.0], backend="numba").tolist() == [1.0, 2.0]
    """

    name = library = extra = "numba"
    functions: ClassVar[dict[str, Any]] = {
        "add": lambda a, b: a + b,
        "subtract": lambda a, b: a - b,
        "multiply": lambda a, b: a * b,
        "divide": lambda a, b: np.true_divide(a, b),
        "power": lambda a, b: np.power(a, b),
        "hypot": lambda a, b: math.hypot(a, b),
        "sqrt": lambda a: np.sqrt(a),
        "exp": lambda a: np.exp(a),
        "log": lambda a: np.log(a),
        "sin": lambda a: np.sin(a),
        "cos": lambda a: np.cos(a),
        "tan": lambda a: np.tan(a),
        "tanh": lambda a: np.tanh(a),
        "negative": lambda a: -a,
        "erf": lambda a: math.erf(a),
        "erfc": lambda a: math.erfc(a),
        "ndtr": lambda a: 0.5 * math.erfc(-a * SQRT1_2),
        "gammaln": lambda a: math.lgamma(a),
        "gamma": lambda a: math.gamma(a),
        "expit": lambda a: 1 / (1 + np.exp(-a)),
    }

    def compute(
        self, kernel: Kernel, operands: tuple[Array, ...], target: Array | None
    ) -> tuple[Array]:
        """Call the compiled ufunc; see :meth:`ForeignBackend.compute`."""
        ufunc = _compiled(kernel.name, operands[0].dtype.char)
        # What the calling thread's share of the work meets would be reported, the others' not.
        with np.errstate(all="ignore"):
            return (np.asarray(ufunc(*operands, out=target)),)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Hold Numba to its share of threads in this thread: its setting reaches no other."""
        numba = load("numba")
        before = numba.get_num_threads()
        numba.set_num_threads(min(budget.current().threads, numba.config.NUMBA_NUM_THREADS))
        try:
            # Of Numba's threading layers, this one aborts where two callers meet.
            with _alone if _layer() in (None, "workqueue") else nullcontext():
                yield
        finally:
            numba.set_num_threads(before)


_alone = threading.RLock()


def _layer() -> str | None:
    try:
        return str(load("numba").threading_layer())
    except ValueError:  # chosen when the first function is compiled
        return None


@cache
def _compiled(name: str, char: str) -> Callable[..., Any]:
    numba = load("numba")
    kind = numba.from_dtype(np.dtype(char))
    function = NumbaBackend.functions[name]
    signature = kind(*[kind] * function.__code__.co_argcount)
    compiled: Callable[..., Any] = numba.vectorize([signature], target="parallel")(function)
    return compiled
