"""One call of :func:`backends.map`: jobs handed out, results in order or as they come, failures."""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from backends.backend import Backend
from backends.cores import usable
from backends.errors import Failure, JobsFailedError, WorkerDiedError
from backends.jobs import packing, progress, room
from backends.jobs.checkpoint import Checkpoint
from backends.jobs.job import Job, Outcome
from backends.jobs.slots import Slots
from backends.jobs.stream import Parallel, ended_with_the_program

__all__ = ["IN_PROCESS", "ON_MACHINE", "Run"]

#: Backends whose jobs run in the caller's process, and those whose jobs run on its machine.
IN_PROCESS = ("numpy", "threads")
ON_MACHINE = (*IN_PROCESS, "joblib")


@dataclass
class Run:
    """One call, its arguments checked; see :func:`backends.map`."""

    func: Callable[[Any], Any]
    items: Iterable[Any]
    engine: Backend
    needed: int | None
    io_jobs: int | None
    checkpoint: Checkpoint | None
    ordered: bool
    shown: bool | None

    def results(self) -> Generator[Any, None, None]:
        """Do the jobs, and give what they gave."""
        try:
            yield from self._results()
        except BrokenProcessPool as error:
            raise self._explain(error) from error
        except WorkerDiedError as error:
            raise WorkerDiedError(f"{error}. {self._what_is_lost()}") from error

    def _results(self) -> Generator[Any, None, None]:
        self.under_way: dict[int, Any] = {}
        self.before: deque[Outcome] = deque()
        with ExitStack() as stack:
            given = {"n_jobs": usable(), **stack.enter_context(self.engine.jobs())}
            job = self._job(given, stack)
            if self.checkpoint is not None:
                self.checkpoint.open(self.func)
                stack.callback(self.checkpoint.close)
            total = len(self.items) if isinstance(self.items, Sized) else None
            bar = stack.enter_context(progress.shown(total, self.shown))
            parallel = Parallel(**given)
            outcomes = stack.enter_context(closing(self._outcomes(parallel, job, bar)))
            give = self._in_order if self.ordered else self._as_they_come
            for result in give(outcomes, parallel):
                ended_with_the_program().add(stack)
                yield result

    def _job(self, given: dict[str, Any], stack: ExitStack) -> Job:
        """Make what workers call, and bound how many do so at once, in `given`."""
        name = f"backends-{uuid4().hex}"
        is_local = self.engine.name in ON_MACHINE
        memory = None
        if self.needed is not None and is_local:
            given["n_jobs"] = room.jobs_at_once(self.needed, given["n_jobs"])
        elif self.needed is not None:
            memory = room.Room(f"{name}-memory", self.needed)
        io = None if self.io_jobs is None else Slots(f"{name}-io", self.io_jobs)
        for places in (memory, io):
            if places is not None:
                stack.callback(places.remove)
        is_callers = self.engine.name == "joblib"
        return Job(self.func, given["n_jobs"], self.checkpoint, io, memory, is_callers=is_callers)

    def _calls(self, job: Job) -> Iterator[tuple[Job, tuple[Any, ...], dict[str, Any]]]:
        """Give joblib the jobs that are to be done; note those that are."""
        for index, item in enumerate(self.items):
            key = None
            if self.checkpoint is not None:
                key = self.checkpoint.key(item)
                if self.checkpoint.has(key):
                    self.before.append(Outcome(index, key, is_kept=True))
                    continue
            self.under_way[index] = item
            if self.engine.name not in IN_PROCESS and (error := packing.fault(item)):
                self.before.append(Outcome(index, error=error))
                continue
            yield job, (index, key, item), {}

    def _outcomes(
        self, parallel: Parallel, job: Job, bar: progress.Bar
    ) -> Generator[Outcome, None, None]:
        """Give what came of all jobs, in whatever order; those done before come among them."""
        for outcome in parallel.outcomes(self._calls(job)):
            yield from self._done_before(bar)
            bar.done()
            if outcome.is_packed and self.checkpoint is not None and not outcome.is_kept:
                # On another machine, or the worker could not.
                self.checkpoint.put(outcome.key, outcome.value)
                outcome = outcome._replace(value=None, is_kept=True)
            yield outcome
        yield from self._done_before(bar)

    def _done_before(self, bar: progress.Bar) -> Iterator[Outcome]:
        while self.before:
            if self.before[0].is_kept:
                bar.skipped()
            else:  # it could not be sent
                bar.done()
            yield self.before.popleft()

    def _as_they_come(
        self, outcomes: Iterable[Outcome], parallel: Parallel
    ) -> Generator[tuple[int, Any], None, None]:
        failures = []
        count = 0
        for outcome in outcomes:
            count += 1
            item = self.under_way.pop(outcome.index, None)
            if outcome.error is not None:
                failures.append(_failure(outcome.index, item, outcome.error))
            else:
                yield outcome.index, self._value(outcome)
        if failures:
            raise self._failed(failures, count)

    def _in_order(
        self, outcomes: Iterable[Outcome], parallel: Parallel
    ) -> Generator[Any, None, None]:
        failures: list[Failure] = []
        waiting: dict[int, Outcome] = {}
        turn = in_memory = 0
        for outcome in outcomes:
            item = self.under_way.pop(outcome.index, None)
            waiting[outcome.index] = outcome
            in_memory += not outcome.is_kept
            if outcome.error is not None:
                failures.append(_failure(outcome.index, item, outcome.error))
            while turn in waiting and waiting[turn].error is None:
                in_memory -= not waiting[turn].is_kept
                yield self._value(waiting.pop(turn))
                turn += 1
            # Behind a failed job all the others wait, to the end.
            parallel.kept = 0 if turn in waiting else in_memory
        if failures:
            left = [x for x in waiting.values() if x.error is None and not x.is_kept]
            results = {x.index: self._value(x) for x in left}
            raise self._failed(failures, turn + len(waiting), results)

    def _value(self, outcome: Outcome) -> Any:
        if self.checkpoint is not None and outcome.key is not None:
            return self.checkpoint.get(outcome.key)
        return packing.unpack(outcome.value) if outcome.is_packed else outcome.value

    def _failed(
        self, failures: list[Failure], count: int, results: dict[int, Any] | None = None
    ) -> JobsFailedError:
        first = min(failures, key=lambda failure: failure.index)
        error = JobsFailedError(
            f"{len(failures)} of {count} jobs failed; the first with item {first.index}, "
            f"{reprlib.repr(first.item)}: {type(first.exception).__name__}: {first.exception}. "
            "The error's `failures` has all of them, "
            + (
                "`results` what the jobs after the first one gave"
                if self.checkpoint is None
                else "the checkpoint what the others gave: the same call does the failed ones again"
            ),
            failures,
            results,
        )
        error.__cause__ = first.exception
        return error

    def _explain(self, error: BrokenProcessPool) -> Exception:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        if not isinstance(error, TerminatedWorkerError):
            return RuntimeError(f"joblib: a job could not be sent to its worker: {error.__cause__}")
        return WorkerDiedError(
            "joblib: a worker process died in the middle of a job: killed from outside, by an "
            "error in compiled code, or by the system for want of memory (memory_per_job bounds "
            f"how many run at once). {self._what_is_lost()}"
        )

    def _what_is_lost(self) -> str:
        some = ", ".join(reprlib.repr(item) for item in list(self.under_way.values())[:3])
        again = (
            "the checkpoint has what was done before: call again"
            if self.checkpoint is not None
            else "with checkpoint=, what was done before would be kept"
        )
        return f"Jobs under way: {len(self.under_way)}, the first with {some}; {again}"


def _failure(index: int, item: Any, error: BaseException | packing.Thrown) -> Failure:
    caught = error.caught() if isinstance(error, packing.Thrown) else error
    return Failure(index, item, caught)
