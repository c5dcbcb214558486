"""NumPy and SciPy themselves on every core: programs need no change.

* :func:`install` puts the engine's loops into the places of NumPy's and scipy.special's own, for
  floating-point numbers; :func:`uninstall` puts NumPy's own back. ``backends run`` does it for a
  whole program.
* In mode "exact" every result is bit for bit what it was; in mode "fast" functions that have a
  SIMD loop of ours are within a few ULP.
* A module that is imported later is covered then.
"""

# Over 300 lines: one lock guards one state, which parts of it would have to share.
from __future__ import annotations

import atexit
import sys
import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Self

import numpy as np

from backends import budget, config, sources
from backends.accelerate import imports, memory, threads, ufuncs
from backends.accelerate.ufuncs import Count, Recipe, RefusedError
from backends.backend import count_jobs
from backends.errors import BackendUnavailableError, ConfigError, users_level

__all__ = ["Count", "Installed", "Settings", "count", "counts", "install", "installed", "uninstall"]


class Settings(NamedTuple):
    """What is installed; see :func:`install`."""

    mode: str
    n_jobs: int | None
    threshold: int


class Installed:
    """What :func:`install` did; as a context manager it undoes that at the end of a block.

    Blocks may overlap in time, in threads: of those that have not ended, the last one counts.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entered = False

    def __enter__(self) -> Self:
        with _lock:
            self._entered = True
            if self not in _live:  # another installation of the same kind has taken its place
                _live.append(self)
                _apply(self._settings)
        return self

    def __exit__(self, *error: object) -> None:
        with _lock:
            if self in _live:
                _live.remove(self)
                _apply(_live[-1]._settings if _live else None)

    def __repr__(self) -> str:
        mode, n_jobs, _ = self._settings
        jobs = "as configured" if n_jobs is None else n_jobs
        return f"<installed: mode {mode!r}, n_jobs {jobs}; until uninstall(), or the block ends>"


# Reentrant: an import within an installation may install what waits for it.
_lock = threading.RLock()
_settings: Settings | None = None
#: Whether there is something to put back; also where an installation failed half-way.
_begun = False
#: Whether one is under way: a signal's handler may ask for another in the middle of it.
_busy = False
#: Installations in the order in which they came, until they are ended.
_live: list[Installed] = []
_replaced: dict[str, list[np.ufunc]] = {}
#: Whether calls are to be counted, and whether they are; what was counted before the last change.
_counted = _counting = False
_past: list[Count] = []


def install(mode: str | None = None, n_jobs: int | None = None, *, threshold: int = 0) -> Installed:
    """Let NumPy and SciPy use every core, in this process, until :func:`uninstall`.

    Parameters
    ----------
    mode : {"exact", "fast"}, optional
        Results bit for bit as before, or within a few ULP and sooner where there is a SIMD
        function; as the configuration says by default, and that is "exact" if nobody says.
    n_jobs : int, optional
        Threads at most, with joblib's meaning. :func:`backends.config_context` and
        :func:`backends.set_config` are stronger at each call; environment and files are weaker.
    threshold : int
        Elements from which loops are shared; 0: as the tuned profile says or, without one, as is
        measured when calls come.

    Returns
    -------
    Installed
        Ends the installation, or goes back to the one before it, as a context manager.

    Raises
    ------
    BackendUnavailableError
        There is no engine, NumPy is not as we know it, or this is no place to install: within a
        parallel call, or beside other threads on a Python without its lock.
    ConfigError
        An argument or a setting has no meaning.

    Notes
    -----
    ``docs/unmodified-programs.md`` says what is touched and what is not.

    Examples
    --------
    >>> import numpy as np, backends
    >>> with backends.install(n_jobs=2):
    ...     float(np.sqrt(np.full(1_000_000, 4.0)).sum())
    2000000.0
    """
    sources.make_layer("install", {"mode": mode, "n_jobs": n_jobs})
    if n_jobs is not None:
        try:
            count_jobs(n_jobs)
        except ValueError as error:
            raise ConfigError(f"install: {error}") from None
    number = isinstance(threshold, int) and not isinstance(threshold, bool)
    if not number or not 0 <= threshold <= sys.maxsize:
        raise ConfigError(
            f"install: threshold must be a number of elements, or 0 to have it measured, not "
            f"{threshold!r}"
        )
    wanted = Settings(mode or config.current().mode.value, n_jobs, threshold)
    with _lock:
        _apply(wanted)
        made = Installed(wanted)
        # To install the same twice is to install it once; as a block it joins when it is entered.
        if not _live or _live[-1]._entered or _live[-1]._settings != wanted:
            _live.append(made)
        return made


def _apply(wanted: Settings | None) -> None:
    """Bring about what is wanted, whatever there is; the lock is held."""
    global _begun, _busy, _settings
    if _busy:
        raise BackendUnavailableError(
            "nothing is changed: an installation is under way in this thread, which was interrupted"
        )
    if wanted is None:
        _put_back()
        return
    if _settings == wanted and _counting == _counted:
        _keep_memory()
        return
    engine = _engine()
    _check_place()
    _busy = True
    engine.count_calls(False)
    try:
        _put_back()
        _begun = True
        threads.install(wanted.n_jobs)
        engine.ask_for_jobs(threads.jobs)
        _replace("numpy", wanted)
        _settings = wanted
        _keep_memory()
        imports.when_imported("scipy.special", _special)
        imports.when_imported("scipy.stats", _stats)
        imports.when_imported("threadpoolctl", threads.register)
        # What Python takes apart at its end may still compute: with NumPy's own loops.
        atexit.register(uninstall)
    except BaseException as error:
        _put_back()
        if isinstance(error, RefusedError):
            raise BackendUnavailableError(f"nothing is installed: {error}") from None
        raise
    finally:
        _busy = False
        engine.count_calls(True)


def _keep_memory() -> None:
    problem = memory.install()
    if problem:
        warnings.warn(f"memory is not kept: {problem}", stacklevel=users_level())


def uninstall() -> None:
    """Put NumPy's and SciPy's own loops back, and return the memory that was kept.

    Without effect where nothing is installed.

    Examples
    --------
    >>> import backends
    >>> backends.uninstall()
    """
    with _lock:
        _apply(None)
        _live.clear()


def installed() -> Settings | None:
    """Tell what is installed, or None."""
    return _settings


def count(wanted: bool) -> None:
    """Count calls from the next :func:`install` on, or no longer.

    Counting costs a call about a tenth of a microsecond.
    """
    global _counted
    _counted = wanted
    _past.clear()


def counts() -> list[Count]:
    """Give what was counted since :func:`count`, by time, longest first."""
    with _lock:
        found = ufuncs.merged([*_past, *_current()])
    return sorted(found, key=lambda x: x.seconds, reverse=True)


def _current() -> list[Count]:
    return [x for name, own in _replaced.items() for x in ufuncs.counts(_engine(), name, own)]


def _engine() -> Any:
    """Give the extension, or say why it is not there."""
    engine: Any = import_module("backends.engines.extension").load()
    if isinstance(engine, str):
        raise BackendUnavailableError(f"nothing is installed: {engine}")
    return engine


def _check_place() -> None:
    """Refuse where other threads may be in the middle of what is changed."""
    if budget.is_counted():
        raise BackendUnavailableError(
            "nothing is installed: this is a worker of a parallel call, or within one; install "
            "before it"
        )
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    if not locked and threading.active_count() > 1:
        raise BackendUnavailableError(
            "nothing is installed: this Python has no global lock, and other threads run, which "
            "may be calling NumPy; install before they start"
        )


def _replace(package: str, settings: Settings) -> None:
    global _counting
    engine = _engine()
    _counting = _counted
    recipe = Recipe(settings.mode, settings.threshold, _counted)
    _replaced[package] = ufuncs.replace(engine, package, recipe)
    if _counted:
        ufuncs.count_anew(engine, _replaced[package])
    if not settings.threshold:
        ufuncs.know_thresholds(engine, _replaced[package], settings.mode)


def _late(part: str, function: Callable[[Settings], str | None]) -> None:
    """Do what waited for an import; the program goes on where that is refused."""
    with _lock:
        if _settings is None:
            return
        _engine().count_calls(False)  # what is tried is not the program's
        try:
            problem = function(_settings)
        except RefusedError as error:
            problem = str(error)
        finally:
            _engine().count_calls(True)
        if problem:
            warnings.warn(f"{part} is as it was: {problem}", stacklevel=users_level())


def _special() -> None:
    _late("scipy.special", lambda settings: _replace("scipy.special", settings))


def _stats() -> None:
    from backends.accelerate import normal  # here: only who has SciPy pays for it

    _late("scipy.stats.norm", lambda settings: normal.install())


def _put_back() -> None:
    global _begun, _settings
    if not _begun:
        return
    imports.forget()
    if _counting:
        _past[:] = ufuncs.merged([*_past, *_current()])
    for own in _replaced.values():
        ufuncs.restore(_engine(), own)
    _replaced.clear()
    if "scipy.stats" in sys.modules:
        from backends.accelerate import normal

        normal.uninstall()
    memory.uninstall()
    threads.uninstall()
    atexit.unregister(uninstall)
    _settings, _begun = None, False
