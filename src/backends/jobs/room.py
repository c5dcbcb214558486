"""How much memory a job needs, and how many jobs fit in at once."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager

from backends.jobs.slots import Slots
from backends.ram import free, usable

__all__ = ["Room", "check", "jobs_at_once", "read"]

UNITS = {
    "B": 1,
    **{f"{letter}B": 1000 ** (i + 1) for i, letter in enumerate("KMGT")},
    **{f"{letter}IB": 1024 ** (i + 1) for i, letter in enumerate("KMGT")},
}


def read(memory: int | float | str) -> int:
    """Read what a job needs.

    Parameters
    ----------
    memory : int or str
        Bytes, or text such as "500 MB", "2 GB", "1.5 GiB".

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    TypeError
        Neither a number nor text.
    ValueError
        Not positive, or no such unit.

    Examples
    --------
    >>> read("1.5 kB"), read("2 MiB"), read(4096)
    (1500, 2097152, 4096)
    """
    if isinstance(memory, bool) or not isinstance(memory, (int, float, str)):
        raise TypeError(f'memory_per_job must be bytes or text such as "2 GB", not {memory!r}')
    number, unit = memory, "B"
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([A-Za-z]+)\s*", memory)
        unit = found[2].upper() if found else ""
        if found is None or unit not in UNITS:
            raise ValueError(
                f'memory_per_job={memory!r} is no amount of memory: give bytes, or "500 MB", '
                '"2 GB", "1.5 GiB"'
            )
        number = float(found[1])
    if not 0 < float(number) < float("inf"):
        raise ValueError(f"memory_per_job={memory!r}: give a positive number of bytes")
    return max(int(float(number) * UNITS[unit]), 1)


def jobs_at_once(needed: int, n_jobs: int) -> int:
    """Count the jobs of `needed` bytes that fit at once into what is free now, at most `n_jobs`.

    Raises
    ------
    ValueError
        Not one would fit if all of the memory were free.
    MemoryError
        Not one does.

    Examples
    --------
    >>> jobs_at_once(1, 2)
    2
    """
    check(needed)
    left = free()
    fit = left // needed
    if fit < 1:
        raise MemoryError(
            f"memory_per_job: a job needs {_text(needed)}, and {_text(left)} are free now: "
            "end other programs, delete arrays, or give jobs less to do at a time"
        )
    return min(fit, n_jobs)


def check(needed: int, most: int | None = None, whose: str = "") -> None:
    """Refuse jobs that need more than there is: on this machine, or `most`, with `whose` it is.

    Raises
    ------
    ValueError
        They do.
    """
    if most is None:
        most, whose = usable(), f"there are on {platform.node()}"
    if needed > most:
        raise ValueError(
            f"memory_per_job: a job needs {_text(needed)}, which is more than the {_text(most)} "
            f"that {whose}: give jobs less to do at a time, or run them where there is more memory"
        )


class Room:
    """Memory of whichever machine a job runs on, taken by jobs that need `needed` bytes each."""

    def __init__(self, name: str, needed: int) -> None:
        self.name, self.needed = name, needed

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold what one job needs while a block runs; wait until it is there.

        Of all the memory: each worker must come to the same number, whenever it asks.
        """
        check(self.needed)
        with Slots(self.name, usable() // self.needed).take():
            yield

    def remove(self) -> None:
        """Delete what there is of it on this machine."""
        Slots(self.name, 1).remove()


def _text(amount: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if amount >= size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount} bytes"
