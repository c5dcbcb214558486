"""What `backends report` takes for years of results: seconds, memory, the page, its first paint.

``python benchmarks/report.py`` makes results of 10 machines, 500 commits and 300 rows each (a
minute, 400 MB in a temporary folder), lets the command make its page --times times, and opens that
in Chromium (``apt install chromium``), if there is one. With --apart each machine has commits of
its own, as where each night another one measures. The targets are 10 seconds, 500 MB, a page under
10 MB and a first paint under 2 seconds; the exit status is 1 where a median misses one.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "history"))
import browser
import synthetic

#: Seconds between two looks at the memory.
LOOK = 0.05
SECONDS, MEGABYTES, PAGE_MEGABYTES, PAINT_SECONDS = 10.0, 500.0, 10.0, 2.0
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def report(results: Path, page: Path) -> tuple[float, float]:
    """Make the page; give the seconds, and the most megabytes of the command and its helpers."""
    command = [Path(sys.executable).with_name("backends"), "report", results, "-o", page]
    start = time.perf_counter()
    child = psutil.Popen(command, stderr=subprocess.DEVNULL)
    most = 0
    while child.poll() is None:
        most = max(most, held(child))
        time.sleep(LOOK)
    if child.returncode:
        raise SystemExit(f"backends report ended with status {child.returncode}")
    return time.perf_counter() - start, most / 1e6


def held(process: psutil.Process) -> int:
    """Add up the memory of a process and what it started; what they share counts twice."""
    total = 0
    with suppress(psutil.Error):  # one has just ended
        for each in (process, *process.children(recursive=True)):
            total += each.memory_info().rss
    return total


def first_paint(page: Path) -> float:
    """Open the page in a new browser; seconds until something is seen."""
    with browser.Browser() as opened:
        opened.open(page)
        if opened.errors:
            raise SystemExit(f"the page complains: {opened.errors}")
        return float(opened.js(PAINTED)) / 1000


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--apart", action="store_true", help="no commit is of two machines")
    options = parser.parse_args()
    show = Console(stderr=True)
    with tempfile.TemporaryDirectory() as name:
        results, page = Path(name) / "results", Path(name) / "report.html"
        with show.status("making results"):
            synthetic.write_large(results, apart=options.apart)
        runs = [
            report(results, page) for _ in track(range(options.times), "reporting", console=show)
        ]
        found = {
            "seconds": ([each[0] for each in runs], SECONDS),
            "megabytes of memory": ([each[1] for each in runs], MEGABYTES),
            "megabytes of the page": ([page.stat().st_size / 1e6], PAGE_MEGABYTES),
        }
        if browser.found():
            paints = [first_paint(page) for _ in range(options.times)]
            found["seconds to the first paint"] = (paints, PAINT_SECONDS)
        else:
            show.print(f"no browser ({', '.join(browser.NAMES)}): the first paint is not timed")
    missed = 0
    for what, (values, target) in found.items():
        middle = statistics.median(values)
        missed += middle > target
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{what:28}{middle:8.2f}  ({spread}; target {target:g})")
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
