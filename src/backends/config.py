"""Which backend, how many jobs: where a setting comes from, and which one wins.

From strongest to weakest: :func:`config_context`, :func:`set_config`, the environment
(``BACKENDS_BACKEND``, ``BACKENDS_N_JOBS``, ``BACKENDS_DEVICE``, ``BACKENDS_MODE``,
``BACKENDS_POOL_BYTES``, ``BACKENDS_SCHEDULER``), a file
(``backends.toml``, or ``[tool.backends]`` in ``pyproject.toml``, in the current folder or the
nearest one above that has it), the profile that ``backends tune`` made of this machine, the
defaults.
Within one source a choice for a kernel beats the general one; a stronger source beats both.
Environment and file are read once, at the first use.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from backends import sources
from backends.kernel import Call, Kernel
from backends.sources import Layer, make_layer

__all__ = ["Config", "Setting", "config_context", "current", "get_config", "set_config"]

DEFAULTS = {
    "backend": "numpy",
    "n_jobs": -1,
    "device": None,
    "mode": "exact",
    "pool_bytes": None,
    "scheduler": None,
}


class Setting(NamedTuple):
    """A value, and where it came from."""

    value: Any
    source: str

    def __str__(self) -> str:
        return f"{self.value!r} (from {self.source})"


class Config:
    """The settings in force, strongest source first.

    Attributes
    ----------
    layers : tuple of Layer
        The sources, strongest first.
    routes : dict
        What each kernel resolved to; the registry's cache, valid as long as this object.

    Examples
    --------
    >>> with config_context(backend="threads", n_jobs=2):
    ...     print(get_config().n_jobs)
    2 (from config_context)
    """

    __slots__ = ("layers", "routes")

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self.layers = layers
        self.routes: dict[Kernel, Call] = {}

    @property
    def backend(self) -> Setting:
        """The backend of every kernel that has none of its own."""
        return self._first("backend")

    @property
    def n_jobs(self) -> Setting:
        """The number of jobs, with joblib's meaning."""
        return self._first("n_jobs")

    @property
    def device(self) -> Setting:
        """The number of a GPU, "cpu", or None: the choice of each backend that can use one."""
        return self._first("device")

    @property
    def mode(self) -> Setting:
        """Whether results are bit for bit as the reference, or sooner and within a few ULP."""
        return self._first("mode")

    @property
    def pool_bytes(self) -> Setting:
        """The most bytes of freed arrays that are kept, or None: what suits the machine."""
        return self._first("pool_bytes")

    @property
    def scheduler(self) -> Setting:
        """The address of a cluster's scheduler, "local", or None: what each backend finds."""
        return self._first("scheduler")

    def backend_for(self, kernel: str) -> Setting:
        """Give the backend chosen for `kernel`, and where that was said."""
        for layer in self.layers:
            if kernel in layer.kernels:
                return Setting(layer.kernels[kernel], f"{layer.source}, kernels.{kernel}")
            if layer.backend is not None:
                return Setting(layer.backend, layer.source)
        return Setting(DEFAULTS["backend"], "the default")

    def _first(self, key: str) -> Setting:
        for layer in self.layers:
            value = getattr(layer, key)
            if value is not None:
                return Setting(value, layer.source)
        return Setting(DEFAULTS[key], "the default")

    def __repr__(self) -> str:
        named = {name: None for layer in self.layers for name in layer.kernels}
        chosen = "".join(f", {name}: {self.backend_for(name)}" for name in named)
        device = "" if self.device.value is None else f", device: {self.device}"
        mode = "" if self.mode.value == DEFAULTS["mode"] else f", mode: {self.mode}"
        where = "" if self.scheduler.value is None else f", scheduler: {self.scheduler}"
        return (
            f"<config backend: {self.backend}, n_jobs: {self.n_jobs}{mode}{device}{where}{chosen}>"
        )


class _Frame:
    """One ``config_context``: its settings on top of those around it."""

    __slots__ = ("config", "layer", "outer", "version")

    def __init__(self, layer: Layer | None, outer: _Frame | None) -> None:
        self.layer, self.outer = layer, outer
        self.version = -1
        self.config: Config  # made when it is first asked for

    def layers(self) -> tuple[Layer, ...]:
        own = () if self.layer is None else (self.layer,)
        return own if self.outer is None else (*own, *self.outer.layers())


_lock = threading.RLock()
_process: Layer = Layer("set_config")
_found: tuple[Layer, ...] | None = None
_version = 0
_base = _Frame(None, None)
_frame: ContextVar[_Frame] = ContextVar("backends.config", default=_base)


def current() -> Config:
    """Give the settings in force here, resolved at most once for each change."""
    frame = _frame.get()
    if frame.version != _version:
        with _lock:
            # Version last: another thread must not see it before the settings are right.
            version = _version
            frame.config = Config((*frame.layers(), _process, *_outer_layers()))
            frame.version = version
    return frame.config


def get_config() -> Config:
    """Give the settings in force here, each with where it came from.

    Raises
    ------
    ConfigError
        The environment or the file says something that has no meaning.

    Examples
    --------
    >>> import backends
    >>> get_config().backend.value in backends.available()
    True
    """
    return current()


@contextmanager
def config_context(
    *,
    backend: str | None = None,
    n_jobs: int | None = None,
    device: int | str | None = None,
    mode: str | None = None,
    scheduler: str | None = None,
    kernels: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Choose for the kernels called inside a ``with`` block, in this thread or task.

    Parameters
    ----------
    backend : str, optional
        Backend of all kernels in the block.
    n_jobs : int, optional
        Number of jobs, with joblib's meaning.
    device : int or "cpu", optional
        Number of the GPU for the backends that can use one, or the CPU.
    mode : {"exact", "fast"}, optional
        Results bit for bit as the reference's, or within a few ULP, for the backends that have
        both.
    scheduler : str, optional
        Address of a cluster's scheduler ("tcp://host:8786"), or "local" for workers on this
        machine, for the backends that can use a cluster.
    kernels : mapping of str to str, optional
        Backends of single kernels.

    Raises
    ------
    ConfigError
        A value has the wrong type, or names no backend or kernel.

    Notes
    -----
    A thread that is started inside the block begins with the settings of the process, as with
    every context variable; :func:`set_config` reaches all threads.

    Examples
    --------
    >>> import backends
    >>> with config_context(backend="threads", kernels={"matmul": "openmp"}):
    ...     backends.sqrt([1.0, 4.0])
    array([1., 2.])
    """
    layer = make_layer(
        "config_context",
        {
            "backend": backend,
            "n_jobs": n_jobs,
            "device": device,
            "mode": mode,
            "scheduler": scheduler,
            "kernels": kernels,
        },
    )
    token = _frame.set(_Frame(layer, _frame.get()))
    try:
        yield
    finally:
        _frame.reset(token)


def set_config(**settings: Any) -> None:
    """Choose for the whole process: all threads, until changed.

    Parameters
    ----------
    backend : str, optional
        Backend of all kernels.
    n_jobs : int, optional
        Number of jobs, with joblib's meaning.
    device : int or "cpu", optional
        Number of the GPU for the backends that can use one, or the CPU.
    mode : {"exact", "fast"}, optional
        Results bit for bit as the reference's, or within a few ULP, for the backends that have
        both.
    scheduler : str, optional
        Address of a cluster's scheduler ("tcp://host:8786"), or "local" for workers on this
        machine, for the backends that can use a cluster.
    kernels : mapping of str to str, optional
        Backends of single kernels.
    pool_bytes : int, optional
        The most bytes of freed arrays that are kept for reuse where the pool of memory is
        installed, which looks at this then; 0 keeps none. It is the process's, not a block's:
        `config_context` does not have it.

    Raises
    ------
    ConfigError
        A key or value is wrong. Nothing is changed then.

    Notes
    -----
    What is not named keeps its value; None takes back what was set before.

    Examples
    --------
    >>> set_config(backend="threads", n_jobs=2)
    >>> get_config().backend.source
    'set_config'
    >>> set_config(backend=None, n_jobs=None)
    """
    global _process, _version
    with _lock:
        old = {key: getattr(_process, key) for key in sources.KEYS}
        _process = make_layer("set_config", {**old, **settings})
        _version += 1


def _outer_layers() -> tuple[Layer, ...]:
    global _found
    if _found is None:
        _found = (*sources.environment(), *sources.file(), *sources.tuned())
    return _found
