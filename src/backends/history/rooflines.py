"""How near each result is to what its machine can do at most."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from backends import kernels
from backends.errors import UnknownNameError
from backends.history.data import Machine
from backends.history.standings import Standing

__all__ = ["Ceiling", "Point", "Roof", "ceilings", "points", "roofs"]


class Ceiling(NamedTuple):
    """A limit of one machine.

    Attributes
    ----------
    name : str
        "memory", "L3" or "L2" (bandwidth), or "GEMM" (arithmetic).
    dtype : str
        Of the arithmetic; empty for a bandwidth.
    rate : float
        Bytes or operations a second.
    """

    machine: str
    name: str
    dtype: str
    rate: float


class Roof(NamedTuple):
    """One end of a line under which results of one dtype stay.

    Attributes
    ----------
    named : bool
        Whether it is the left one of the two, at which the name stands.
    """

    machine: str
    dtype: str
    name: str
    intensity: float
    rate: float
    named: bool


class Point(NamedTuple):
    """A result: operations a byte, and operations a second."""

    machine: str
    kernel: str
    backend: str
    dtype: str
    size: int
    intensity: float
    rate: float


#: One ceiling in words: what, of which dtype, and how much.
RATE = re.compile(r"(\w+)(?: (float\d+))? (\d+(?:\.\d+)?(?:e\+?\d+)?) (GB/s|GFLOP/s)")
#: Backends that never compute on the processor, whose ceilings these are; and that do not where
#: there is a GPU.
ELSEWHERE = {"cupy"}
WITH_GPU = {*ELSEWHERE, "torch", "jax"}
#: How a machine's file says that there is no GPU.
NO_GPU = ("", "none")
#: Complex numbers count as their real parts.
REAL = {"complex64": "float32", "complex128": "float64"}
#: Sizes at which inputs are made, to see which of their lengths grow with the size.
SMALL = (16, 32)


def ceilings(machines: Iterable[Machine]) -> list[Ceiling]:
    """Read the ceilings that machines' files have, in the field "ceilings".

    Examples
    --------
    >>> said = "memory 12.5 GB/s, L3 80 GB/s, GEMM float64 60 GFLOP/s"
    >>> [each.rate for each in ceilings([Machine("cpu", {"ceilings": said})])]
    [12500000000.0, 80000000000.0, 60000000000.0]
    """
    found = []
    for machine in machines:
        for match in RATE.finditer(machine.fields.get("ceilings", "")):
            name, dtype, number, _ = match.groups(default="")
            rate = float(number) * 1e9
            if 0 < rate < math.inf:
                found.append(Ceiling(machine.name, name, dtype, rate))
    return found


def roofs(limits: Iterable[Ceiling], placed: Iterable[Point]) -> list[Roof]:
    """Draw the lines, as wide as the results of each machine and dtype.

    Examples
    --------
    >>> limits = [Ceiling("cpu", "memory", "", 1e10), Ceiling("cpu", "GEMM", "float64", 5e10)]
    >>> placed = [Point("cpu", "sin", "numpy", "float64", 100, x, 1e9) for x in (1.0, 10.0)]
    >>> [(each.name, each.intensity, each.rate) for each in roofs(limits, placed) if not each.named]
    [('memory', 5.0, 50000000000.0), ('GEMM float64', 20.0, 50000000000.0)]
    """
    widths: dict[tuple[str, str], tuple[float, float]] = {}
    for point in placed:
        key = point.machine, point.dtype
        low, high = widths.get(key, (math.inf, 0.0))
        widths[key] = min(low, point.intensity / 2), max(high, point.intensity * 2)
    limits = list(limits)
    lines = []
    for (machine, dtype), (low, high) in widths.items():
        real = REAL.get(dtype, dtype)
        mine = [each for each in limits if each.machine == machine and each.dtype in ("", real)]
        top = max((each.rate for each in mine if each.dtype), default=math.inf)
        for limit in mine:
            if limit.dtype:
                name = f"{limit.name} {limit.dtype}"
                ends = [(low, limit.rate), (high, limit.rate)]
            else:
                name = limit.name
                ridge = max(low, min(high, top / limit.rate))
                ends = [(x, x * limit.rate) for x in (low, ridge)]
            lines += [Roof(machine, dtype, name, *ends[i], i == 0) for i in (0, 1)]
    return lines


def points(found: Iterable[Standing], machines: Mapping[str, Machine]) -> list[Point]:
    """Place results; not those of a GPU, nor of a kernel that this version does not have."""
    placed = []
    for each in found:
        gpu = machines[each.machine].fields.get("gpu", "")
        known = work(each.kernel, each.dtype, each.size)
        if known is None or each.backend in (ELSEWHERE if gpu in NO_GPU else WITH_GPU):
            continue
        flops, moved = known
        rate = flops / each.seconds
        case = (each.machine, each.kernel, each.backend, each.dtype, each.size)
        placed.append(Point(*case, flops / moved, rate))
    return placed


@cache
def work(kernel: str, dtype: str, size: int) -> tuple[float, float] | None:
    """Give the operations and the bytes of one call, without making its arrays.

    Examples
    --------
    >>> work("matmul", "float64", 1000)
    (2000000000.0, 24000000.0)
    >>> work("no_kernel", "float64", 1000)
    >>> work("matmul", "float16", 1000)
    """
    try:
        found = kernels.find(kernel)
    except UnknownNameError:
        return None
    if dtype not in found.dtypes:
        return None
    case = next(iter(found.cases))
    shapes = []
    for small in SMALL:
        arrays = found.inputs(case, small, dtype)
        results = found.reference(*arrays)
        results = results if isinstance(results, tuple) else (results,)
        shapes.append([(np.shape(x), np.asarray(x).dtype) for x in (*arrays, *results)])
    try:
        full = [_at(one, two, size) for one, two in zip(*shapes)]
    except ValueError:  # No array is so large.
        return None
    flops = found.flops(*full[: len(found.core)])
    return flops, float(sum(x.nbytes for x in full))


def _at(one: tuple[Any, Any], two: tuple[Any, Any], size: int) -> Any:
    """Make what stands for an array at `size`, of one element, from two small ones' shapes."""
    steps = SMALL[1] - SMALL[0]
    shape = [n + (m - n) * (size - SMALL[0]) // steps for n, m in zip(one[0], two[0])]
    return np.broadcast_to(np.zeros((), one[1]), shape)
