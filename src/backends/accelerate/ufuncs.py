"""The ufuncs of NumPy and scipy.special: found, their loops replaced in place, tested, put back."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from backends import files
from backends.caches import LARGE, cache_bytes
from backends.position import Position

__all__ = [
    "Count",
    "Recipe",
    "RefusedError",
    "count_anew",
    "counts",
    "find",
    "know_thresholds",
    "merged",
    "replace",
    "restore",
]

#: Why a call was not shared, in the order of `enum outcome` in ufuncs.h.
PARALLEL = 6
REASONS = (
    "",
    "one thread allowed",
    "scipy.special.errstate in force",
    "arrays overlap",
    "too little work",
    "no other thread free",
    "",
    "no floats",
    "in short pieces",
)


#: Boost's distributions, which scipy.stats calls: their loops raise OverflowError and warn, even
#: where scipy.special.errstate ignores errors, and what is raised in a worker's thread is lost.
RAISING = tuple(
    f"_{name}_"
    for name in (
        *("beta", "binom", "cauchy", "hypergeom", "invgauss", "landau", "nbinom", "ncf", "nct"),
        *("ncx2", "skewnorm"),
    )
)


class RefusedError(Exception):
    """Nothing was replaced; the message is the reason."""


class Recipe(NamedTuple):
    """How loops are replaced: by ours in mode "fast", cut from so many elements on, counted."""

    mode: str
    threshold: int
    counted: bool


class Count(NamedTuple):
    """The calls of one function since counting began.

    Attributes
    ----------
    function : str
        Its name, with the package's.
    calls, elements : int
        Calls that ended without an exception, and elements of their results.
    parallel : int
        Calls, at least a part of which ran on several threads.
    serial : dict of str to int
        Why the others did not, and how many of them.
    seconds : float
        Time within the calls.
    """

    function: str
    calls: int
    elements: int
    parallel: int
    serial: dict[str, int]
    seconds: float


def find(package: str) -> list[np.ufunc]:
    """Find the elementwise ufuncs of "numpy" or "scipy.special", also those not public.

    Examples
    --------
    >>> np.sin in find("numpy")
    True
    """
    if package == "numpy":
        names = ["numpy._core._multiarray_umath"]
    else:
        names = sorted(name for name in list(sys.modules) if f"{name}.".startswith(f"{package}."))
    found: dict[int, np.ufunc] = {}
    for name in names:
        for value in list(getattr(sys.modules.get(name), "__dict__", {}).values()):
            if isinstance(value, np.ufunc) and value.signature is None:
                found[id(value)] = value
    if package != "numpy":  # it uses some of NumPy's
        for ufunc in find("numpy"):
            found.pop(id(ufunc), None)
    return [ufunc for ufunc in found.values() if not ufunc.__name__.startswith(RAISING)]


def replace(engine: Any, package: str, recipe: Recipe) -> list[np.ufunc]:
    """Replace the loops of a package's ufuncs; each is tried, with an answer that is known.

    Parameters
    ----------
    engine : module
        The extension.
    package : {"numpy", "scipy.special"}
        Whose ufuncs.
    recipe : Recipe
        By what.

    Returns
    -------
    list of ufunc
        Those that have loops of the engine now.

    Raises
    ------
    RefusedError
        Something is not as we know it. All is as it was before.
    """
    ufuncs = find(package)
    for ufunc in ufuncs:
        _compare_structure(engine, ufunc)
    # Results that are larger go past the caches.
    stream_bytes = cache_bytes(3) or LARGE
    replaced: list[np.ufunc] = []
    try:
        with np.errstate(all="ignore"):
            for ufunc in ufuncs:
                fast = recipe.mode == "fast" and engine.has_fast(ufunc.__name__)
                put = partial(
                    engine.replace,
                    ufunc,
                    fast=ufunc.__name__ if fast else None,
                    special=package != "numpy",
                    threshold=recipe.threshold,
                    stream_bytes=stream_bytes,
                    counted=recipe.counted,
                )
                if put():
                    engine.restore(ufunc)
                    before = list(_answers(ufunc))
                    put()
                    replaced.append(ufunc)
                    _compare_answers(engine, ufunc, before, fast)
    except BaseException:
        restore(engine, replaced)
        raise
    return replaced


def restore(engine: Any, ufuncs: Iterable[np.ufunc]) -> None:
    """Put the own loops of ufuncs back."""
    for ufunc in ufuncs:
        engine.restore(ufunc)


def counts(engine: Any, package: str, ufuncs: Iterable[np.ufunc]) -> Iterator[Count]:
    """Give what was counted of each ufunc that was called."""
    for ufunc in ufuncs:
        calls, elements, seconds, outcomes = engine.counts(ufunc)
        if calls:
            serial = {REASONS[i]: n for i, n in enumerate(outcomes) if n and i != PARALLEL}
            name = f"{package}.{ufunc.__name__}"
            yield Count(name, calls, elements, outcomes[PARALLEL], serial, seconds)


def merged(counts: Iterable[Count]) -> list[Count]:
    """Add up what was counted of each function."""
    found: dict[str, Count] = {}
    for new in counts:
        old = found.get(new.function, Count(new.function, 0, 0, 0, {}, 0.0))
        found[new.function] = Count(
            new.function,
            old.calls + new.calls,
            old.elements + new.elements,
            old.parallel + new.parallel,
            dict(Counter(old.serial) + Counter(new.serial)),
            old.seconds + new.seconds,
        )
    return list(found.values())


def count_anew(engine: Any, ufuncs: Iterable[np.ufunc]) -> None:
    """Forget what was counted."""
    for ufunc in ufuncs:
        engine.count_anew(ufunc)


def know_thresholds(engine: Any, ufuncs: Iterable[np.ufunc], mode: str) -> None:
    """Let the tuned profile, if there is one, say from how many elements on a team pays."""
    if not os.path.isdir(files.data_folder("profiles")):  # noqa: PTH112
        return
    from backends import profile  # here: it takes a tenth of a second

    found = profile.current().profile
    if found is None:
        return
    for ufunc in ufuncs:
        for dtype in ("float32", "float64"):
            line = found.find(mode, ufunc.__name__, Position(dtype, "contiguous", 0))
            for choice in line[1] if line else ():
                if choice.backend in ("openmp", "threads") and choice.n_jobs != 1:
                    engine.know(ufunc, np.dtype(dtype).num, choice.start)
                    break


def _compare_structure(engine: Any, ufunc: np.ufunc) -> None:
    """Hold what the extension reads in a ufunc against what NumPy says of it."""
    sound, *read = engine.describe(ufunc)
    said = [ufunc.__name__, ufunc.nin, ufunc.nout, ufunc.ntypes, ufunc.types]
    if not sound or read != said:
        raise RefusedError(
            f"ufunc {ufunc.__name__} of this version of NumPy ({np.__version__}) or SciPy has "
            "another structure than the ones that are known, or another program has changed it"
        )


# One half is in the domain of every function, or outside of it for good: at other values some
# loops of SciPy for float32, obl_cv(1, 1, 1) for one, never end.
_INEXACT = frozenset("efdgFDG")
_OPERANDS = {code: np.full(1, 0.5, code) for code in _INEXACT}
_OPERANDS |= {code: np.ones(1, code) for code in "?bBhHiIlLqQ"}
# Outside of its domain this one returns memory that nobody has set.
_WHOLE = {"_stirling2_inexact"}


def _answers(ufunc: np.ufunc) -> Iterator[tuple[str, Any]]:
    for types in dict.fromkeys(ufunc.types):
        # Those of integers alone are not replaced.
        if set(types) <= {*_OPERANDS, "-", ">"} and _INEXACT & set(types[: ufunc.nin]):
            operands = [_OPERANDS[code] for code in types[: ufunc.nin]]
            if ufunc.__name__ in _WHOLE:
                operands = [np.ceil(x) for x in operands]
            yield types, ufunc(*operands, signature=types)


def _compare_answers(engine: Any, ufunc: np.ufunc, before: list[Any], fast: bool) -> None:
    for (types, old), (_, new) in zip(before, _answers(ufunc), strict=True):
        pairs = zip(old, new) if isinstance(old, tuple) else [(old, new)]
        for x, y in pairs:
            if not _same(x, y) and not (fast and np.allclose(x, y, rtol=1e-5, equal_nan=True)):
                raise RefusedError(f"{ufunc.__name__} ({types}) gave {y} in place of {x}")
    # Of two loops for the same types NumPy uses the first.
    types = ufunc.types
    for i in engine.unreached(ufunc):
        if types.index(types[i]) == i and set(types[i]) <= {*_OPERANDS, "-", ">"}:
            raise RefusedError(f"the loop of {ufunc.__name__} ({types[i]}) is never called")


def _same(x: Any, y: Any) -> bool:
    if x.dtype.char in "gG":  # of their bytes some mean nothing
        alike = (x == y) | ((x != x) & (y != y))  # sooner than np.array_equal
        return bool(x.dtype == y.dtype and alike.all())
    return bool(x.dtype == y.dtype and x.tobytes() == y.tobytes())
