"""joblib's stream of outcomes, held back where they are not taken, and ended with the program."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from functools import cache
from typing import Any

import joblib

__all__ = ["Parallel", "ended_with_the_program"]

#: Outcomes a worker that may wait until they are taken: enough for one job that takes a hundred
#: times as long as those after it, few enough to be kept.
MOST_WAITING = 100


class Parallel(joblib.Parallel):  # type: ignore[misc] # joblib has no types
    """``joblib.Parallel`` that hands out no more jobs while too many outcomes wait.

    joblib hands out the next job as soon as one is done, whether or not anybody takes what it
    gave: behind one slow job, or a slow loop over the results, they would fill the memory.

    Attributes
    ----------
    kept : int
        Outcomes that the caller keeps, because they wait for others before them.
    """

    def __init__(self, *, n_jobs: int, **given: Any) -> None:
        super().__init__(n_jobs=n_jobs, return_as="generator_unordered", **given)
        self._most = MOST_WAITING * n_jobs
        self.kept = self._taken = self._postponed = 0

    def outcomes(self, calls: Iterable[Any]) -> Generator[Any, None, None]:
        """Run `calls`; give what comes of them as it comes."""
        stream = self(calls)
        try:
            for outcome in stream:
                self._taken += 1
                yield outcome
                self._hand_out_postponed()
        finally:
            with warnings.catch_warnings():
                # That results were not used: to leave a loop early is no mistake.
                warnings.simplefilter("ignore", UserWarning)
                stream.close()

    def dispatch_next(self) -> None:
        """Hand out the next jobs, or postpone that; joblib calls this when some are done."""
        if self._may_go_on():
            super().dispatch_next()
        else:
            self._postponed += 1

    def _may_go_on(self) -> bool:
        return bool(self.n_completed_tasks - self._taken + self.kept < self._most)

    def _hand_out_postponed(self) -> None:
        while self._postponed and self._may_go_on():
            with self._lock:
                self._postponed -= 1
                if self._original_iterator is not None:
                    super().dispatch_next()


@cache
def ended_with_the_program() -> weakref.WeakSet[ExitStack]:
    """Give the set of what is closed first when the program ends; ask once loky has begun.

    Where Ctrl-C ends a loop over results, its traceback keeps them alive, and loky waits for all
    jobs that were handed out before the interpreter may end.
    """
    stacks: weakref.WeakSet[ExitStack] = weakref.WeakSet()

    def close_all() -> None:
        for stack in list(stacks):
            # As by Ctrl-C, and not as where a loop is left: workers end, and not their jobs alone.
            stack.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    # Called in the opposite order of registration, and so before loky's own, which waits. The
    # public `atexit` comes after both.
    register: Any = threading._register_atexit  # type: ignore[attr-defined]
    register(close_all)
    return stacks
