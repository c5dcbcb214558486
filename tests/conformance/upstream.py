"""Run NumPy's own tests and scipy.special's, plain and installed, and print what differs.

Each suite runs twice, in processes of its own: as it is, and after
``backends.install(mode="exact", n_jobs=2, threshold=1)``. A test that ends otherwise on one side
than on the other is run again on both; where the sides then agree it is listed as unsteady, and
else as different. The exit status is 1 if any is different, or if nothing ran in parallel.

    python tests/conformance/upstream.py                      # everything, about half an hour
    python tests/conformance/upstream.py --suite numpy._core numpy.fft
    python tests/conformance/upstream.py --file numpy/_core/tests/test_umath.py
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import sides

__all__ = ["Outcome", "Suite", "compare", "main"]

#: What of numpy._core computes, or makes arrays; the rest is about text, dtypes and compilers.
CORE = (
    *("array_coercion", "arraymethod", "api", "casting_floatingpoint_errors", "einsum"),
    *("errstate", "function_base", "getlimits", "half", "indexing", "item_selection"),
    *("longdouble", "mem_overlap", "mem_policy", "memmap", "multiarray", "multiprocessing"),
    *("multithreading", "nditer", "nep50_promotions", "numeric", "numerictypes", "overrides"),
    *("records", "regression", "scalar_methods", "scalarinherit", "scalarmath", "shape_base"),
    *("ufunc", "umath", "umath_accuracy", "umath_complex"),
)  # fmt: skip
#: What runs by default: folders of tests, as paths from where NumPy and SciPy are installed.
SUITES = {
    "numpy._core": [f"numpy/_core/tests/test_{name}.py" for name in CORE],
    "numpy.linalg": ["numpy/linalg/tests"],
    "numpy.ma": ["numpy/ma/tests"],
    "numpy.random": ["numpy/random/tests"],
    "numpy.lib": ["numpy/lib/tests"],
    "numpy.fft": ["numpy/fft/tests"],
    "scipy.special": ["scipy/special/tests"],
}
#: Tests whose outcome may differ, each with its reason.
EXPECTED: dict[str, str] = {}
# NumPy's and SciPy's own settings, which are not in their wheels: an additional warning fails.
SETTINGS = """\
[pytest]
filterwarnings =
    error
    ignore:Not importing directory
    ignore:numpy.dtype size changed
    ignore:numpy.ufunc size changed
    ignore::UserWarning:cpuinfo
    ignore:the matrix subclass is not
    ignore:Importing from numpy.matlib is
    always::scipy._lib._testutils.FPUModeChangeWarning
    ignore:.*deprecated and ignored since IPython.*:DeprecationWarning
    ignore:assertions not in test modules or plugins:pytest.PytestConfigWarning
    ignore::pytest.PytestDeprecationWarning
"""
AGAIN = 3


@dataclass
class Outcome:
    """How a test ended, and the end of its message."""

    how: str
    text: str = ""


@dataclass
class Suite:
    """A suite's outcomes on both sides."""

    name: str
    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    parallel: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    unsteady: list[str] = field(default_factory=list)

    @property
    def different(self) -> list[str]:
        """Tests that end otherwise on one side than on the other."""
        plain, installed = (self.outcomes[side] for side in sides.SIDES)
        gone = Outcome("absent")
        return [
            test
            for test in {**plain, **installed}
            if plain.get(test, gone).how != installed.get(test, gone).how
            and test not in (*EXPECTED, *self.unsteady)
        ]


def _run(
    suite: Suite,
    files: list[str],
    side: str,
    folder: Path,
    arguments: argparse.Namespace,
    only: list[str] | None = None,
) -> dict[str, Outcome]:
    """Run `files` on `side` until every test has an outcome, a crash or a hang being one."""
    log = Path(tempfile.mkdtemp(dir=folder)) / f"{side}.jsonl"
    settings = log.with_name("pytest.ini")
    settings.write_text(SETTINGS, encoding="utf-8")
    empty = log.with_name("empty")
    empty.mkdir()
    environment = {
        "CONFORMANCE_SIDE": side,
        "CONFORMANCE_LOG": str(log),
        "NPY_AVAILABLE_MEM": arguments.memory,
    }
    if only is not None:
        wanted = log.with_name("only")
        wanted.write_text("\n".join(only), encoding="utf-8")
        environment["CONFORMANCE_ONLY"] = str(wanted)
    site = Path(numpy.__file__).parents[1]
    # pytest-timeout is left out: a hang is seen from outside.
    command = [
        "-m", "pytest", "-q", "-c", settings, "--rootdir", site, "-p", "no:cacheprovider",
        "-p", "no:timeout", "-p", "witness", "--continue-on-collection-errors", "--tb=short",
        *(site / file for file in files),
    ]  # fmt: skip
    told = time.monotonic()
    start = told

    def tell(seconds: float) -> None:
        nonlocal told
        if time.monotonic() - told >= 15.0:
            told = time.monotonic()
            found = sides.records(log)
            done = sum("outcome" in record for record in found)
            total = max((record.get("collected", 0) for record in found), default=0)
            last = next((r["test"] for r in reversed(found) if "test" in r), "")
            print(f"  {side:9} {done:6,} of {total:,} tests  {seconds:4.0f} s  {last}", flush=True)

    while True:
        how, tail = sides.watch(
            command,
            log,
            patience=arguments.patience,
            folder=empty,
            environment=environment,
            tell=tell,
        )
        found = sides.records(log)
        if found and "end" in found[-1]:
            break
        ended = {record["test"] for record in found if "outcome" in record}
        open_ = [r["test"] for r in found if "test" in r and r["test"] not in ended]
        if not open_:
            raise SystemExit(
                f"{suite.name}, {side}: pytest {how} before or after the tests:\n{tail}"
            )
        print(f"  {side:9} {how} in {open_[-1]}", flush=True)
        sides.Log(log).write(test=open_[-1], outcome=how, text=tail)
    if only is None:
        suite.seconds[side] = time.monotonic() - start
        suite.parallel.update(found[-1]["parallel"])
    return {
        record["test"]: Outcome(record["outcome"], record["text"])
        for record in found
        if "outcome" in record
    }


def compare(name: str, files: list[str], folder: Path, arguments: argparse.Namespace) -> Suite:
    """Run a suite on both sides, and again what differs."""
    suite = Suite(name)
    for side in sides.SIDES:
        suite.outcomes[side] = _run(suite, files, side, folder, arguments)
        counted = Counter(outcome.how for outcome in suite.outcomes[side].values())
        shown = ", ".join(f"{count:,} {how}" for how, count in counted.most_common())
        print(f"{name:14} {side:9} {shown}  ({suite.seconds[side]:.0f} s)", flush=True)
    first = suite.different
    where = sorted({test.split("::")[0] for test in first})
    steady = set(first)
    for _ in range(AGAIN if first else 0):
        again = {
            side: _run(suite, where, side, folder, arguments, only=first) for side in sides.SIDES
        }
        gone = Outcome("absent")
        for test in list(steady):
            plain, installed = (again[side].get(test, gone) for side in sides.SIDES)
            if plain.how == installed.how:
                steady.discard(test)
    suite.unsteady = [test for test in first if test not in steady]
    for test in first:
        word = "different" if test in steady else "unsteady "
        print(f"  {word} {test}")
        for side in sides.SIDES:
            outcome = suite.outcomes[side].get(test, Outcome("absent"))
            print(f"    {side:9} {outcome.how}")
            for line in outcome.text.splitlines():
                print(f"      {line}")
    sys.stdout.flush()
    return suite


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="NumPy's tests and scipy.special's, plain and installed: what differs.",
        epilog="Exit status 1 if any test differs or nothing ran in parallel.",
    )
    parser.add_argument("--suite", nargs="+", choices=SUITES, default=list(SUITES), metavar="NAME",
                        help=f"which of: {', '.join(SUITES)}")  # fmt: skip
    parser.add_argument("--file", nargs="+", metavar="FILE",
                        help="these files of tests instead of suites")  # fmt: skip
    parser.add_argument("--patience", type=float, default=600.0, metavar="SECONDS",
                        help="a test that takes longer hangs (600)")  # fmt: skip
    parser.add_argument("--memory", default=os.environ.get("NPY_AVAILABLE_MEM", "2 GB"),
                        help="what a test may use; larger ones are skipped (2 GB)")  # fmt: skip
    arguments = parser.parse_args(given)
    chosen = {name: SUITES[name] for name in arguments.suite}
    if arguments.file:
        chosen = {"files": arguments.file}
    with tempfile.TemporaryDirectory() as folder:
        suites = [compare(name, files, Path(folder), arguments) for name, files in chosen.items()]
    tests = sum(len(suite.outcomes["plain"]) for suite in suites)
    different = sum(len(suite.different) for suite in suites)
    unsteady = sum(len(suite.unsteady) for suite in suites)
    parallel = Counter[str]()
    for suite in suites:
        parallel.update(suite.parallel)
    print(
        f"{tests:,} tests; {different} different, {unsteady} unsteady; installed, "
        f"{parallel.total():,} calls of {len(parallel)} functions ran in parallel"
    )
    for test, reason in EXPECTED.items():
        print(f"  may differ: {test} ({reason})")
    return int(bool(different) or not parallel)


if __name__ == "__main__":
    sys.exit(main())
