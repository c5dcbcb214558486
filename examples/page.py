"""The three lines of SciPy's cookbook page on parallel programming, on ten million numbers.

One core:    python examples/page.py
Every core:  backends run examples/page.py
"""

import argparse
import sys

import numpy
import scipy.stats


def main() -> int:
    """Run the lines again and again, and look at some of their results."""
    parser = argparse.ArgumentParser(description="A = B + C, sin(B) and norm.isf(B)")
    parser.add_argument("--size", type=int, default=10_000_000, help="elements of each array")
    parser.add_argument("--repeats", type=int, default=15, help="how often the lines are run")
    arguments = parser.parse_args()

    rng = numpy.random.default_rng(seed=1)
    B = rng.uniform(0.0, 1.0, arguments.size)
    C = rng.uniform(0.0, 1.0, arguments.size)
    for _ in range(arguments.repeats):
        total = B + C
        sine = numpy.sin(B)
        quantile = scipy.stats.norm.isf(B)

    some = slice(0, arguments.size, max(1, arguments.size // 1000))
    print(f"B + C:       {total[some].mean():.6f} on average")
    print(f"sin(B):      {sine[some].mean():.6f}")
    print(f"norm.isf(B): {quantile[some].mean():.6f}")

    good = (
        numpy.allclose(total[some] - C[some], B[some], rtol=0, atol=1e-15)
        and numpy.allclose(numpy.arcsin(sine[some]), B[some], rtol=1e-14)
        and numpy.allclose(scipy.stats.norm.sf(quantile[some]), B[some], rtol=1e-12)
    )
    print("each undone by its inverse:", "yes" if good else "NO")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
