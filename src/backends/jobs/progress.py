"""A bar on stderr: how many jobs are done, how many a second, how long it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Bar", "shown"]

#: Seconds between two changes of the bar: jobs may be done by the thousand.
PAUSE = 0.1


class Bar(Protocol):
    """What is told of jobs."""

    def done(self) -> None:
        """One job is done, well or not."""

    def skipped(self) -> None:
        """One job need not be done."""


@contextmanager
def shown(total: int | None, wanted: bool | None) -> Iterator[Bar]:
    """Show a bar for `total` jobs while a block runs.

    Parameters
    ----------
    total : int or None
        None where nobody knows how many there will be.
    wanted : bool or None
        None: where stderr is a terminal.
    """
    if wanted is None:
        wanted = sys.stderr is not None and sys.stderr.isatty()
    if not wanted:
        yield _Nothing()
        return
    bar = _Rich(total)
    try:
        yield bar
    finally:
        bar.close()


class _Nothing:
    def done(self) -> None:
        pass

    skipped = done


class _Rich:
    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            """Jobs a second, over the last half minute."""

            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text("" if speed is None else f"{speed:.3g}/s", style="progress.data.speed")

        self._bar = Progress(
            TextColumn("jobs"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True, force_terminal=True),
            # What a program prints to a file must not go to the terminal.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("", total=total)
        self._total, self._done, self._said = total, 0, time.monotonic()
        self._bar.start()

    def done(self) -> None:
        self._done += 1
        if time.monotonic() > self._said + PAUSE:
            self._say()

    def skipped(self) -> None:
        # Not counted as done: the rate would be that of jobs which take no time.
        if self._total is not None:
            self._total -= 1

    def close(self) -> None:
        self._say()
        self._bar.stop()

    def _say(self) -> None:
        self._said = time.monotonic()
        self._bar.update(self._task, completed=self._done, total=self._total)
