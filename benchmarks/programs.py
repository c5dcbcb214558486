"""What `backends run` gains: programs that know nothing of it, as whole processes, with start-up.

* ``python benchmarks/programs.py`` times each program by `python`, by `backends run` and by
  `backends run --mode fast`, in turn and in random order, and prints a table in Markdown. A factor
  is how many times faster it ended than by `python`, with its 95 percent interval.
* ``python benchmarks/programs.py --same`` times nothing: it tells whether mode exact gives the
  very text that `python` gives.

Run it in the environment that `make bench` sets up. The programs that are plain NumPy and SciPy
take about ten minutes; name some for less, or one of those that `benchmarks/workloads.py` times in
the forms that suit them. The exit status is 1 where a target is missed or a text is another one.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from backends.bench.conditions import Watch
from backends.bench.heading import disturbances, machine_lines
from backends.bench.timer import Ratio, compare
from backends.cli.common import progress_bar
from backends.machine import describe

EXAMPLES = Path(__file__).parents[1] / "examples"
#: The examples that know NumPy only; ``workloads.py`` times the others.
PROGRAMS = ("heat", "image_filter", "k_means", "option_pricer", "page")
MODES = ("exact", "fast")


class Target(NamedTuple):
    """The factors that a program must reach."""

    exact: float
    fast: float


#: Of the Cookbook page's three lines; and of programs that may have little to gain.
TARGETS = {"page": Target(exact=1.8, fast=5.0)}
NONE_SLOWER = Target(exact=0.98, fast=0.98)


def command(mode: str, program: str) -> list[str]:
    """Give the command that runs a program: by `python`, or by `backends run` in a mode."""
    script = str(EXAMPLES / f"{program}.py")
    if mode == "python":
        return [sys.executable, script]
    ours = shutil.which("backends", path=str(Path(sys.executable).parent))
    if ours is None:
        raise SystemExit("no command backends beside this python: install the package first")
    return [ours, "run", "--mode", mode, script]


def output(mode: str, program: str, say: Callable[[str], None]) -> str:
    """Run a program, and give what it printed."""
    say(f"{program}, {mode}".ljust(22))
    done = subprocess.run(
        command(mode, program), capture_output=True, text=True, encoding="utf-8", check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def same(programs: list[str], say: Callable[[str], None]) -> bool:
    """Tell whether mode exact prints what `python` prints."""
    good = True
    for program in programs:
        texts = [output(mode, program, say).splitlines() for mode in ("python", "exact")]
        found = "\n".join(difflib.unified_diff(*texts, "python", "exact", lineterm=""))
        print(f"{program}: {found or 'the same text'}", flush=True)
        good &= not found
    return good


def verdict(found: Ratio, target: float) -> str:
    """Say whether a target is met, and whether the interval leaves a doubt."""
    doubt = ", not certainly" if found.low < target <= found.high else ""
    return f"{'met' if found.value >= target else 'MISSED'}{doubt}"


def gains(programs: list[str], seconds: float, say: Callable[[str], None]) -> bool:
    """Print the factors of each program, and tell whether all targets are met."""
    print(machine_lines(describe()))
    print("\n| program | by python | mode exact | mode fast |\n|---|--:|--:|--:|")
    good, watch, verdicts = True, Watch(), []
    for program in programs:
        expected = output("python", program, say)

        def check(mode: str, text: str, expected: str = expected) -> str:
            return "" if mode == "fast" or text == expected else "another text than by python"

        found = compare(
            {mode: partial(output, mode, program, say) for mode in ("python", *MODES)},
            seconds=seconds,
            check=check,
            again=False,
            quiet=False,  # what a program leaves behind ends with its process
        )
        plain = found.timings["python"].seconds
        cells = [f"`{program}.py`", f"{np.median(plain):.2f} s"]
        for mode in MODES:
            target = getattr(TARGETS.get(program, NONE_SLOWER), mode)
            if fault := found.timings[mode].fault:
                cells.append(" ".join(fault.split()))
                good = False
                continue
            factor = found.ratio(mode)
            good &= factor.value >= target
            cells.append(f"{factor.value:.2f} ({factor.low:.2f} to {factor.high:.2f})")
            verdicts.append(f"{program}, {mode}: target {target:.2f} {verdict(factor, target)}")
        print(f"| {' | '.join(cells)} |", flush=True)
    print()
    for each in verdicts:
        print(f"* {each}")
    print(disturbances(watch.stop()))
    return good


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", nargs="*", help=f"some of {', '.join(PROGRAMS)}; all if none")
    parser.add_argument("--time", type=float, default=90.0, help="seconds for each program")
    parser.add_argument("--same", action="store_true", help="compare texts only")
    arguments = parser.parse_args()
    if wrong := set(arguments.program) - set(PROGRAMS):
        parser.error(f"no program {', '.join(sorted(wrong))}; there are {', '.join(PROGRAMS)}")
    programs = arguments.program or list(PROGRAMS)
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=None)

        def say(text: str) -> None:
            progress.update(bar, description=text)

        good = same(programs, say) if arguments.same else gains(programs, arguments.time, say)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
