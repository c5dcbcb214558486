"""The commands ``bench`` and ``report``: how fast each kernel is, now and when last measured."""

from __future__ import annotations

import math
import signal
import sys
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backends import catalogue, listing, machine, registry
from backends.backend import Backend, check_jobs
from backends.bench import record, report, suite
from backends.bench.record import Record, RecordError, Row
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

__all__ = ["bench_command", "report_command"]

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
            "for those that can run here.",
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
    ] = 60.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the results; your data folder if left out."),
    ] = None,
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
        cases, skipped = suite.plan(split(kernel), sizes, dtypes)
        if not cases:
            raise ValueError(f"there is nothing to measure: {'; '.join(skipped)}")
        rows, complete = _measure(cases, backends, seconds=time)
        if not rows:
            console(stderr=True).print("backends: interrupted before anything was measured")
            raise typer.Exit(INTERRUPTED)
        measured = Record(
            schema=record.SCHEMA,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            n_jobs=max((b.n_jobs for b in backends), default=1),
            seconds=time,
            imports={b.label: b.import_seconds for b in backends if b.import_seconds},
            universal=[backend.label for backend in backends if listing.has_all(backend)],
            complete=complete,
            machine=machine.describe(),
            rows=rows,
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
    if not complete:
        raise typer.Exit(INTERRUPTED)
    if any(r.status in ("invalid", "failed") for row in rows for r in row.results):
        raise typer.Exit(INVALID)


def report_command(
    file: Annotated[
        Path | None, typer.Argument(help="A file saved by `backends bench`; the newest if none.")
    ] = None,
    device_only: DeviceOnly = False,
) -> None:
    """Print the tables of a saved bench again.

    Examples: `backends report`, `backends report results.json --device-only`.
    """
    with errors():
        saved = record.read(file or record.latest())
    report.show(saved, console(), device_only=device_only)


def _measure(
    cases: Sequence[suite.Case], backends: Sequence[Backend], *, seconds: float
) -> tuple[list[Row], bool]:
    """Time the cases under a progress bar; Ctrl-C ends it and keeps the finished rows."""
    rows: list[Row] = []
    keep_what_is_done()
    progress = progress_bar()
    try:
        with progress:
            bar = progress.add_task("starting", total=len(cases))
            for case in cases:
                progress.update(bar, description=f"{case.kernel.name} {case.case}".ljust(18))
                share = seconds / len(cases)
                rows.append(suite.measure(case, backends, seconds=share))
                progress.advance(bar)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left to do is to save, and soon over
        return rows, False
    return rows, True


def _backends(names: Sequence[str], n_jobs: int | None) -> list[Backend]:
    if n_jobs is not None:
        check_jobs(n_jobs)
    known = catalogue.names()
    for name in names:
        if name not in (*known, "all"):
            raise UnknownNameError(suggest(name, known, what="backend"))
    asked = [name for name in names if name != "all"]
    others = [] if asked and "all" not in names else registry.available()
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
