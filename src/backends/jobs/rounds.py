"""``scatter``: cut an array, and put its pieces where the workers are."""

from __future__ import annotations

from typing import Any

import numpy as np

from backends.jobs import chosen
from backends.jobs.held import Held

__all__ = ["scatter"]

#: Pieces a job: some cores are slower or busier than others, and small pieces even that out.
PIECES_PER_JOB = 4


def scatter(
    array: Any, /, *, backend: str | None = None, n_jobs: int | None = None, axis: int = 0
) -> Held:
    """Put the pieces of an array where the workers are, for rounds of jobs that meet.

    Parameters
    ----------
    array : array_like
        What is cut: into four pieces a job, at most as many as it is long.
    backend : str, optional
        Whose workers: `threads`, `joblib`, `dask`, `mpi`, or `numpy` for none but this thread. The
        configured backend if it has workers, or else `joblib`.
    n_jobs : int, optional
        Number of jobs, with joblib's meaning; what the configuration says if left out.
    axis : int
        The axis along which it is cut.

    Returns
    -------
    Held
        The pieces. ``held.map(func, *args)`` gives the list of ``func(piece, *args)``;
        ``held.map_reduce(func, reduce, *args)`` brings these results together; ``held.close()``,
        or the end of a ``with`` block, gives the memory back.

    Raises
    ------
    ValueError
        `array` has no dimension, or no such axis.
    TypeError
        The elements cannot lie where the workers are: objects, in other processes.
    UnknownNameError, BackendUnavailableError
        As :func:`backends.get`; or the backend keeps no arrays with workers.

    Notes
    -----
    The array is moved once: to shared memory for `joblib`, to the workers for `dask` and `mpi`; not
    at all for `threads` and `numpy`. What is called on the pieces is sent anew in each round, with
    its arguments.

    Examples
    --------
    The mean, and then the variance, which needs the mean of all pieces:

    >>> import backends, numpy as np
    >>> x = np.arange(1000.0)
    >>> with backends.scatter(x, backend="threads", n_jobs=2) as held:
    ...     mean = held.map_reduce(np.sum, np.add) / len(x)
    ...     squares = held.map_reduce(lambda piece, mean: ((piece - mean) ** 2).sum(), np.add, mean)
    >>> float(squares / len(x)) == float(x.var())
    True
    """
    array = np.asarray(array)
    if array.ndim == 0:
        raise ValueError("array: a single number has no axis along which it could be cut")
    axis = np.lib.array_utils.normalize_axis_index(axis, array.ndim)
    engine = chosen(backend, n_jobs)
    count = max(1, min(PIECES_PER_JOB * engine.n_jobs, array.shape[axis]))
    held: Held = engine.scatter(np.array_split(array, count, axis))
    return held
