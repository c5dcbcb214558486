"""The covariance of a matrix larger than the memory given to it, and its singular values.

One core:    python examples/covariance.py
Every core:  python examples/covariance.py --backend joblib
Little memory:  python examples/covariance.py --backend dask --memory 1
"""

import argparse
import sys

import joblib
import numpy as np

import backends

#: Rows that are read at a time, columns, and what varies together in them: how much, how many.
ROWS, COLUMNS = 10_000, 500
SCALES = np.array([5.0, 4.0, 3.0, 2.0])
#: Columns of length 1 that are orthogonal to each other.
DIRECTIONS = np.linalg.qr(np.random.default_rng(5).standard_normal((COLUMNS, len(SCALES))))[0]


def read(number: int) -> np.ndarray:
    """Make the rows that a file of this number would hold."""
    rng = np.random.default_rng([5, number])
    rows = rng.standard_normal((ROWS, COLUMNS))
    rows += (rng.standard_normal((ROWS, len(SCALES))) * SCALES) @ DIRECTIONS.T
    return rows


def products(number: int) -> np.ndarray:
    """Give the sums of the columns of one file (first row), and of their products."""
    rows = read(number)
    return np.vstack([rows.sum(axis=0), rows.T @ rows])


def by_jobs(files: int, backend: str, n_jobs: int) -> np.ndarray:
    """Give the covariance: a job for each file, and their results added as they come."""
    # Four times a file's rows: made of numbers, of factors, summed up; and those of the last file.
    room = 4 * ROWS * COLUMNS * np.dtype(float).itemsize
    results = backends.map(
        products, range(files), backend=backend, n_jobs=n_jobs, memory_per_job=room
    )
    total = sum(results, np.zeros((1 + COLUMNS, COLUMNS)))
    count = files * ROWS
    mean = total[0] / count
    return (total[1:] - count * np.outer(mean, mean)) / (count - 1)


def by_dask(files: int, n_jobs: int, memory: float) -> np.ndarray:
    """Give the covariance: one Dask array of all files, few of which are in memory at a time."""
    import dask
    import dask.array as da
    from distributed import Client

    with Client(n_workers=n_jobs, threads_per_worker=1, memory_limit=int(memory / n_jobs)):
        shape = ROWS, COLUMNS
        blocks = [da.from_delayed(dask.delayed(read)(n), shape, float) for n in range(files)]
        rows = da.concatenate(blocks)
        mean = rows.mean(axis=0)
        together = backends.matmul(rows.T, rows, backend="dask")
        return np.asarray((together - len(rows) * mean[:, None] * mean) / (len(rows) - 1))


def planted(values: np.ndarray, count: int) -> bool:
    """Tell whether singular values are those that were planted, for so many rows."""
    strong, weak = values[: len(SCALES)], values[len(SCALES) :]
    # The strong ones differ by chance; the weak ones, all 1, are spread as by Marchenko and Pastur.
    near = np.abs(strong / (SCALES**2 + 1.0) - 1.0).max() < 6.0 * np.sqrt(2.0 / count)
    return bool(near and np.abs(weak - 1.0).max() < 3.0 * np.sqrt(COLUMNS / count))


def main() -> int:
    """Compute the covariance of many files, and look whether it is right."""
    parser = argparse.ArgumentParser(description="the covariance of a large matrix")
    parser.add_argument("--files", type=int, default=100, help="each of 40 MB")
    parser.add_argument("--backend", default="numpy", help="threads, joblib, mpi, ray or dask")
    parser.add_argument("--n-jobs", type=int, default=joblib.cpu_count())
    parser.add_argument("--memory", type=float, default=1.0, help="GB given to Dask's workers")
    arguments = parser.parse_args()
    backend, n_jobs, memory = arguments.backend, arguments.n_jobs, arguments.memory * 1e9

    def compute(files: int) -> np.ndarray:
        return (
            by_dask(files, n_jobs, memory) if backend == "dask" else by_jobs(files, backend, n_jobs)
        )

    few = np.cov(np.vstack([read(0), read(1)]), rowvar=False)
    good = np.allclose(compute(2), few, rtol=0, atol=1e-9)
    print("of two files, as NumPy's:", "yes" if good else "NO")

    _, values, _ = backends.svd(compute(arguments.files))
    size = arguments.files * ROWS * COLUMNS * 8 / 1e9
    print(f"of {size:.1f} GB: singular values {', '.join(f'{v:.3f}' for v in values[:5])}, ...")
    good &= planted(values, arguments.files * ROWS)
    print("as planted:", "yes" if good else "NO")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
