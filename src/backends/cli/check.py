"""What ``tune --check`` prints: whether backend auto is as fast as the best, also between sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import typer
from rich.table import Table

from backends import config, measurements, profile
from backends.bench import check
from backends.bench.check import Checked
from backends.bench.curves import Curve
from backends.cli.common import (
    INTERRUPTED,
    INVALID,
    console,
    keep_what_is_done,
    note,
    progress_bar,
)

__all__ = ["check_profile"]

#: Points that are listed one by one.
LISTED = 10


def check_profile(plan: Sequence[Curve], *, seconds: float) -> None:
    """Measure `auto` where the tuner did not, under a progress bar, and print what was found.

    Raises
    ------
    ValueError
        There is no profile, or no time.
    """
    current = profile.current()
    if current.profile is None:
        raise ValueError(
            current.problem or "this machine has no profile yet: run `backends tune` first"
        )
    tuned = measurements.read(current.profile.path, current.profile.created)
    modes = list(dict.fromkeys(("exact", config.current().mode.value)))
    cases = check.plan(plan, tuned, modes)
    found: list[Checked] = []
    failed: list[str] = []
    keep_what_is_done()
    progress = progress_bar()
    complete = True
    try:
        with progress:
            bar = progress.add_task("starting", total=len(cases))
            for each in check.measure(cases, seconds=seconds):
                progress.advance(bar)
                if isinstance(each, str):
                    failed.append(each)
                else:
                    found.append(each)
                    progress.update(bar, description=each.case.curve.kernel.name.ljust(12))
    except KeyboardInterrupt:
        complete = False
    for text in failed:
        note(text)
    if found:
        _show_check(found, len(cases), seconds)
    if not complete:
        raise typer.Exit(INTERRUPTED)
    if not found:
        raise ValueError(f"--time {seconds:g} is too little to measure one point")
    if failed or check.failures(found):
        raise typer.Exit(INVALID)


def _show_check(found: Sequence[Checked], planned: int, seconds: float) -> None:
    out = console()
    out.print(f"Backend auto at {len(found)} points that were not measured before", style="bold")
    if len(found) < planned:
        enough = math.ceil(seconds * planned / len(found) / 10) * 10
        out.print(f"of {planned}; --time {enough} would do for all, about", style="yellow")
    out.print(
        f"Against the best single backend of each point, geometric mean: "
        f"{_percent(check.mean_loss(found))} slower (limit {_percent(check.MEAN)}), of which "
        f"{_percent(check.mean_loss(found, beyond_noise=True))} are beyond noise",
        soft_wrap=True,
    )
    unclear = sum(each.is_unclear for each in found)
    if unclear:
        out.print(f"Too uncertain to tell whether they keep {_percent(check.WORST)}: {unclear}")
    _show_points(
        f"Worst points (limit {_percent(check.WORST)} beyond noise)",
        sorted(found, key=lambda each: -each.beyond_noise)[:LISTED],
    )
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
