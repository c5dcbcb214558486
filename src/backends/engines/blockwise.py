"""Kernels on Dask arrays, block by block: nothing is computed here, a graph is made.

* Elementwise kernels take any blocks, a stack of matrices any cut of the stack, ``matmul`` any at
  all. ``solve`` takes any columns of its right-hand side, and ``cholesky`` of one real matrix any
  square blocks.
* One matrix that is to be factored otherwise comes together in one block, on one worker. Dask has
  an LU factorisation over blocks, which exchanges no rows between them and so fails on matrices
  that have an answer; its ``svd`` gives other factors than NumPy's.
"""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import numpy as np

from backends import arguments
from backends.arguments import Bound
from backends.engines.foreign import load
from backends.errors import UnsupportedKernelError
from backends.kernel import Kernel

__all__ = ["is_dask", "lazy"]

#: Core dimensions of what one matrix, and one right-hand side, takes and gives.
SIGNATURES = {
    "inv": "(n,m)->(n,m)",
    "det": "(n,m)->()",
    "cholesky": "(n,m)->(n,m)",
    "eigh": "(n,m)->(n),(n,m)",
    "svd": "(n,m)->(n,u),(s),(v,m)",
    "solve": "(n,m),(n,k)->(m,k)",
    "solve a vector": "(n,m),(n)->(m)",
}


def is_dask(x: Any) -> bool:
    """Tell whether `x` is a Dask array.

    Examples
    --------
    >>> is_dask(np.zeros(3))
    False
    """
    array = sys.modules.get("dask.array")  # without it there are none
    return array is not None and isinstance(x, array.Array)


def lazy(kernel: Kernel, arrays: tuple[Any, ...], out: Any = None) -> Any:
    """Give ``kernel(*arrays)`` as a Dask array, or several, of which nothing is computed yet.

    Parameters
    ----------
    kernel : Kernel
        What is to be computed.
    arrays : tuple of array_like
        At least one of them a Dask array.
    out : None
        Dask arrays cannot be written to.

    Raises
    ------
    TypeError, ValueError, numpy.linalg.LinAlgError
        As NumPy would on arrays of these shapes and dtypes; `out` is given, or an array does not
        know its shape.
    UnsupportedKernelError
        It is linear algebra of someone else's: how it divides is not known.
    """
    if out is not None:
        raise TypeError(
            f"{kernel.name}: argument out: Dask arrays cannot be written to; leave it out and use "
            "what is returned"
        )
    # Of a wrong number of arguments bind() tells.
    named = zip((*kernel.parameters, *("",) * len(arrays)), arrays, strict=False)
    outlines = tuple(_outline(kernel, name, x) for name, x in named)
    arguments.plain("dask", kernel, outlines)
    bound = arguments.bind(kernel, outlines)
    operands = [
        x if is_dask(x) else _blocks(known) for x, known in zip(arrays, bound.operands, strict=True)
    ]
    if not any(kernel.core):
        return _elementwise(kernel, operands, bound)
    if kernel.name == "matmul":
        # Dask sums the products of blocks, and integers in a larger type than theirs.
        return load("dask.array").matmul(*operands).astype(bound.items[0][1])
    if kernel.name == "cholesky" and (blocks := _square_blocks(operands[0], bound)) is not None:
        return _cholesky(operands[0].astype(bound.items[0][1]), blocks)
    if kernel.name == "solve" and np.ndim(operands[0]) == 2 == np.ndim(operands[1]):
        return _solve(kernel, operands, bound)
    return _stacks(kernel, operands, bound)


def _outline(kernel: Kernel, name: str, x: Any) -> Any:
    """Give an array of the shape and dtype of a Dask array, of which one element exists."""
    if not is_dask(x):
        return x
    if any(map(math.isnan, x.shape)):
        raise ValueError(
            f"{kernel.name}: argument {name} does not know its shape, {x.shape}: call "
            f"{name}.compute_chunk_sizes() first"
        )
    return np.broadcast_to(np.zeros((), x.dtype), x.shape)


def _blocks(x: Any) -> Any:
    # A number that is no array promotes weakly, and stays one.
    return load("dask.array").asarray(x) if isinstance(x, np.ndarray) else x


def _elementwise(kernel: Kernel, operands: list[Any], bound: Bound) -> Any:
    # Not map_blocks, which takes arrays only where they have the same blocks.
    (empty,) = _empty(bound)
    pairs = [(x, _axes(np.ndim(x)) if is_dask(x) else None) for x in operands]
    return load("dask.array").blockwise(
        compute_block,
        _axes(empty.ndim),
        *itertools.chain(*pairs),
        kernel=kernel,
        dtype=empty.dtype,
        meta=empty,
    )


def _axes(count: int) -> tuple[int, ...]:
    """Give the axes numbers from the last on, as broadcasting does."""
    return tuple(range(count))[::-1]


def _empty(bound: Bound) -> tuple[Any, ...]:
    """Give arrays without elements of the results' dimensions and dtypes."""
    loop = len(bound.loop)
    return tuple(np.empty((0,) * (loop + len(shape)), dtype) for shape, dtype in bound.items)


def _square_blocks(a: Any, bound: Bound) -> int | None:
    """Give the order of equal square blocks, about as large as those of `a`, or None."""
    if a.ndim != 2 or max(a.numblocks) == 1 or bound.items[0][1].kind != "f":
        return None
    order = a.shape[0]
    least = math.ceil(order / max(map(max, a.chunks)))
    return next((order // n for n in range(least, 2 * least + 1) if order % n == 0), None)


def _cholesky(a: Any, blocks: int) -> Any:
    array = load("dask.array")
    a = a.rechunk(blocks)
    # Dask reads upper blocks, too; of this kernel's argument only the lower triangle counts.
    whole = array.tril(a) + array.tril(a, -1).T
    return array.linalg.cholesky(whole, lower=True)


def _solve(kernel: Kernel, operands: list[Any], bound: Bound) -> Any:
    a, b = operands
    return load("dask.array").blockwise(
        compute_block,
        "ik",
        *(a.rechunk(-1), "ij"),
        *(b.rechunk({0: -1}), "jk"),
        kernel=kernel,
        concatenate=True,
        dtype=bound.items[0][1],
    )


def _stacks(kernel: Kernel, operands: list[Any], bound: Bound) -> Any:
    vector = kernel.name == "solve" and np.ndim(operands[1]) == 1
    signature = SIGNATURES.get(f"{kernel.name} a vector" if vector else kernel.name)
    if signature is None:
        raise UnsupportedKernelError(
            f"{kernel.name}: how it divides over the blocks of a Dask array is not known: give "
            "NumPy arrays, or call it within dask.array.map_blocks"
        )
    new = [n for shape, _ in bound.items for n in shape]
    empty = _empty(bound)
    result = load("dask.array").apply_gufunc(
        compute_block,
        signature,
        *operands,
        kernel=kernel,
        meta=empty if len(empty) > 1 else empty[0],
        # Of the singular vectors, which are all there.
        output_sizes={"u": new[0], "s": new[2], "v": new[3]} if kernel.name == "svd" else None,
        allow_rechunk=True,
    )
    return bound.result_type(*result) if isinstance(result, tuple) else result


def compute_block(*blocks: Any, kernel: Kernel) -> Any:
    """Compute one block of the result; in a worker, or wherever Dask computes."""
    result = kernel.reference(*blocks)
    return tuple(result) if isinstance(result, tuple) else result
