"""Arrays in memory that other processes map: made, found again, reused, never left behind.

On Linux the memory is anonymous (``memfd_create``): it has no name in /dev/shm that could be left
behind by a kill -9, and is not bound by the size of that mount (64 MB in a default container).
Workers open it through the owner's entry in /proc. Elsewhere ``multiprocessing.shared_memory``
gives named blocks, which its resource tracker removes when their owner has died.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import sys
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import Any, TypeAlias

import numpy as np

__all__ = ["AnonymousBlock", "Attachments", "NamedBlock", "Pool", "Reference"]

Array: TypeAlias = np.ndarray[Any, Any]

#: Bytes of blocks that a worker keeps its pages of: to find them again takes some milliseconds.
RESIDENT = 100_000_000

_serial = itertools.count()


@dataclass(frozen=True)
class Reference:
    """What a worker needs to see an array: a few words instead of the data."""

    block: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str


class AnonymousBlock:
    """Memory without a name, known by its owner's process and file descriptor."""

    def __init__(self, size: int) -> None:
        self._fd = os.memfd_create("array-backends", os.MFD_CLOEXEC)
        self._close = weakref.finalize(self, os.close, self._fd)
        os.ftruncate(self._fd, size)
        self.buffer: Any = mmap.mmap(self._fd, size)
        self.size = size
        # The serial number tells apart blocks that got the same descriptor one after another.
        self.name = f"/proc/{os.getpid()}/fd/{self._fd}#{next(_serial)}"

    def free(self) -> None:
        """Give the memory back to the system."""
        # Cut to nothing first: the pages go back at once, though workers may still map them.
        os.ftruncate(self._fd, 0)
        self._close()

    @staticmethod
    def attach(name: str) -> mmap.mmap:
        """Map a block in another process."""
        fd = os.open(name.partition("#")[0], os.O_RDWR | os.O_CLOEXEC)
        try:
            return mmap.mmap(fd, 0)
        finally:
            os.close(fd)


class NamedBlock:
    """A block of ``multiprocessing.shared_memory``."""

    def __init__(self, size: int) -> None:
        memory = SharedMemory(create=True, size=size)
        self.free = weakref.finalize(self, _remove, memory, os.getpid())
        self.buffer: Any = memory.buf
        self.size = size
        self.name = memory.name

    @staticmethod
    def attach(name: str) -> SharedMemory:
        """Map a block in another process."""
        if sys.version_info >= (3, 13):  # uncounted: newer
            return SharedMemory(name=name, track=False)
        # Before 3.13 attaching registers the block as if it were the worker's own, and the
        # worker's tracker would remove it under its owner.
        register, resource_tracker.register = resource_tracker.register, lambda *_: None
        try:
            return SharedMemory(name=name)
        finally:
            resource_tracker.register = register


def _remove(memory: SharedMemory, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has the object, but the block is its parent's
        memory.unlink()
    _close(memory)


def _close(memory: SharedMemory) -> None:
    try:
        memory.close()
    except BufferError:
        # An array is still in use, at the program's end as a rule: the memory goes when that
        # goes, and SharedMemory must not try again and complain.
        setattr(memory, "close", lambda: None)  # noqa: B010


Block: TypeAlias = type[AnonymousBlock] | type[NamedBlock]
#: The kind of block on this system.
BLOCK: Block = AnonymousBlock if sys.platform == "linux" else NamedBlock


class Pool:
    """The shared blocks of one owner.

    A block is leased to one array and comes back when that array and all its views are gone.
    Blocks that came back are kept for the next array that fits, since fresh memory costs as much
    as the arithmetic on it. When a request fits none of them, all are given back to the system
    before another is made; :meth:`trim` gives them back at any time.
    """

    def __init__(self, block: Block = BLOCK) -> None:
        self._block = block
        self._lock = threading.RLock()
        self._leased: dict[int, AnonymousBlock | NamedBlock] = {}
        self._idle: list[AnonymousBlock | NamedBlock] = []
        # Leases end inside the garbage collector, at any time: only noted there, without a lock.
        self._ended: deque[int] = deque()
        self._open = True

    def empty(self, shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...]) -> Array:
        """Make an uninitialised array in shared memory, with positive `strides` in bytes."""
        dtype = np.dtype(dtype)
        size = dtype.itemsize + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        with self._lock:
            block = self._take(max(size, 1))
            lease = (ctypes.c_char * block.size).from_buffer(block.buffer)
            address = ctypes.addressof(lease)
            weakref.finalize(lease, self._ended.append, address).atexit = False
            self._leased[address] = block
        return np.ndarray(shape, dtype, lease, 0, strides)  # type: ignore[arg-type]

    def copy(self, array: Array) -> Array:
        """Copy an array to shared memory; axes of stride 0 are not expanded."""
        index = tuple(
            slice(0, 1) if stride == 0 and n > 1 else slice(None)
            for n, stride in zip(array.shape, array.strides, strict=True)
        )
        compact = array[index]
        # Strides of an ordinary array in the same memory order: an untouched one costs nothing.
        order = np.empty_like(compact, order="K", subok=False).strides
        shared = self.empty(compact.shape, array.dtype, order)
        np.copyto(shared, compact)
        return shared if shared.shape == array.shape else np.broadcast_to(shared, array.shape)

    def find(self, array: Array) -> Reference | None:
        """Tell where in shared memory `array` lies, or None if it lies elsewhere."""
        low, high = np.lib.array_utils.byte_bounds(array)
        with self._lock:
            self._collect()
            for address, block in self._leased.items():
                if address <= low and high <= address + block.size:
                    start = array.__array_interface__["data"][0]
                    return Reference(
                        block.name, start - address, array.shape, array.strides, array.dtype.str
                    )
        return None

    def names(self) -> frozenset[str]:
        """Give the names of the blocks that exist; workers drop what they hold besides."""
        with self._lock:
            blocks = [*self._leased.values(), *self._idle]
        return frozenset(block.name for block in blocks)

    def trim(self) -> None:
        """Give idle blocks back to the system."""
        with self._lock:
            self._collect()
            idle, self._idle = self._idle, []
        for block in idle:
            block.free()

    def _take(self, size: int) -> AnonymousBlock | NamedBlock:
        self._collect()
        fitting = [b for b in self._idle if size <= b.size <= 1.25 * size + mmap.PAGESIZE]
        if fitting:
            best = min(fitting, key=lambda b: b.size)
            self._idle.remove(best)
            return best
        self.trim()
        return self._block(size)

    def _collect(self) -> None:
        while self._ended:
            block = self._leased.pop(self._ended.popleft(), None)
            if block is not None:
                self._idle.append(block)


class Attachments:
    """The blocks that one worker has mapped, kept while their owner keeps them."""

    def __init__(self) -> None:
        self._mapped: dict[str, tuple[mmap.mmap | SharedMemory, Any]] = {}

    def array(self, reference: Reference) -> Array:
        """Give the array that `reference` means, without copying."""
        name = reference.block
        if name not in self._mapped:
            block = AnonymousBlock if name.startswith("/proc/") else NamedBlock
            memory = block.attach(name)
            buffer: Any = memory.buf if isinstance(memory, SharedMemory) else memory
            # NumPy does not tell the memory that an array is on it; ctypes does, and so nothing
            # can be unmapped under an array.
            self._mapped[name] = memory, (ctypes.c_char * len(buffer)).from_buffer(buffer)
        return np.ndarray(
            reference.shape,
            np.dtype(reference.dtype),
            self._mapped[name][1],
            reference.offset,
            reference.strides,
        )

    def rest(self) -> None:
        """Take large blocks' pages off this process's account; they stay where they are.

        Loky ends a worker that has grown by 300 MB, and takes pages that others have too for
        growth: workers that saw each other's piece of a large array would be started anew in
        each round.
        """
        blocks = [memory for memory, _ in self._mapped.values() if isinstance(memory, mmap.mmap)]
        if sum(map(len, blocks)) > RESIDENT:
            for memory in blocks:
                memory.madvise(mmap.MADV_DONTNEED)

    def keep(self, names: frozenset[str]) -> None:
        """Drop every block that is not among `names`."""
        for name in self._mapped.keys() - names:
            memory, lease = self._mapped.pop(name)
            del lease
            if isinstance(memory, SharedMemory):
                _close(memory)
