"""The contract of a backend.

* One required method, ``run(kernel, *arrays, out=None)``. It returns what NumPy would return and
  blocks until the result is complete, so that one clock is right everywhere.
* ``unavailable()`` gives the reason why it cannot run here, with what would mend it, or None.
* ``supports(kernel)`` gives True, or the reason why not.
* ``asarray`` puts data where the backend works best, ``to_numpy`` brings it back; on a CPU both
  give NumPy arrays.
* Nothing falls back: a backend that cannot do what was asked raises. A benchmark that ran on
  another backend would be a lie.
* Calls from many threads at once are safe, and process-wide settings are left as they were.
* A backend with workers runs independent jobs, too: ``jobs()`` lends them to joblib, ``scatter``
  leaves arrays with them.
"""

# Over 300 lines: the contract, half of it in words, and the one road that every serial call takes.
from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np

from backends import arguments, blas, budget
from backends.cores import usable
from backends.errors import BackendUnavailableError, users_level
from backends.kernel import NUMERIC_KINDS, Call, Kernel

__all__ = ["Backend", "Support", "count_jobs", "in_one_piece"]

#: True, or the reason why not.
Support: TypeAlias = Literal[True] | str

#: More jobs a core than this is a mistake (a typing error, another machine's file), not a wish.
MOST_JOBS_PER_CORE = 16

#: Order of matrices up to which OpenBLAS computes serially whatever its thread count, real ones and
#: complex ones: a product begins with a second thread at 2 x 65,536 x 4 multiplications, complex at
#: 2 x 8,192 x 4 (interface/gemm.c); of the others half to three quarters of the order from which
#: threads were seen to work (`python benchmarks/openmp.py serial`).
ALWAYS_SERIAL = {
    "matmul": (64, 32),
    **dict.fromkeys(("inv", "solve", "det"), (64, 64)),
    "cholesky": (64, 40),
    "svd": (28, 28),
    "eigh": (20, 20),
}

ndarray = np.ndarray  # looked up in every call


class Backend(ABC):
    """One way to run kernels; see the module's contract.

    Parameters
    ----------
    n_jobs : int
        Parallel jobs, with joblib's meaning: -1 is all the cores this process may use, -2 all
        but one.

    Attributes
    ----------
    name : str
        What configuration calls it.
    n_jobs : int
        Number of jobs it uses, at least 1.
    takes_device : bool
        Whether it can run on a GPU: it is then made with a second argument, `device`: the number
        of a GPU, "cpu", or None for its own choice.
    takes_scheduler : bool
        Whether its workers are found through a scheduler: it is then made with an argument
        `scheduler`, an address, "local", or None for one that is found.
    takes_mode : bool
        Whether it has faster ways that are not bit for bit the reference's: it is then made with
        an argument `mode`, "exact" or "fast".
    label : str
        What tables call it: its name, and its mode where that is not the exact one.
    """

    name: ClassVar[str]
    takes_device: ClassVar[bool] = False
    takes_scheduler: ClassVar[bool] = False
    takes_mode: ClassVar[bool] = False
    n_jobs: int

    def __init__(self, n_jobs: int = -1) -> None:
        self.n_jobs = count_jobs(n_jobs)

    @classmethod
    def unavailable(cls) -> str | None:
        """Give the reason why it cannot run here and what would mend it, or None."""
        return None

    def supports(self, kernel: Kernel) -> Support:
        """Give True, or the reason why it does not have `kernel`."""
        return True

    def divides(self, kernel: Kernel, *arrays: Any) -> bool:
        """Tell whether this call would be shared among the jobs, or run in one piece."""
        return True

    def mode_matters(self, kernel: Kernel, *arrays: Any) -> bool:
        """Tell whether this call is another one in mode "fast" than in mode "exact"."""
        return self.takes_mode

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.name

    @property
    def import_seconds(self) -> float:
        """Seconds that importing what it needs took in this process."""
        return 0.0

    @abstractmethod
    def run(self, kernel: Kernel, *arrays: Any, out: Any = None) -> Any:
        """Compute ``kernel(*arrays)`` and return when the result is complete.

        Raises
        ------
        TypeError, ValueError
            The types that NumPy would raise, naming the argument.
        """

    def call(self, kernel: Kernel, arrays: tuple[Any, ...], out: Any) -> Any:
        """Do as :meth:`run`, arguments unpacked; what calling a kernel ends in."""
        return self.run(kernel, *arrays, out=out)

    def caller(self, kernel: Kernel) -> Call:
        """Give what calls of one kernel end in; asked for once, and kept."""
        return self.call

    def asarray(self, x: Any) -> Any:
        """Put `x` where this backend works on it without moving it again."""
        return np.asarray(x)

    def to_numpy(self, x: Any) -> np.ndarray[Any, Any]:
        """Bring `x` to ordinary memory as a NumPy array."""
        return np.asarray(x)

    def jobs(self) -> AbstractContextManager[dict[str, Any]]:
        """Lend the workers to joblib while a block runs.

        Returns
        -------
        context manager
            Gives what ``joblib.Parallel(**given)`` needs to run its jobs on them. Where the block
            ends by Ctrl-C, no process that this program has started goes on with a job.

        Raises
        ------
        BackendUnavailableError
            This backend has no workers.
        """
        raise BackendUnavailableError(
            f"backend {self.name!r} has no workers for jobs: choose "
            'backend="joblib" (processes), "threads", "dask", "mpi", "ray", or "numpy" '
            "(one job after the other)"
        )

    def worker_memory(self) -> int | None:
        """Give the bytes of memory that the smallest of the workers of `jobs` may have.

        None where they are on this machine, or nobody knows.
        """
        return None

    def scatter(self, pieces: Sequence[Any]) -> Any:
        """Put arrays where the workers are and leave them there.

        Returns
        -------
        Held
            The pieces; see :class:`backends.jobs.held.Held`.

        Raises
        ------
        BackendUnavailableError
            This backend keeps no arrays with workers.
        """
        raise BackendUnavailableError(
            f"backend {self.name!r} does not keep arrays with workers: choose "
            'backend="joblib" (processes), "threads", "dask", "mpi", or "numpy" (this thread)'
        )

    def close(self) -> None:  # noqa: B027 - most backends keep nothing
        """End what it keeps between calls (threads, processes, memory); the next call restarts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<backend {self.name}, n_jobs={self.n_jobs}>"


def in_one_piece(
    kernel: Kernel,
    arrays: tuple[Any, ...],
    out: Any = None,
    *,
    blas_threads: int = 1,
    backend: str = "numpy",
    function: Callable[..., Any] | None = None,
) -> Any:
    """Run the kernel's reference, or `function` for it, with BLAS on `blas_threads` threads.

    Raises
    ------
    TypeError, ValueError
        As NumPy, with the name of the argument at fault; an array of another library, which
        NumPy might hand on to that library.
    """
    for x in arrays:
        if type(x) is not ndarray:
            arguments.numpys(backend, kernel, (*arrays, out))
            break
    if out is not None:
        return _into(kernel, arrays, out, blas_threads, function or kernel.reference)
    call = kernel.reference if function is None else function
    try:
        if kernel.blas and _reaches_threads(kernel, arrays):
            with blas.limited(blas_threads):
                result = call(*arrays)
        else:
            result = call(*arrays)
        if (result[0] if isinstance(result, tuple) else result).dtype.kind in NUMERIC_KINDS:
            return result
    except (TypeError, ValueError, AttributeError) as error:
        named = arguments.explain(kernel, error, arrays, None)
        raise named from (None if named is not error else error.__cause__)
    raise arguments.explain(kernel, TypeError(f"{kernel.name}: no number"), arrays, None)


def _reaches_threads(kernel: Kernel, arrays: tuple[Any, ...]) -> bool:
    """Tell whether BLAS may start threads for `arrays` at all, and so must be told how many.

    Setting the count and putting it back costs as much as multiplying two small matrices.
    """
    if not _has_openblas():
        return True
    orders = ALWAYS_SERIAL.get(kernel.name, (0, 0))
    for x in arrays:  # not any(): that takes as long as the rest
        # Of stacks, each matrix is a call of its own.
        if type(x) is not ndarray or x.ndim < 2 or max(x.shape[-2:]) > orders[x.dtype.kind == "c"]:
            return True
    return False


@cache
def _has_openblas() -> bool:
    found = blas.library()
    return found is not None and found.name == "openblas"


def _into(
    kernel: Kernel,
    arrays: tuple[Any, ...],
    out: Any,
    blas_threads: int,
    function: Callable[..., Any],
) -> Any:
    # Checked first: NumPy would compute on objects and write them before anyone could refuse.
    for o in out if isinstance(out, tuple) else (out,):
        if isinstance(o, np.ndarray) and o.dtype.kind not in NUMERIC_KINDS:
            arguments.bind(kernel, arrays, out)
    try:
        if not kernel.blas:
            return function(*arrays, out=out)
        with blas.limited(blas_threads):
            return function(*arrays, out=out)
    except (TypeError, ValueError) as error:
        named = arguments.explain(kernel, error, arrays, out)
        raise named from (None if named is not error else error.__cause__)


def count_jobs(n_jobs: int) -> int:
    """Turn `n_jobs` (joblib's meaning) into a number of jobs.

    Parameters
    ----------
    n_jobs : int
        Positive: that many. -1: all the cores this process may use, as ``joblib.cpu_count()``
        counts them. -2: all but one, and so on.

    Returns
    -------
    int
        At least 1. More than there are cores draws a warning.

    Raises
    ------
    TypeError
        Not an integer.
    ValueError
        0, or more than 16 jobs a core.

    Examples
    --------
    >>> count_jobs(1), count_jobs(-1) >= 1
    (1, True)
    """
    check_jobs(n_jobs)
    if n_jobs == 1:
        return 1
    if n_jobs < 0:
        return max(budget.cores() + 1 + int(n_jobs), 1)
    cores = usable()
    if n_jobs > MOST_JOBS_PER_CORE * cores:
        raise ValueError(
            f"n_jobs={n_jobs} makes no sense on the {cores} core(s) this process may use: "
            f"give at most {MOST_JOBS_PER_CORE * cores}, or -1 for all the cores"
        )
    if n_jobs > cores:
        warnings.warn(
            f"n_jobs={n_jobs} is more than the {cores} core(s) this process may use: the jobs "
            "will take turns; -1 means all the cores",
            stacklevel=users_level(),
        )
    return int(n_jobs)


def check_jobs(n_jobs: int) -> None:
    """Refuse what cannot be a number of jobs on any machine.

    Raises
    ------
    TypeError
        Not an integer.
    ValueError
        0.
    """
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)):
        raise TypeError(f"n_jobs must be an integer, not {n_jobs!r}")
    if n_jobs == 0:
        raise ValueError("n_jobs=0 has no meaning: give a number of jobs, or -1 for all the cores")
