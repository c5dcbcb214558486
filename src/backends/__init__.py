"""NumPy and SciPy kernels on the backend that you choose: one core, threads, processes, BLAS.

>>> import backends
>>> with backends.config_context(backend="threads"):
...     y = backends.sin([0.0, 0.5])

Kernels (:func:`matmul`, :func:`sin`, :func:`erf`, ...) have NumPy's and SciPy's names and results.
``backends.kernels.every()`` gives them all, ``backends list`` prints them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from backends import supported as _supported

_supported.check()  # before modules that would fail without saying why

# "as" with the same name marks what is exported, for type checkers.
from backends.backend import Backend as Backend
from backends.config import Config as Config
from backends.config import config_context as config_context
from backends.config import get_config as get_config
from backends.config import set_config as set_config
from backends.declare import elementwise as elementwise
from backends.declare import linear_algebra as linear_algebra
from backends.errors import BackendUnavailableError as BackendUnavailableError
from backends.errors import ConfigError as ConfigError
from backends.errors import JobsFailedError as JobsFailedError
from backends.errors import UnknownNameError as UnknownNameError
from backends.errors import UnsupportedKernelError as UnsupportedKernelError
from backends.errors import WorkerDiedError as WorkerDiedError
from backends.kernel import Kernel as Kernel
from backends.registry import available as available
from backends.registry import get as get

if TYPE_CHECKING:
    from backends.accelerate import install as install
    from backends.accelerate import uninstall as uninstall
    from backends.accelerate.memory import trim as trim
    from backends.explanation import explain as explain
    from backends.jobs import map as map  # noqa: A004 - what it does is what Python's does
    from backends.jobs.rounds import scatter as scatter
    from backends.jobs.slots import io_slot as io_slot
    from backends.kernels.elementwise import *
    from backends.kernels.linalg import *
    from backends.kernels.special import *

_FACADE = (
    "Backend",
    "BackendUnavailableError",
    "Config",
    "ConfigError",
    "JobsFailedError",
    "Kernel",
    "UnknownNameError",
    "UnsupportedKernelError",
    "WorkerDiedError",
    "available",
    "config_context",
    "elementwise",
    "explain",
    "get",
    "get_config",
    "install",
    "io_slot",
    "linear_algebra",
    "map",
    "scatter",
    "set_config",
    "trim",
    "uninstall",
)

#: What is imported when it is first asked for, and from where.
_LATER = {
    "explain": "backends.explanation",
    "install": "backends.accelerate",
    "io_slot": "backends.jobs.slots",
    "map": "backends.jobs",
    "scatter": "backends.jobs.rounds",
    "trim": "backends.accelerate.memory",
    "uninstall": "backends.accelerate",
}


def __getattr__(name: str) -> Any:
    # Kernels are found when they are first asked for: the special functions import SciPy, which
    # `import backends` must not.
    from backends import kernels

    if name == "__all__":
        return [*_FACADE, *kernels.every()]
    if name == "__version__":
        from importlib.metadata import version

        return version("array-backends")
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    if name == "accelerate":  # `from backends import accelerate` looks here first
        return import_module("backends.accelerate")
    kernel = None if name.startswith("_") else kernels.every().get(name)
    if kernel is not None:
        if kernel.__module__.startswith("backends."):
            globals()[name] = kernel  # found at once from now on; others may be defined anew
        return kernel
    raise AttributeError(f"module 'backends' has no attribute {name!r}")


def __dir__() -> list[str]:
    from backends import kernels

    return sorted({*globals(), *_FACADE, *kernels.every(), "__version__"})
