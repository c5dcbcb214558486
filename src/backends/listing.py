"""What there is: backends, kernels, and what the configuration chooses."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backends import config, kernels, registry
from backends.backend import Backend
from backends.errors import BackendUnavailableError
from backends.kernel import Kernel

__all__ = ["has_all", "show"]


def show(console: Console) -> None:
    """Print all of it; what is chosen comes last, since a wrong setting is an error.

    Raises
    ------
    ConfigError
        The environment or the file says something that has no meaning.
    """
    _backends(console)
    _kernels(console)
    _choices(console)


def has_all(backend: Backend) -> bool:
    """Tell whether `backend` has every kernel, and so can be the general choice.

    Examples
    --------
    >>> has_all(registry.get("numpy"))
    True
    """
    return all(_has(backend, kernel) for kernel in kernels.every().values())


def _has(backend: Backend, kernel: Kernel) -> bool:
    try:
        return backend.supports(kernel) is True
    except Exception:  # A plug-in's own fault must not hide the others.
        return False


def _backends(console: Console) -> None:
    console.print("Backends", style="bold")
    table = _table("name", "can run here")
    for name, reason in registry.reasons().items():
        # Text: an extra in brackets would be taken for a style.
        table.add_row(name, Text("yes" if reason is None else f"no: {reason}"))
    console.print(table)
    console.print()


def _kernels(console: Console) -> None:
    engines = []
    for name in registry.available():
        if name == "auto":  # it has what the others have
            continue
        try:
            engines.append(registry.get(name, 1))
        except BackendUnavailableError as error:
            console.print(f"note: {error}", style="yellow", markup=False)
    for family, group in groupby(kernels.every().values(), key=lambda kernel: kernel.family):
        console.print(f"{family[0].upper()}{family[1:]}", style="bold")
        table = _table("name", "dtypes", "backends")
        for kernel in group:
            having = [engine.name for engine in engines if _has(engine, kernel)]
            table.add_row(kernel.name, " ".join(kernel.dtypes), " ".join(having))
        console.print(table)
        console.print()


def _choices(console: Console) -> None:
    settings = config.current()
    registry.get("threads")  # says where a number of jobs comes from that makes no sense here
    console.print("Chosen", style="bold")
    console.print(f"backend {settings.backend}, n_jobs {settings.n_jobs}", markup=False)
    if settings.mode.value != config.DEFAULTS["mode"]:
        console.print(f"mode {settings.mode}", markup=False)
    if settings.device.value is not None:
        console.print(f"device {settings.device}", markup=False)
    if settings.scheduler.value is not None:
        console.print(f"scheduler {settings.scheduler}", markup=False)
    chosen = {
        settings.backend.value,
        *(c for layer in settings.layers for c in layer.kernels.values()),
    }
    for name in sorted(chosen - {n for n, reason in registry.reasons().items() if reason is None}):
        console.print(f"note: backend {name!r} cannot run here", style="yellow", markup=False)
    for name in dict.fromkeys(name for layer in settings.layers for name in layer.kernels):
        console.print(f"{name} {settings.backend_for(name)}", markup=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table
