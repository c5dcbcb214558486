"""How many threads BLAS runs: read and set at run time, and left as it was found.

The count belongs to the process, not to the caller. So that callers who overlap in time do not
undo each other, each says what it wants for as long as it runs; the smallest wish holds, and the
last to leave puts back what was there before.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Library", "acquire", "library", "limited", "permitted", "release"]


class Library(NamedTuple):
    """The BLAS that NumPy calls, and the two functions that govern it.

    `unlimited` is how many threads it runs where nobody has set another number at run time.
    """

    name: str
    version: str
    architecture: str
    layer: str
    get: Callable[[], int]
    set: Callable[[int], object]
    unlimited: int


@cache
def library() -> Library | None:
    """Find the BLAS library that NumPy uses, or None where none can be governed.

    Apple's Accelerate, for one, has no thread count to set.

    Examples
    --------
    >>> found = library()
    >>> found is None or found.get() >= 1
    True
    """
    # Imported here: `import backends` must cost no more than `import numpy`.
    from pathlib import Path

    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    # SciPy's and PyTorch's wheels may have loaded libraries of their own: prefer NumPy's.
    home = Path(np.__file__).parent
    near = (str(home), str(home.with_name("numpy.libs")))
    controller = next((c for c in found if c.filepath.startswith(near)), *found[:1] or [None])
    if controller is None or "accelerate" in _built_with():
        return None
    get, set_ = _direct(controller) or (controller.get_num_threads, controller.set_num_threads)
    info = controller.info()
    return Library(
        name=controller.internal_api,
        version=str(info.get("version") or "unknown"),
        architecture=str(info.get("architecture") or "unknown"),
        layer=str(info.get("threading_layer") or "unknown"),
        get=get,
        set=set_,
        unlimited=max(get(), _cores_of_openblas() if controller.internal_api == "openblas" else 1),
    )


def _cores_of_openblas() -> int:
    """Count the threads that OpenBLAS began with: somebody may have limited it before we came."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        wanted = os.environ.get(name, "")
        if wanted.isdecimal() and int(wanted) > 0:
            return min(int(wanted), seen)
    return seen


def _built_with() -> str:
    """Give the name of the BLAS that NumPy was built with; other packages may bring another."""
    built: Any = np.show_config(mode="dicts")
    return str(built.get("Build Dependencies", {}).get("blas", {}).get("name", "")).lower()


def _direct(controller: Any) -> tuple[Callable[[], int], Callable[[int], object]] | None:
    """OpenBLAS's own two functions, without threadpoolctl around them.

    A small matmul takes about a microsecond; each look-up by threadpoolctl costs half of one.
    """
    import ctypes

    for prefix in ("", "scipy_"):
        for suffix in ("", "64_", "_64"):
            name = f"{prefix}openblas_%s_num_threads{suffix}"
            if hasattr(controller.dynlib, name % "get"):
                get, set_ = (getattr(controller.dynlib, name % verb) for verb in ("get", "set"))
                get.argtypes, get.restype = [], ctypes.c_int
                set_.argtypes, set_.restype = [ctypes.c_int], None
                return get, set_
    return None


_lock = threading.Lock()
# What each caller wants, by something that only the caller has.
_wishes: dict[object, int] = {}
_outside = 0


def permitted(threads: int) -> int:
    """Give as many of `threads` as a limit that was set at run time leaves to BLAS.

    ``threadpool_limits`` is such a limit, and is obeyed. What the environment said when BLAS was
    loaded is none: our backends may choose another number.

    Examples
    --------
    >>> permitted(1)
    1
    """
    governed = library()
    if governed is None:
        return threads
    with _lock:
        outside = _outside if _wishes else governed.get()
    return min(threads, outside) if outside < governed.unlimited else threads


class limited:  # noqa: N801 - used like a function
    """Run a block with `threads` BLAS threads.

    Examples
    --------
    >>> with limited(1):
    ...     library() is None or library().get()
    1
    """

    # No generator, which takes as long as all the rest: a small product takes a microsecond.
    __slots__ = ("_threads",)

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __enter__(self) -> None:
        try:
            acquire(self._threads, self)
        except BaseException:  # Ctrl-C may come in the middle of it
            release(self)
            raise

    def __exit__(self, *error: object) -> None:
        release(self)


def acquire(threads: int, wish: object) -> None:
    """Wish for `threads` BLAS threads until :func:`release` is called with the same `wish`."""
    global _outside
    governed = library()
    if governed is None:
        return
    with _lock:
        current = governed.get()
        if not _wishes:
            _outside = current
        _wishes[wish] = threads
        wanted = min(_wishes.values())
        if wanted != current:
            governed.set(wanted)


def release(wish: object) -> None:
    """End a wish, if it was made; the last one puts the old count back."""
    governed = library()
    if governed is None:
        return
    with _lock:
        threads = _wishes.pop(wish, None)
        if threads is not None:
            wanted = min(_wishes.values()) if _wishes else _outside
            if wanted != threads:
                governed.set(wanted)


def _after_fork() -> None:
    # Another thread may have held the lock or a wish when the process forked; here it is gone.
    global _lock
    if _wishes and (governed := library()) is not None:
        governed.set(_outside)
    _wishes.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
