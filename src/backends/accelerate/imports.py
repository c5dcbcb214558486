"""Call a function when a module has been imported, without importing the module.

What :func:`backends.install` changes in SciPy must wait until the program imports SciPy, if it
ever does. A finder at the front of ``sys.meta_path`` asks the other finders for the modules waited
for, and lends the module a loader of ours until its code runs; then the module's own loader is back
in its place.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

__all__ = ["forget", "when_imported"]

#: Module name -> what to call once it has been imported.
_waiting: dict[str, list[Callable[[], object]]] = {}
_lock = threading.Lock()


def when_imported(name: str, function: Callable[[], object]) -> None:
    """Call ``function()`` once, right after module `name` has been imported.

    It is called at once if the module is there already, and in the importing thread before the
    ``import`` statement returns if not. If the import fails, `function` waits for the next one. A
    module that was half imported when `function` came is noticed at the next import of any module.

    Parameters
    ----------
    name : str
        The module's full name.
    function : callable
        Called without arguments. What it raises becomes a RuntimeWarning: an import that worked
        does not fail on account of this package.

    See Also
    --------
    forget : Take all of this back.

    Examples
    --------
    >>> from backends.accelerate.imports import forget, when_imported
    >>> when_imported("sys", lambda: print("sys is there"))
    sys is there
    >>> forget()
    """
    with _lock:
        _waiting.setdefault(name, []).append(function)
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
    _call_if_imported(name)


def forget() -> None:
    """Wait for no module any longer; ``sys.meta_path`` is as it was."""
    with _lock:
        _waiting.clear()
        if _finder in sys.meta_path:
            sys.meta_path.remove(_finder)


def _call_if_imported(name: str) -> None:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and not getattr(spec, "_initializing", False):
        _call(name)


def _call(name: str) -> None:
    with _lock:
        functions = _waiting.pop(name, [])
    for function in functions:
        try:
            function()
        except Exception as error:  # whatever it is, the user's import has worked
            _warn(f"array-backends could not do its part after the import of {name}: {error!r}")


def _warn(text: str) -> None:
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=1)
    except RuntimeWarning:  # warnings are errors here, and would make the import fail
        sys.stderr.write(f"{text}\n")


class _Finder:
    """Finds nothing by itself: it asks the finders behind it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for waiting in list(_waiting):
            _call_if_imported(waiting)
        if name not in _waiting:
            return None
        finders = list(sys.meta_path)
        behind = finders[finders.index(self) + 1 :] if self in finders else []
        for finder in behind:
            spec: Any = (
                finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            )
            if spec is not None:
                # A namespace package has no loader, an old loader no exec_module: they are
                # noticed at the next import.
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return cast("ModuleSpec", spec)
        return None


class _Loader:
    """A module's loader from when it is found until its code runs; in all else the module's own."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[Any]]:
        return copy, (self._own,)  # nobody else takes our place: what is pickled is the own loader

    def exec_module(self, module: ModuleType) -> None:
        # First, so that the module's code and everybody after it see the loader they expect.
        for place, name in ((module.__spec__, "loader"), (module, "__loader__")):
            if getattr(place, name, None) is self:
                setattr(place, name, self._own)
        self._own.exec_module(module)
        _call(module.__name__)


_finder: Any = _Finder()
