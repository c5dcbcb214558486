"""What a kernel's body is made of: found by calling it with an operand that only takes notes."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from backends.kernel import Kernel

__all__ = ["Step", "ufunc_of"]


class Step(NamedTuple):
    """The one ufunc that a kernel's body applies to its arguments, and perhaps a minus sign."""

    ufunc: np.ufunc
    negated: bool


@cache
def ufunc_of(kernel: Kernel) -> Step | None:
    """Give the ufunc that is the body of `kernel`, or None where the body is something else.

    Examples
    --------
    >>> import backends
    >>> ufunc_of(backends.sin), ufunc_of(backends.matmul)
    (Step(ufunc=<ufunc 'sin'>, negated=False), None)
    >>> ufunc_of(backends.norm_isf)
    Step(ufunc=<ufunc 'ndtri'>, negated=True)
    """
    if any(kernel.core):
        return None
    notes: list[tuple[np.ufunc, tuple[Any, ...]]] = []
    operands = tuple(_Operand(notes) for _ in kernel.core)
    try:
        result = kernel.reference(*operands)
    except Exception:  # A body that looks at values, or calls something other than ufuncs.
        return None
    if not notes or not isinstance(result, _Operand) or notes[0][1] != operands:
        return None
    ufunc = notes[0][0]
    if len(notes) == 1 and result is not operands[0]:
        return Step(ufunc, negated=False)
    # The sign of these types is one bit; of others it is not.
    signed = all(set(types) <= set("efd->") for types in ufunc.types)
    if len(notes) == 2 and notes[1][0] is np.negative and signed:
        return Step(ufunc, negated=True)
    return None


class _Operand(NDArrayOperatorsMixin):
    """Stands for an array, and for what a ufunc makes of it."""

    ndim = 0

    def __init__(self, notes: list[tuple[np.ufunc, tuple[Any, ...]]]) -> None:
        self.notes = notes

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc.nout != 1:
            return NotImplemented
        self.notes.append((ufunc, inputs))
        return _Operand(self.notes)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other
