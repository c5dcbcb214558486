"""What looks slower, measured again: both commits in turns, side by side.

Two runs of asv are minutes apart, and a shared machine changes its speed by a third for seconds. So
a pair of processes, one with each commit, takes turns of a fraction of a second: what the machine
does to one, it does to the other. What a process keeps for its life (where its memory lies, on
which core its threads began) is different in the next pair, so a pair counts once.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import IO

import numpy as np

from backends.history.data import HistoryError, Measurement
from backends.history.ratios import Ratio, judge

__all__ = ["install", "ratio", "suite"]

CONFIG = Path("asv.conf.json")
REMEDY = "measuring again needs asv: pip install 'array-backends[asv]'"
#: Turns of each side in a pair: the middle quotient counts, and each side goes first as often. With
#: that of the fastest samples, and 8 turns, pairs of six rows differed by 3 to 8 percent on two
#: shared cores; with medians, or 4 turns, up to 26.
TURNS = 8
#: Pairs before a row is said to be no slower; before it is said to be; and at most.
ACQUIT, CONVICT, MOST = 3, 16, 24
#: Standard deviations of the interval: one in 4,000 is outside on one side. Some dozen rows are
#: measured again in a check, and twenty checks should not raise one alarm.
WIDTH = 3.5


def suite() -> Path:
    """Give the folder of the benchmarks of the repository in the current folder.

    Raises
    ------
    HistoryError
        There is no asv, or no asv.conf.json.
    """
    try:
        from asv.config import Config
    except ImportError:
        raise HistoryError(REMEDY) from None
    if not CONFIG.is_file():
        raise HistoryError(f"there is no {CONFIG} in {Path.cwd()}: go to where asv is run")
    return Path(Config.load(str(CONFIG)).benchmark_dir).resolve()


def install(commit: str, folder: Path) -> None:
    """Install a commit of the repository in the current folder, without what it depends on.

    Raises
    ------
    HistoryError
        It cannot be built.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--target", str(folder), f"git+{Path.cwd().as_uri()}@{commit}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise HistoryError(f"{commit[:8]} cannot be installed to be measured again: {reason}")


def ratio(measured: Measurement, suite: Path, sides: Sequence[Path], floor: float) -> Ratio:
    """Give how many times faster the second side is in what was measured.

    Pairs of processes are measured until it is clear that it is no slower, or that it is, or 24.

    Parameters
    ----------
    suite : Path
        The folder of the benchmarks.
    sides : sequence of Path
        Two folders, of which each has one commit's package; the rest is this Python's.
    floor : float
        By how much it may be slower, relative.

    Raises
    ------
    HistoryError
        The benchmark does not run.
    """
    logs: list[float] = []
    while True:
        with ExitStack() as both:
            pair = [both.enter_context(_side(measured, suite, folder)) for folder in sides]
            logs.append(_pair(*pair))
        found = _judged(logs, floor)
        acquitted = len(logs) >= ACQUIT and found.value > 1 / (1 + floor / 2)
        convicted = len(logs) >= CONVICT and found.verdict == "slower"
        if acquitted or convicted or len(logs) == MOST:
            return found


class _Side:
    """A process with one commit's package, ready to time one benchmark."""

    def __init__(self, name: str, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._name, self._process, self._errors = name, process, errors

    def turn(self) -> float:
        """Time it once."""
        assert self._process.stdin is not None
        with suppress(OSError):  # It has ended: its answer says so.
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return self.answer()

    def answer(self) -> float:
        """Give the next answer.

        Raises
        ------
        HistoryError
            The process has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return float(line)
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        reason = said[-1] if said else f"it ended with status {self._process.returncode}"
        raise HistoryError(f"{self._name} cannot be measured again: {reason}")


@contextmanager
def _side(measured: Measurement, suite: Path, folder: Path) -> Iterator[_Side]:
    """Start a process, and end it with the block."""
    script = Path(__file__).with_name("side.py")
    words = [sys.executable, "-P", str(script), str(suite), measured.benchmark]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*words, json.dumps(measured.params)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(folder)},
        )
        try:
            yield _Side(measured.benchmark, process, errors)
        except BaseException:
            process.kill()
            raise
        finally:
            process.communicate()


def _pair(old: _Side, new: _Side) -> float:
    """Give how much faster the new side is, as a logarithm."""
    for side in (old, new):
        side.answer()  # Both are ready: imports disturb no turn.
    logs = []
    for index in range(TURNS):
        first, second = (old, new) if index % 2 == 0 else (new, old)
        one, two = first.turn(), second.turn()
        logs.append(math.log(one / two) * (1 if index % 2 == 0 else -1))
    return median(logs)


def _judged(logs: Sequence[float], floor: float) -> Ratio:
    """Give the middle of some pairs, and its interval from the signed ranks.

    References
    ----------
    J. L. Hodges and E. L. Lehmann, Ann. Math. Statist. 34 (1963), 598.
    """
    count = len(logs)
    means = np.add.outer(logs, logs)[np.triu_indices(count)] / 2
    means.sort()
    value = float(np.median(means))
    width = WIDTH * math.sqrt(count * (count + 1) * (2 * count + 1) / 24)
    lowest = math.floor(len(means) / 2 - width)
    if lowest < 0:  # So few pairs are no interval.
        return judge(value, math.inf, math.inf, floor)
    return judge(value, value - means[lowest], means[-1 - lowest] - value, floor)
