"""How jobs that meet scale past this machine: a model fitted to what they take here.

``rounds``: those of ``examples/k_means_rounds.py``. A function and its arguments are sent to each
piece of a scattered array, and what they return is gathered by one coordinator:

    seconds = wait + message * pieces + bytes / bandwidth + point * points of the fullest worker

`wait` is what a round takes before anything is done, `message` the coordinator's time for one
piece, `bytes` what goes through the coordinator there and back, `point` a worker's arithmetic.

``heat``: the steps of ``examples/heat_mpi.py``. Each rank sends two rows to its neighbours, and
nobody coordinates:

    seconds = wait * neighbours + bytes / bandwidth + (point + far) * points of a rank

`far` is what a point takes more where a rank's two arrays do not fit into its share of the largest
cache, and come from memory at each step; it is 0 where they fit.

``python benchmarks/scaling.py rounds`` (or ``heat``) measures many sizes on the workers of this
machine, fits the numbers to two thirds of them, says how far off it is for the rest, and predicts 8
to 1,024 workers, in tables in Markdown: about three minutes on two cores. ``--small`` measures
little, to see that it runs. What was measured of the rounds and steps that are predicted, which the
fit has not seen, is in a column of its own. All else is on paper, and assumes:

* each worker has a core, its share of a cache and a memory of its own, as fast as those here;
* pieces are even, and no worker dies or lags: a round lasts as long as its slowest worker;
* a coordinator sends and gathers one message after the other, as fast as here, and no worker
  computes meanwhile, which is the worst case;
* the network takes ``--latency`` seconds more, once a round (messages overlap) or for each
  neighbour, and moves at most ``--bandwidth`` bytes a second into or out of one machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import nnls

import backends
from backends.bench.ceilings import largest_cache
from backends.bench.conditions import Watch
from backends.bench.heading import disturbances, machine_lines
from backends.cli.common import progress_bar
from backends.cores import usable
from backends.jobs.rounds import PIECES_PER_JOB
from backends.machine import describe

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))
import k_means_rounds  # noqa: E402 - found there

#: Of the rounds that are measured: points in all, pieces a worker, bytes each piece sends more.
POINTS, PIECES, BYTES = (10_000, 100_000, 1_000_000), (1, 4, 16, 64), (0, 2**16, 2**19)
#: Grid points along an edge, of the steps that are measured.
SIZES = (200, 300, 500, 800, 1200, 1800, 2200, 2600, 3200)
#: Grid points along an edge for each worker, of the steps that are predicted.
EDGE = 1500
#: Rounds of a kind: the fastest three quarters of them are what the round takes.
REPEATS = 12
#: Workers for whom the model predicts.
WORKERS = (8, 16, 32, 64, 128, 256, 512, 1024)


class Round(NamedTuple):
    """What one round does: points in all, workers and pieces they are shared by, bytes moved."""

    points: int
    workers: int
    pieces: int
    moved: int

    @property
    def fullest(self) -> float:
        """Points of the worker that has most."""
        return self.points / self.pieces * -(-self.pieces // self.workers)

    @property
    def terms(self) -> tuple[float, ...]:
        """What each part of the model is multiplied by."""
        return 1.0, self.pieces, self.moved, self.fullest, 0.0


class Step(NamedTuple):
    """What one step does: grid points along an edge, ranks that share the rows."""

    size: int
    workers: int

    @property
    def terms(self) -> tuple[float, ...]:
        """What each part of the model is multiplied by; a rank has two neighbours, or one."""
        neighbours = min(self.workers - 1, 2)
        points = self.size**2 / self.workers
        # On paper too, each has the share that it would have here where all cores work.
        cache = largest_cache() / min(self.workers, usable())
        is_far = 2 * 8 * points > cache
        return neighbours, 0, 2 * neighbours * self.size * 8, points, points if is_far else 0.0


class Model(NamedTuple):
    """Seconds of the parts of a round or step; `byte` is the inverse of the bandwidth."""

    wait: float
    message: float
    byte: float
    point: float
    far: float = 0.0

    def seconds(self, of: Round | Step) -> float:
        """Predict how long a round or step takes."""
        return float(np.dot(self, of.terms))


Measured: TypeAlias = dict[Any, float]  # seconds of each Round, or Step


def fit(measured: Measured) -> Model:
    """Fit the model, its parts at least 0, by least squares of the relative errors."""
    rows = np.array([np.array(each.terms) / seconds for each, seconds in measured.items()])
    # Columns of one size: their units differ by many orders of magnitude. Some are all 0.
    scale = np.maximum(np.abs(rows).max(axis=0), np.finfo(float).tiny)
    return Model(*(nnls(rows / scale, np.ones(len(rows)))[0] / scale))


def errors(model: Model, measured: Measured) -> np.ndarray:
    """Give how far the model is off, relative to what was measured."""
    return np.array([model.seconds(each) / seconds - 1 for each, seconds in measured.items()])


def a_round(points: np.ndarray, centres: np.ndarray, more: np.ndarray) -> Any:
    """Summarise one piece, and send back as much as came."""
    return k_means_rounds.summarise(points, centres), more


def some() -> list[int]:
    """Give numbers of workers to measure: 1, 2, 4, ... up to all of this machine's cores."""
    return [2**k for k in range(usable().bit_length())]


def seconds_of(call: Callable[[], object], repeats: int) -> float:
    """Time a call: the median of the faster three quarters, of which the first is none."""
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(np.sort(seconds[1:])[: max(1, repeats * 3 // 4)]))


def measure_rounds(backend: str, small: bool, say: Callable[[str], None]) -> Measured:
    """Time rounds of many sizes."""
    measured = {}
    of_points, of_pieces, of_bytes = (
        each[: 2 if small else None] for each in (POINTS, PIECES, BYTES)
    )
    planted, every_point = k_means_rounds.plant(max(of_points))
    for workers in some():
        engine = backends.get(backend, workers)
        for points in of_points:
            for pieces in (workers * each for each in of_pieces):
                say(f"{workers} workers, {points} points, {pieces} pieces")
                with engine.scatter(np.array_split(every_point[:points], pieces)) as held:
                    for more in of_bytes:
                        extra = np.zeros(more, np.uint8)
                        moved = pieces * (2 * more + 2 * planted.nbytes)
                        call = partial(held.map, a_round, planted, extra)
                        of = Round(points, workers, pieces, moved)
                        measured[of] = seconds_of(call, 2 if small else REPEATS)
        engine.close()
    return measured


def round_of(points: int, workers: int) -> Round:
    """Give the round of k-means that `backends.scatter` makes of so many points."""
    pieces = PIECES_PER_JOB * workers
    centres = k_means_rounds.CLUSTERS * k_means_rounds.DIMENSIONS * 8
    return Round(points, workers, pieces, pieces * 2 * centres)


def measure_round(backend: str, points: int, small: bool, say: Callable[[str], None]) -> Measured:
    """Time the round that is predicted, on 1 worker and on more."""
    found = {}
    planted, every_point = k_means_rounds.plant(points)
    for workers in some():
        say(f"the round that is predicted, {workers} workers")
        with backends.scatter(every_point, backend=backend, n_jobs=workers) as held:
            call = partial(held.map_reduce, k_means_rounds.summarise, np.add, planted)
            found[round_of(points, workers)] = seconds_of(call, 2 if small else REPEATS)
        backends.get(backend, workers).close()
    return found


def measure_step(step: Step, small: bool, say: Callable[[str], None]) -> float:
    """Time a step by what more steps take longer, for a whole program."""
    say(f"{step.workers} ranks, {step.size} x {step.size} points")
    few = 20
    more = max(20, int((2e6 if small else 2e8) / step.size**2))

    def run(steps: int) -> None:
        subprocess.run(
            [
                *("mpiexec", "-n", str(step.workers), sys.executable),
                *(str(EXAMPLES / "heat_mpi.py"), "--form", "mpi"),
                *("--size", str(step.size), "--steps", str(steps)),
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )

    repeats = 1 if small else 3
    both = [seconds_of(partial(run, steps), repeats) for steps in (few + more, few)]
    return (both[0] - both[1]) / more


def measure_steps(small: bool, say: Callable[[str], None]) -> Measured:
    """Time steps of many sizes."""
    sizes = SIZES[:3] if small else SIZES
    every = [Step(size, ranks) for ranks in some() for size in sizes]
    return {step: measure_step(step, small, say) for step in every}


def on_network(model: Model, latency: float, bandwidth: float) -> Model:
    """Give the model where workers are apart: no faster than the network."""
    return model._replace(wait=model.wait + latency, byte=max(model.byte, 1.0 / bandwidth))


def fitted(measured: Measured) -> Model:
    """Fit the model to two thirds of what was measured, and print it and its errors."""
    order = np.random.default_rng(0).permutation(len(measured))
    items = list(measured.items())
    held_out = dict(items[i] for i in order[::3])
    model = fit({key: value for key, value in items if key not in held_out})
    off = np.abs(errors(model, held_out))
    speed = f"{1e-9 / model.byte:.2f} GB/s" if model.byte else "too large to be seen"
    print(
        f"\nFitted to {len(measured) - len(held_out)} sizes measured on {usable()} cores: "
        f"wait {model.wait * 1e3:.3f} ms, message {model.message * 1e6:.1f} us, "
        f"bandwidth {speed}, point {model.point * 1e9:.2f} ns"
        + (f" and {model.far * 1e9:.2f} ns more from memory.\n" if model.far else ".\n")
        + f"For {len(held_out)} others that were measured it is off by {np.median(off):.0%} at the "
        f"median, {np.quantile(off, 0.9):.0%} in nine tenths, {off.max():.0%} at most."
    )
    return model


def table(
    title: str, every: list[Any], alone: list[float], models: tuple[Model, Model], found: Measured
) -> None:
    """Print what is predicted for each number of workers, beside what was measured of it."""
    print(
        f"\n**{title}**\n\n"
        "| workers | measured, ms | predicted, ms | times one worker, predicted | efficiency | |\n"
        "|--:|--:|--:|--:|--:|---|"
    )
    for each, one in zip(every, alone):
        is_here = each.workers <= usable()
        seconds = models[0 if is_here else 1].seconds(each)
        times = one / seconds
        measured = f"{found[each] * 1e3:.3f}" if each in found else ""
        print(
            f"| {each.workers:,} | {measured} | {seconds * 1e3:.3f} | {times:.1f} | "
            f"{times / each.workers:.0%} | {'this machine' if is_here else 'on paper'} |"
        )


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("rounds", "heat"), nargs="?", default="rounds")
    parser.add_argument("--backend", default="joblib", help="whose workers: joblib, dask, mpi")
    parser.add_argument("--points", type=int, default=10_000_000, help="of the rounds predicted")
    parser.add_argument("--size", type=int, default=20_000, help="of the grid predicted")
    parser.add_argument("--latency", type=float, default=1e-4, help="seconds, of the network")
    parser.add_argument("--bandwidth", type=float, default=1.25e9, help="bytes a second, of it")
    parser.add_argument("--small", action="store_true", help="measure little: does it run?")
    arguments = parser.parse_args()
    print(machine_lines(describe()))
    watch = Watch()
    found: Measured = {}
    small = arguments.small
    with progress_bar() as progress:
        bar = progress.add_task("starting", total=None)

        def say(text: str) -> None:
            progress.update(bar, description=text.ljust(50))

        if arguments.what == "rounds":
            measured = measure_rounds(arguments.backend, small, say)
            found = measure_round(arguments.backend, arguments.points, small, say)
        else:
            measured = measure_steps(small, say)
            for n in some():
                step = Step(round(EDGE * n**0.5), n)
                found[step] = measure_step(step, small, say)
    print(disturbances(watch.stop()))
    model = fitted(measured)
    models = model, on_network(model, arguments.latency, arguments.bandwidth)
    print(
        f"\nThe network, on paper: {arguments.latency * 1e6:g} us more for each message that is "
        f"waited for, {arguments.bandwidth / 1e9:g} GB/s at most."
    )
    workers = [*some(), *(n for n in WORKERS if n > usable())]
    if arguments.what == "rounds":
        show_rounds(arguments.points, workers, models, found)
    else:
        show_heat(arguments.size, workers, models, found)
    return 0


def show_rounds(
    points: int, workers: list[int], models: tuple[Model, Model], found: Measured
) -> None:
    """Print the tables of rounds, and what was measured of them."""
    for title, counts in (
        (f"A round of k-means on {points:,} points", [points for _ in workers]),
        (f"A round of k-means on {points:,} points a worker", [points * n for n in workers]),
    ):
        every = [round_of(each, n) for each, n in zip(counts, workers)]
        alone = [models[0].seconds(round_of(each, 1)) for each in counts]
        table(title, every, alone, models, found)


def show_heat(size: int, workers: list[int], models: tuple[Model, Model], found: Measured) -> None:
    """Print the tables of steps."""
    for title, sizes in (
        (f"A step of heat on {size:,} x {size:,} points", [size for _ in workers]),
        (
            f"A step of heat on {EDGE:,} x {EDGE:,} points a worker",
            [round(EDGE * n**0.5) for n in workers],
        ),
    ):
        every = [Step(each, n) for each, n in zip(sizes, workers)]
        alone = [models[0].seconds(Step(each, 1)) for each in sizes]
        table(title, every, alone, models, found)


if __name__ == "__main__":
    sys.exit(main())
