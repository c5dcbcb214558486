"""Where settings come from: environment, file, a caller, the tuned profile; checked and named."""

# No pathlib: its import would be a fifth of what `backends run` takes to start.
# ruff: noqa: PTH109, PTH112, PTH113, PTH118, PTH120, PTH123
from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from backends import catalogue, files, kernels
from backends.errors import ConfigError, suggest, users_level

__all__ = [
    "FILE",
    "Layer",
    "check_scheduler",
    "content_of_file",
    "environment",
    "file",
    "make_layer",
    "tuned",
]

#: Name of the file that chooses for the programs in its folder and below.
FILE = "backends.toml"
KEYS = ("backend", "n_jobs", "device", "mode", "kernels", "pool_bytes", "scheduler")
MODES = ("exact", "fast")
#: Read by the extension of backend openmp, when it is loaded.
SIMD = "BACKENDS_SIMD"


class Layer(NamedTuple):
    """What one source sets: a checked subset of the keys."""

    source: str
    backend: str | None = None
    n_jobs: int | None = None
    device: int | str | None = None
    mode: str | None = None
    kernels: Mapping[str, str] = {}
    pool_bytes: int | None = None
    scheduler: str | None = None


def make_layer(source: str, settings: Mapping[str, Any]) -> Layer:
    """Check what `source` sets; None counts as not set.

    Raises
    ------
    ConfigError
        With the source, the key, and the nearest valid name.

    Examples
    --------
    >>> make_layer("backends.toml", {"njobs": 2})
    Traceback (most recent call last):
    backends.errors.ConfigError: backends.toml: there is no setting 'njobs'; did you mean \
'n_jobs'? Valid: backend, device, kernels, mode, n_jobs, pool_bytes, scheduler
    """
    for key in settings:
        if key not in KEYS:
            raise ConfigError(f"{source}: {suggest(key, KEYS, what='setting')}")
    backend, n_jobs, device, mode, table, pool_bytes, scheduler = map(settings.get, KEYS)
    if backend is not None:
        _check_backend(source, "backend", backend)
    if n_jobs is not None:
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, int):
            raise ConfigError(f"{source}: n_jobs must be an integer, not {n_jobs!r}")
        if n_jobs == 0:
            raise ConfigError(
                f"{source}: n_jobs = 0 has no meaning: give a number of jobs, or -1 for all cores"
            )
    number = isinstance(device, int) and not isinstance(device, bool) and device >= 0
    if not (number or device in (None, "cpu")):
        raise ConfigError(
            f'{source}: device must be the number of a GPU, from 0, or "cpu", not {device!r}'
        )
    if mode not in (None, *MODES):
        raise ConfigError(f"{source}: mode must be one of {', '.join(MODES)}, not {mode!r}")
    if table is not None:
        if not isinstance(table, Mapping):
            raise ConfigError(
                f'{source}: kernels must be a table of kernel = "backend", not {table!r}'
            )
        every = kernels.every() if table else {}
        for kernel, chosen in table.items():
            if kernel not in every:
                raise ConfigError(f"{source}: kernels: {suggest(kernel, every, what='kernel')}")
            _check_backend(source, f"kernels.{kernel}", chosen)
    if pool_bytes is not None and (
        isinstance(pool_bytes, bool) or not isinstance(pool_bytes, int) or pool_bytes < 0
    ):
        raise ConfigError(
            f"{source}: pool_bytes must be a number of bytes, 0 to keep none, not {pool_bytes!r}"
        )
    try:
        check_scheduler(scheduler)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from None
    return Layer(source, backend, n_jobs, device, mode, dict(table or {}), pool_bytes, scheduler)


def check_scheduler(scheduler: str | None) -> None:
    """Refuse what cannot be the address of a scheduler.

    Raises
    ------
    TypeError
        Not a string.
    ValueError
        Neither "local" nor an address with a port.
    """
    valid = '"local", or an address such as "tcp://host:8786"'
    if not isinstance(scheduler, (str, type(None))):
        raise TypeError(f"scheduler must be {valid}, not {scheduler!r}")
    if scheduler not in (None, "local") and ":" not in scheduler:
        raise ValueError(f"scheduler must be {valid}, not {scheduler!r}")


def _check_backend(source: str, key: str, name: Any) -> None:
    if not isinstance(name, str):
        raise ConfigError(f"{source}: {key} must be the name of a backend, not {name!r}")
    if catalogue.locate(name) is None:
        hint = suggest(name, catalogue.names(), what="backend")
        raise ConfigError(f"{source}: {key} = {name!r}: {hint}")


def environment() -> tuple[Layer, ...]:
    """Read ``BACKENDS_BACKEND``, ``BACKENDS_N_JOBS`` and so on for each key but ``kernels``.

    Raises
    ------
    ConfigError
        A value has no meaning.
    """
    known = {f"BACKENDS_{key.upper()}": key for key in KEYS if key != "kernels"}
    layers = []
    for variable, value in os.environ.items():
        source = f"environment variable {variable}"
        if variable in known and value:
            setting: Any = value
            if known[variable] in ("n_jobs", "pool_bytes"):
                try:
                    setting = int(value)
                except ValueError:
                    raise ConfigError(f"{source}={value!r} is not an integer") from None
            elif known[variable] == "device" and value.isdecimal():
                setting = int(value)
            layers.append(make_layer(source, {known[variable]: setting}))
        elif variable.startswith("BACKENDS_") and variable not in (*known, SIMD):
            text = suggest(variable, known, what="setting")
            if "did you mean" in text:
                warnings.warn(f"environment: {text}", stacklevel=users_level())
    return tuple(layers)


def file() -> tuple[Layer, ...]:
    """Read the nearest ``backends.toml`` or ``[tool.backends]``, here or in a folder above.

    Raises
    ------
    ConfigError
        A key or value has no meaning; the message names the file.
    """
    source, content = content_of_file()
    # What `backends check` asks for chooses no backend: it is read there.
    settings = {key: value for key, value in content.items() if key != "check"}
    return (make_layer(source, settings),) if source else ()


def content_of_file() -> tuple[str, Mapping[str, Any]]:
    """Give the path and the content of the nearest file with settings; both empty without one.

    Raises
    ------
    ConfigError
        It cannot be read.
    """
    try:
        folder = os.getcwd()
    except OSError:  # The folder was deleted: there is no file in it.
        return "", {}
    above = ""
    while folder != above:
        for name in (FILE, "pyproject.toml"):
            path = os.path.join(folder, name)
            try:
                if not os.path.isfile(path):
                    continue
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                if name == "pyproject.toml" and "backends" not in text:
                    continue
                content = _parse(text)
            except (ValueError, OSError) as error:
                if name == "pyproject.toml":
                    # Not ours to judge: it may belong to another project above this one.
                    continue
                raise ConfigError(f"{path}: {error}") from None
            if name == "pyproject.toml":
                tool = content.get("tool")
                if not isinstance(tool, Mapping) or "backends" not in tool:
                    continue
                content = tool["backends"]
                if not isinstance(content, Mapping):
                    raise ConfigError(f"{path}: tool.backends must be a table, not {content!r}")
            return path, content
        folder, above = os.path.dirname(folder), folder
    return "", {}


def _parse(text: str) -> Any:
    import tomllib

    return tomllib.loads(text)


def tuned() -> tuple[Layer, ...]:
    """Let this machine's tuned profile choose, if there is one; one that is unfit draws a warning.

    Who never tuned pays for a look at a folder.
    """
    if not os.path.isdir(files.data_folder("profiles")):
        return ()
    from backends import profile  # here: it takes a tenth of a second

    found = profile.current()
    if found.profile is not None:
        return (Layer(f"the tuned profile {found.profile.path}", backend="auto"),)
    if found.problem:
        warnings.warn(found.problem, stacklevel=users_level())
    return ()
