"""The two sides of a comparison: processes that are plain, and processes that are installed.

Each writes a log of one JSON object a line, flushed line by line, so that what crashes or hangs
is known to its parent.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["SIDES", "Log", "enter", "mend", "parallel", "records", "watch"]

SIDES = ("plain", "installed")
HERE = Path(__file__).parent
Record = dict[str, Any]


def enter(side: str) -> None:
    """Make this process one of `side`, as nearly alike as can be: both import the same modules."""
    import scipy.special  # noqa: F401

    import backends
    from backends import accelerate

    if side == "installed":
        accelerate.count(True)
        backends.install(mode="exact", n_jobs=2, threshold=1)


def parallel() -> dict[str, int]:
    """Give the functions of which a loop ran in parallel in this process, and how many calls."""
    from backends import accelerate

    return {count.function: count.parallel for count in accelerate.counts() if count.parallel}


class Log:
    """A file of records, each of which is there when `write` returns."""

    def __init__(self, path: str | Path) -> None:
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 (as long as the process)

    def write(self, **record: object) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def begin(self, **record: object) -> None:
        """Write a record's first part: what is known if this process dies now."""
        self._file.write(json.dumps(record)[:-1])
        self._file.flush()

    def finish(self, **record: object) -> None:
        """Write the rest of the record that was begun."""
        self._file.write(", " + json.dumps(record)[1:] + "\n")
        self._file.flush()


def mend(path: Path, how: str) -> str:
    """Finish the record that a process left when it died; give it, or nothing."""
    with path.open("a+", encoding="utf-8") as file:
        file.seek(0)
        left = file.read().rpartition("\n")[2]
        if left:
            file.write(', "ended": ' + json.dumps(how) + "}\n")
    return left


def records(path: Path) -> list[Record]:
    """Read a log; a line that was being written when its process died is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def watch(
    command: list[str | Path],
    log: Path,
    *,
    patience: float,
    folder: Path,
    environment: dict[str, str],
    tell: Callable[[float], None] = lambda seconds: None,
) -> tuple[str, str]:
    """Run `command` in `folder`; say how it ended, and the last that it printed.

    It ``ended (status)``, ``crashed`` (by a signal, which is named) or ``hung``: its log did not
    grow for `patience` seconds, so it was killed. `tell` is called every second.
    """
    output = log.with_suffix(".output")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BACKENDS_", "PYTEST_"))
    }
    environment = {
        **kept,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(HERE),
        "PYTHONFAULTHANDLER": "1",
        # As in an activated environment: some tests build extensions.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")]),
        **environment,
    }
    start = grown = time.monotonic()
    size, hung = -1, False
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    now = time.monotonic()
                    tell(now - start)
                    length = log.stat().st_size if log.exists() else 0
                    if length != size:
                        size, grown = length, now
                    elif now - grown > patience:
                        # Its own handler then prints where every thread stands.
                        process.send_signal(signal.SIGTERM if hung else signal.SIGABRT)
                        hung, patience, grown = True, 5.0, now
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    tail = output.read_text(encoding="utf-8", errors="replace")[-6000:]
    if hung:
        return "hung", tail
    if status < 0:
        return f"crashed ({signal.Signals(-status).name})", tail
    return f"ended ({status})", tail
