"""The command ``tune``: which backend wins where, measured once and kept; and whether it holds."""

from __future__ import annotations

import math
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import filelock
import typer
from rich.table import Table

from backends import files, measurements, profile
from backends.backend import count_jobs
from backends.bench import curves, tune
from backends.bench.conditions import Watch
from backends.bench.curves import Curve
from backends.bench.heading import disturbances
from backends.bench.tune import Tuned
from backends.cli.check import check_profile
from backends.cli.common import (
    INTERRUPTED,
    INVALID,
    console,
    errors,
    keep_what_is_done,
    note,
    progress_bar,
    split,
)
from backends.measurements import Point
from backends.profile import Choice, Key, Profile

__all__ = ["tune_command"]

#: Curves that are listed one by one.
LISTED = 10


def tune_command(
    kernel: Annotated[
        list[str] | None,
        typer.Option(
            "--kernel",
            "-k",
            help="Kernels to tune, repeated or with commas; all if left out. What the profile "
            "says about others is kept.",
        ),
    ] = None,
    time: Annotated[
        float, typer.Option("--time", "-t", min=0.0, help="Seconds for all of it, about.")
    ] = 180.0,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Tune nothing: measure whether backend auto is as fast as the best backend, and "
            "never slower than plain NumPy, at sizes that were not measured.",
        ),
    ] = False,
) -> None:
    """Measure which backend wins from which size on, and keep it for backend auto.

    Examples: `backends tune`, `backends tune --kernel sin,matmul --time 20`,
    `backends tune --check`.
    """
    with errors():
        if not math.isfinite(time):
            raise ValueError(f"--time {time}: give a number of seconds")
        plan = curves.plan(split(kernel))
        if check:
            check_profile(plan, seconds=time)
        else:
            _tune(plan, seconds=time)


def _tune(plan: Sequence[Curve], *, seconds: float) -> None:
    _refuse_limits()
    with _alone():
        old = _old()
        watch = Watch()
        found, complete = _measure(plan, seconds=seconds)
        disturbed = disturbances(watch.stop())
        if not any(each.points for each in found):
            text = "interrupted: nothing is saved"
            if complete:
                enough = _enough(found, plan, seconds)
                text = f"no time to measure anything: nothing is saved. --time {enough} would do"
            console(stderr=True).print(f"backends: {text}")
            raise typer.Exit(INVALID if complete else INTERRUPTED)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        saved = profile.write(created, *tune.merge(found, *old))
    out = console()
    _show_table(found, saved)
    _show_winners(found)
    for text in dict.fromkeys(text for each in found for text in each.notes):
        note(text)
    _show_unclear(found, plan, seconds, complete=complete)
    out.print(f"saved: {saved.path}", style="dim", markup=False, soft_wrap=True)
    out.print(disturbed, soft_wrap=True)
    if not complete:
        text = (
            f"backends: interrupted: {len(found)} of {len(plan)} curves are kept, the others stay "
            "as they were; the same command tunes all of them again, --kernel some"
        )
        console(stderr=True).print(text, soft_wrap=True, markup=False)
        raise typer.Exit(INTERRUPTED)
    example = next(each for each in found if each.points).curve.kernel.name
    out.print(
        "In force from now on: backend auto, which goes by it, is the default where nothing else "
        f"is chosen. `backends explain {example} --size 1e6` shows a choice and its reasons. To "
        'go back, delete the file, or choose backend = "numpy".',
        markup=False,
        soft_wrap=True,
    )


@contextmanager
def _alone() -> Iterator[None]:
    """Wait while another run measures: they would spoil each other's times."""
    folder = profile.folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.try_folder(folder)
    except OSError as error:
        raise ValueError(
            f"profiles cannot be written to {folder}: {error.strerror}. Make it writable, or (on "
            "Linux) set XDG_DATA_HOME to a folder that is, wherever kernels run too"
        ) from None
    lock = filelock.FileLock(folder / "tune.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        text = "another `backends tune` is running: waiting for it (Ctrl-C gives up)"
        console(stderr=True).print(text, style="yellow")
        try:
            lock.acquire()
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
    try:
        yield
    finally:
        lock.release()


def _measure(plan: Sequence[Curve], *, seconds: float) -> tuple[list[Tuned], bool]:
    """Measure under a progress bar; Ctrl-C ends it and keeps the finished curves."""
    known: dict[Curve, Tuned] = {}
    keep_what_is_done()
    progress = progress_bar()
    try:
        with progress:
            bar = progress.add_task("starting", total=len(plan))
            for each in tune.tune(plan, seconds=seconds):
                new = each.curve not in known
                known[each.curve] = each
                ahead = plan[min(len(known), len(plan) - 1)] if new else each.curve
                text = f"{ahead.kernel.name} {ahead.dtype}".ljust(20)
                progress.update(bar, description=text, advance=int(new))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left to do is to save, and soon over
        return list(known.values()), False
    return list(known.values()), True


def _old() -> tuple[Mapping[Key, Sequence[Choice]], list[Point]]:
    """Read what this machine's profile says."""
    file = profile.path()
    if not file.exists():
        return {}, []
    try:
        old = profile.read(file)
    except profile.ProfileError as error:
        kept = file.with_suffix(".toml.bak")
        kept.write_bytes(file.read_bytes())
        note(f"{error}. A new profile takes its place; this one is kept as {kept.name}")
        return {}, []
    return old.choices, measurements.read(file, old.created)


def _refuse_limits() -> None:
    """Refuse to tune for fewer cores than the profile will say that it is for."""
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    cores = count_jobs(-1)
    if text.isdecimal() and 0 < int(text) < cores:
        raise ValueError(
            f"OMP_NUM_THREADS={text} lets the engines use {text} of the {cores} cores, and the "
            "profile would be for that: unset it to tune; it is obeyed wherever kernels run"
        )


def _show_table(found: Sequence[Tuned], saved: Profile) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("kernel", "mode exact", "mode fast"):
        table.add_column(column)
    table.add_column("gain", justify="right")
    for each in found:
        if (each.curve.dtype, each.curve.layout) != ("float64", "contiguous") or not each.points:
            continue
        cells = []
        for mode in profile.MODES:
            own = saved.choices
            key = Key(mode, *each.curve[1:], each.curve.kernel.name)
            steps = own.get(key, own.get(key._replace(mode="exact"), ()))
            text = ", ".join(f"{s.backend} {s.n_jobs} from {s.start:,}" for s in steps)
            cells.append(text or "numpy")
        gains = [f"{each.gain(mode):.1f}x" for mode in profile.MODES]
        table.add_row(each.curve.kernel.name, *cells, " / ".join(gains))
    if table.row_count:
        out = console()
        out.print("float64, contiguous: backend, jobs, and from which size", style="bold")
        out.print(table)
        out.print(
            "Sizes are elements, or the order of matrices; gain is over numpy at the largest size "
            "measured, in mode exact / fast.",
            style="dim",
            soft_wrap=True,
        )


def _show_winners(found: Sequence[Tuned]) -> None:
    for mode in profile.MODES:
        count = Counter(each.winner(mode).backend for each in found if each.points)
        text = ", ".join(f"{name} {number}" for name, number in count.most_common())
        console().print(f"Curves by their winner at the largest size, mode {mode}: {text}")


def _show_unclear(
    found: Sequence[Tuned], plan: Sequence[Curve], seconds: float, *, complete: bool
) -> None:
    unclear = [each for each in found if each.unclear]
    if not unclear:
        return
    out = console()
    out.print(f"unclear: {len(unclear)} of {len(plan)} curves", style="yellow")
    for each in unclear[:LISTED]:
        text = f"  {' '.join((each.curve.kernel.name, *each.curve[1:]))}: {each.unclear}"
        out.print(text, markup=False, soft_wrap=True)
    if len(unclear) > LISTED:
        out.print(f"  ... and {len(unclear) - LISTED} more")
    if complete:
        enough = _enough(found, plan, seconds)
        out.print(
            "What is unclear stays as an older profile had it, or goes by what was certain; "
            f"--time {enough} would do, about.",
            soft_wrap=True,
        )


def _enough(found: Sequence[Tuned], plan: Sequence[Curve], seconds: float) -> int:
    return math.ceil(tune.enough_time(found, len(plan), seconds) / 10) * 10
