"""Which way to go parallel: the workloads in examples/, each in the forms that suit it.

* ``python benchmarks/workloads.py`` times each form as a whole process, start-up included: in turn
  and in random order. It prints a table for each workload, in Markdown: the median time, and how
  many times faster a form ended than the workload's first one, both with the interval that holds
  the median in 95 of 100 cases, or, of fewer than six rounds, from the lowest to the highest.
* There are three rounds, or as many as fit into ``--time``. Forms that no target judges take part
  in one of three.
* ``--small`` runs each form once, with little to do: to see that all run, not how fast they are.

Every program checks its own answer; one that is wrong is said to be, and has no time. Forms whose
libraries are not there are left out, and named. A workload takes a few minutes on two cores; name
some for less. The exit status is 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeAlias

import psutil

from backends.bench.conditions import Watch
from backends.bench.heading import disturbances, machine_lines
from backends.bench.timer import Ratio, ratio
from backends.cli.common import progress_bar
from backends.cores import usable
from backends.machine import describe

EXAMPLES = Path(__file__).parents[1] / "examples"
CORES = usable()
#: Rounds that are run whatever they take: fewer do not show what varies.
ROUNDS = 3
#: Seconds after which a form is taken for stuck: several times what the slowest took on two cores.
LIMIT = 300
#: What each optional form needs: a module, or a command.
NEEDS = {"dask": "distributed", "mpi": "mpi4py", "ray": "ray", "xargs": "xargs"}

#: Jobs of ten milliseconds, by joblib alone and by backends.map.
TEN_MILLISECONDS = """
import sys, time

def job(number):
    end = time.perf_counter() + 0.010
    while time.perf_counter() < end:
        pass
    return number

if __name__ == "__main__":
    way, count, n_jobs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    import backends, joblib
    if way == "joblib":
        results = joblib.Parallel(n_jobs, return_as="generator")(
            joblib.delayed(job)(number) for number in range(count)
        )
    else:
        results = backends.map(job, range(count), backend="joblib", n_jobs=n_jobs)
    assert list(results) == list(range(count))
"""


Times: TypeAlias = dict[str, dict[int, float]]  # of each form, by the number of the round


class Target(NamedTuple):
    """How many times faster one form must be than another."""

    form: str
    than: str
    factor: float


class Workload(NamedTuple):
    """Forms of one workload, as command lines, and what is asked of them."""

    forms: dict[str, str]
    targets: tuple[Target, ...]


def example(name: str, options: str) -> str:
    """Give the command line that runs an example."""
    return f"python {EXAMPLES / name}.py {options}"


def under_mpi(ranks: int, command: str) -> str:
    """Give the command line that runs a program's jobs on `ranks` workers of MPI."""
    return f"mpiexec -n {ranks + 1} {command.replace('python ', 'python -m mpi4py.futures ')}"


def survey(*, small: bool) -> Workload:
    """Independent jobs: by this package, and by the shell."""
    beams = 4 if small else 512 * CORES
    alone = example("pulsar_survey", f"--beams {beams}")
    jobs = f"{alone} --n-jobs {CORES} --backend"
    of_shell = f"seq 0 {beams - 1} | xargs -P {CORES} -n %d " + example("pulsar_survey", "--beam")
    forms = {
        "serial": alone,
        "xargs, a process a core": of_shell % math.ceil(beams / CORES),
        "xargs, 16 beams a process": of_shell % 16,
        "threads": f"{jobs} threads",
        "joblib": f"{jobs} joblib",
        "dask": f"BACKENDS_SCHEDULER=local {jobs} dask",
        "mpi": under_mpi(CORES, f"{jobs} mpi"),
        "ray": f"{jobs} ray",
    }
    targets = (
        Target("joblib", "serial", 0.95 * CORES),
        Target("joblib", "xargs, a process a core", 0.95),
    )
    return Workload(forms, targets)


def k_means(*, small: bool) -> Workload:
    """Jobs that meet: scatter, gather, summarise, launch again."""
    size = "--points 100000 --rounds 3" if small else "--points 10000000 --rounds 15"
    alone = example("k_means_rounds", size)
    jobs = f"{alone} --n-jobs {CORES} --backend"
    forms = {
        "serial": alone,
        "threads": f"{jobs} threads",
        "joblib": f"{jobs} joblib",
        "dask": f"BACKENDS_SCHEDULER=local {jobs} dask",
        "mpi": under_mpi(CORES, f"{jobs} mpi"),
    }
    return Workload(forms, (Target("joblib", "serial", 0.85 * CORES),))


def heat(*, small: bool) -> Workload:
    """Jobs that talk to their neighbours at every step."""
    alone = example("heat_mpi", "--size 300 --steps 50" if small else "--size 1500 --steps 1200")
    forms = {
        "serial": alone,
        "threads": f"{alone} --form threads --jobs {CORES}",
        "openmp": alone.replace("python ", "backends run ", 1),
        "mpi, 1 rank": f"mpiexec -n 1 {alone} --form mpi",
        f"mpi, {CORES} ranks": f"mpiexec -n {CORES} {alone} --form mpi",
    }
    targets = (
        Target(f"mpi, {CORES} ranks", "mpi, 1 rank", 0.85 * CORES),
        Target("openmp", f"mpi, {CORES} ranks", 1.0),
    )
    return Workload(forms, targets)


def covariance(*, small: bool) -> Workload:
    """Reduce a matrix larger than the memory given to it."""
    alone = example("covariance", "--files 4" if small else "--files 30")
    jobs = f"{alone} --n-jobs {CORES} --backend"
    forms = {
        "serial": alone,
        "threads": f"{jobs} threads",
        "joblib": f"{jobs} joblib",
        "dask": f"{jobs} dask --memory 1",
    }
    return Workload(forms, ())


def overhead(*, small: bool) -> Workload:
    """Jobs of ten milliseconds, by joblib alone and by backends.map."""
    count = 20 if small else 500 * CORES
    command = f"python -c {shlex.quote(TEN_MILLISECONDS)} %s {count} {CORES}"
    forms = {"bare joblib": command % "joblib", "backends.map": command % "backends"}
    return Workload(forms, (Target("backends.map", "bare joblib", 0.95),))


WORKLOADS: dict[str, Callable[..., Workload]] = {
    "survey": survey,
    "k_means": k_means,
    "heat": heat,
    "covariance": covariance,
    "overhead": overhead,
}


def missing(form: str) -> bool:
    """Tell whether a form needs what is not there."""
    needed = NEEDS.get(form.partition(",")[0])
    return needed is not None and not (find_spec(needed) or shutil.which(needed))


def run(command: str, say: Callable[[str], None], name: str) -> float:
    """Run one form to its end, and give the seconds it took; it is right, or this raises."""
    say(name.ljust(40))
    # `python` and `mpiexec` are this environment's.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    start = time.perf_counter()
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    try:
        text, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.communicate()
        raise RuntimeError(f"not done within {LIMIT} seconds") from None
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise RuntimeError(f"exit status {process.returncode}: {text[-2000:]}")
    return seconds


def attempt(name: str, say: Callable[[str], None]) -> bool:
    """Run each form of a workload once, with little to do, and tell whether all end well."""
    print(f"\n{heading(name)}\n\n| form | tried with little to do |\n|---|---|")
    good = True
    for form, command in WORKLOADS[name](small=True).forms.items():
        outcome = f"left out: no {NEEDS.get(form.partition(',')[0])} here"
        if not missing(form):
            try:
                run(command, say, f"{name}, {form}")
                outcome = "runs"
            except RuntimeError as error:
                good, outcome = False, " ".join(str(error).split())
        print(f"| {form} | {outcome} |", flush=True)
    return good


def measure(name: str, seconds: float, say: Callable[[str], None]) -> bool:
    """Print the times of a workload's forms, and tell whether its targets are met."""
    workload = WORKLOADS[name](small=False)
    left_out = [form for form in workload.forms if missing(form)]
    forms = {form: command for form, command in workload.forms.items() if form not in left_out}
    first = next(iter(forms))
    judged = {first, *(form for target in workload.targets for form in target[:2])}
    if not workload.targets:
        judged = set(forms)
    times, failures = rounds(name, forms, judged, seconds, say)
    print(f"\n{heading(name)}\n\n{columns(first)}")
    for form in forms:
        if form in failures or first in failures:
            continue
        found = list(times[form].values())
        # Of one second each: the ratio is the time, with an interval by the same rule.
        cells = [form, str(len(found)), *cell(ratio(found, [1.0] * len(found)), len(found))]
        cells += cell(times_faster(times, first, form), len(found))
        print(f"| {' | '.join(cells)} |")
    print()
    for form, failure in failures.items():
        print(f"* {form}: FAILED, {failure}")
    for form in left_out:
        print(f"* {form}: left out, no {NEEDS[form.partition(',')[0]]} here")
    good = not failures
    for target in workload.targets:
        if not {target.form, target.than} & {*failures, *left_out}:
            good &= met(target, times)
    print()
    for form, command in forms.items():
        if name != "overhead":
            print(f"    {form}: {command.replace(f'{EXAMPLES.parent}{os.sep}', '')}")
    sys.stdout.flush()
    return good


def rounds(
    name: str,
    forms: dict[str, str],
    judged: set[str],
    seconds: float,
    say: Callable[[str], None],
) -> tuple[Times, dict[str, str]]:
    """Run forms in turn, in random order; give their times, and why some failed.

    Forms that no target judges take part in the first round of each three only.
    """
    times: Times = {form: {} for form in forms}
    failures: dict[str, str] = {}
    order, end, number = Random(0), time.perf_counter() + seconds, 0
    while number < ROUNDS or time.perf_counter() < end:
        taking_part = [form for form in forms if form in judged or number % ROUNDS == 0]
        for form in order.sample(taking_part, len(taking_part)):
            if form in failures:
                continue
            try:
                times[form][number] = run(forms[form], say, f"{name}, {form}, round {number + 1}")
            except RuntimeError as error:
                failures[form] = " ".join(str(error).split())
            if not sys.stderr.isatty():  # no bar shows how far it is
                print(f"{name}, {form}: {times[form].get(number)}", file=sys.stderr, flush=True)
        number += 1
    return times, failures


def times_faster(times: Times, than: str, form: str) -> Ratio:
    """Compare two forms, in the rounds in which both took part."""
    both = [number for number in times[form] if number in times[than]]
    return ratio([times[than][each] for each in both], [times[form][each] for each in both])


def heading(name: str) -> str:
    """Say what a table is of."""
    return f"**{name}**: {WORKLOADS[name].__doc__}"


def columns(first: str) -> str:
    """Give the head of a table."""
    return f"| form | rounds | seconds | interval | times {first} | interval |\n|---|{'--:|' * 5}"


def cell(found: Ratio, count: int) -> tuple[str, str]:
    """Write a median and its interval; one round has none."""
    return f"{found.value:.2f}", f"{found.low:.2f} to {found.high:.2f}" if count > 1 else ""


def met(target: Target, times: Times) -> bool:
    """Say whether a target is met, and whether the interval leaves a doubt."""
    found = times_faster(times, target.than, target.form)
    doubt = ", not certainly" if found.low < target.factor <= found.high else ""
    good = found.value >= target.factor
    print(
        f"* {target.form} is {found.value:.3f} times ({found.low:.3f} to {found.high:.3f}) as fast "
        f"as {target.than}, target {target.factor:.2f}: {'met' if good else 'MISSED'}{doubt}"
    )
    return good


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", nargs="*", help=f"some of {', '.join(WORKLOADS)}")
    parser.add_argument(
        "--time", type=float, default=60.0, help="seconds for each workload, if three take less"
    )
    parser.add_argument("--small", action="store_true", help="try all forms, in little time")
    arguments = parser.parse_args()
    if wrong := set(arguments.workload) - set(WORKLOADS):
        parser.error(f"no workload {', '.join(sorted(wrong))}; there are {', '.join(WORKLOADS)}")
    print(machine_lines(describe()))
    good, watch = True, Watch()
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=None)

        def say(text: str) -> None:
            progress.update(bar, description=text)

        for name in arguments.workload or WORKLOADS:
            good &= attempt(name, say) if arguments.small else measure(name, arguments.time, say)
    print(disturbances(watch.stop()))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
