"""How many threads NumPy's own calls may have while they are accelerated, asked at each call.

* The number of jobs: `config_context`, else `set_config`, else what ``install`` was given, else
  environment, file, default. A worker of `multiprocessing` has its share: see `budget.cores`.
* What limits the threads that exist is the budget's: OpenMP's count in the calling thread, which
  ``OMP_NUM_THREADS`` and joblib's and Dask's workers set, and the limit of the whole process, for
  which threadpoolctl finds us as a library of its user API "openmp".
* ``@``, ``numpy.matmul`` and what numpy.linalg computes by ufuncs take their BLAS threads from the
  same budget. ``dot``, ``inner``, ``tensordot`` and ``einsum`` are no ufuncs: BLAS has at most as
  many threads for them as ``install`` was given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from backends import blas, budget, config
from backends.backend import MOST_JOBS_PER_CORE, count_jobs
from backends.cores import usable

__all__ = ["install", "jobs", "register", "uninstall"]

#: Elements of operands from which calls of BLAS and LAPACK are counted, and products in a matmul,
#: which has few of them where one operand is a vector. To count takes 11 microseconds on a busy
#: machine where the quickest of these calls take 500 (cholesky) to 1,400 (matmul on two cores), and
#: most take more: `python benchmarks/matrices.py`.
MATMUL, PRODUCTS = 200_000, 50_000_000
LINALG, SLOWER = 100_000, {"svd": 20_000, "eig": 20_000, "lstsq": 20_000}
#: Order of matrices that BLAS computes serially in any case.
SMALL = 16


class _Answer(NamedTuple):
    """The settings that were last asked for their jobs, and what they said.

    `relative` tells that they count from the cores there are, as -1 does.
    """

    settings: config.Config | None
    jobs: int
    relative: bool


_NONE = _Answer(None, 1, False)
# Replaced at once, so that threads never see parts of two.
_answer = _NONE
#: What `install` was given.
_given: int | None = None
#: Whether calls were diverted, and BLAS's count before and since, if we set it.
_diverts = False
_blas: tuple[int, int] | None = None


def jobs() -> int:
    """Give how many threads a call may ask for, in this thread and context.

    The extension asks, in the middle of NumPy's calls: this neither raises nor warns, once
    :func:`install` has read the settings.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> from backends import config_context
    >>> with config_context(n_jobs=1):
    ...     jobs()
    1
    """
    answer = _answer
    settings = config.current()
    if answer.settings is not settings:
        answer = _resolve(settings)
    return 1 if answer.relative and budget.has_siblings() else answer.jobs


def _resolve(settings: config.Config) -> _Answer:
    """Find the number of jobs, and keep it."""
    global _answer
    given = _given
    n_jobs, source = settings.n_jobs
    if given is not None and source not in ("config_context", "set_config"):
        n_jobs = given
    # More are refused where that can be said: by a kernel, by `install`.
    found = min(n_jobs, MOST_JOBS_PER_CORE * usable())
    if n_jobs < 0:
        found = max(usable() + 1 + n_jobs, 1)
    _answer = answer = _Answer(settings, found, n_jobs < 0)
    # `install` may have come in between, in another thread.
    return answer if _given == given else _resolve(settings)


def install(n_jobs: int | None) -> None:
    """Let NumPy's calls ask for so many jobs, and count the threads of its BLAS.

    Parameters
    ----------
    n_jobs : int, optional
        Jobs, with joblib's meaning, where neither `config_context` nor `set_config` says; None:
        what the configuration says.

    Raises
    ------
    TypeError
        `n_jobs` is no integer.
    ValueError
        `n_jobs` is 0, or more than makes sense on this machine.
    ConfigError
        Environment or file say something that has no meaning.
    """
    global _answer, _blas, _diverts, _given
    wanted = None if n_jobs is None else count_jobs(n_jobs)
    config.current()
    usable()
    uninstall()
    _given, _answer = None if n_jobs is None else int(n_jobs), _NONE
    engine = _engine()
    _diverts = True
    engine.divert(np.matmul, _matmul, MATMUL)
    for ufunc in _of_linalg():
        found = (SLOWER[name] for name in SLOWER if ufunc.__name__.startswith(name))
        engine.divert(ufunc, _linalg, next(found, LINALG))
    # To look for BLAS takes as long as all else here.
    governed = None if wanted is None or wanted >= usable() else blas.library()
    if wanted is not None and governed is not None and wanted < governed.get():
        _blas = blas.set_outside(wanted), wanted


def uninstall() -> None:
    """Put back what :func:`install` has changed; threadpoolctl goes on knowing us.

    A count of BLAS that somebody else has set since is left as it is.
    """
    global _answer, _blas, _diverts, _given
    if _diverts:
        _engine().straighten()
        _diverts = False
    if _blas is not None:
        before, ours = _blas
        _blas = None
        blas.set_outside(before, instead_of=ours)
    _given, _answer = None, _NONE


@cache
def _engine() -> Any:
    return import_module("backends._openmp")


def _of_linalg() -> list[np.ufunc]:
    """Find the ufuncs by which numpy.linalg calls LAPACK."""
    module = import_module("numpy.linalg._umath_linalg")
    return [x for x in vars(module).values() if isinstance(x, np.ufunc)]


# --- BLAS ------------------------------------------------------------------------------------


def _matmul(ufunc: np.ufunc, args: tuple[Any, ...], kwargs: Any) -> Any:
    """Compute a product of matrices, its threads counted where there is enough to do."""
    x1, x2 = args[:2] if len(args) > 1 else (None, None)
    matrices = isinstance(x1, np.ndarray) and isinstance(x2, np.ndarray) and x2.ndim > 1
    if matrices and x1.size * x2.shape[-1] >= PRODUCTS:
        return _counted(ufunc, args, kwargs, (x1, x2))
    return _engine().original(ufunc, args, kwargs)


def _linalg(ufunc: np.ufunc, args: tuple[Any, ...], kwargs: Any) -> Any:
    """Compute what LAPACK does with large matrices, its threads counted."""
    return _counted(ufunc, args, kwargs, [x for x in args if isinstance(x, np.ndarray)])


def _counted(ufunc: np.ufunc, args: tuple[Any, ...], kwargs: Any, operands: Sequence[Any]) -> Any:
    original: Callable[..., Any] = _engine().original
    parallel = any(x.dtype.char in "fdFD" and max(x.shape[-2:]) > SMALL for x in operands)
    # Who is counted already has said how many threads BLAS is to have.
    if not parallel or budget.is_counted():
        return original(ufunc, args, kwargs)
    # A count that we set ourselves is no limit: `config_context` may ask for more.
    ours = None if _blas is None else _blas[1]
    with budget.Share(blas.permitted(jobs(), ours=ours)) as share, blas.limited(share.threads):
        return original(ufunc, args, kwargs)


# --- threadpoolctl ---------------------------------------------------------------------------


@cache
def register() -> None:
    """Tell threadpoolctl that we are a library with threads, once and for good.

    It lists us from then on, also once NumPy has its own loops again: backend openmp keeps the
    limit too.
    """
    import threadpoolctl

    class Controller(threadpoolctl.LibController):  # type: ignore[misc] # it has no types
        """Our extension, as threadpoolctl sees it."""

        user_api = "openmp"
        internal_api = "array_backends"
        filename_prefixes = ("_openmp.",)
        check_symbols = ("array_backends_get_num_threads",)

        def get_num_threads(self) -> int:
            """Give how many threads our calls may have in all."""
            return int(self.dynlib.array_backends_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            """Limit all threads, if the main thread asks.

            Others have limited their own calls, through OpenMP's library, whose limits are those
            of the calling thread. Were theirs to hold for all, blocks that overlap in time would
            put back each other's.
            """
            if threading.current_thread() is threading.main_thread():
                self.dynlib.array_backends_set_num_threads(num_threads)

        def get_version(self) -> None:
            """Give none: threadpoolctl asks for that of a library, which ours is not."""

    threadpoolctl.register(Controller)
