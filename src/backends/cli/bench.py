"""The command ``bench``: how fast each kernel is on each backend."""

from __future__ import annotations

import math
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backends import catalogue, listing, machine, registry
from backends.backend import Backend, check_jobs
from backends.bench import cases, ceilings, record, report, suite
from backends.bench.conditions import Watch
from backends.bench.record import Ceilings, Conditions, Record, RecordError, Row, Way
from backends.cli.common import (
    INTERRUPTED,
    INVALID,
    console,
    errors,
    keep_what_is_done,
    progress_bar,
    read_dtype,
    read_size,
    split,
)
from backends.errors import BackendUnavailableError, UnknownNameError, suggest

__all__ = ["DeviceOnly", "bench_command"]

#: The default of `--time`: starting, ending and the least rounds of slow kernels come on top of it,
#: and the whole is to be over within a minute.
SECONDS = 45.0
#: Share of the time for measuring the machine's ceilings, and the most seconds.
CEILINGS, MOST_CEILINGS = 0.05, 2.0
#: Chooses among the others: timed when asked for.
CHOOSER = "auto"

#: An option that `bench` and `report` have.
DeviceOnly = Annotated[
    bool,
    typer.Option(
        "--device-only",
        help="Show compute alone for backends that move arrays (to a GPU, to shared memory) "
        "instead of what a call with NumPy arrays costs. Both are always measured.",
    ),
]


def bench_command(
    kernel: Annotated[
        list[str] | None,
        typer.Argument(help="Kernels to time, as `backends list` names them; all if none."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            "--backend",
            "-b",
            help="Backends to compare with numpy, repeated or with commas; `all` (the default) "
            f"for those that can run here, {CHOOSER} aside.",
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            "-s",
            help="Elements, or the order n of matrices: `1e6`, repeated or with commas. Each "
            "kernel has a default.",
        ),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option("--dtype", "-d", help="float64 (the default), float32, complex128."),
    ] = None,
    n_jobs: Annotated[
        int | None,
        typer.Option("--n-jobs", "-j", help="Jobs, with joblib's meaning: -1 is all cores."),
    ] = None,
    time: Annotated[
        float, typer.Option("--time", "-t", min=0.0, help="Seconds for the whole bench, about.")
    ] = SECONDS,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the results; your data folder if left out."),
    ] = None,
    out: Annotated[
        bool, typer.Option("--out", help="Time calls into a given array too: `out=`.")
    ] = False,
    cold: Annotated[
        bool, typer.Option("--cold", help="Time calls with nothing in the caches too.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON instead of tables.")
    ] = False,
    device_only: DeviceOnly = False,
) -> None:
    """Time kernels on every backend, check the results, and say which to choose.

    Examples: `backends bench`, `backends bench sin erf --size 1e7`,
    `backends bench matmul --size 500,1000,2000 --backend openmp,threads`.
    """
    with errors():
        if not math.isfinite(time):
            raise ValueError(f"--time {time}: give a number of seconds")
        target = record.prepare(output)
        sizes = [read_size(text) for text in split(size)]
        dtypes = [read_dtype(text) for text in split(dtype)] or ["float64"]
        backends = _backends(split(backend), n_jobs)
        planned, skipped = cases.plan(split(kernel), sizes, dtypes)
        if not planned:
            raise ValueError(f"there is nothing to measure: {'; '.join(skipped)}")
        asked: dict[Way, bool] = {"out": out, "cold": cold}
        ways = [way for way in asked if asked[way]]
        done = _measure(planned, backends, ways, seconds=time)
        if not done.rows or done.ceilings is None or done.conditions is None:
            console(stderr=True).print("backends: interrupted before anything was measured")
            raise typer.Exit(INTERRUPTED)
        measured = Record(
            schema=record.SCHEMA,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            n_jobs=_jobs(backends),
            seconds=time,
            imports={b.label: b.import_seconds for b in backends if b.import_seconds},
            universal=[backend.label for backend in backends if listing.has_all(backend)],
            complete=done.complete,
            machine=machine.describe(),
            conditions=done.conditions,
            ceilings=done.ceilings,
            rows=done.rows,
            skipped=skipped,
        )
    failure: RecordError | None = None
    try:
        record.write(measured, target)
    except RecordError as error:
        failure = error  # What was measured is shown all the same.
    if json:
        sys.stdout.write(record.encode(measured).decode())
    else:
        report.show(measured, console(), device_only=device_only)
    with errors():
        if failure is not None:
            raise failure
        console(stderr=True).print(f"saved: {target}", style="dim", soft_wrap=True)
    if not done.complete:
        raise typer.Exit(INTERRUPTED)
    if any(r.status in ("invalid", "failed") for row in done.rows for r in row.results):
        raise typer.Exit(INVALID)


@dataclass
class _Done:
    """What was measured, as far as it came."""

    rows: list[Row] = field(default_factory=list)
    ceilings: Ceilings | None = None
    conditions: Conditions | None = None
    complete: bool = False


def _measure(
    planned: Sequence[cases.Case],
    backends: Sequence[Backend],
    ways: Sequence[Way],
    *,
    seconds: float,
) -> _Done:
    """Time the cases under a progress bar; Ctrl-C ends it and keeps the finished rows."""
    done = _Done()
    watch = None
    keep_what_is_done()
    progress = progress_bar()
    end = time.perf_counter() + seconds
    try:
        with progress:
            bar = progress.add_task("ceilings".ljust(18), total=len(planned))
            watch = Watch()
            share = min(CEILINGS * seconds, MOST_CEILINGS)
            done.ceilings = ceilings.measure(_jobs(backends), share)
            for count, case in enumerate(planned):
                progress.update(bar, description=f"{case.kernel.name} {case.case}".ljust(18))
                # What one case takes more than its share, the others have less.
                share = max(end - time.perf_counter(), 0.0) / (len(planned) - count)
                done.rows.append(
                    suite.measure(case, backends, seconds=share, ways=ways, ceilings=done.ceilings)
                )
                progress.advance(bar)
        done.complete = True
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left to do is to save, and soon over
    if watch is not None:
        done.conditions = watch.stop()
    return done


def _jobs(backends: Sequence[Backend]) -> int:
    return max((backend.n_jobs for backend in backends), default=1)


def _backends(names: Sequence[str], n_jobs: int | None) -> list[Backend]:
    if n_jobs is not None:
        check_jobs(n_jobs)
    known = catalogue.names()
    for name in names:
        if name not in (*known, "all"):
            raise UnknownNameError(suggest(name, known, what="backend"))
    asked = [name for name in names if name != "all"]
    others = [] if asked and "all" not in names else _available()
    backends, notes = [], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in dict.fromkeys([*others, *asked]):
            try:
                if name != record.BASELINE:
                    found = registry.get(name, n_jobs, mode="exact")
                    backends.append(found)
                    if found.takes_mode:
                        backends.append(registry.get(name, n_jobs, mode="fast"))
            except BackendUnavailableError as error:
                if name in asked:
                    raise
                notes.append(str(error))
    for text in dict.fromkeys([*notes, *(str(warning.message) for warning in caught)]):
        console(stderr=True).print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)
    return backends


def _available() -> list[str]:
    return [name for name in registry.available() if name != CHOOSER]
