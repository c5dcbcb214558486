"""Which cases a bench has: each kernel on inputs of one size and dtype, if memory holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import psutil

from backends import kernels
from backends.kernel import Kernel

__all__ = ["Case", "SizeError", "plan"]


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
    chosen = [kernels.find(name) for name in dict.fromkeys(names)]
    chosen = chosen or list(kernels.every().values())
    cases, skipped = [], []
    for kernel in chosen:
        for dtype in dtypes:
            if dtype not in kernel.dtypes:
                skipped.append(f"{kernel.name} has no {dtype}: {', '.join(kernel.dtypes)}")
                continue
            for size in dict.fromkeys(sizes or [kernel.size]):
                cases += [Case(kernel, case, size, dtype) for case in kernel.cases]
    for case in cases:
        _must_fit(case)
    return cases, skipped


def _must_fit(case: Case) -> None:
    # Sizes are compared on a small case, which is cheap to make, and scaled up: matrices grow
    # with the square of their order. Inputs, copies of them where backends keep them, and results.
    small = 16
    small_bytes = sum(x.nbytes for x in case.kernel.inputs(case.case, small, case.dtype))
    growth = (min(case.size, 1e100) / small) ** (2 if case.kernel.blas else 1)
    needed, free = 6 * small_bytes * growth, psutil.virtual_memory().available
    if needed > free:
        meaning = "order of the matrices" if case.kernel.blas else "number of elements"
        raise SizeError(
            f"{case.kernel.name} at size {case.size:.6g} (the {meaning}) needs about "
            f"{needed / 1e9:.3g} GB; {free / 1e9:.3g} GB are free. Choose a smaller --size"
        )
