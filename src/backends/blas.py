"""How many threads BLAS runs: read and set at run time, and left as it was found.

The count belongs to the process, not to the caller. So that callers who overlap in time do not
undo each other, each says what it wants for as long as it runs; the smallest wish holds, and the
last to leave puts back what was there before.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from backends import budget

__all__ = ["Library", "acquire", "library", "limited", "permitted", "release", "set_outside"]


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
    if controller is None or "accelerate" in _built_with():  # uncounted: macOS
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


def permitted(threads: int, *, ours: int | None = None) -> int:
    """Give as many of `threads` as a limit that was set at run time leaves to BLAS.

    ``threadpool_limits`` is such a limit, and is obeyed. What the environment said when BLAS was
    loaded is none: our backends may choose another number. Nor is a count of `ours`, which
    :func:`set_outside` has set.

    Examples
    --------
    >>> permitted(1)
    1
    """
    governed = library()
    if governed is None:
        return threads
    with _lock:
        if _wishes:
            _forget_interrupted(governed)
        outside = _outside if _wishes else governed.get()
    return min(threads, outside) if outside < governed.unlimited and outside != ours else threads


class limited:  # noqa: N801 - used like a function
    """Run a block with `threads` BLAS threads.

    Examples
    --------
    >>> with limited(1):
    ...     library() is None or library().get()
    1
    """

    # No generator, which takes as long as all the rest: a small product takes a microsecond.
    __slots__ = ("_frame", "_thread", "_threads")

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __enter__(self) -> None:
        self._frame: FrameType = sys._getframe(1)
        self._thread = threading.get_ident()
        try:
            acquire(self._threads, self)
        except BaseException:  # Ctrl-C may come in the middle of it # uncounted: tracer
            release(self)
            raise

    def __exit__(self, *error: object) -> None:
        try:
            release(self)
        except BaseException:  # and in the middle of this # uncounted: tracer
            release(self)
            raise

    def interrupted(self) -> bool:
        """Tell whether the block was in this thread, and Ctrl-C ended it before its release."""
        return self._thread == threading.get_ident() and not budget.is_running(self._frame)


def acquire(threads: int, wish: object) -> None:
    """Wish for `threads` BLAS threads until :func:`release` is called with the same `wish`."""
    global _outside
    governed = library()
    if governed is None:
        return
    with _lock:
        if _wishes:
            _forget_interrupted(governed)
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
        if wish not in _wishes:
            return
        wanted = _outside
        if len(_wishes) > 1:
            wanted = min(threads for other, threads in _wishes.items() if other != wish)
        if wanted != _wishes[wish]:
            governed.set(wanted)
        # Last: where Ctrl-C comes before, the wish tells that there is a count to put back.
        del _wishes[wish]


def set_outside(threads: int, *, instead_of: int | None = None) -> int:
    """Set the count that holds where nobody wishes another, as a program would.

    Parameters
    ----------
    threads : int
        How many.
    instead_of : int, optional
        Do so only where the count is this one, and nobody has set another since.

    Returns
    -------
    int
        The count that held before.
    """
    global _outside
    governed = library()
    if governed is None:
        return threads
    with _lock:
        if _wishes:
            _forget_interrupted(governed)
        before = _outside if _wishes else governed.get()
        if instead_of in (None, before):
            if _wishes:
                _outside = threads
            else:
                governed.set(threads)
    return before


def _forget_interrupted(governed: Library) -> None:
    """End wishes of this thread that Ctrl-C kept from being released; the lock is held."""
    left = [wish for wish in _wishes if isinstance(wish, limited) and wish.interrupted()]
    # Where the count is another now, it was put back, or somebody else has set it since.
    if left and governed.get() == min(_wishes.values()):
        others = [threads for wish, threads in _wishes.items() if wish not in left]
        governed.set(min(others) if others else _outside)
    for wish in left:
        del _wishes[wish]


def _after_fork() -> None:  # uncounted: fork
    # Another thread may have held the lock or a wish when the process forked; here it is gone.
    global _lock
    if _wishes and (governed := library()) is not None:
        governed.set(_outside)
    _wishes.clear()
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
