"""Whether `backends check` finds what is slower and nothing else, with asv's real results.

* ``python benchmarks/gate.py repeat`` measures one commit again and again under other names, and
  checks each run against the one before: with nothing but those two, as for a pull request, and
  with all before it, as for a nightly run. There should be no finding.
* ``python benchmarks/gate.py planted`` lets `sin` take longer by --slower in a commit of its own,
  measures both by ``asv continuous``, and checks: numpy's `sin` should be found, each time.

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.progress import track

from backends.bench import fingerprint
from backends.history import asv, gate
from backends.history.data import History

ROWS = r"track_(add|sqrt|exp|sin|tanh|erf|gammaln|ndtri|matmul|cholesky)\b"
REPOSITORY = Path(__file__).parents[1]
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
SOUND = "    return np.sin(x, out=out)\n"


def run(*words: str, folder: Path, fails: bool = False) -> str:
    """Run a command in a folder; its output, unless it fails where it must not."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
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
    with cloned() as folder:
        hashes = [commit(folder, f"again, {i}") for i in range(times + 1)]
        for name in track(hashes, "measuring", console=show):
            options = ("--machine", machine, "--record-samples", "--bench", rows)
            same = ("--environment", f"existing:{sys.executable}", "--set-commit-hash", name)
            run(ASV, "run", *options, *same, folder=folder)
        history = asv.read(folder / "results")
    alarms = 0
    for name, kept in (("the two alone", False), ("all before it", True)):
        found = 0
        for i, (old, new) in enumerate(pairwise(hashes)):
            wanted = set(hashes[: i + 2]) if kept else {old, new}
            findings = gate.check(only(history, wanted), old, commit=new).findings
            found += bool(findings)
            for each in findings:
                print(f"  {i + 1}: {each.row.kernel} on {each.row.backend}: {each.ratio}")
        print(f"against {name}: an alarm in {found} of {times} repeats")
        alarms += found
    return alarms


def planted(machine: str, rows: str, times: int, slower: float, show: Console) -> int:
    """Measure a commit and a slower one; count the times that it was not found, or others were."""
    wrong, by_asv = 0, 0
    with cloned() as folder:
        base = commit(folder, "as it is")
        file = folder / "src/backends/kernels/elementwise.py"
        text = file.read_text(encoding="utf-8")
        if SOUND not in text:
            raise SystemExit(f"{file.name} has another `sin` than this script knows")
        file.write_text(text.replace(SOUND, PLANTED.format(slower=slower)), encoding="utf-8")
        new = commit(folder, "sin takes longer")
        for i in track(range(times), "measuring", console=show):
            options = ("--machine", machine, "--record-samples", "--bench", rows)
            told = run(ASV, "continuous", *options, base, new, folder=folder, fails=True)
            by_asv += any("track_sin" in line and line.startswith("|") for line in told.split("\n"))
            found = gate.check(asv.read(folder / "results"), base, commit=new)
            names = {(each.row.kernel, each.row.backend) for each in found.findings}
            right = ("sin", "numpy") in names and {kernel for kernel, _ in names} == {"sin"}
            wrong += not right
            said = ", ".join(f"{k} on {b}" for k, b in sorted(names)) or "nothing"
            print(f"  {i + 1}: {said} of {found.compared} rows")
            for result in (folder / "results" / machine).glob("[0-9a-f]*.json"):
                result.unlink()
    print(f"{slower:.0%} slower: found, and nothing else, in {times - wrong} of {times}")
    print(f"asv continuous named it in {by_asv} of {times}")
    return wrong


def only(history: History, commits: set[str]) -> History:
    """Keep some commits."""
    return replace(
        history,
        commits=[each for each in history.commits if each.hash in commits],
        measurements=[each for each in history.measurements if each.commit in commits],
    )


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
    machine = fingerprint.fingerprint()["machine"]
    if options.what == "repeat":
        return int(repeat(machine, options.rows, options.times or 20, show) > 0)
    return int(planted(machine, options.rows, options.times or 5, options.slower, show) > 0)


if __name__ == "__main__":
    raise SystemExit(main())
