"""Price options by Monte Carlo: a European and two Asian calls, on paths of a geometric walk.

One core:    python examples/option_pricer.py
Every core:  backends run examples/option_pricer.py
"""

import argparse
import math
import sys

import numpy as np
from scipy.special import ndtr, ndtri

SPOT, STRIKE, RATE, VOLATILITY, YEARS = 100.0, 105.0, 0.03, 0.25, 1.0


def simulate(paths: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give, for each path, the price at the end, its arithmetic and its geometric mean."""
    rng = np.random.default_rng(seed=2)
    dt = YEARS / steps
    drift, scale = (RATE - VOLATILITY**2 / 2) * dt, VOLATILITY * math.sqrt(dt)
    log_price = np.full(paths, math.log(SPOT))
    price_sum = np.zeros(paths)
    log_sum = np.zeros(paths)
    for _ in range(steps):
        normal = ndtri(rng.random(paths))
        log_price += drift + scale * normal
        price_sum += np.exp(log_price)
        log_sum += log_price
    return np.exp(log_price), price_sum / steps, np.exp(log_sum / steps)


def call_value(prices: np.ndarray) -> tuple[float, float]:
    """Give the value of a call on `prices`, discounted, and its standard error."""
    payoff = math.exp(-RATE * YEARS) * np.maximum(prices - STRIKE, 0.0)
    return float(payoff.mean()), float(payoff.std() / math.sqrt(payoff.size))


def exact_value(mean: float, deviation: float) -> float:
    """Give the value of a call on a price whose logarithm is normal (Black and Scholes)."""
    d = (mean - math.log(STRIKE)) / deviation
    forward = math.exp(mean + deviation**2 / 2)
    value = forward * ndtr(d + deviation) - STRIKE * ndtr(d)
    return float(math.exp(-RATE * YEARS) * value)


def main() -> int:
    """Price the options, and compare with the two that have a formula."""
    parser = argparse.ArgumentParser(description="option prices by Monte Carlo")
    parser.add_argument("--paths", type=int, default=2_000_000)
    parser.add_argument("--steps", type=int, default=64, help="time steps of a path")
    arguments = parser.parse_args()
    last, arithmetic, geometric = simulate(arguments.paths, arguments.steps)

    drift = RATE - VOLATILITY**2 / 2
    n = arguments.steps
    mean = math.log(SPOT) + drift * YEARS * (n + 1) / (2 * n)
    deviation = VOLATILITY * math.sqrt(YEARS * (n + 1) * (2 * n + 1) / (6 * n * n))
    formulas = {
        "European": exact_value(math.log(SPOT) + drift * YEARS, VOLATILITY * math.sqrt(YEARS)),
        "geometric Asian": exact_value(mean, deviation),
    }
    good = True
    for name, prices in [("European", last), ("geometric Asian", geometric)]:
        value, error = call_value(prices)
        good &= abs(value - formulas[name]) < 4 * error
        print(f"{name}: {value:.4f}, by its formula {formulas[name]:.4f} (error {error:.4f})")
    value, error = call_value(arithmetic)
    print(f"arithmetic Asian: {value:.4f} (error {error:.4f})")
    print("within four standard errors:", "yes" if good else "NO")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
