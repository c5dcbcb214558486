"""The look-ups of backend ``auto``: one function a kernel, written for speed and for nothing else.

``AutoBackend.decide`` says the same slowly, with reasons; `tests/test_auto.py` holds them together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from backends import position, registry
from backends.backend import in_one_piece
from backends.kernel import Arrays, Call, Kernel

__all__ = ["NEVER", "Layout", "Table", "caller_of_elements", "caller_of_matrices", "owner_of"]

#: Libraries whose arrays stay with them, by the package of an array's type.
OWNERS = {"cupy": "cupy", "torch": "torch", "jax": "jax", "jaxlib": "jax", "dask": "dask"}

ndarray = np.ndarray  # looked up in every call
#: More than any array has.
NEVER = 2**200


class Layout(NamedTuple):
    """What runs calls, by size: `calls[i]` from `sizes[i - 1]` on."""

    least: int
    sizes: list[int]
    calls: list[Call]


class Table(NamedTuple):
    """The layouts of one dtype, and the size below which all but stacks are numpy's."""

    least: int
    contiguous: Layout
    strided: Layout
    small_stack: Layout
    stack: Layout


def caller_of_elements(tables: dict[Any, Table], mode: str) -> Call:
    """Give the look-up of an elementwise kernel, by dtype."""
    lowest = min(table.least for table in tables.values())

    def call(kernel: Kernel, arrays: Arrays, out: Any) -> Any:
        if not arrays:
            return in_one_piece(kernel, arrays, out)
        x = arrays[0]
        if type(x) is not ndarray or (out is not None and type(out) is not ndarray):
            return _elsewhere(kernel, tables, mode, arrays, out)
        size = x.size
        if len(arrays) == 2:
            y = arrays[1]
            if type(y) is ndarray:
                if y.shape != x.shape or y.dtype is not x.dtype:
                    return _elsewhere(kernel, tables, mode, arrays, out)
            elif type(y) is not float and type(y) is not int:
                return _elsewhere(kernel, tables, mode, arrays, out)
        if size < lowest:
            return in_one_piece(kernel, arrays, out)
        table = tables.get(x.dtype)
        if table is None or not x.ndim:
            return in_one_piece(kernel, arrays, out)
        _, sizes, calls = table.contiguous
        for y in arrays:
            if type(y) is ndarray and not y.flags.forc:
                _, sizes, calls = table.strided
        return calls[bisect_right(sizes, size)](kernel, arrays, out)

    return call


def caller_of_matrices(tables: dict[Any, Table], mode: str) -> Call:
    """Give the look-up of a kernel of matrices, by dtype."""
    lowest = min(table.least for table in tables.values())
    area = int(lowest ** (2 / 3))

    def call(kernel: Kernel, arrays: Arrays, out: Any) -> Any:
        if not arrays:
            return in_one_piece(kernel, arrays, out)
        largest, stacked = arrays[0], False
        if out is None and type(largest) is ndarray and largest.ndim == 2 and largest.size < area:
            # Of equal shapes, which are square or wrong for a product, none has a larger volume.
            y = arrays[-1]
            if y is largest or (type(y) is ndarray and y.shape == largest.shape):
                return in_one_piece(kernel, arrays, out)
        for x in arrays:
            if type(x) is not ndarray or x.ndim < 2:
                return _elsewhere(kernel, tables, mode, arrays, out)
            stacked = stacked or x.ndim > 2
            if x.size > largest.size:
                largest = x
        if out is not None and type(out) is not ndarray:
            return _elsewhere(kernel, tables, mode, arrays, out)
        table = tables.get(largest.dtype)
        if table is None:
            return in_one_piece(kernel, arrays, out)
        if stacked:
            small = max(largest.shape[-2:]) <= position.SMALL_ORDER
            _, sizes, calls = table.small_stack if small else table.stack
            return calls[bisect_right(sizes, largest.size)](kernel, arrays, out)
        size = position.volume(kernel, arrays)
        if size < table.least:
            return in_one_piece(kernel, arrays, out)
        _, sizes, calls = table.contiguous
        for x in arrays:
            if not x.flags.forc:
                _, sizes, calls = table.strided
        return calls[bisect_right(sizes, size)](kernel, arrays, out)

    return call


def _elsewhere(
    kernel: Kernel, tables: dict[Any, Table], mode: str, arrays: Arrays, out: Any
) -> Any:
    """Run what is rarer: lists, other libraries' arrays, masked ones, broadcasting, vectors."""
    owner = owner_of(arrays)
    if owner is not None:
        return registry.get(owner, mode=mode).call(kernel, arrays, out)
    place = position.of(kernel, arrays)
    outs = out if isinstance(out, tuple) else (out,)
    if place is None or any(type(x) is not ndarray for x in outs if x is not None):
        return in_one_piece(kernel, arrays, out)
    layout: Layout = getattr(tables[np.dtype(place.dtype)], place.layout)
    cube = kernel.blas and place.layout in ("contiguous", "strided")
    size = place.size**3 if cube else place.size
    return layout.calls[bisect_right(layout.sizes, size)](kernel, arrays, out)


def owner_of(arrays: Sequence[Any]) -> str | None:
    """Name the backend whose own arrays are among these, if any are."""
    for x in arrays:
        if not isinstance(x, position.PLAIN):
            owner = OWNERS.get(type(x).__module__.partition(".")[0])
            if owner is not None:
                return owner
    return None
