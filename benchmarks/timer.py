"""Whether the timer's verdicts hold on this machine, as it is now.

* ``python benchmarks/timer.py aa`` compares NumPy's functions with themselves, a hundred times
  each: the verdict should be "same" in 95 of 100.
* ``python benchmarks/timer.py difference`` compares work with five percent more of the same work:
  it should be found "slower" in 90 of 100. A long run says first what the difference truly is.
* ``python benchmarks/timer.py agree ONE.json TWO.json`` compares two records of `backends bench`:
  the intervals of a speedup should overlap for nine in ten. ``backends bench --output ONE.json``
  writes one.

A run of `aa` or `difference` takes up to the seconds of --time, and there are two workloads: a
hundred runs of one second each end after two to four minutes. Progress goes to stderr, results to
stdout. The exit status is 1 where the verdicts are fewer than they should be. With more than twice
as many busy processes as cores, the addition, which waits for memory, takes more than one second
to be judged: the verdict is then "unclear"; with --time 4 it was right.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from backends.bench import record
from backends.bench.timer import compare, ratio

#: Of 100 runs, how many must have the right verdict; and, of rows, which share must agree.
ALIKE, FOUND, AGREE = 95, 90, 0.9
#: Runs that are put together for what the difference truly is.
LONG = 10


class Workload(NamedTuple):
    """A function, and the same with five percent more to do."""

    name: str
    call: Callable[[], Any]
    more: Callable[[], Any]


def workloads() -> list[Workload]:
    """Give one bound by arithmetic and short, one by memory and long enough for one call."""
    x = np.random.default_rng(0).random(10**6)
    y, out = x + 1.0, np.empty(50_000)
    # Round and round through both arrays: a block more is then exactly a twentieth more work. An
    # array of five percent more elements is not: fresh memory for its result costs by the page.
    blocks = itertools.cycle(
        [(x[i : i + out.size], y[i : i + out.size]) for i in range(0, x.size, out.size)]
    )

    def add(count: int) -> None:
        for a, b in itertools.islice(blocks, count):
            np.add(a, b, out)

    short, longer = x[:10_000], x[:10_500]
    return [
        Workload("sin of 10,000", lambda: np.sin(short), lambda: np.sin(longer)),
        Workload("add of 1,000,000", lambda: add(20), lambda: add(21)),
    ]


def verdicts(what: str, one: Any, two: Any, runs: int, seconds: float) -> Counter[str]:
    """Compare two functions `runs` times, print what was found, and count the verdicts."""
    counts: Counter[str] = Counter()
    values, noises, rounds = [], [], []
    for seed in progress(range(runs), what):
        found = compare({"one": one, "two": two}, seconds=seconds, seed=seed)
        compared = found.ratio("two")
        counts[compared.verdict] += 1
        values.append(compared.value)
        noises.append(found.noise)
        rounds.append(len(found.timings["one"].seconds))
    low, middle, high = np.quantile(values, [0.025, 0.5, 0.975])
    print(
        f"{what}: {', '.join(f'{verdict} {n}' for verdict, n in counts.most_common())}; "
        f"speedup {middle:.4f}, 95 of 100 runs from {low:.3f} to {high:.3f}; noise floor "
        f"{np.median(noises):.1%} (most {max(noises):.1%}); {np.median(rounds):.0f} rounds",
        flush=True,
    )
    return counts


def aa(runs: int, seconds: float) -> bool:
    """Tell whether functions are the same as themselves."""
    x = np.random.default_rng(0).random(10**6)
    sin, add = (lambda: np.sin(x[:10_000])), (lambda: np.add(x, x))
    counts = [
        verdicts(f"{name} against itself", call, call, runs, seconds)
        for name, call in (("sin of 10,000", sin), ("add of 1,000,000", add))
    ]
    return all(count["same"] * 100 >= ALIKE * runs for count in counts)


def difference(runs: int, seconds: float) -> bool:
    """Tell whether five percent more work is found."""
    good = True
    for name, call, more in workloads():
        one: list[float] = []
        two: list[float] = []
        for seed in progress(range(LONG), f"{name}: a long run"):
            timings = compare({"": call, "more": more}, seconds=seconds, seed=seed).timings
            one += timings[""].seconds
            two += timings["more"].seconds
        long = ratio(two, one)
        print(f"{name}: {long.value - 1:.1%} more time ({long.low - 1:.1%} to {long.high - 1:.1%})")
        count = verdicts(f"{name} against 5% more", call, more, runs, seconds)
        good &= count["slower"] * 100 >= FOUND * runs
    return good


def agree(one: Path, two: Path) -> bool:
    """Tell whether two records agree, and print where they do not."""
    first, second = (_speedups(record.read(path)) for path in (one, two))
    common = [key for key in first if key in second]
    apart = [
        key
        for key in common
        if first[key].high < second[key].low or second[key].high < first[key].low
    ]
    for key in apart:
        cells = [
            f"{x.speedup:.2f} ({x.low:.2f} to {x.high:.2f})" for x in (first[key], second[key])
        ]
        print(f"{' '.join(map(str, key))}: {' and '.join(cells)}")
    share = 1 - len(apart) / max(1, len(common))
    print(f"{len(common) - len(apart)} of {len(common)} speedups agree within their intervals")
    return bool(common) and share >= AGREE


def _speedups(found: record.Record) -> dict[tuple[object, ...], Any]:
    """Give the results that have an interval, by what they are of."""
    return {
        (row.kernel, row.case, row.size, row.dtype, each.backend, each.way): each
        for row in found.rows
        for each in row.results
        if each.speedup is not None and each.backend != record.BASELINE
    }


def progress(steps: range, what: str) -> Any:
    """Show on stderr how far it is."""
    return track(steps, what, console=Console(stderr=True), transient=True)


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="{aa,difference,agree}")
    for name, text in (
        ("aa", "compare functions with themselves"),
        ("difference", "compare functions with five percent more work"),
    ):
        part = parts.add_parser(name, help=text)
        part.add_argument("--runs", type=int, default=100, help="of each workload (100)")
        part.add_argument("--time", type=float, default=1.0, help="seconds of a run at most (1)")
    part = parts.add_parser("agree", help="compare two records of `backends bench`")
    part.add_argument("one", type=Path, metavar="FILE")
    part.add_argument("two", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.part == "agree":
        try:
            good = agree(arguments.one, arguments.two)
        except record.RecordError as error:
            parser.error(str(error))
    elif arguments.runs < 1:
        parser.error("--runs must be at least 1")
    else:
        good = {"aa": aa, "difference": difference}[arguments.part](arguments.runs, arguments.time)
    parser.exit(not good)


if __name__ == "__main__":
    main()
