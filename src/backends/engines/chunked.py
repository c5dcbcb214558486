"""Split, map, join: written once, for every engine that cuts arrays into chunks.

An engine supplies :meth:`ChunkedBackend.map`, and, where memory is not shared, where operands and
results live. A call is cut along one axis of the loop over items. Elementwise operands are first
seen as NumPy's own iterator sees them: axes in memory order, neighbours merged. Each chunk then
reaches the same inner loop, with the same strides, as the whole would have: results are
bit-identical to serial ones.
"""

from __future__ import annotations

import math
import os
import weakref
from abc import abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from backends import arguments, blas, budget
from backends.arguments import Bound
from backends.backend import Backend, in_one_piece
from backends.engines import floating
from backends.kernel import Kernel

__all__ = ["ENGINES", "Chunk", "ChunkedBackend", "compute"]

Array: TypeAlias = np.ndarray[Any, Any]

#: Chunks a job: some cores are slower or busier than others, and small chunks even that out.
CHUNKS_PER_JOB = 4
#: The same for stacks of matrices: np.linalg computes into new memory, which is not new any more
#: where many small chunks follow each other (`python benchmarks/openmp.py stacks`).
STACK_CHUNKS_PER_JOB = 64


@dataclass(frozen=True)
class Chunk:
    """One piece of one call: where to cut the operands, and what to compute on the pieces."""

    kernel: Kernel
    axis: int
    start: int
    stop: int
    cut: tuple[bool, ...]

    def of(self, arrays: Iterable[Any]) -> tuple[Any, ...]:
        """Cut this chunk's piece out of each of `arrays`, results last."""
        index = (*(slice(None),) * self.axis, slice(self.start, self.stop))
        return tuple(x[index] if c else x for x, c in zip(arrays, self.cut, strict=True))


@dataclass(frozen=True)
class _Plan:
    """Operands and results as aligned views, of which `cut` are cut along `axis`."""

    operands: tuple[Any, ...]
    results: tuple[Array, ...]
    views: tuple[Array, ...]
    axis: int
    length: int
    cut: tuple[bool, ...]


def compute(chunk: Chunk, operands: tuple[Any, ...], results: tuple[Array, ...]) -> set[str]:
    """Compute one chunk into its piece of `results`; give the floating-point errors."""
    pieces = chunk.of((*operands, *results))
    arrays, outs = pieces[: len(operands)], pieces[len(operands) :]
    with budget.working(), floating.noted() as errors:
        chunk.kernel.reference(*arrays, out=outs if len(outs) > 1 else outs[0])
    return errors


class ChunkedBackend(Backend):
    """Cuts a call into chunks and computes them side by side; engines supply :meth:`map`.

    Attributes
    ----------
    min_work : float
        Least work in a chunk, in flops plus bytes moved. Calls with less than two such chunks
        run in one piece: handing them out would cost more than it saves.
    """

    min_work: float

    def __init__(self, n_jobs: int = -1) -> None:
        super().__init__(n_jobs)
        self.start()
        ENGINES.add(self)

    @abstractmethod
    def start(self) -> None:
        """Begin with no workers: at first, and in a forked child, which has none of its own."""

    @abstractmethod
    def map(
        self, chunks: list[Chunk], operands: tuple[Any, ...], results: tuple[Array, ...]
    ) -> Iterable[set[str]]:
        """Run :func:`compute` on every chunk, side by side; give what each returned.

        At most ``budget.current().threads`` at once, of which a worker asks before each chunk
        whether it is to step back.
        Blocks until all chunks are done, also when one of them fails: after it returns or raises,
        nothing writes to `results` any more.
        """

    def share(self, wanted: int) -> AbstractContextManager[Any]:
        """Count up to `wanted` workers for a call; its ``threads`` says how many it was granted."""
        return budget.Share(wanted)

    def place(self, operand: Array) -> Array:
        """Put an operand where the workers see it."""
        return operand

    def empty_like(self, prototype: Array) -> Array:
        """Make an array for a result where the workers see it, of the prototype's layout."""
        return prototype

    def seen(self, array: Array) -> bool:
        """Tell whether the workers see the memory of `array`."""
        return True

    def divides(self, kernel: Kernel, *arrays: Any) -> bool:
        """Tell whether this call would be cut into two chunks or more."""
        return self._count(kernel, arguments.bind(kernel, arrays)) > 1

    def run(self, kernel: Kernel, *arrays: Any, out: Any = None) -> Any:
        """Compute chunk by chunk, side by side; see :meth:`backends.backend.Backend.run`."""
        arguments.plain(self.name, kernel, arrays, out)
        bound = arguments.bind(kernel, arrays, out)
        wanted = self._count(kernel, bound)
        if wanted < 2:
            return in_one_piece(kernel, bound.operands, out)
        with self.share(min(self.n_jobs, wanted)) as share:
            if share.threads < 2:
                return in_one_piece(kernel, bound.operands, out)
            results, errors = self._run_chunks(kernel, bound, wanted)
        floating.report(errors, kernel.name)
        if len(results) == 1:
            return results[0]
        return bound.result_type(*results) if bound.result_type is not tuple else results

    def _run_chunks(
        self, kernel: Kernel, bound: Bound, wanted: int
    ) -> tuple[tuple[Array, ...], set[str]]:
        """Compute in `wanted` chunks; give the results and the floating-point errors."""
        plan = self._plan(kernel, bound, wanted)
        bounds = np.linspace(0, plan.length, min(wanted, plan.length) + 1).astype(int)
        chunks = [
            Chunk(kernel, plan.axis, int(start), int(stop), plan.cut)
            for start, stop in pairwise(bounds)
        ]
        with blas.limited(1) if kernel.blas else nullcontext():
            errors = set().union(*self.map(chunks, plan.operands, plan.views))
        if bound.outs is None:
            return plan.results, errors
        for given, computed in zip(bound.outs, plan.results, strict=True):
            if computed is not given:
                np.copyto(given, computed, casting="same_kind")
        return bound.outs, errors

    def _count(self, kernel: Kernel, bound: Bound) -> int:
        """Count the chunks that a call divides into, for the work that it is."""
        if self.n_jobs == 1:
            return 1
        if not bound.loop and not _rows_divide(kernel, bound):
            return 1
        items = math.prod(bound.loop)
        moved = items * sum(math.prod(shape) * dtype.itemsize for shape, dtype in bound.items)
        if not moved:
            return 1
        moved += sum(x.nbytes for x in bound.operands if isinstance(x, np.ndarray))
        work = kernel.flops(*bound.operands) + moved
        # One matrix is cut once a job: each piece packs the other factor again.
        most = self.n_jobs
        if items > 1 or not kernel.rows:
            most *= STACK_CHUNKS_PER_JOB if kernel.blas else CHUNKS_PER_JOB
        count = int(min(work // self.min_work, most))
        serial = count > 1 and (budget.is_counted() or floating.special_errors_wanted())
        return 1 if serial else count

    def _plan(self, kernel: Kernel, bound: Bound, wanted: int) -> _Plan:
        if not any(kernel.core):
            return self._plan_elements(bound, wanted)
        return self._plan_stack(kernel, bound, wanted) if bound.loop else self._plan_rows(bound)

    def _plan_elements(self, bound: Bound, wanted: int) -> _Plan:
        # Read-only views: nditer otherwise demands that operands which are written do not overlap.
        arrays = [x for x in bound.operands if isinstance(x, np.ndarray)]
        (_, dtype), out = bound.items[0], None
        if bound.outs is not None and self._writable_in_place(bound.outs[0], arrays):
            out = bound.outs[0]
        prototype = _iterate(arrays, out, dtype, bound.loop).operands[len(arrays)]
        result = out if out is not None else self.empty_like(prototype)
        views = list(_iterate(arrays, result, dtype, bound.loop).itviews)
        view = views.pop()
        seen = {id(x): v for x, v in zip(arrays, views, strict=True)}
        placed = {key: self.place(v) for key, v in seen.items()}
        operands = tuple(placed.get(id(x), x) for x in bound.operands)
        axis = next((i for i, n in enumerate(view.shape) if n >= wanted), None)
        if axis is None:
            axis = int(np.argmax(view.shape))
        cut = (*(isinstance(x, np.ndarray) for x in operands), True)
        return _Plan(operands, (result,), (view,), axis, view.shape[axis], cut)

    def _plan_stack(self, kernel: Kernel, bound: Bound, wanted: int) -> _Plan:
        operands = []
        cut = []
        for x, core in zip(bound.operands, kernel.core, strict=True):
            has_loop = x.ndim > core
            if has_loop:
                x = np.broadcast_to(x, (*bound.loop, *x.shape[x.ndim - core :]))
            operands.append(self.place(x))
            cut.append(has_loop)
        results = self._results(bound, list(bound.operands))
        axis = next((i for i, n in enumerate(bound.loop) if n >= wanted), None)
        if axis is None:
            axis = int(np.argmax(bound.loop))
        cut += [True] * len(results)
        return _Plan(tuple(operands), results, results, axis, bound.loop[axis], tuple(cut))

    def _plan_rows(self, bound: Bound) -> _Plan:
        operands = tuple(self.place(x) for x in bound.operands)
        results = self._results(bound, list(bound.operands))
        cut = (True, *(False,) * (len(operands) - 1), *(True,) * len(results))
        return _Plan(operands, results, results, 0, operands[0].shape[0], cut)

    def _results(self, bound: Bound, arrays: list[Array]) -> tuple[Array, ...]:
        """Give the caller's own arrays where chunks may be written to them, or new ones."""
        new = [None] * len(bound.items) if bound.outs is None else list(bound.outs)
        return tuple(
            out
            if out is not None and self._writable_in_place(out, arrays, aligned=False)
            else self.empty_like(np.empty((*bound.loop, *shape), dtype))
            for out, (shape, dtype) in zip(new, bound.items, strict=True)
        )

    def _writable_in_place(self, out: Array, arrays: list[Array], *, aligned: bool = True) -> bool:
        """Tell whether chunks may write to `out` while others still read the operands.

        An operand that is `out` itself, element for element, is read before it is written;
        any other overlap would be read after.
        """
        if not self.seen(out):
            return False
        return not any(
            np.may_share_memory(out, x) and not (aligned and _same_elements(out, x)) for x in arrays
        )


#: Engines that exist; a forked child begins anew with each of them.
ENGINES: weakref.WeakSet[ChunkedBackend] = weakref.WeakSet()


def _after_fork() -> None:  # uncounted: fork
    for engine in list(ENGINES):
        engine.start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _rows_divide(kernel: Kernel, bound: Bound) -> bool:
    return kernel.rows and np.ndim(bound.operands[0]) == kernel.core[0]


def _same_elements(a: Array, b: Array) -> bool:
    return (
        a.__array_interface__["data"] == b.__array_interface__["data"]
        and a.shape == b.shape
        and a.strides == b.strides
        and a.dtype == b.dtype
    )


def _iterate(
    arrays: list[Array], out: Array | None, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> np.nditer:
    read, write = (
        ["readonly", "no_subtype"],
        ["writeonly", "allocate", "no_broadcast", "no_subtype"],
    )
    flags: Any = [read] * len(arrays) + [write]
    dtypes = [None] * len(arrays) + [None if out is not None else dtype]
    return np.nditer(
        [*arrays, out],
        flags=["zerosize_ok"],
        op_flags=flags,
        op_dtypes=dtypes,
        itershape=shape,
        order="K",
    )
