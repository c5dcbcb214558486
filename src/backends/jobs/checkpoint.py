"""Results of jobs in a folder, from which the same call goes on after it was ended in any way.

Each result is in a database before its job counts as done, and is there whole or not at all, also
after ``kill -9``. What is found again is found by the item, not by its place: items may be added,
left out or put in another order.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import joblib

from backends.jobs.packing import unpack

__all__ = ["Checkpoint", "describe"]

#: What the folder looks like; another number where that changes.
FORMAT = 1
NAME = "results.sqlite"
#: Seconds to wait for other workers that write.
PATIENCE = 60.0

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS about (function TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


class Checkpoint:
    """The results in `folder`; workers have copies of it.

    Parameters
    ----------
    folder : path
        Where they are, or will be.

    Examples
    --------
    >>> import backends, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = list(backends.map(abs, [-1, 2], n_jobs=1, checkpoint=folder))
    ...     again = list(backends.map(abs, [-1, 2, -3], n_jobs=1, checkpoint=folder))
    >>> first, again
    ([1, 2], [1, 2, 3])
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        # A worker may be in another folder.
        self.folder = Path(folder).absolute()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def open(self, func: Callable[[Any], Any]) -> None:
        """Make the folder, or look whether it is one that `func` made; keep others out of it.

        Raises
        ------
        ValueError
            It belongs to another function or another version of it, or is no checkpoint.
        RuntimeError
            Another call is using it.
        OSError
            It cannot be written.
        """
        import filelock

        told = describe(func)
        self._seen: Counter[bytes] = Counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._busy = filelock.FileLock(self.folder / "lock", is_singleton=False)
        try:
            self._busy.acquire(blocking=False)
        except filelock.Timeout:
            raise RuntimeError(
                f"checkpoint={str(self.folder)!r} is in use by another call, in this program or "
                "another one: wait until that has ended, or give another folder"
            ) from None
        try:
            connection = self._connect("rwc")
            connection.executescript(_SCHEMA)
            found = connection.execute("SELECT function FROM about").fetchone()
            if found is None:
                connection.execute("INSERT INTO about VALUES (?)", (json.dumps(told),))
            else:
                self._compare(json.loads(found[0]), told)
        except sqlite3.DatabaseError as error:
            self.close()
            raise ValueError(
                f"checkpoint={str(self.folder)!r} cannot be used ({error}): give another folder"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others use the folder."""
        self._disconnect()
        self._busy.release()

    def key(self, item: Any) -> bytes:
        """Give what `item` is found by: its content, and how many like it came before."""
        try:
            content = bytes.fromhex(joblib.hash(item))
        except Exception as error:  # pickling runs code of all kinds
            raise TypeError(
                f"checkpoint: the item {item!r} cannot be pickled, and so not be found again "
                f"({error}): map over its name or number instead"
            ) from error
        self._seen[content] += 1
        return content + self._seen[content].to_bytes(8, "little")

    def has(self, key: bytes) -> bool:
        """Tell whether there is a result."""
        return bool(self._execute("SELECT 1 FROM results WHERE key = ?", key))

    def get(self, key: bytes) -> Any:
        """Give the result."""
        [(value,)] = self._execute("SELECT value FROM results WHERE key = ?", key)
        return unpack(value)

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a packed result.

        Raises
        ------
        OSError
            It cannot be written.
        """
        try:
            # The same result may be there: of a worker that outlived a killed call.
            self._execute("INSERT OR REPLACE INTO results VALUES (?, ?)", key, value)
        except sqlite3.Error as error:
            raise OSError(f"checkpoint={str(self.folder)!r} cannot be written: {error}") from error

    def try_put(self, key: bytes | None, value: bytes) -> bool:
        """Keep a packed result, and tell whether that went well; for workers."""
        if key is None:
            return False
        with suppress(sqlite3.Error):
            self._execute("INSERT OR REPLACE INTO results VALUES (?, ?)", key, value)
            return True
        return False

    def _execute(self, statement: str, *values: bytes) -> list[Any]:
        with self._lock:
            return self._connect("rw").execute(statement, values).fetchall()

    def _connect(self, mode: str) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(
                f"{(self.folder / NAME).as_uri()}?mode={mode}",
                uri=True,
                timeout=PATIENCE,
                isolation_level=None,  # each statement is a transaction of its own
                check_same_thread=False,
            )
            self._connection.execute("PRAGMA synchronous = NORMAL")
        return self._connection

    def _disconnect(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _compare(self, found: dict[str, Any], told: dict[str, Any]) -> None:
        changed = [name for name in told if found.get(name) != told[name]]
        if not changed:
            return
        if "function" in changed:
            what = f"the results of {found.get('function')}, not of {told['function']}"
        else:
            differences = {
                "version": f"version {found.get('version')} then, {told['version']} now",
                "source": "another source",
                "values": "other values in its closure, defaults, partial or object",
                "format": "kept by another version of array-backends",
            }
            what = f"results of {told['function']} as it was before: " + ", ".join(
                differences[name] for name in changed
            )
        raise ValueError(
            f"checkpoint={str(self.folder)!r} holds {what}. Give another folder, or delete this "
            "one to begin anew"
        )

    def __reduce__(self) -> tuple[type[Checkpoint], tuple[Path]]:
        return Checkpoint, (self.folder,)

    def __del__(self) -> None:
        # In a worker, which has a copy for each batch of jobs: a connection that outlived the
        # folder would, once closed, delete files of a new database of the same name.
        self._disconnect()


def describe(func: Any) -> dict[str, Any]:
    """Tell what makes `func` the function it is.

    That is its name, its source, the version of the package it is in, and the values that it has
    from its surroundings: those of a ``partial`` or a closure, defaults, the object of a method.
    Not what the functions do that it calls.

    Examples
    --------
    >>> describe(abs)["function"]
    'builtins.abs'
    """
    values: list[Any] = []
    while isinstance(func, functools.partial):
        values.append((func.args, func.keywords))
        func = func.func
    if inspect.ismethod(func):
        values.append(_told(func.__self__))
        func = func.__func__
    if not hasattr(func, "__qualname__"):  # an object that is called
        values.append(_told(func))
        func = type(func)
    values += [_told(cell.cell_contents) for cell in getattr(func, "__closure__", None) or ()]
    values += [getattr(func, name, None) for name in ("__defaults__", "__kwdefaults__")]
    values.append(_told(getattr(func, "__self__", None)))
    module = getattr(func, "__module__", None) or "builtins"
    package = sys.modules.get(module.partition(".")[0])
    try:
        held = joblib.hash(values)
    except Exception as error:  # pickling runs code of all kinds
        raise TypeError(
            f"checkpoint: {func.__qualname__} holds values that cannot be pickled, so that another "
            f"call could not tell whether it is the same ({error}): pass them as parts of the items"
        ) from error
    return {
        "function": f"{module}.{func.__qualname__}",
        "source": hashlib.sha256(_source(func)).hexdigest(),
        "version": str(getattr(package, "__version__", None)),
        "values": held,
        "format": FORMAT,
    }


def _told(value: Any) -> Any:
    """Give what `value` says, where it cannot be pickled by itself."""
    if inspect.ismodule(value):
        return value.__name__
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__qualname__, _source(value)
    # Its class may be defined in a function.
    return (type(value).__qualname__, vars(value)) if hasattr(value, "__dict__") else value


def _source(func: Any) -> bytes:
    try:
        return inspect.getsource(func).encode()
    except (OSError, TypeError):  # typed in, or not written in Python
        code = getattr(func, "__code__", None)
        return b"" if code is None else code.co_code + repr(code.co_names).encode()
