"""What every engine that calls another library shares: NumPy's arrays in, NumPy's arrays out.

* Arguments are checked, promoted and broadcast as NumPy would (:mod:`backends.arguments`), and
  reach the library as aligned arrays of the result's dtype, in native byte order. Nothing is
  copied that the library can read as it is.
* Results are ordinary arrays of NumPy's dtype and shape, in `out` where one is given.
* Arrays of the library's own type stay there: the result is of that type too.
* What the library lacks, a function or a dtype, is refused with the reason.
* Libraries tell nothing of floating-point errors: there are no warnings of NumPy's kind.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
import threading
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module, util
from typing import Any, ClassVar, TypeAlias

import numpy as np

from backends import arguments, budget
from backends.backend import Backend, Support
from backends.errors import BackendUnavailableError, UnsupportedKernelError
from backends.kernel import Kernel

__all__ = ["ForeignBackend", "counted", "load", "missing", "seconds_to_import"]

Array: TypeAlias = np.ndarray[Any, Any]

#: Seconds that each library's first import took in this process.
_seconds: dict[str, float] = {}
_importing = threading.RLock()
#: Libraries that have computed in this process, and in a process that this one was forked from.
_used: set[str] = set()
_forked: set[str] = set()


def load(name: str) -> Any:
    """Import a library; what it prints or warns meanwhile is its own affair."""
    if name in _seconds:
        return sys.modules.get(name) or import_module(name)
    # One at a time: stderr and the filters of warnings belong to the process.
    with _importing:
        start = time.perf_counter()
        # NumPy prints a traceback about libraries built for another ABI, before they fail.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            module = import_module(name)
        _seconds.setdefault(name, time.perf_counter() - start)
        return module


def seconds_to_import(library: str) -> float:
    """Give the seconds that importing a library took in this process, 0 if it was not loaded."""
    return _seconds.get(library, 0.0)


def missing(library: str, extra: str) -> str | None:
    """Give the reason why a library cannot be used, with the `extra` that installs it, or None."""
    remedy = f'pip install "array-backends[{extra}]"'
    spec = util.find_spec(library)
    if spec is None:
        return f"{library} is not installed: {remedy}"
    if spec.origin is None:
        places = ", ".join(map(str, spec.submodule_search_locations or ()))
        return f"{places} is a folder without {library} in it: remove it, or {remedy}"
    try:
        load(library).__version__  # noqa: B018 - a folder or file of that name has none
    except (Exception, SystemExit) as error:  # Half-installed libraries raise anything.
        told = next((line for line in str(error).splitlines() if line.strip()), "no message")
        return (
            f"{library} is installed but cannot be imported: {type(error).__name__}: "
            f"{told.strip()}; mend it with pip install --force-reinstall {library}, or "
            f"see what `python -c 'import {library}'` says"
        )
    return None


class ForeignBackend(Backend):
    """Runs kernels by another library's functions.

    Attributes
    ----------
    library : str
        Name by which it is imported.
    extra : str
        The extra of this package that installs it.
    dtypes : str
        Type characters of the results that it computes.
    functions : dict of str to Any
        For each kernel that the library has, what computes it.
    refused : dict of (str, str) to str
        Kernel and type characters in which the library's function is not the kernel, and why.
    convert : str
        The call that makes an array of the library's own type.
    survives_fork : bool
        Whether a process that was forked after the library computed can use it.
    """

    library: ClassVar[str]
    extra: ClassVar[str]
    dtypes: ClassVar[str] = "fdFD"
    functions: ClassVar[dict[str, Any]] = {}
    refused: ClassVar[dict[tuple[str, str], str]] = {}
    convert: ClassVar[str] = ""
    survives_fork: ClassVar[bool] = False

    @classmethod
    def unavailable(cls) -> str | None:
        """Give the reason where the library is missing or does not work."""
        return missing(cls.library, cls.extra)

    @property
    def import_seconds(self) -> float:
        """Seconds that importing the library took."""
        return seconds_to_import(self.library)

    def supports(self, kernel: Kernel) -> Support:
        """Give True, or that the library has no such function."""
        for (name, chars), reason in self.refused.items():
            if name == kernel.name and set(chars) >= set(self.dtypes):
                return reason
        return kernel.name in self.functions or f"{self.library} has no {kernel.name}"

    def run(self, kernel: Kernel, *arrays: Any, out: Any = None) -> Any:
        """Compute by the library; see :meth:`backends.backend.Backend.run`.

        Raises
        ------
        UnsupportedKernelError
            The library does not have the kernel, or not for these dtypes.
        """
        supported = self.supports(kernel)
        if supported is not True:
            raise UnsupportedKernelError(f"{kernel.name}: {supported}")
        if self.library in _forked and not self.survives_fork:  # uncounted: fork
            raise BackendUnavailableError(
                f"backend {self.name!r}: {self.library} had computed before this process was "
                "forked, and its threads are not here: it would hang. Start processes by the "
                "methods 'spawn' or 'forkserver', or use backend 'numpy' here"
            )
        _used.add(self.library)
        outs = out if isinstance(out, tuple) else (out,)
        if any(map(self.owns, (*arrays, *outs))):
            self._refuse_mixture(kernel, arrays, outs)
            for x in filter(self.owns, arrays):
                # Promotion is the library's own; what it computes wrongly stays refused.
                name = str(x.dtype).rpartition(".")[2]
                if name in ("float32", "float64", "complex64", "complex128"):
                    self._refuse_dtype(kernel, np.dtype(name))
            with budget.Share(self.n_jobs), self.limited():
                return self.compute_own(kernel, arrays, out)
        arguments.plain(self.name, kernel, arrays, out)
        bound = arguments.bind(kernel, arrays, out)
        dtype = bound.items[-1][1]  # eigenvalues are real and come first
        self._refuse_dtype(kernel, dtype)
        # The absolute value of a complex number is real.
        dtype = np.result_type(dtype, *(x for x in bound.operands if np.iscomplexobj(x)))
        operands = tuple(_readable(x, dtype) for x in bound.operands)
        shapes = [(*bound.loop, *shape) for shape, _ in bound.items]
        if not any(map(math.prod, shapes)):
            results = tuple(np.empty(s, d) for s, (_, d) in zip(shapes, bound.items, strict=True))
        else:
            target = _target(kernel, bound, operands)
            with budget.Share(self.n_jobs), self.limited():
                results = self.compute(kernel, operands, target)
        if bound.outs is not None:
            for given, computed in zip(bound.outs, results, strict=True):
                if computed is not given:
                    np.copyto(given, computed, casting="same_kind")
            results = bound.outs
        if len(results) > 1:
            return bound.result_type(*results) if bound.result_type is not tuple else results
        # NumPy gives scalars where there are no dimensions and no `out`.
        return results[0] if bound.outs is not None or results[0].ndim else results[0][()]

    @abstractmethod
    def compute(
        self, kernel: Kernel, operands: tuple[Array, ...], target: Array | None
    ) -> tuple[Array, ...]:
        """Compute on NumPy arrays of one dtype; write to `target` and give it, if there is one.

        Strides of the operands are not negative, and shapes broadcast. `target` is contiguous,
        of the result's shape and dtype, and overlaps no operand but where it is the operand.
        """

    def owns(self, x: Any) -> bool:
        """Tell whether `x` is an array of the library's own type."""
        return False

    def compute_own(self, kernel: Kernel, arrays: tuple[Any, ...], out: Any) -> Any:
        """Compute on arrays of the library's own type; the result is of that type too."""
        raise NotImplementedError

    def limited(self) -> AbstractContextManager[None]:
        """Hold the library to what the budget granted for a block, and put back what was before.

        That is ``budget.current().threads``, at most `n_jobs`.
        """
        return nullcontext()

    def _refuse_mixture(
        self, kernel: Kernel, arrays: tuple[Any, ...], outs: tuple[Any, ...]
    ) -> None:
        named = dict(zip(kernel.parameters, arrays, strict=False))
        named |= {f"out[{i}]" if len(outs) > 1 else "out": x for i, x in enumerate(outs)}
        if len(arrays) != len(kernel.parameters):
            raise TypeError(
                f"{kernel.name} takes {len(kernel.parameters)} array(s) "
                f"({', '.join(kernel.parameters)}), not {len(arrays)}"
            )
        own = next(f"{k} a {arguments.kind(x)}" for k, x in named.items() if self.owns(x))
        for name, x in named.items():
            if not (self.owns(x) or x is None or isinstance(x, (bool, int, float, complex))):
                raise TypeError(
                    f"{kernel.name}: argument {name} is a {arguments.kind(x)}, {own}: pass "
                    f"{self.convert.format(name)}, or bring all to NumPy with "
                    f"backends.get({self.name!r}).to_numpy"
                )

    def _refuse_dtype(self, kernel: Kernel, dtype: np.dtype[Any]) -> None:
        # No library has all special functions on complex numbers.
        real = kernel.family == "special functions"
        having = [char for char in self.dtypes if not (real and char in "FD")]
        why = ""
        for (name, chars), reason in self.refused.items():
            if name == kernel.name:
                having = [char for char in having if char not in chars]
                why = f" ({reason})" if dtype.char in chars else why
        if dtype.char not in having:
            names = ", ".join(np.dtype(char).name for char in having)
            raise UnsupportedKernelError(
                f"{kernel.name}: the result would be {dtype.name}; backend {self.name!r} computes "
                f"{names}{why}: convert the arguments, or use backend 'numpy' or 'threads'"
            )


def _readable(x: Any, dtype: np.dtype[Any]) -> Array:
    a = np.require(x, dtype, "A")
    # Libraries take no negative strides.
    return a if min(a.strides, default=0) >= 0 else a.copy()


def _target(kernel: Kernel, bound: arguments.Bound, operands: tuple[Array, ...]) -> Array | None:
    """Give the caller's `out` where a library may write to it while it reads the operands."""
    if bound.outs is None or len(bound.outs) > 1:
        return None
    out: Array = bound.outs[0]
    dtype = bound.items[0][1]
    if out.dtype != dtype or not (out.flags.c_contiguous and out.flags.aligned):
        return None
    if min(out.strides, default=0) < 0:  # of an axis of length 1: contiguous all the same
        return None
    if not any(kernel.core) and out.shape != np.broadcast_shapes(*(x.shape for x in operands)):
        return None
    for x in operands:
        same = (x.ctypes.data, x.shape, x.strides) == (out.ctypes.data, out.shape, out.strides)
        if np.may_share_memory(x, out) and not (same and not any(kernel.core)):
            return None
    return out


@contextmanager
def counted(
    lock: AbstractContextManager[Any],
    get: Callable[[], int],
    set_: Callable[[int], object],
    wanted: int,
) -> Iterator[None]:
    """Hold a process-wide count of threads at `wanted` for a block; callers take turns."""
    with lock:
        before = get()
        try:
            if before != wanted:
                set_(wanted)
            yield
        finally:
            if before != wanted:
                set_(before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forked.update(_used))
