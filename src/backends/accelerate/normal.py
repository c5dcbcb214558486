"""The normal distribution of scipy.stats by a direct road: the same results in fewer passes.

``scipy.stats.norm.isf`` and its kin spend three quarters of their time around the function they
compute: in masks of what is inside the support, and in copies through these masks. The methods that
:func:`install` sets on the class of ``norm`` call the function on the whole array in one go, and
then put right the elements that are not numbers.

The direct road is for plain arrays of floats with a finite location and a positive, finite scale.
Whatever else there is goes to SciPy's own method, as does a call in which anything happens that
NumPy or SciPy would report: then SciPy itself gives the warning, the error and the result.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from itertools import product
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["install", "uninstall"]

Floats = NDArray[np.float64]

_METHODS = ("isf", "ppf", "cdf", "sf", "logcdf", "logsf", "pdf", "logpdf")
#: What SciPy's own methods call on the way, besides ``_isf`` for ``isf`` and so on.
_HELPERS = ("_argcheck", "_get_support", "_support_mask", "_open_support_mask")
#: Methods of a quantile; the others are of a value.
_INVERSES = ("isf", "ppf")
#: Where the support ends, and the value that SciPy puts there instead of the function's.
_ENDS = {
    "cdf": (math.inf, 1.0),
    "sf": (-math.inf, 1.0),
    "logcdf": (math.inf, 0.0),
    "logsf": (-math.inf, 0.0),
}
#: Types and dtypes of `loc` and `scale` with which SciPy computes in double precision.
_PARAMETERS = (int, float, np.int64, np.float64, np.ndarray)
_DOUBLES = (np.int64, np.float64)

_ROOT = np.sqrt(2 * np.pi)
_LOG_ROOT = np.log(_ROOT)

_lock = threading.Lock()
#: The class of ``scipy.stats.norm`` and what was set on it, while installed.
_installed: tuple[type, dict[str, Any]] | None = None


def install() -> str | None:
    """Give the methods of ``scipy.stats.norm`` their direct road.

    SciPy must have been imported. Nothing is changed unless the methods have the structure that
    this module knows, and both roads give the same bits on a set of hard arguments.

    Returns
    -------
    str or None
        Why nothing was changed, or None if the direct road is there (also if it was before).

    See Also
    --------
    uninstall : Take it back.

    Examples
    --------
    >>> import numpy, scipy.stats
    >>> from backends.accelerate import normal
    >>> normal.install()
    >>> scipy.stats.norm.isf(numpy.array([0.025, 0.5]))
    array([1.95996398, 0.        ])
    >>> normal.uninstall()
    """
    global _installed
    # Imported here: this module is loaded for programs that never import SciPy, too.
    from scipy import stats

    with _lock:
        if _installed is not None:
            return None
        norm = type(stats.norm)
        reason = _unknown(norm, stats.rv_continuous) or _differs(stats.norm)
        if reason is not None:
            return f"scipy.stats.norm is left alone: {reason}"
        methods = {name: _method(norm, name) for name in _METHODS}
        for name, method in methods.items():
            setattr(norm, name, method)
        _installed = norm, methods
    return None


def uninstall() -> None:
    """Leave the methods of ``scipy.stats.norm`` to SciPy again.

    A method that somebody else has set meanwhile stays.
    """
    global _installed
    with _lock:
        if _installed is not None:
            norm, methods = _installed
            for name, method in methods.items():
                if vars(norm).get(name) is method:
                    delattr(norm, name)
        _installed = None


def _unknown(norm: type, base: type) -> str | None:
    """Say in what the class of ``norm`` is not built as this module knows it."""
    for name in _METHODS:
        own = getattr(norm, name)
        if name in vars(norm) or own is not vars(base).get(name):
            return f"its method {name} is not that of rv_continuous"
        if not isinstance(own, FunctionType) or _names(own) != ("self", _first(name)):
            return f"its method {name} does not take the arguments that SciPy's took so far"
        if f"_{name}" not in vars(norm):
            return f"it has no method _{name}"
    overridden = [name for name in _HELPERS if name in vars(norm)]
    return f"it has a method {overridden[0]} of its own" if overridden else None


def _differs(distribution: Any) -> str | None:
    """Say for which method both roads do not give the same."""
    from scipy import special

    x = np.array([*(-np.inf, -1e300, -40.0, -3.0, -0.5, -5e-324, -0.0, 0.0, 1e-300, 1e-9, 0.25)])
    x = np.concatenate([x, [0.5, 0.975, 1 - 2**-53, 1.0, 2.0, 9.0, 38.5, np.inf, np.nan, -np.nan]])
    x = np.asfortranarray(np.concatenate([x, np.linspace(0, 1, 21)]).reshape(2, -1))
    parameters = (0, 1), (-0.0, 1), (1.5, 0.1), (-0.0, np.linspace(0.5, 3, x.shape[1]))
    with np.errstate(all="ignore"), special.errstate(all="ignore"):  # type: ignore[arg-type]
        for name, (loc, scale), dtype in product(_METHODS, parameters, ("f8", "f4")):
            here = _direct(distribution, name, x.astype(dtype), loc, scale)
            there = getattr(distribution, name)(x.astype(dtype), loc, scale)
            if here is None or _looks(here) != _looks(there):
                return f"its {name} gives something else than this package expects"
    return None


def _looks(array: Any) -> tuple[Any, ...]:
    return type(array), array.dtype, array.shape, array.strides, array.tobytes()


def _names(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _first(name: str) -> str:
    return "q" if name in _INVERSES else "x"


def _method(norm: type, name: str) -> Callable[..., Any]:
    own = getattr(norm, name)
    known = {helper: getattr(norm, helper) for helper in (f"_{name}", *_HELPERS)}

    @functools.wraps(own)
    def method(self: Any, /, *args: Any, **kwds: Any) -> Any:
        theirs = getattr(super(norm, self), name)
        call = _arguments(name, args, kwds)
        # What a program has put in place of SciPy's functions counts here too.
        if (
            call is not None
            and getattr(theirs, "__func__", None) is own
            and all(getattr(getattr(self, x), "__func__", None) is known[x] for x in known)
        ):
            result = _direct(self, name, *call)
            if result is not None:
                return result
        return theirs(*args, **kwds)

    # By these, pickle finds SciPy's own method in a process without the direct road.
    method.__module__, method.__qualname__ = norm.__module__, f"{norm.__qualname__}.{name}"
    return method


def _arguments(
    name: str, args: tuple[Any, ...], kwds: dict[str, Any]
) -> tuple[Floats, Any, Any] | None:
    """Return the array, loc and scale; None if they are not for the direct road."""
    first = _first(name)
    given = dict(zip((first, "loc", "scale"), args)) | kwds
    x = given.pop(first, None)
    plain = type(x) is np.ndarray and x.ndim and x.size and x.dtype in (np.float64, np.float32)
    # An argument given twice, or one too many, is an error that SciPy puts into words.
    if not plain or len(args) + len(kwds) != len(given) + 1 or not given.keys() <= {"loc", "scale"}:
        return None
    return x, given.get("loc", 0), given.get("scale", 1)


def _direct(distribution: Any, name: str, x: Floats, loc: Any, scale: Any) -> Floats | None:
    """Compute one method; None if SciPy must do it."""
    from scipy import special

    loc, scale = _parameter(loc), _parameter(scale)
    if (
        loc is None
        or scale is None
        or not (scale > 0 if isinstance(scale, float) else (scale > 0).all())
        or (distribution.a, distribution.b) != (-math.inf, math.inf)
        or type(distribution.badvalue) is not float
        # SciPy asks its functions for the elements inside the support only.
        or any(how != "ignore" for what, how in special.geterr().items() if what != "memory")
    ):
        return None
    # What the program ignores happens here too, unseen; the rest is SciPy's to report.
    errors: Any = {
        what: "ignore" if how == "ignore" else "raise" for what, how in np.geterr().items()
    }
    try:
        with np.errstate(**errors):
            out = np.empty(np.broadcast(x, loc, scale).shape)
            compute = _quantiles if name in _INVERSES else _values
            compute(name, x, loc, scale, distribution.badvalue, out)
    except (FloatingPointError, ValueError):
        # Something to report, or shapes that do not fit: SciPy finds the same, and says so.
        return None
    return out


def _parameter(value: Any) -> Any:
    """Return `loc` or `scale` as a float or an array, None if it is not for the direct road."""
    array = np.asarray(value) if type(value) in _PARAMETERS else None
    if array is None or array.dtype not in _DOUBLES or not array.size:
        return None
    if array.ndim:
        return array if np.isfinite(array).all() else None
    number = float(array)
    return number if math.isfinite(number) else None


def _is(parameter: Any, number: float) -> bool:
    return isinstance(parameter, float) and parameter == number


def _quantiles(name: str, q: Floats, loc: Any, scale: Any, bad: float, out: Floats) -> None:
    from scipy import special

    # At 0 and 1 it is infinite with the right sign, outside not a number: SciPy's masks, for free.
    special.ndtri(q, out=out)
    if not _is(scale, 1.0):
        np.multiply(out, scale, out=out)
    # Left out where loc is 0, this would leave a -0.0 that SciPy makes 0.0.
    if name == "isf":
        np.subtract(loc, out, out=out)  # exactly -out + loc, in one pass
    else:
        np.add(out, loc, out=out)
    outside = np.isnan(out)
    if outside.any():
        np.copyto(out, bad, where=outside)


def _values(name: str, x: Floats, loc: Any, scale: Any, bad: float, out: Floats) -> None:
    y = x
    # x - 0.0 is x, but for the sign of a zero, which these functions do not look at.
    if x.dtype != np.float64 or not _is(loc, 0.0):
        y = np.subtract(x, loc, out=out, dtype=np.float64)
    if not _is(scale, 1.0):
        y = np.divide(y, scale, out=out)
    if np.isfinite(y).all():
        _function(name, y, scale, out)
        return
    if y is x:
        y = np.subtract(y, loc, out=out)  # SciPy reports a signalling NaN here
    end, value = _ENDS.get(name, (math.nan, math.nan))
    nan, ends = np.isnan(y), y == end
    _function(name, y, scale, out)
    np.copyto(out, value, where=ends)
    np.copyto(out, bad, where=nan)


def _function(name: str, y: Floats, scale: Any, out: Floats) -> None:
    from scipy import special

    if name in ("sf", "logsf"):
        y = np.negative(y, out=out)
    if name in ("cdf", "sf"):
        special.ndtr(y, out=out)
    elif name in ("logcdf", "logsf"):
        special.log_ndtr(y, out=out)
    else:
        np.square(y, out=out)
        np.multiply(out, -0.5, out=out)  # exactly -out / 2
        if name == "pdf":
            np.exp(out, out=out)
            np.divide(out, _ROOT, out=out)
        else:
            np.subtract(out, _LOG_ROOT, out=out)
        if not _is(scale, 1.0):
            if name == "pdf":
                np.divide(out, scale, out=out)
            else:
                np.subtract(out, np.log(scale), out=out)
