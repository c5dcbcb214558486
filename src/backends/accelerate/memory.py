"""Memory of large arrays is kept when they are freed, so that `a = b + c` costs what `out=` does.

Fresh memory costs page faults, about as much as the arithmetic done on it. NumPy's public handler
(NEP 49) lets arrays have theirs from a pool, ``_openmp/pool.c``: blocks of 128 KiB and more go
there when they are freed, and the next array of about that size has one of them. Smaller blocks,
and those larger than the pool may be, go to NumPy's own handler as before.

NumPy keeps its handler by context, and each array remembers the one that it was made with. A thread
begins with NumPy's; the engine installs the pool there before its first large call.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from backends import config
from backends.ram import of_process
from backends.sources import make_layer

__all__ = ["Info", "info", "install", "trim", "uninstall"]

#: The most that is kept where no setting says how much.
MOST = 2**30

_lock = threading.Lock()


class Info(NamedTuple):
    """What the pool holds, and what it did.

    Attributes
    ----------
    kept : int
        Bytes kept for reuse.
    cap : int
        The most bytes that are kept; 0 where the pool is not installed.
    reused, fresh : int
        Blocks given out that were kept, and that came from the system, since the process began.
    """

    kept: int
    cap: int
    reused: int
    fresh: int


def install(pool_bytes: int | None = None) -> str | None:
    """Let NumPy have memory of large arrays from the pool, in this context and the engine's calls.

    Parameters
    ----------
    pool_bytes : int, optional
        The most bytes to keep; 0 keeps nothing. As the configuration says by default, and where
        that says nothing a quarter of the memory that this process may use, at most 1 GiB.

    Returns
    -------
    str or None
        Why nothing was changed; None where the pool is installed. Where another library has put
        a handler of its own into this context, that one stays.

    Raises
    ------
    ConfigError
        `pool_bytes` is no number of bytes.

    Notes
    -----
    Installed again it takes over the new cap.

    `numpy.zeros` has memory untouched from the system where nothing is kept that fits. What is
    kept is cleared at once, which takes less time than the page faults of fresh memory would, but
    more than nothing for who never touches it.

    Examples
    --------
    >>> install(2**20)
    >>> info().cap
    1048576
    >>> uninstall()
    """
    cap = make_layer("install", {"pool_bytes": pool_bytes}).pool_bytes
    if cap is None:
        cap = config.current().pool_bytes.value
    if cap is None:
        cap = min(of_process() // 4, MOST)
    # NumPy asks the system for huge pages unless NUMPY_MADVISE_HUGEPAGE=0 says otherwise.
    numpys: Any = import_module("numpy._core.multiarray")
    huge = getattr(numpys, "_get_madvise_hugepage", lambda: True)()
    with _lock:
        other = _engine().memory_install(min(cap, sys.maxsize), huge)
        if other is None:
            # Every ufunc looks for NumPy's errstate in the context. In one that has the handler
            # and no errstate it looks in vain, which is slower: 2 percent of an addition of ten
            # elements (`python benchmarks/memory.py small`). So it finds what holds anyway.
            np.seterr(**np.geterr())
            return None
    return f"another library's handler of NumPy's memory is in use here, {other!r}"


def uninstall() -> None:
    """Keep nothing more, and give back all that is kept; arrays that live are freed as they end.

    Contexts of other threads that have the pool's handler get plain memory from it.
    """
    with _lock:
        _engine().memory_uninstall()


def trim() -> int:
    """Give what is kept back to the system.

    Returns
    -------
    int
        How many bytes that were.
    """
    return int(_engine().memory_trim())


def info() -> Info:
    """Tell what is kept, and how often it was used."""
    return Info(*_engine().memory_counts())


def _engine() -> Any:
    return import_module("backends._openmp")
