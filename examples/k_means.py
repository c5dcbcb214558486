"""Find clusters by Lloyd's algorithm, in a few lines of NumPy.

One core:    python examples/k_means.py
Every core:  backends run examples/k_means.py
"""

import argparse
import sys

import numpy as np

DIMENSIONS, CLUSTERS = 8, 10


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


def k_means(points: np.ndarray, rounds: int) -> tuple[np.ndarray, float]:
    """Give the centres, and the root mean square of the points' distances to theirs."""
    centres = farthest_points(points[:10_000])
    for _ in range(rounds):
        distances = squared_distances(points, centres)
        labels = distances.argmin(axis=1)
        sizes = np.bincount(labels, minlength=CLUSTERS)
        sums = [np.bincount(labels, column, CLUSTERS) for column in points.T]
        centres = np.transpose(sums) / sizes[:, np.newaxis]
    return centres, float(np.sqrt(distances.min(axis=1).mean()))


def main() -> int:
    """Plant clusters, and look whether they are found."""
    parser = argparse.ArgumentParser(description="k-means clustering")
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()

    rng = np.random.default_rng(seed=3)
    planted = rng.uniform(-10.0, 10.0, (CLUSTERS, DIMENSIONS))
    which = rng.integers(CLUSTERS, size=arguments.points)
    points = planted[which] + rng.standard_normal((arguments.points, DIMENSIONS))

    centres, spread = k_means(points, arguments.rounds)
    order = squared_distances(planted, centres).argmin(axis=1)
    error = np.abs(centres[order] - planted).max()
    print(f"root mean square distance: {spread:.5f}; of the planted, {DIMENSIONS**0.5:.5f}")
    print(f"planted centres found to within {error:.5f}")
    good = bool(len(set(order)) == CLUSTERS and error < 6 / np.sqrt(arguments.points / CLUSTERS))
    print("within six standard errors:", "yes" if good else "NO")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
