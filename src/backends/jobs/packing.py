"""Functions and results as bytes that travel between processes, and are kept in files."""

from __future__ import annotations

import io
import pickle
import sys
import traceback
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple, Self

import cloudpickle

__all__ = ["Thrown", "check_function", "fault", "pack", "unpack"]


def check_function(func: object) -> None:
    """Refuse what cannot be sent to another process.

    Raises
    ------
    TypeError
        It cannot be pickled.
    """
    try:
        cloudpickle.Pickler(_Sink()).dump(func)
    except Exception as error:  # pickling runs code of all kinds
        raise TypeError(
            f"func={func!r} cannot be sent to worker processes ({error}): it holds an open file, "
            'a lock or the like. Open that within the function, or choose backend="threads"'
        ) from error


def fault(item: object) -> TypeError | None:
    """Give what is wrong with an item that cannot be sent to another process, or None."""
    try:
        cloudpickle.Pickler(_Sink()).dump(item)
    except Exception as error:  # pickling runs code of all kinds
        told = TypeError(
            f"the item cannot be sent to worker processes ({error}): give what it is made from, "
            'such as a name or a number, or choose backend="threads"'
        )
        told.__cause__ = error
        return told
    return None


def pack(result: Any) -> bytes:
    """Give `result` as bytes; what the caller's script defines is named, not copied.

    Examples
    --------
    >>> unpack(pack([1, "two"]))
    [1, 'two']
    """
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(result)
    return stream.getvalue()


def unpack(data: bytes) -> Any:
    """Give back what was packed."""
    return pickle.loads(data)


class Thrown(NamedTuple):
    """An exception on its way from a worker to the caller, and what is left if it cannot go.

    Attributes
    ----------
    data : bytes or None
        The exception, packed.
    text : str
        Its type and message.
    trace : str
        Where it was raised.
    """

    data: bytes | None
    text: str
    trace: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Make it of an exception that is being handled."""
        try:
            data = pack(error)
        except Exception:  # pickling runs code of all kinds
            data = None
        trace = "".join(traceback.format_exception(error))
        return cls(data, f"{type(error).__name__}: {error}", trace)

    def caught(self) -> BaseException:
        """Give the exception, or one that tells of it."""
        error: BaseException = RuntimeError(self.text)
        if self.data is not None:
            with suppress(Exception):  # its class takes other arguments, or is not known here
                error = unpack(self.data)
        error.add_note(f"in a worker:\n{self.trace}")
        return error


class _Sink(io.RawIOBase):
    """Takes what is written and keeps nothing: a function may hold gigabytes."""

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no types
    """Names the classes of the caller's script, besides copying them.

    In a worker they are copies. What a later run of the script reads would not be an instance of
    its own class, if it came with a copy alone.
    """

    def reducer_override(self, obj: Any) -> Any:
        named = isinstance(obj, type) and obj.__module__ == "__main__"
        if named and "<locals>" not in obj.__qualname__:
            return _of_main, (obj.__qualname__, _copy(obj))
        return super().reducer_override(obj)


@lru_cache(maxsize=64)  # instances of few classes come by the thousand
def _copy(cls: type) -> bytes:
    return bytes(cloudpickle.dumps(cls))


@lru_cache(maxsize=64)
def _of_main(name: str, data: bytes) -> Any:
    copy = pickle.loads(data)
    found: Any = sys.modules["__main__"]
    for part in name.split("."):
        found = getattr(found, part, None)
    # In the process that the class comes from, the copy is the class itself, with its whole name:
    # a worker does not know that it was defined within another class or a function.
    is_same = copy.__qualname__ in (name, name.rpartition(".")[2])
    return found if isinstance(found, type) and is_same else copy
