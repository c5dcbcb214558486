"""Heat that spreads in a square plate, by workers that talk at every step.

Each has some of the rows, and hears from its neighbours what is in the row next to its own.

One core:            python examples/heat_mpi.py
Two MPI ranks:       mpiexec -n 2 python examples/heat_mpi.py --form mpi
Two threads:         python examples/heat_mpi.py --form threads --jobs 2
NumPy's loops cut:   backends run examples/heat_mpi.py
"""

import argparse
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

#: Time step over the square of the grid's: the scheme is stable up to 1/4.
RATIO = 0.2


def march(
    u: np.ndarray, steps: int, before: Callable[[], object], between: Callable[[], object]
) -> None:
    """Go on by some time steps, in place; the outermost rows and columns are not touched.

    `before` a step, the rows of neighbours must be there; `between` its two halves, every worker
    must have read what the others are about to change.
    """
    inner = u[1:-1, 1:-1]
    around = np.empty_like(inner)
    for _ in range(steps):
        before()
        np.add(u[:-2, 1:-1], u[2:, 1:-1], out=around)
        around += u[1:-1, :-2]
        around += u[1:-1, 2:]
        around *= RATIO
        between()
        inner *= 1.0 - 4.0 * RATIO
        inner += around


def nothing() -> None:
    """Wait for nobody."""


def rows_of(worker: int, workers: int, size: int) -> slice:
    """Give the rows of one worker, with one more on each side that it only reads."""
    first = 1 + worker * (size - 2) // workers
    last = 1 + (worker + 1) * (size - 2) // workers
    return slice(first - 1, last + 1)


def on_one_core(u: np.ndarray, steps: int) -> None:
    """Let one worker have all rows."""
    march(u, steps, nothing, nothing)


def on_threads(u: np.ndarray, steps: int, workers: int) -> None:
    """Let each thread have some rows of one array, and wait for the others twice a step."""
    barrier = threading.Barrier(workers)

    def work(worker: int) -> None:
        march(u[rows_of(worker, workers, len(u))], steps, barrier.wait, barrier.wait)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))


def on_ranks(u: np.ndarray, steps: int, world) -> None:
    """Let each rank have an array of its rows, and send the outer ones to its neighbours."""
    from mpi4py import MPI

    above = world.rank - 1 if world.rank > 0 else MPI.PROC_NULL
    below = world.rank + 1 if world.rank < world.size - 1 else MPI.PROC_NULL

    def exchange() -> None:
        world.Sendrecv(u[1], dest=above, recvbuf=u[-1], source=below)
        world.Sendrecv(u[-2], dest=below, recvbuf=u[0], source=above)

    march(u, steps, exchange, nothing)


def main() -> int:
    """Let a sine wave decay, and compare with the solution of the heat equation."""
    parser = argparse.ArgumentParser(description="the heat equation, with workers that meet")
    parser.add_argument("--size", type=int, default=1000, help="grid points along an edge")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--form", choices=("serial", "threads", "mpi"), default="serial")
    parser.add_argument("--jobs", type=int, default=2, help="threads of the form threads")
    arguments = parser.parse_args()
    size, steps = arguments.size, arguments.steps

    rank, mine, world = 0, slice(None), None
    if arguments.form == "mpi":
        from mpi4py import MPI

        world = MPI.COMM_WORLD
        rank, mine = world.rank, rows_of(world.rank, world.size, size)

    # Half waves along an edge: as many as decay by a fair part in these steps.
    half_waves = max(1, round(size / np.sqrt(20.0 * steps)))
    h = 1.0 / (size - 1)
    wave = np.sin(half_waves * np.pi * np.linspace(0.0, 1.0, size))
    start = np.outer(wave[mine], wave)
    u = start.copy()

    if arguments.form == "mpi":
        on_ranks(u, steps, world)
    elif arguments.form == "threads":
        on_threads(u, steps, arguments.jobs)
    else:
        on_one_core(u, steps)

    decay = np.exp(-2 * (half_waves * np.pi) ** 2 * steps * RATIO * h**2)
    own = slice(1, -1)
    error = np.abs(u[own] - decay * start[own]).max() / (1.0 - decay)
    hottest = u[own].max()
    if world is not None:
        error, hottest = (world.allreduce(x, op=MPI.MAX) for x in (error, hottest))
    good = bool(error < 0.01)
    if rank == 0:
        print(f"after {steps} steps: {hottest:.6f} at most")
        print(f"the solution: {decay:.6f} of the start; off by {error:.2%} of what changed")
        print("within one percent:", "yes" if good else "NO")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
