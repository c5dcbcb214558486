"""The extension ``backends._openmp``: loaded once, or why it is not there."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

from backends import budget
from backends.engines import floating

__all__ = ["load"]


@cache
def load() -> ModuleType | str:
    """Import the extension, or give the reason why it is not there."""
    try:
        engine = import_module("backends._openmp")
    except ModuleNotFoundError:
        engine = None
    except ImportError as error:
        return f"the OpenMP engine cannot be loaded: {error}"
    if engine is None or engine.__file__ is None:  # a source tree has a folder of that name
        return (
            "this installation has no OpenMP engine: it was built without a C compiler that knows "
            "OpenMP. Install one (gcc, or clang with libomp) and build the package again: pip "
            "install --force-reinstall --no-deps --no-binary array-backends array-backends, or in "
            "its source folder, pip install --force-reinstall --no-deps ."
        )
    budget.counter()  # tells the extension how many cores there are
    engine.connect(floating.special_errors_wanted)
    return engine
