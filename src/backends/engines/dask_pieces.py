"""What lies on the workers of a Dask cluster, sent again where one of them died with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from backends import budget
from backends.engines.chunked import Array
from backends.engines.cluster import FIRST_WORKER
from backends.engines.foreign import load
from backends.errors import WorkerDiedError
from backends.jobs.held import Held, read_only, still_held

__all__ = ["ATTEMPTS", "LARGE", "OnWorkers", "Pieces", "scatter", "told"]

#: Times that a piece is sent whose worker died with it; as often as Dask repeats a task.
ATTEMPTS = 4
#: Bytes from which an argument goes to the workers once, and not along with each call.
LARGE = 2**16
#: Seconds before each new attempt to reach a worker.
PAUSES = (0.1, 0.3, 1.0)


class Pieces:
    """Things on the workers, which functions are called with where they lie."""

    def __init__(self, client: Any, items: Sequence[Any]) -> None:
        self._client = client
        self._items = items
        self._futures: list[Any] = [None] * len(items)

    def send(self, numbers: Iterable[int]) -> None:
        """Put those of the items on the workers that are not there."""
        futures = self._futures
        absent = [i for i in numbers if futures[i] is None or futures[i].status != "finished"]
        if absent:
            sent = scatter(self._client, [self._items[i] for i in absent])
            for i, future in zip(absent, sent, strict=True):
                futures[i] = future

    def map(self, func: Callable[..., Any], *args: Any) -> list[Any]:
        """Call ``func(item, *args)`` for each, and give the results in order."""
        results: dict[int, Any] = {}
        for attempt in range(ATTEMPTS):
            left = [i for i in range(len(self._items)) if i not in results]
            calls = self._submit(left, func, args)
            try:
                for i in left:
                    try:
                        results[i] = calls[i].result()
                    except CancelledError:  # what it was to compute with is gone
                        if attempt == ATTEMPTS - 1:
                            raise
                        self._futures[i] = None
            except BaseException:
                self._client.cancel(list(calls.values()))
                raise
            if len(results) == len(self._items):
                break
        return [results[i] for i in range(len(self._items))]

    def _submit(
        self, numbers: list[int], func: Callable[..., Any], args: tuple[Any, ...]
    ) -> dict[int, Any]:
        self.send(numbers)
        given = [scatter(self._client, x) if _is_large(x) else x for x in args]
        submit = partial(self._client.submit, func, pure=False)
        return {i: submit(self._futures[i], *given) for i in numbers}


class OnWorkers(Held):
    """Pieces of an array on the workers of a cluster."""

    def __init__(self, client: Any, pieces: Sequence[Array]) -> None:
        self._pieces = [Pieces(client, pieces)]
        self._pieces[0].send(range(len(pieces)))

    def map(self, func: Callable[..., Any], /, *args: Any) -> list[Any]:
        """Call `func` on each piece; see :meth:`Held.map`."""
        with told(f"computing {getattr(func, '__qualname__', func)}"):
            return still_held(self._pieces)[0].map(_call, func, *args)

    def close(self) -> None:
        """Let the workers forget the pieces."""
        self._pieces = []


def scatter(client: Any, data: Any, *, pauses: Sequence[float] = PAUSES) -> Any:
    """Put data on the workers, new ones where the old ones have died.

    Raises
    ------
    WorkerDiedError
        There are none any more, or none that can be reached.
    """
    try:
        return client.scatter(data, hash=False, timeout=FIRST_WORKER)
    except TimeoutError as error:
        raise WorkerDiedError(
            f"dask: the scheduler at {client.scheduler.address} has no workers any more, and got "
            f"none within {FIRST_WORKER} seconds: start one with `dask worker`"
        ) from error
    except OSError as error:
        if pauses:  # the worker that it was for has died, as the scheduler may not know yet
            time.sleep(pauses[0])
            return scatter(client, data, pauses=pauses[1:])
        raise WorkerDiedError(
            f"dask: workers cannot be reached from here to be sent anything ({error}): they end "
            "time after time, or a firewall is between"
        ) from error


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Give Dask's errors about workers that died in the words of this package."""
    distributed = load("distributed")
    try:
        yield
    except (distributed.KilledWorker, CancelledError, distributed.comm.CommClosedError) as error:
        raise WorkerDiedError(
            f"dask: workers ended while {doing}, time after time, or the scheduler did "
            f"({error}): killed from outside, or by Dask for want of memory (fewer n_jobs, smaller "
            "blocks or more memory_limit for each worker mend that)"
        ) from error


def _is_large(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.nbytes >= LARGE


def _call(piece: Array, func: Callable[..., Any], *args: Any) -> Any:  # uncounted: worker
    """Call a function on a piece that stays as it is; in a worker."""
    with budget.working():
        return func(read_only(piece), *args)
