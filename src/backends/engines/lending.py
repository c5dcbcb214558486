"""Memory lent without a copy, to libraries and by them."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

__all__ = ["numpy_over", "writeable"]

Array: TypeAlias = np.ndarray[Any, Any]


class _Memory:
    """Says where an array lies, and keeps it alive."""

    def __init__(self, owner: Any, interface: dict[str, Any]) -> None:
        self.owner = owner
        self.__array_interface__ = interface


def writeable(x: Array) -> Array:
    """Give `x` as an array that may be written, for libraries that take no other and only read."""
    if x.flags.writeable:
        return x
    interface = dict(x.__array_interface__)
    interface["data"] = (interface["data"][0], False)
    return np.asarray(_Memory(x, interface))


def numpy_over(owner: Any, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Give the contiguous memory of `owner` at `address` as an array, without copying it."""
    if not math.prod(shape):
        return np.empty(shape, dtype)
    interface = {"shape": shape, "typestr": dtype.str, "data": (address, False), "version": 3}
    return np.asarray(_Memory(owner, interface))
