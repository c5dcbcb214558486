"""Call every floating-point ufunc of NumPy and scipy.special, plain and installed; compare bits.

A case is a function, one of its loops, a layout of the operands, a kind of values, a size, and what
becomes of floating-point errors. The plain side runs cases for a given time, slow functions with
fewer elements; the installed side (``backends.install(mode="exact", n_jobs=2, threshold=1)``) runs
the same. For each case the bits of the results, their types, shapes and strides, all memory around
the operands, the warnings and the errors are compared. The exit status is 1 if any differ.

    python tests/conformance/corpus.py                          # 3 minutes a side
    python tests/conformance/corpus.py --seconds 600 --seed 7
    python tests/conformance/corpus.py --only numpy.sin scipy.special.erf
    python tests/conformance/corpus.py --case "numpy.sin d->d strided special 513 warn 4711"
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import pickle
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sides
from cases import Case, arrange, cases, ufuncs
from numpy.typing import NDArray
from scipy import special
from values import X87

__all__ = ["Comparison", "compare", "main", "perform"]

Array = NDArray[Any]
#: Seconds for a case, about; and after how many a case hangs.
PER_CASE, PATIENCE = 4e-3, 30.0
SHOWN = 60
_UNWRITTEN = (
    frozenset({"warnings"}),
    "reads memory that it has not written (valgrind says so of struve_hl in SciPy 1.17)",
)
#: Functions of which some parts are not compared, and why.
UNSTEADY: dict[str, tuple[frozenset[str], str]] = {
    "scipy.special.modstruve": _UNWRITTEN,
    "scipy.special.struve": _UNWRITTEN,
    "scipy.special._ellip_harm._ellip_harm": (
        frozenset({"result", "memory"}),
        "gives NaNs of which the digits differ from run to run, plain too (SciPy 1.17)",
    ),
}


def perform(case: Case, ufunc: np.ufunc) -> tuple[dict[str, Any], list[Array]]:
    """Run a case; say what came of it, part by part, and give all arrays that it left."""
    call = arrange(case, ufunc)
    said: Counter[str] = Counter()
    results: tuple[Any, ...] = ()
    raised = ""
    with ExitStack() as stack:
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        if case.errors == "call":
            note = lambda text, flag: said.update([f"call {text} {flag}"])  # noqa: E731
            stack.enter_context(np.errstate(all="call", call=note))
        elif case.errors != "default":
            stack.enter_context(np.errstate(all=case.errors))
            stack.enter_context(special.errstate(all=case.errors))
        try:
            result = getattr(ufunc, call.method)(*call.inputs, **call.named)
            results = result if isinstance(result, tuple) else (result,)
        except Exception as error:
            # Whatever it is, the other side must raise the same.
            raised = f"{type(error).__name__}: {error}"
    said.update(f"{caution.category.__name__}: {caution.message}" for caution in caught)
    arrays = [np.asarray(result) for result in results if result is not None]
    given = call.named.get("out")
    given = given if isinstance(given, tuple) else (given,)
    form = [
        f"{type(result).__name__} {array.dtype.str} {array.shape} {array.strides}"
        f"{' out' if any(result is out for out in given) else ''}"
        for result, array in zip(results, arrays)
    ]
    record = {
        "result": _digest(arrays),
        "form": "; ".join(form),
        "memory": _digest(call.memory),
        "warnings": "; ".join(f"{count} x {text}" for text, count in sorted(said.items()))[:2000],
        "raised": raised[:500],
    }
    return record, [*arrays, *call.memory]


def _digest(arrays: list[Array]) -> str:
    state = hashlib.sha1(usedforsecurity=False)
    for array in arrays:
        state.update(plain_bytes(array).tobytes())
    return state.hexdigest()[:16]


def plain_bytes(array: Array) -> NDArray[np.uint8]:
    """Give an array's bytes, element by element, without what pads a long double."""
    native = array.astype(array.dtype.newbyteorder("="), order="C").reshape(-1)
    if not native.size:
        return np.zeros((0, 1), np.uint8)
    found = native.view(np.uint8).reshape(native.size, -1)
    if X87 and native.dtype.char in "gG":
        size = np.dtype("g").itemsize
        found = found.reshape(-1, size)
        found[:, 10:] = 0
        found = found.reshape(native.size, -1)
    return found


def run_plain(arguments: argparse.Namespace) -> None:
    """Run cases until the time is up, and log each with its outcome."""
    log = sides.Log(arguments.log)
    before = sides.records(arguments.log)
    resume = max((record["index"] for record in before), default=-1) + 1
    # A function that hangs or crashes by itself is not ours to test; it is counted.
    left_out = {Case.read(r["case"]).function for r in before if "ended" in r}
    functions = {
        name: ufunc
        for name, ufunc in ufuncs().items()
        if not arguments.only or any(re.search(only, name) for only in arguments.only)
    }
    cost: dict[tuple[str, str], float] = {}
    end = time.monotonic() + arguments.seconds
    for index, case in enumerate(cases(arguments.seed)):
        if index < resume or case.function not in functions or case.function in left_out:
            continue
        start = time.monotonic()
        if start > end:
            break
        known = cost.get(case[:2])
        most = max(1, int(PER_CASE / known)) if known else 16
        case = case._replace(size=min(case.size, most))
        log.begin(index=index, case=str(case), elements=case.size)
        outcome, _ = perform(case, functions[case.function])
        log.finish(**outcome)
        # What a call costs without any element is not the elements' cost.
        spent = max(time.monotonic() - start - 1e-4, 1e-7) / case.size
        cost[case[:2]] = max(spent, 0.7 * (known or 0.0))


def run_installed(arguments: argparse.Namespace) -> None:
    """Run the cases that the plain side logged."""
    done = len(sides.records(arguments.log))
    log = sides.Log(arguments.log)
    functions = ufuncs()
    with Path(arguments.cases).open(encoding="utf-8") as lines:
        for line in itertools.islice(lines, done, None):
            record = json.loads(line)
            case = Case.read(record["case"])
            log.begin(index=record["index"], case=str(case))
            if "ended" in record:
                log.finish(ended=record["ended"])
            elif case.function not in functions:
                log.finish(ended="no such function here")
            else:
                log.finish(**perform(case, functions[case.function])[0])
    Path(arguments.log).with_suffix(".parallel").write_text(
        json.dumps(sides.parallel()), encoding="utf-8"
    )


@dataclass
class Comparison:
    """What came of two sides."""

    cases: int = 0
    elements: int = 0
    raised: int = 0
    warned: int = 0
    left_out: set[str] = field(default_factory=set)
    different: int = 0
    shown: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    loops: set[tuple[str, str]] = field(default_factory=set)
    differing: Counter[str] = field(default_factory=Counter)
    parallel: dict[str, int] = field(default_factory=dict)


def compare(arguments: argparse.Namespace, folder: Path) -> Comparison:
    """Run both sides and compare their logs."""
    logs = {side: folder / f"{side}.jsonl" for side in sides.SIDES}
    for side, log in logs.items():
        _run(side, log, logs["plain"], arguments, folder)
    found = Comparison()
    for plain, installed in itertools.zip_longest(*map(_lines, logs.values())):
        case = Case.read(plain["case"])
        if "ended" in plain:
            found.left_out.add(case.function)
            continue
        found.cases += 1
        found.elements += plain["elements"]
        found.raised += bool(plain["raised"])
        found.warned += bool(plain["warnings"])
        found.functions.add(case.function)
        found.loops.add(case[:2])
        parts = ("result", "form", "memory", "warnings", "raised")
        if installed is None or "ended" in installed:
            parts, different = ("ended",), ["ended"]
            installed = installed or {"ended": "not run"}
        else:
            different = [
                part
                for part in parts
                if plain[part] != installed[part]
                and not (case.function in UNSTEADY and part in UNSTEADY[case.function][0])
            ]
        if different:
            found.different += 1
            found.differing[case.function] += 1
            if len(found.shown) < SHOWN:
                found.shown.append(
                    f'--case "{case}"\n'
                    + "\n".join(
                        f"    {part}: {plain.get(part, '-')} | {installed.get(part, '-')}"
                        for part in different
                    )
                )
    counts = logs["installed"].with_suffix(".parallel")
    if counts.exists():
        found.parallel = json.loads(counts.read_text(encoding="utf-8"))
    return found


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    with log.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _run(side: str, log: Path, plain: Path, arguments: argparse.Namespace, folder: Path) -> None:
    """Run a side to its end; a case that hangs or crashes is logged as such, and left."""
    told = time.monotonic()
    start = told
    end = start + arguments.seconds

    def tell(seconds: float) -> None:
        nonlocal told
        if time.monotonic() - told >= 15.0:
            told = time.monotonic()
            with log.open("rb") as lines:
                done = sum(1 for _ in lines)
            print(f"  {side:9} {done:8,} cases  {told - start:4.0f} s", flush=True)

    while True:
        command: list[str | Path] = [
            Path(__file__), "--side", side, "--log", log, "--cases", plain,
            "--seed", str(arguments.seed), "--seconds", str(max(0.0, end - time.monotonic())),
            *(["--only", *arguments.only] if arguments.only else []),
        ]  # fmt: skip
        how, tail = sides.watch(
            command, log, patience=PATIENCE, folder=folder, environment={}, tell=tell
        )
        broken = sides.mend(log, how)
        if not broken:
            if how != "ended (0)":
                raise SystemExit(f"{side} {how}:\n{tail}")
            return
        last = "\n".join(tail.splitlines()[-8:])
        print(f"  {side:9} {how} in {broken}\n{last}", flush=True)


def show(line: str, folder: Path) -> int:
    """Run one case on both sides and print what differs, elements included."""
    kept: dict[str, Any] = {}
    for side in sides.SIDES:
        log = folder / f"{side}.pickle"
        how, tail = sides.watch(
            [Path(__file__), "--side", side, "--log", log, "--case", line],
            log, patience=PATIENCE, folder=folder, environment={},
        )  # fmt: skip
        if not log.exists():
            print(f"{side} {how}\n{tail}")
            return 1
        kept[side] = pickle.loads(log.read_bytes())
    (plain, arrays), (installed, others) = kept["plain"], kept["installed"]
    for part in plain:
        mark = "  " if plain[part] == installed[part] else "! "
        print(f"{mark}{part}: {plain[part]}" + (f" | {installed[part]}" if mark == "! " else ""))
    for number, (one, other) in enumerate(zip(arrays, others)):
        if one.shape != other.shape:
            continue
        first, second = plain_bytes(one), plain_bytes(other)
        for where in (first != second).any(axis=1).nonzero()[0][:10]:
            print(
                f"  array {number} [{where} of {one.size}]: {one.reshape(-1)[where]!r} "
                f"{first[where][::-1].tobytes().hex()} | {other.reshape(-1)[where]!r} "
                f"{second[where][::-1].tobytes().hex()}"
            )
    return int(plain != installed)


def main(given: list[str] | None = None) -> int:
    """Parse the command line and run what it asks for."""
    parser = argparse.ArgumentParser(
        description="Every floating-point ufunc, plain and installed: which bits differ.",
        epilog="Exit status 1 if any case differs or nothing ran in parallel.",
    )
    parser.add_argument("--seconds", type=float, default=180.0,
                        help="how long the plain side makes cases (180)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the cases (0)")
    parser.add_argument("--only", nargs="+", default=[], metavar="PATTERN",
                        help="functions that a regular expression finds")  # fmt: skip
    parser.add_argument("--case", metavar="LINE", help="run this case, and show what differs")
    for hidden in ("--side", "--log", "--cases"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.side:
        arguments.log = Path(arguments.log)
        sides.enter(arguments.side)
        if arguments.case:
            case = Case.read(arguments.case)
            arguments.log.write_bytes(pickle.dumps(perform(case, ufuncs()[case.function])))
        else:
            (run_plain if arguments.side == "plain" else run_installed)(arguments)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if arguments.case:
            return show(arguments.case, Path(folder))
        found = compare(arguments, Path(folder))
    for text in found.shown:
        print(text)
    if found.different:
        print("different by function:", dict(found.differing.most_common()))
    if found.left_out:
        print(f"left out, since they hang or crash by themselves: {sorted(found.left_out)}")
    for name, (parts, reason) in UNSTEADY.items():
        print(f"{', '.join(sorted(parts))} not compared: {name} {reason}")
    print(
        f"{found.cases:,} cases of {len(found.functions)} functions, {len(found.loops):,} loops "
        f"({found.elements:,} elements, {found.warned:,} with warnings, {found.raised:,} that "
        f"raise): {found.different} different; {sum(found.parallel.values()):,} calls of "
        f"{len(found.parallel)} functions ran in parallel"
    )
    return int(bool(found.different) or not found.parallel)


if __name__ == "__main__":
    sys.exit(main())
