"""What this package needs of Python, of NumPy and of the system; said at the first import."""

from __future__ import annotations

import sys

__all__ = ["check"]


def check(
    python: tuple[int, ...] = tuple(sys.version_info[:3]),
    numpy: str | None = None,
    largest: int = sys.maxsize,
) -> None:
    """Raise ImportError with the remedy where this package cannot run.

    pip sees to most of this. It does not where the folder was copied, with ``--no-deps``, or where
    an older NumPy was installed later.

    Examples
    --------
    >>> check()
    >>> check(numpy="1.26.4")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ImportError: array-backends needs NumPy 2.1 or newer; this is 1.26.4. Run: ...
    """
    if python < (3, 11):
        raise ImportError(
            "array-backends needs Python 3.11 or newer; this is "
            f"{'.'.join(map(str, python))}. Install it into an environment of a newer Python"
        )
    import numpy as np  # here: what is said of Python must not depend on it

    version = numpy or np.__version__
    if tuple(map(int, version.split(".")[:2])) < (2, 1):
        raise ImportError(
            f"array-backends needs NumPy 2.1 or newer; this is {version}. "
            f'Run: {sys.executable} -m pip install "numpy>=2.1" "scipy>=1.14"'
        )
    if largest < 2**32:
        raise ImportError(
            "array-backends needs a 64-bit Python, and this one has 32 bits. Install a 64-bit "
            "Python; on a 32-bit system there is none"
        )
