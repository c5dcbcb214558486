"""Whether `backends check` finds what is slower and nothing else, with asv's real results.

* ``python benchmarks/gate.py repeat`` measures one build again and again as other commits, and
  checks each against the one before, by the runs alone and with ``--again``. There should be no
  finding.
* ``python benchmarks/gate.py planted`` lets `sin` take longer by --slower in a commit of its own,
  measures both by ``asv continuous``, and checks in the same ways: numpy's `sin` should be found,
  and no other kernel, each time.

All happens in a clone in a temporary folder. A run takes a second for each row (--rows chooses
benchmarks, as asv's ``--bench`` does), and `planted` builds the package twice a time. Progress goes
to stderr, results to stdout. The exit status is 1 where the gate was wrong.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track

from backends.bench import fingerprint
from backends.history import again, asv, gate
from backends.history.data import Measurement
from backends.history.ratios import Ratio

ROWS = r"track_(add|sqrt|exp|sin|tanh|erf|gammaln|ndtri|matmul|cholesky)\b"
REPOSITORY = Path(__file__).parents[1]
#: As in .github/workflows/asv.yml.
ROUNDS = ("--interleave-rounds", "--attribute", "rounds=4")
ENVIRONMENT = {"BACKENDS_ASV_PROFILE": "quick", "GIT_AUTHOR_NAME": "x", "GIT_AUTHOR_EMAIL": "x"}
ENVIRONMENT |= {"GIT_COMMITTER_NAME": "x", "GIT_COMMITTER_EMAIL": "x"}
ASV = str(Path(sys.executable).with_name("asv"))
#: A sleep, not more work: an engine that takes the loop of the body's ufunc must still find it.
PLANTED = """\
    import time

    start = time.perf_counter()
    result = np.sin(x, out=out)
    time.sleep({slower} * (time.perf_counter() - start))
    return result
"""
SIN = ("sin", "numpy")
SOUND = "    return np.sin(x, out=out)\n"


def run(*words: str, folder: Path, fails: bool = False) -> str:
    """Run a command in a folder; its output, unless it fails where it must not."""
    done = subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not fails:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


@contextmanager
def cloned() -> Iterator[Path]:
    """Give a clone of this repository's HEAD, with no results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "clone"
        run("git", "clone", "--quiet", "--shared", str(REPOSITORY), str(folder), folder=REPOSITORY)
        run("git", "checkout", "--quiet", "-B", "main", folder=folder)
        if (folder / "results").exists():
            run("git", "rm", "-rq", "results", folder=folder)
        yield folder


def commit(folder: Path, words: str) -> str:
    """Commit what has changed, if anything; the new commit's hash."""
    run("git", "commit", "--quiet", "--all", "--allow-empty", "-m", words, folder=folder)
    return run("git", "rev-parse", "HEAD", folder=folder)


def repeat(machine: str, rows: str, times: int, show: Console) -> int:
    """Measure one build as many commits; count the checks that found something."""
    alone, in_turns, suspects = 0, 0, 0
    with cloned() as folder:
        hashes = [commit(folder, f"again, {i}") for i in range(times + 1)]
        side = folder / "build/side"
        install(hashes[0], side, folder)
        for i, name in enumerate(track(hashes, "measuring", console=show)):
            options = ("--machine", machine, "--record-samples", "--bench", rows)
            same = ("--environment", f"existing:{sys.executable}", "--set-commit-hash", name)
            run(ASV, "run", *options, *same, folder=folder)
            if i:
                history = asv.read(folder / "results")
                old = hashes[i - 1]
                alone += bool(gate.check(history, old, commit=name).findings)
                asked = Asked(folder / "benchmarks/suite", (side, side))
                found = gate.check(history, old, commit=name, again=asked)
                in_turns += bool(found.findings)
                suspects += asked.count
                for each in found.findings:
                    print(f"  {i}: {each.row.kernel} on {each.row.backend}: {each.ratio}")
    print(f"by the runs alone: an alarm in {alone} of {times} repeats")
    print(f"rows that looked slower: {suspects} of {times * found.compared}, all in turns again")
    print(f"with these: an alarm in {in_turns} of {times} repeats")
    return alone + in_turns


def planted(machine: str, rows: str, times: int, slower: float, show: Console) -> int:
    """Measure a commit and a slower one; count the times that it was not found, or others were."""
    wrong, alone, by_asv = 0, 0, 0
    with cloned() as folder:
        base = commit(folder, "as it is")
        file = folder / "src/backends/kernels/elementwise.py"
        text = file.read_text(encoding="utf-8")
        if SOUND not in text:
            raise SystemExit(f"{file.name} has another `sin` than this script knows")
        file.write_text(text.replace(SOUND, PLANTED.format(slower=slower)), encoding="utf-8")
        new = commit(folder, "sin takes longer")
        sides = (folder / "build/old", folder / "build/new")
        for name, side in zip((base, new), sides, strict=True):
            install(name, side, folder)
        for i in track(range(times), "measuring", console=show):
            options = ("--machine", machine, "--record-samples", "--bench", rows, *ROUNDS)
            told = run(ASV, "continuous", *options, base, new, folder=folder, fails=True)
            by_asv += any("track_sin" in line and line.startswith("|") for line in told.split("\n"))
            history = asv.read(folder / "results")
            alone += SIN in rows_of(gate.check(history, base, commit=new))
            asked = Asked(folder / "benchmarks/suite", sides)
            found = gate.check(history, base, commit=new, again=asked)
            names = rows_of(found)
            wrong += not (SIN in names and {kernel for kernel, _ in names} == {"sin"})
            said = ", ".join(f"{kernel} on {backend}" for kernel, backend in names) or "nothing"
            print(f"  {i + 1}: {said}; {asked.count} of {found.compared} rows looked slower")
            for result in (folder / "results" / machine).glob("[0-9a-f]*.json"):
                result.unlink()
    print(f"{slower:.0%} slower: found by the runs alone in {alone} of {times}")
    print(f"asv continuous named it in {by_asv} of {times}")
    print(f"in turns again: found, and nothing else, in {times - wrong} of {times}")
    return wrong


def rows_of(found: gate.Checked) -> list[tuple[str, str]]:
    """Name what was found."""
    return [(each.row.kernel, each.row.backend) for each in found.findings]


def install(name: str, side: Path, folder: Path) -> None:
    """Install a commit of a clone."""
    with chdir(folder):
        again.install(name, side)


class Asked:
    """Measures in turns what it is asked for, and counts that."""

    def __init__(self, suite: Path, sides: tuple[Path, Path]) -> None:
        self.suite, self.sides, self.count = suite, sides, 0

    def __call__(self, suspects: Sequence[tuple[Measurement, Measurement, float]]) -> list[Ratio]:
        """Measure rows in turns."""
        self.count += len(suspects)
        return [again.ratio(old, self.suite, self.sides, floor) for old, _, floor in suspects]


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("repeat", "planted"))
    parser.add_argument("--times", type=int, help="default: 20 repeats, 5 planted")
    parser.add_argument("--rows", default=ROWS, metavar="REGEX", help="default: %(default)s")
    parser.add_argument("--slower", type=float, default=0.2, help="default: %(default)s")
    options = parser.parse_args()
    show = Console(stderr=True)
    machine = fingerprint.fingerprint()["machine"]  # which reads settings, and knows no profile
    os.environ.update(ENVIRONMENT)
    if options.what == "repeat":
        return int(repeat(machine, options.rows, options.times or 20, show) > 0)
    return int(planted(machine, options.rows, options.times or 5, options.slower, show) > 0)


if __name__ == "__main__":
    raise SystemExit(main())
