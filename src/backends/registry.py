"""From a name to a backend that runs, and from a kernel call to the backend it is for."""

from __future__ import annotations

import threading
from contextlib import suppress
from importlib import import_module
from typing import Any

from backends import catalogue, config, sources
from backends.backend import Backend, check_jobs
from backends.errors import (
    BackendUnavailableError,
    ConfigError,
    UnknownNameError,
    UnsupportedKernelError,
    suggest,
)
from backends.kernel import Call, Kernel

__all__ = ["available", "get", "reasons"]

_lock = threading.RLock()
#: By name, number of jobs, device, mode, and scheduler.
_backends: dict[tuple[str, int, Any, str, str | None], Backend] = {}


def get(
    name: str,
    n_jobs: int | None = None,
    *,
    mode: str | None = None,
    scheduler: str | None = None,
) -> Backend:
    """Give the backend called `name`, the same object for the same number of jobs.

    Parameters
    ----------
    name : str
        One of ``backends list``.
    n_jobs : int, optional
        Number of jobs, with joblib's meaning; what the configuration says if left out.
    mode : {"exact", "fast"}, optional
        For a backend that has both; what the configuration says if left out.
    scheduler : str, optional
        For a backend whose workers may be a cluster's: the address of its scheduler, or "local"
        for workers on this machine; what the configuration says if left out.

    Raises
    ------
    UnknownNameError
        There is no such backend; the message has the nearest name and the list.
    BackendUnavailableError
        It cannot run here; the message says why and what would mend it.
    ValueError
        `n_jobs` is 0, or more than makes sense on this machine; `scheduler` is no address.
    TypeError
        `n_jobs` is no integer, or `scheduler` no string.

    Examples
    --------
    >>> import backends
    >>> backends.get("threads", n_jobs=1).run(backends.sqrt, [1.0, 4.0])
    array([1., 2.])
    """
    if n_jobs is None:
        setting = config.current().n_jobs
        try:
            return get(name, setting.value, mode=mode, scheduler=scheduler)
        except ValueError as error:
            raise ConfigError(f"{setting.source}: {error}") from None
    check_jobs(n_jobs)
    sources.check_scheduler(scheduler)
    settings = config.current()
    device = settings.device.value
    mode = mode or settings.mode.value
    scheduler = scheduler or settings.scheduler.value
    backend = _backends.get((name, n_jobs, device, mode, scheduler))
    if backend is not None:
        return backend
    with _lock:
        found = _load(name)
        if isinstance(found, str):
            raise BackendUnavailableError(f"backend {name!r} cannot run here: {found}")
        try:
            # Only those that say so take more; the type of their constructors is their own.
            construct: Any = found
            more = {"device": device} if found.takes_device else {}
            if found.takes_mode:
                more["mode"] = mode
            if found.takes_scheduler:
                more["scheduler"] = scheduler
            backend = construct(n_jobs, **more)
        except (TypeError, ValueError, BackendUnavailableError):  # n_jobs, device, as documented
            raise
        except Exception as error:  # A plug-in's own code raises anything.
            raise BackendUnavailableError(
                f"backend {name!r} cannot be started: {_text(error)}"
            ) from error
        # -1 and the number it stands for share one pool of workers.
        where = device if found.takes_device else None
        how = mode if found.takes_mode else "exact"
        whose = scheduler if found.takes_scheduler else None
        backend = _backends.setdefault((name, backend.n_jobs, where, how, whose), backend)
        _backends[name, n_jobs, device, mode, scheduler] = backend
    return backend


def available() -> list[str]:
    """Give the names of the backends that can run here.

    Examples
    --------
    >>> "numpy" in available()
    True
    """
    return [name for name, reason in reasons().items() if reason is None]


def reasons() -> dict[str, str | None]:
    """Give, for every backend, why it cannot run here, or None where it can.

    Examples
    --------
    >>> reasons()["numpy"] is None
    True
    """
    loaded = {name: _load(name) for name in catalogue.names()}
    return {name: found if isinstance(found, str) else None for name, found in loaded.items()}


def _load(name: str) -> type[Backend] | str:
    """Import the class of a backend that can run here, or give the reason why it cannot."""
    place = catalogue.locate(name)
    if place is None:
        raise UnknownNameError(suggest(name, catalogue.names(), what="backend"))
    module, _, attribute = place.partition(":")
    try:
        found: Any = getattr(import_module(module), attribute.strip())
    except Exception as error:  # Half-installed libraries raise anything at import.
        return f"{place} cannot be imported: {_text(error)}"
    if not (isinstance(found, type) and issubclass(found, Backend)):
        return f"{place} is no subclass of backends.backend.Backend"
    try:
        return found.unavailable() or found
    except Exception as error:  # A plug-in's own code: its fault must not hide the others.
        return f"its check for availability failed: {_text(error)}"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def route(kernel: Kernel, backend: str | None = None, n_jobs: int | None = None) -> Call:
    """Give what runs `kernel`, as the arguments, or else the configuration, choose."""
    settings = config.current()
    if backend is not None or n_jobs is not None:
        return _resolve(kernel, settings, backend, n_jobs)
    try:
        return settings.routes[kernel]
    except KeyError:
        call = settings.routes[kernel] = _resolve(kernel, settings, None, None)
        return call


def _resolve(
    kernel: Kernel, settings: config.Config, backend: str | None, n_jobs: int | None
) -> Call:
    if backend is None:
        chosen = settings.backend_for(kernel.name)
    else:
        chosen = config.Setting(backend, "the argument backend")
    engine = get(chosen.value, n_jobs)
    supported = engine.supports(kernel)
    if supported is not True:
        having = _having(kernel)
        other = next((name for name in having if name != "numpy"), "numpy")
        raise UnsupportedKernelError(
            f"{kernel.name}: {supported} (backend {chosen}). Backends that have it: "
            f"{', '.join(having)} (`backends list` has all). Choose one for this kernel, for "
            "example [kernels] "
            f'{kernel.name} = "{other}" in {sources.FILE}, or for one call backend="{other}"'
        )
    return engine.caller(kernel)


def _having(kernel: Kernel) -> list[str]:
    """Give the backends that have `kernel`; an error imports no library to complete the list."""
    found = []
    for name in catalogue.names():
        if name in catalogue.OPTIONAL and not any(key[0] == name for key in list(_backends)):
            continue
        with suppress(Exception):  # one that cannot run here, or a plug-in's own fault
            if get(name, 1).supports(kernel) is True:
                found.append(name)
    return found


Kernel.router = route
