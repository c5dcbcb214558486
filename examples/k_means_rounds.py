"""Find clusters among ten million points: scatter once, gather, summarise, launch again.

One core:    python examples/k_means_rounds.py
Every core:  python examples/k_means_rounds.py --backend joblib
A cluster:   BACKENDS_SCHEDULER=tcp://... python examples/k_means_rounds.py --backend dask
"""

import argparse
import sys

import numpy as np

import backends

DIMENSIONS, CLUSTERS = 8, 10
#: Points at a time: what is computed on so many stays in a core's own cache.
BLOCK = 2048


def farthest_points(points: np.ndarray) -> np.ndarray:
    """Give centres to start from: each the point that is farthest from those before it."""
    centres = points[:1]
    while len(centres) < CLUSTERS:
        nearest = squared_distances(points, centres).min(axis=1)
        centres = np.vstack([centres, points[nearest.argmax()]])
    return centres


def squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Give the squared distance of each point (rows) to each centre (columns)."""
    of_points = np.square(points).sum(axis=1)
    of_centres = np.square(centres).sum(axis=1)
    return of_points[:, np.newaxis] - 2.0 * (points @ centres.T) + of_centres


def summarise(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Give, of the points nearest to each centre: how many, their sum, their squared distances."""
    summary = np.zeros((CLUSTERS, 1 + DIMENSIONS + 1))
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        distances = squared_distances(block, centres)
        belongs = distances.argmin(axis=1) == np.arange(CLUSTERS)[:, np.newaxis]
        columns = np.column_stack([np.ones(len(block)), block, distances.min(axis=1)])
        summary += belongs.astype(float) @ columns
    return summary


def k_means(points: np.ndarray, rounds: int, backend: str, n_jobs: int) -> tuple[np.ndarray, float]:
    """Give the centres, and the root mean square of the points' distances to theirs."""
    centres = farthest_points(points[:10_000])
    with backends.scatter(points, backend=backend, n_jobs=n_jobs) as held:
        for _ in range(rounds):
            summary = held.map_reduce(summarise, np.add, centres)
            sizes, sums, squares = summary[:, 0], summary[:, 1:-1], summary[:, -1]
            centres = sums / sizes[:, np.newaxis]
    return centres, float(np.sqrt(squares.sum() / sizes.sum()))


def plant(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Make points around centres; give both."""
    rng = np.random.default_rng(seed=3)
    planted = rng.uniform(-10.0, 10.0, (CLUSTERS, DIMENSIONS))
    points = rng.standard_normal((count, DIMENSIONS))
    for start in range(0, count, BLOCK):
        block = points[start : start + BLOCK]
        block += planted[rng.integers(CLUSTERS, size=len(block))]
    return planted, points


def main() -> int:
    """Plant clusters, and look whether they are found."""
    parser = argparse.ArgumentParser(description="k-means clustering in rounds")
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--backend", default="numpy", help="threads, joblib, dask or mpi")
    parser.add_argument("--n-jobs", type=int, default=-1)
    arguments = parser.parse_args()

    planted, points = plant(arguments.points)
    centres, spread = k_means(points, arguments.rounds, arguments.backend, arguments.n_jobs)
    order = squared_distances(planted, centres).argmin(axis=1)
    error = np.abs(centres[order] - planted).max()
    print(f"root mean square distance: {spread:.5f}; of the planted, {DIMENSIONS**0.5:.5f}")
    print(f"planted centres found to within {error:.5f}")
    good = bool(len(set(order)) == CLUSTERS and error < 6 / np.sqrt(arguments.points / CLUSTERS))
    print("within six standard errors:", "yes" if good else "NO")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
