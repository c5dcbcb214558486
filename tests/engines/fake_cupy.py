"""A stand-in for CuPy that computes with NumPy, to test what is ours where there is no GPU.

It takes the same road: arrays of a type of its own, to which NumPy hands calls on; no mixing with
NumPy's arrays; memory that runs out.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np

__version__ = "14.0"


class ndarray:  # noqa: N801 - CuPy's name
    """Numbers that only this module's functions reach."""

    def __init__(self, values):
        self.values = np.array(values)

    dtype = property(lambda self: self.values.dtype)
    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    nbytes = property(lambda self: self.values.nbytes)

    def get(self, out=None):
        calls.append("get")
        if out is None:
            return self.values.copy()
        out[...] = self.values
        return out

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if ufunc.__name__ in missing or any(isinstance(x, np.ndarray) for x in inputs):
            return NotImplemented
        if out is not None:
            options["out"] = tuple(x.values for x in out)
        with np.errstate(all="ignore"):
            return wrap(getattr(ufunc, method)(*map(bare, inputs), **options))

    def __array_function__(self, function, types, arguments, options):
        if function.__name__ in missing:
            return NotImplemented
        if function is np.linalg.solve:
            a, b = arguments
            assert b.ndim == 1 or a.shape[:-1] == b.shape[:-1], "CuPy broadcasts no stacks"
        with np.errstate(all="ignore"):
            result = function(*map(bare, arguments), **{k: bare(v) for k, v in options.items()})
        return result if function in (np.shape, np.ndim) else wrap(result)


def bare(x):
    return x.values if isinstance(x, ndarray) else x


def wrap(x):
    return tuple(map(ndarray, x)) if isinstance(x, tuple) else ndarray(x)


def asarray(x):
    calls.append("asarray")
    if x.nbytes > cuda.memory.left:
        raise cuda.memory.OutOfMemoryError(f"Out of memory allocating {x.nbytes} bytes.")
    return ndarray(x)


def broadcast_to(x, shape):
    return ndarray(np.broadcast_to(x.values, shape))


def zeros(shape):
    return ndarray(np.zeros(shape))


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class Device(nullcontext):
    """A GPU with 8 GiB, 1 of them free."""

    def __init__(self, number):
        super().__init__()
        calls.append(f"device {number}")

    mem_info = (2**30, 2**33)


@contextmanager
def errstate(**settings):
    calls.append(f"errstate {settings}")
    yield


calls: list[str] = []
missing: set[str] = set()
runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDeviceCount=lambda: 2,
    runtimeGetVersion=lambda: 12090,
)
memory = SimpleNamespace(OutOfMemoryError=OutOfMemoryError, left=2**40)
stream = SimpleNamespace(synchronize=lambda: calls.append("synchronize"))
pool = SimpleNamespace(free_all_blocks=lambda: calls.append("free_all_blocks"))
cuda = SimpleNamespace(
    Device=Device, memory=memory, runtime=runtime, get_current_stream=lambda: stream
)


def get_default_memory_pool():
    return pool


def get_default_pinned_memory_pool():
    return pool


def empty_pinned(shape, dtype):
    calls.append("empty_pinned")
    return np.empty(shape, dtype)
