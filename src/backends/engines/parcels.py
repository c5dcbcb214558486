"""What travels between processes: arrays as they lie in memory, the rest pickled by value."""

from __future__ import annotations

import pickle
import socket
import struct
import traceback
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Link", "Parts", "outcome", "pack", "perform", "unpack"]

#: A pickle, and after it the memory of the arrays in it.
Parts: TypeAlias = "list[np.ndarray[Any, Any]]"


def pack(value: Any) -> Parts:
    """Pickle `value`, and the arrays in it apart, uncopied where they are contiguous.

    Examples
    --------
    >>> [part.nbytes > 1000 for part in pack(np.ones(1000))]
    [False, True]
    """
    # It pickles by value what a script or a notebook defines. Imported here: only work that is
    # sent away needs it.
    import cloudpickle

    buffers: list[pickle.PickleBuffer] = []
    head = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return [np.frombuffer(part, np.uint8) for part in (head, *(b.raw() for b in buffers))]


def unpack(parts: Parts) -> Any:
    """Give what was packed; its arrays lie in the memory of the parts.

    Examples
    --------
    >>> unpack(pack({"x": np.arange(3)}))
    {'x': array([0, 1, 2])}
    """
    return pickle.loads(parts[0].data, buffers=parts[1:])


def perform(parts: Parts, *but: type[BaseException]) -> Parts:
    """Make a packed call, and pack what it returns or raises, but for these exceptions.

    Examples
    --------
    >>> unpack(perform(pack((abs, (-2,)))))
    (True, 2)
    """
    try:
        function, args = unpack(parts)
        return pack((True, function(*args)))
    except but:
        raise
    except BaseException as error:  # Whatever is raised must reach the caller, and end nothing.
        return pack((False, _that_travels(error)))


def _that_travels(error: BaseException) -> BaseException:
    """Give the error with its traceback in words, or one that says the same."""
    error.add_note("On a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        unpack(pack(error))
    except Exception:  # a class of its own with other arguments, or what it holds
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def outcome(future: Future[Parts]) -> Any:
    """Wait for what :func:`perform` gave, and return or raise it."""
    good, value = unpack(future.result())
    if good:
        return value
    raise value


class Link:
    """One end of a connection over which parts travel.

    Parameters
    ----------
    connection : socket
        Connected.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._socket = connection

    def send(self, parts: Parts) -> None:
        """Send parts: how many, their sizes, and then each."""
        sizes = [len(part) for part in parts]
        self._socket.sendall(struct.pack(f"<{1 + len(sizes)}Q", len(sizes), *sizes))
        for part in parts:
            self._socket.sendall(part.data)

    def receive(self) -> Parts:
        """Wait for parts.

        Raises
        ------
        OSError
            The other end is gone.
        """
        (count,) = struct.unpack("<Q", self.read(8).data)
        return [self.read(n) for n in struct.unpack(f"<{count}Q", self.read(8 * count).data)]

    def read(self, size: int) -> np.ndarray[Any, Any]:
        """Wait for so many bytes."""
        whole = np.empty(size, np.uint8)
        left = whole.data
        while left:
            got = self._socket.recv_into(left)
            if not got:
                raise ConnectionResetError("the other end is gone")
            left = left[got:]
        return whole

    def close(self, *, forked: bool = False) -> None:
        """End it at both ends, whoever has a copy of it; in a forked child, drop the copy."""
        if not forked:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
