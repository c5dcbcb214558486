"""Backend ``auto``: for each call the backend that was the fastest when this machine was tuned.

* The tuned profile (:mod:`backends.profile`) says from which size on which backend wins; a call
  costs one look-up more, below a microsecond (``python benchmarks/overhead.py``).
* Without a profile, or for what it has no line for, several cores are taken only where no machine
  we know loses by it; who never tuned is told so once.
* Arrays of a GPU library go to that library's backend: what lies on a GPU stays there.
* In mode "exact" a profile made by ``backends tune`` holds none but backends that keep every bit
  of elementwise and special functions.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from backends import position, profile, registry
from backends.backend import Backend, in_one_piece
from backends.errors import BackendUnavailableError, users_level
from backends.kernel import Arrays, Call, Kernel
from backends.lookup import (
    NEVER,
    Layout,
    Table,
    caller_of_elements,
    caller_of_matrices,
    owner_of,
)
from backends.position import DTYPES, LAYOUTS, Position
from backends.profile import Choice, Key

__all__ = ["AutoBackend", "Decision"]

#: From which size, without a profile: elements, orders, elements of stacks. Some five times what
#: `backends tune` finds for the kernel with the least work, on two cores.
CONSERVATIVE = {"contiguous": 100_000, "strided": 100_000}
CONSERVATIVE_BLAS = {"contiguous": 500, "strided": 500, "small_stack": 10**6, "stack": 10**5}


class Decision(NamedTuple):
    """What is chosen for a call, and by what.

    Attributes
    ----------
    backend : str
        Its name.
    n_jobs : int
        Its jobs.
    reason : str
        Why.
    place : Position or None
        Where the call stands among what was measured, if it is like anything that was.
    key : Key or None
        The line of the profile that was used.
    """

    backend: str
    n_jobs: int
    reason: str
    place: Position | None = None
    key: Key | None = None


class AutoBackend(Backend):
    """Chooses a backend for each call; see the module.

    Parameters
    ----------
    n_jobs : int
        The most jobs that are used, with joblib's meaning.
    mode : {"exact", "fast"}
        Whether backends and loops may be chosen that are not bit for bit the reference.

    Examples
    --------
    >>> import backends, warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # where nobody has tuned yet, it says so once
    ...     backends.sqrt([1.0, 4.0], backend="auto")
    array([1., 2.])
    """

    name = "auto"
    takes_mode = True

    def __init__(self, n_jobs: int = -1, *, mode: str = "exact") -> None:
        super().__init__(n_jobs)
        self.mode = mode
        self._callers: dict[Kernel, Call] = {}
        self.profile, self._problem = profile.current()

    @property
    def label(self) -> str:
        """What tables call it."""
        return self.name if self.mode == "exact" else f"{self.name} ({self.mode})"

    def divides(self, kernel: Kernel, *arrays: Any) -> bool:
        """Tell whether the backend that it chooses would share the work."""
        decision = self.decide(kernel, arrays)
        chosen = registry.get(decision.backend, decision.n_jobs, mode=self.mode)
        return chosen.divides(kernel, *arrays)

    def run(self, kernel: Kernel, *arrays: Any, out: Any = None) -> Any:
        """Compute on the backend that is chosen; see :meth:`backends.backend.Backend.run`."""
        return self.call(kernel, arrays, out)

    def call(self, kernel: Kernel, arrays: Arrays, out: Any) -> Any:
        """Do as :meth:`run`, arguments unpacked."""
        return self.caller(kernel)(kernel, arrays, out)

    def caller(self, kernel: Kernel) -> Call:
        """Give the look-up of one kernel, which calls what it finds."""
        found = self._callers.get(kernel)
        if found is None:
            found = self._callers[kernel] = self._prepare(kernel)
        return found

    def asarray(self, x: Any) -> Any:
        """Leave an array where it is."""
        owner = owner_of((x,))
        return np.asarray(x) if owner is None else x

    def to_numpy(self, x: Any) -> np.ndarray[Any, Any]:
        """Bring `x` to ordinary memory."""
        owner = owner_of((x,))
        return np.asarray(x) if owner is None else registry.get(owner).to_numpy(x)

    def decide(self, kernel: Kernel, arrays: Sequence[Any]) -> Decision:
        """Say what a call would run on, and why; slowly, the call itself takes a short cut.

        Parameters
        ----------
        kernel : Kernel
            What is called.
        arrays : sequence of array_like
            With what.
        """
        owner = owner_of(arrays)
        if owner is not None:
            engine = registry.get(owner, mode=self.mode)
            return Decision(owner, engine.n_jobs, f"the arrays are {owner}'s, and stay there")
        place = position.of(kernel, arrays)
        if place is None:
            reason = f"nothing like these arguments is tuned ({', '.join(DTYPES)} are)"
            return Decision("numpy", 1, reason)
        key, steps = self._steps(kernel, place.dtype, place.layout)
        index = bisect_right([step.start for step in steps], place.size)
        if self.profile is None:
            source = "cautiously, without a profile"
        elif key is None:
            source = (
                f"cautiously, since the profile has no {kernel.name} of {place.dtype}, "
                f"{place.layout} (`backends tune --kernel {kernel.name}`)"
            )
        else:
            source = f"by the profile, [{key.mode}.{key.dtype}.{key.layout}] {kernel.name}"
        if index == 0:
            below = f", below {steps[0].start:,}" if steps else ""
            return Decision("numpy", 1, f"{source}: numpy{below}", place, key)
        step = steps[index - 1]
        chosen = self._backend(kernel, step)
        if chosen is None:
            missing = registry.reasons().get(step.backend)
            why = missing or "which gains nothing with one job"
            reason = f"{source}: {step.backend} from {step.start:,}, {why}"
            return Decision("numpy", 1, reason, place, key)
        reason = f"{source}: {step.backend} from {step.start:,}"
        return Decision(chosen.name, chosen.n_jobs, reason, place, key)

    def _steps(
        self, kernel: Kernel, dtype: str, layout: str
    ) -> tuple[Key | None, Sequence[Choice]]:
        if self.profile is not None:
            found = self.profile.find(self.mode, kernel.name, Position(dtype, layout, 0))
            if found is not None:
                return found
        start = (CONSERVATIVE_BLAS if kernel.blas else CONSERVATIVE).get(layout)
        if start is None:
            return None, ()
        # The thread pool takes longer to begin than the team.
        steps = Choice(start, "openmp", self.n_jobs), Choice(10 * start, "threads", self.n_jobs)
        return None, next(([step] for step in steps if self._backend(kernel, step)), [])

    def _backend(self, kernel: Kernel, step: Choice) -> Backend | None:
        """Give the backend of a choice, or None where it cannot be had."""
        jobs = min(step.n_jobs, self.n_jobs)
        if jobs < 2 <= step.n_jobs and self.mode == "exact":
            return None
        try:
            engine = registry.get(step.backend, jobs, mode=self.mode)
            return engine if engine.supports(kernel) is True else None
        except BackendUnavailableError:
            return None

    def _prepare(self, kernel: Kernel) -> Call:
        """Make the look-up of one kernel."""
        if self.profile is None and not self._problem and self.n_jobs > 1:  # others are said before
            _say_untuned()
        tables: dict[Any, Table] = {}
        for dtype in DTYPES:
            layouts = []
            for layout in LAYOUTS:
                _, steps = self._steps(kernel, dtype, layout)
                layouts.append(self._layout(kernel, layout, steps))
            tables[np.dtype(dtype)] = Table(min(each.least for each in layouts[:2]), *layouts)
        if kernel.blas:
            return caller_of_matrices(tables, self.mode)
        return caller_of_elements(tables, self.mode)

    def _layout(self, kernel: Kernel, layout: str, steps: Sequence[Choice]) -> Layout:
        # Matrices are looked up by their volume, which needs no root.
        cube = kernel.blas and layout in ("contiguous", "strided")
        sizes = [step.start**3 if cube else step.start for step in steps]
        calls: list[Call] = [in_one_piece]
        for index, step in enumerate(steps, start=1):
            calls.append(self._first(calls, index, step))
        return Layout(sizes[0] if sizes else NEVER, sizes, calls)

    def _first(self, calls: list[Call], index: int, step: Choice) -> Call:
        """Give what starts a backend when it is first needed: a library may take seconds."""

        def first(kernel: Kernel, arrays: Arrays, out: Any) -> Any:
            engine = self._backend(kernel, step)
            if engine is None and min(step.n_jobs, self.n_jobs) > 1:
                _say_missing(kernel, step)
            calls[index] = in_one_piece if engine is None else engine.call
            return calls[index](kernel, arrays, out)

        return first

    def __repr__(self) -> str:
        return f"<backend {self.name}, n_jobs={self.n_jobs}, mode={self.mode}>"


@cache
def _say_untuned() -> None:
    warnings.warn(
        "backend auto is cautious, since this machine was never tuned: `backends tune` measures "
        "what is fastest where, once",
        stacklevel=users_level(),
    )


def _say_missing(kernel: Kernel, step: Choice) -> None:
    reason = registry.reasons().get(step.backend) or f"it has no {kernel.name}"
    warnings.warn(
        f"the tuned profile names backend {step.backend!r} for {kernel.name}, which cannot run "
        f"here: {reason}. numpy is used instead; `backends tune` makes a new profile",
        stacklevel=users_level(),
    )
