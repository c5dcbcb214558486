"""Heat that spreads in a square plate: the explicit five-point scheme, written with slices.

One core:    python examples/heat.py
Every core:  backends run examples/heat.py
"""

import argparse
import sys

import numpy as np

#: Time step over the square of the grid's: the scheme is stable up to 1/4.
RATIO = 0.2


def step(u: np.ndarray) -> None:
    """Go on by one time step, in place; the edges keep their temperature."""
    around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
    u[1:-1, 1:-1] += RATIO * (around - 4.0 * u[1:-1, 1:-1])


def main() -> int:
    """Let a sine wave decay, and compare with the solution of the heat equation."""
    parser = argparse.ArgumentParser(description="the heat equation on a square grid")
    parser.add_argument("--size", type=int, default=4000, help="grid points along an edge")
    parser.add_argument("--steps", type=int, default=25)
    arguments = parser.parse_args()

    h = 1.0 / (arguments.size - 1)
    x = np.linspace(0.0, 1.0, arguments.size)
    # Half waves along an edge: as many as decay by a fair part in these few steps.
    half_waves = max(1, arguments.size // 25)
    wave = np.sin(half_waves * np.pi * x)
    start = np.outer(wave, wave)

    u = start.copy()
    for _ in range(arguments.steps):
        step(u)

    seconds = arguments.steps * RATIO * h**2
    decay = np.exp(-2 * (half_waves * np.pi) ** 2 * seconds)
    error = np.abs(u - decay * start).max() / (1.0 - decay)
    print(f"after {arguments.steps} steps: {u.max():.6f} at most, {u.std():.6f} on average")
    print(f"the solution: {decay:.6f} of the start; off by {error:.2%} of what changed, at most")
    good = bool(error < 0.01)
    print("within one percent:", "yes" if good else "NO")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
