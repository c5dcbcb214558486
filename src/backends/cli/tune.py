"""The command ``tune``: which backend wins where, measured once and kept; and whether it holds."""

from __future__ import annotations

import math
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

import filelock
import typer
from rich.table import Table

from backends import config, measurements, profile
from backends.bench import check, curves, tune
from backends.bench.check import Checked
from backends.bench.conditions import Watch
from backends.bench.curves import Curve
from backends.bench.heading import disturbances
from backends.bench.tune import Tuned
from backends.cli.common import (
    INTERRUPTED,
    INVALID,
    console,
    errors,
    keep_what_is_done,
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
            _check(plan, seconds=time)
        else:
            _tune(plan, seconds=time)


def _tune(plan: Sequence[Curve], *, seconds: float) -> None:
    with _alone():
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
        saved = _save(found)
    out = console()
    out.print(disturbed, soft_wrap=True)
    _show_table(found, saved)
    _show_winners(found)
    for note in dict.fromkeys(note for each in found for note in each.notes):
        out.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    _show_unclear(found, plan, seconds, complete=complete)
    out.print(f"saved: {saved.path}", style="dim", markup=False, soft_wrap=True)
    example = next(each for each in found if each.points).curve.kernel.name
    out.print(
        "In force from now on: backend auto, which goes by it, is the default where nothing else "
        f"is chosen. `backends explain {example} --size 1e6` shows a choice and its reasons. To "
        'go back, delete the file, or choose backend = "numpy".',
        markup=False,
    )
    if not complete:
        raise typer.Exit(INTERRUPTED)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait while another run measures: they would spoil each other's times."""
    folder = profile.folder()
    folder.mkdir(parents=True, exist_ok=True)
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
    found: list[Tuned] = []
    keep_what_is_done()
    progress = progress_bar()
    try:
        with progress:
            bar = progress.add_task("starting", total=len(plan))
            for each in tune.tune(plan, seconds=seconds):
                found.append(each)
                ahead = plan[min(len(found), len(plan) - 1)]
                text = f"{ahead.kernel.name} {ahead.dtype}".ljust(20)
                progress.update(bar, description=text, advance=1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left to do is to save, and soon over
        if not found:
            return found, False
        console(stderr=True).print(
            f"backends: interrupted: {len(found)} of {len(plan)} curves are kept, the others stay "
            "as they were"
        )
        return found, False
    return found, True


def _save(found: Sequence[Tuned]) -> Profile:
    file = profile.path()
    choices: Mapping[Key, Sequence[Choice]] = {}
    points: list[Point] = []
    if file.exists():
        try:
            old = profile.read(file)
        except profile.ProfileError as error:
            text = f"note: {error}. A new profile takes its place"
            console(stderr=True).print(text, style="yellow", markup=False, soft_wrap=True)
        else:
            choices = old.choices
            points = measurements.read(file, old.created)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return profile.write(created, *tune.merge(found, choices, points))


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
            own = each.choices
            key = Key(mode, *each.curve[1:], each.curve.kernel.name)
            steps = own.get(key, own[key._replace(mode="exact")])
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
        text = f"  {each.curve.kernel.name} {each.curve.dtype} {each.curve.layout}: {each.unclear}"
        out.print(text, markup=False, soft_wrap=True)
    if len(unclear) > LISTED:
        out.print(f"  ... and {len(unclear) - LISTED} more")
    if complete:
        enough = _enough(found, plan, seconds)
        out.print(f"What is unclear stays numpy; --time {enough} would do, about.")


def _enough(found: Sequence[Tuned], plan: Sequence[Curve], seconds: float) -> int:
    return math.ceil(tune.enough_time(found, len(plan), seconds) / 10) * 10


def _check(plan: Sequence[Curve], *, seconds: float) -> None:
    current = profile.current()
    if current.profile is None:
        raise ValueError(
            current.problem or "this machine has no profile yet: run `backends tune` first"
        )
    tuned = measurements.read(current.profile.path, current.profile.created)
    modes = list(dict.fromkeys(("exact", config.current().mode.value)))
    cases = check.plan(plan, tuned, modes)
    found: list[Checked] = []
    keep_what_is_done()
    progress = progress_bar()
    complete = True
    try:
        with progress:
            bar = progress.add_task("starting", total=len(cases))
            for each in check.measure(cases, seconds=seconds):
                found.append(each)
                progress.update(bar, description=each.case.curve.kernel.name.ljust(12), advance=1)
    except KeyboardInterrupt:
        complete = False
    if found:
        _show_check(found, len(cases), seconds)
    if not complete:
        raise typer.Exit(INTERRUPTED)
    if not found:
        raise ValueError(f"--time {seconds:g} is too little to measure one point")
    if check.failures(found):
        raise typer.Exit(INVALID)


def _show_check(found: Sequence[Checked], planned: int, seconds: float) -> None:
    out = console()
    out.print(f"Backend auto at {len(found)} points that were not measured before", style="bold")
    if len(found) < planned:
        enough = math.ceil(seconds * planned / len(found) / 10) * 10
        out.print(f"of {planned}; --time {enough} would do for all, about", style="yellow")
    raw = math.exp(sum(math.log(each.raw) for each in found) / len(found))
    out.print(
        f"Against the best single backend of each point, in the geometric mean: "
        f"{_percent(check.mean_loss(found))} slower, "
        f"{_percent(check.mean_loss(found, beyond_noise=True))} beyond noise (limit "
        f"{_percent(check.MEAN)}; {_percent(raw)} before the best was measured once more, which "
        "is too much: of noisy times the least is taken)",
        soft_wrap=True,
    )
    _show_points("Worst points", sorted(found, key=lambda each: -each.beyond_noise)[:LISTED])
    slower = sorted((e for e in found if e.is_slower), key=lambda each: -each.slower.low)
    out.print(f"Slower than plain NumPy beyond noise and what is allowed: {len(slower)} points")
    if slower:
        _show_points("The worst of them", slower[:LISTED])
    for text in check.failures(found):
        out.print(f"backends: auto is {text}", style="red", markup=False, soft_wrap=True)


def _show_points(title: str, points: Sequence[Checked]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("call")
    for column in ("size", "NumPy us", "best", "slower than best", "than NumPy"):
        table.add_column(column, justify="right")
    for each in points:
        curve = each.case.curve
        table.add_row(
            f"{curve.kernel.name} {curve.dtype} {curve.layout} {each.case.mode}",
            *(f"{each.case.size:,}", f"{each.seconds * 1e6:,.1f}", each.oracle),
            f"{_percent(each.loss.low)} to {_percent(each.loss.high)}",
            f"{_percent(each.slower.low)} to {_percent(each.slower.high)}",
        )
    console().print(table)


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):.1f}%"
