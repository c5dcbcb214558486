"""What is asked of rows: ``[[check]]`` in backends.toml."""

from __future__ import annotations

import math
import re

import msgspec

from backends.history.data import Machine
from backends.history.ratios import Row

__all__ = ["Rule", "usable_cores"]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked of some rows: ``[[check]]`` in backends.toml.

    Attributes
    ----------
    kernel, backend, dtype, size, cores
        Which rows, and on machines of how many usable cores; None: all.
    slower : float or None
        By how much a row may be slower than before, relative, at least 0. Of several rules the
        last counts.
    speedup : float or None
        How many times the baseline's speed a row must have, above 0.

    Examples
    --------
    In backends.toml, "twice as slow is no matter for gamma; openmp's sin of a million elements
    is at least 1.5 times as fast as NumPy's on two cores"::

        [[check]]
        kernel = "gamma"
        slower = 1.0

        [[check]]
        kernel = "sin"
        backend = "openmp"
        size = 1e6
        cores = 2
        speedup = 1.5
    """

    kernel: str | None = None
    backend: str | None = None
    dtype: str | None = None
    size: int | float | None = None
    cores: int | None = None
    slower: float | None = None
    speedup: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name, least in (("size", 1), ("cores", 1), ("slower", 0), ("speedup", 0)):
            value = getattr(self, name)
            if value is not None and not (least <= value < math.inf):
                raise ValueError(f"{name} = {value}: give a number from {least} on")

    def holds_for(self, row: Row, cores: int | None) -> bool:
        """Say whether the rule is for this row, on a machine of so many cores."""
        return (
            self.kernel in (None, row.kernel)
            and self.backend in (None, row.backend)
            and self.dtype in (None, row.dtype)
            and (self.size is None or str(int(self.size)) == row.size)
            and self.cores in (None, cores)
        )


def usable_cores(machine: Machine) -> int | None:
    """Count the cores that were to be had: a container has fewer than its host.

    Examples
    --------
    >>> usable_cores(Machine("m", {"num_cpu": "64", "cores": "64 physical, 2 usable"}))
    2
    """
    found = re.search(r"(\d+) usable", machine.fields.get("cores", ""))
    number = found[1] if found else machine.fields.get("num_cpu", "")
    return int(number) if number.isdecimal() else None
