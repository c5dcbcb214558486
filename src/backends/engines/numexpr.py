"""Backend ``numexpr``: expressions compiled for numexpr's own virtual machine and threads."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from backends import budget
from backends.engines.foreign import Array, ForeignBackend, counted, load
from backends.kernel import Kernel

__all__ = ["NumexprBackend"]


class NumexprBackend(ForeignBackend):
    """numexpr on `n_jobs` threads: arithmetic and elementary functions.

    Examples
    --------
    >>> import backends
    >>> if "numexpr" in backends.available():
    ...     assert backends.sqrt([1.0, 4.0], backend="numexpr").tolist() == [1.0, 2.0]
    """

    name = library = extra = "numexpr"
    dtypes = "fdD"
    survives_fork = True  # it starts its threads anew
    functions: ClassVar[dict[str, Any]] = {
        "add": "a + b",
        "subtract": "a - b",
        "multiply": "a * b",
        "divide": "a / b",
        "power": "a ** b",
        "hypot": "hypot(a, b)",
        "negative": "-a",
        "expit": "1 / (1 + exp(-a))",
        **{name: f"{name}(a)" for name in ("sqrt", "exp", "log", "sin", "cos", "tan", "tanh")},
    }
    refused: ClassVar[dict[tuple[str, str], str]] = {
        ("hypot", "f"): "numexpr computes it in float64",
        ("tanh", "D"): "numexpr's loses half of the digits",
    }

    def compute(
        self, kernel: Kernel, operands: tuple[Array, ...], target: Array | None
    ) -> tuple[Array]:
        """Evaluate the kernel's expression; see :meth:`ForeignBackend.compute`."""
        names: dict[str, Any] = dict(zip("ab", operands, strict=False))
        return (load("numexpr").evaluate(self.functions[kernel.name], names, {}, target),)

    def limited(self) -> AbstractContextManager[None]:
        """Hold numexpr to its share of threads; its calls take turns in any case."""
        numexpr = load("numexpr")
        most = min(budget.current().threads, numexpr.MAX_THREADS)
        return counted(_turns, numexpr.get_num_threads, numexpr.set_num_threads, most)


_turns = threading.RLock()
