"""The largest errors of backend openmp's fast functions, in ULP, and of NumPy's and SciPy's own.

Run it with ``python benchmarks/accuracy.py`` in an environment that has python-flint as well; the
published table is what it prints with no arguments, in five minutes on two cores:

    python benchmarks/accuracy.py sin gammaln          two functions
    python benchmarks/accuracy.py --points 20000       a quick look
    python benchmarks/accuracy.py --dtype float32      the single-precision loops

Exact values are those of Arb, whose balls enclose the true value: the precision grows until the
ball is narrower than 1e-4 ULP. On a random subset mpmath gives a second opinion. The points cover
all doubles, subnormals too, and crowd around the hard places: zeros, poles, branch points, ends of
the range, borders between methods, multiples of pi/2. The exit status is 1 where a bound fails.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import math
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from scipy import special

import backends

Array = NDArray[Any]
#: True values in three rows: (high + low) * 2**shift, and NaN where there is none.
Exact = NDArray[np.float64]

#: Bits of precision to try. Near multiples of pi/2 a sine loses 60 bits, and Arb's Bessel function
#: loses as many as its argument has before the binary point.
PRECISIONS = (96, 160, 384, 1400, 3000)
#: What a ball's relative accuracy must be: 14 bits past a double's 53 are 6e-5 ULP.
ACCURATE = 67
#: Points on which mpmath is asked too, its digits, and by how many ULP the two may differ.
OPINIONS, DIGITS, AGREEMENT = 2000, 60, 1e-3
#: Results below the first or above the second are scaled before they are split in two doubles.
SMALL, LARGE, SCALE = 1e-250, 1e300, 600
ULPS = ("NumPy/SciPy max ULP", "openmp fast max ULP")
HEADINGS = ("function", "domain measured", "points", *ULPS, "at", "bound")
#: Points that one process takes at a time.
CHUNK = 5000


class Function(NamedTuple):
    """A function: NumPy's, Arb's, mpmath's, the bound, and where to look."""

    numpy: Callable[[Array], Array]
    arb: Callable[[Any], Any]
    #: Of a context, the argument, and Arb's value (which inverse functions correct by Newton).
    mpmath: Callable[[Any, Any, Any], Any]
    bound: float
    #: Intervals that are sampled uniformly.
    natural: tuple[tuple[float, float], ...]
    #: Places to crowd around.
    hard: Array
    #: Sampled uniformly in the logarithm.
    whole: tuple[float, float] = (-math.inf, math.inf)
    #: Crowd around the multiples of pi/2.
    periodic: bool = False


def at(*places: Any) -> Array:
    """Join numbers and arrays."""
    return np.concatenate([np.atleast_1d(np.asarray(place, float)) for place in places])


def plain(ufunc: Any, *rest: Any, **more: Any) -> Function:
    """Make a function that bears the same name everywhere."""
    name = ufunc.__name__
    call = operator.methodcaller(name)
    return Function(ufunc, call, lambda mp, x, _: getattr(mp, name)(x), *rest, **more)


def both(*places: Any) -> Array:
    """Join numbers and arrays, and their opposites."""
    return at(*places, -at(*places))


def arb_ndtr(x: Any) -> Any:
    """Give the normal distribution function of a ball."""
    return (-x / type(x)(2).sqrt()).erfc() / 2


def arb_ndtri(p: Any) -> Any:
    """Give the normal quantile of a double as a ball; the differences are exact in each case."""
    root = type(p)(2).sqrt()
    if p < 0.25:
        return -root * (2 * p).erfcinv()
    if p > 0.75:
        return root * (2 * (1 - p)).erfcinv()
    return root * (2 * (p - 0.5)).erfinv()


def arb_log_ndtr(x: Any) -> Any:
    """Give the logarithm of the normal distribution function."""
    arb = type(x)
    if x >= 0:
        return (-arb_ndtr(-x)).log1p()
    if x > -1e4:
        return arb_ndtr(x).log()
    # Arb's exponents are bounded too. The asymptotic series lies between 1 - u and 1 - u + 3u^2.
    u = 1 / (x * x)
    return -x * x / 2 - (-x * (2 * arb.pi()).sqrt()).log() - u + arb(0, 3 * u * u)


INTEGERS, ROOT = np.arange(1.0, 172.0), math.sqrt(2)
#: Where an exponential's argument is cut into a multiple of log(2) and a rest.
HALVES = (np.arange(-40, 40) + 0.5) * math.log(2)
#: Where results become subnormal, and zero or infinite, in double and in single precision.
EXP_ENDS = at(-708.3964, -745.1332, 709.7827, -87.3365, -103.9721, 88.7228)
TURNS, AROUND = both(np.arange(33) * math.pi / 4), ((-10, 10), (-1e5, 1e5))
ERF = both(0, 0.5, 0.84375, 1, 1.25, 1.5, 2, 2.857, 4, 5.9, 6)
ERFC = both(ERF, 8, 10, 26.5433, 27.2264)  # the last two: subnormal results, and zero
QUANTILE = at(0, 0.02425, 0.075, math.exp(-2), 0.25, 0.425, 0.5, 1, math.exp(-25), math.exp(-32))
QUANTILE = at(QUANTILE, 1 - QUANTILE, np.logspace(-308, -1, 100))
TO_ONE = ((0, 1), (0, 0.05), (0.95, 1), (0.45, 0.55))
GAMMALN = at(-INTEGERS, 0, 0.5, 1, 1.5, 2, 2.5, 3, 8, 13, 33, 1e3, 1e8, 2**56, 2.556348e305)
GAMMA = at(-INTEGERS, 0.5 - INTEGERS, INTEGERS, 0, 5.6e-309, 35.04, 143.01608, 171.6243769)

# fmt: off
FUNCTIONS = {
    "sin": plain(np.sin, 1, AROUND, TURNS, periodic=True),
    "cos": plain(np.cos, 1, AROUND, TURNS, periodic=True),
    "tan": plain(np.tan, 2, AROUND, TURNS, periodic=True),
    "exp": plain(np.exp, 1, ((-1, 1), (-104, 89), (-746, 710)), at(0, HALVES, EXP_ENDS)),
    "log": plain(np.log, 1, ((0, 2), (0.5, 1.5), (0, 100)),
                 at(0, 1, ROOT / 2, ROOT, 2 / 3, 4 / 3), (0, math.inf)),
    "erf": plain(special.erf, 2, ((-6, 6), (-1.5, 1.5)), ERF),
    "erfc": plain(special.erfc, 2, ((-6, 28), (-1.5, 1.5), (25, 27.3)), ERFC),
    "ndtr": Function(special.ndtr, arb_ndtr, lambda mp, x, y: mp.ncdf(x),
                     2, ((-39, 9), (-2, 2), (-38.6, -36)), ROOT * ERFC),
    "ndtri": Function(special.ndtri, arb_ndtri,
                      lambda mp, p, y: y - (mp.ncdf(y) - p) / mp.npdf(y),
                      2, TO_ONE, QUANTILE, (0, 1)),
    "norm_isf": Function(lambda p: -special.ndtri(p), lambda p: -arb_ndtri(p),
                         lambda mp, p, y: y + (mp.ncdf(-y) - p) / mp.npdf(y),
                         2, TO_ONE, QUANTILE, (0, 1)),
    "gammaln": Function(special.gammaln,
                        lambda x: x.lgamma() if x > 0 else abs(x.gamma()).log(),
                        lambda mp, x, y: mp.loggamma(x) if x > 0 else mp.log(abs(mp.gamma(x))),
                        4, ((0, 4), (0.75, 2.25), (0, 40), (-40, 0)), GAMMALN),
    "gamma": plain(special.gamma, 4, ((0, 4), (0, 40), (0, 172), (-180, 0)), GAMMA, (-1e4, 1e4)),
    "erfinv": Function(special.erfinv, operator.methodcaller("erfinv"),
                       lambda mp, x, y: y - (mp.erf(y) - x) * mp.exp(y * y) * mp.sqrt(mp.pi) / 2,
                       4, ((-1, 1), (-0.1, 0.1), (0.95, 1)),
                       both(0, 0.5, 0.75, 0.85, 0.9375, 1), (-1, 1)),
    "log_ndtr": Function(special.log_ndtr, arb_log_ndtr,
                         lambda mp, x, y: mp.log1p(-mp.ncdf(-x)) if x > 0 else mp.log(mp.ncdf(x)),
                         4, ((-40, 10), (-2, 2), (-1e4, 0)),
                         at(ROOT * ERFC, -1, -5, -14, -20, -1e4, -1e8, 38.4854, -1.8961e154)),
    "expit": Function(special.expit, lambda x: 1 / (1 + (-x).exp()),
                      lambda mp, x, y: 1 / (1 + mp.exp(-x)),
                      4, ((-10, 10), (-104, 18), (-746, 40)), at(HALVES, EXP_ENDS, 17.33, 36.74)),
    "j0": Function(special.j0, lambda x: x.bessel_j(0), lambda mp, x, y: mp.besselj(0, x),
                   8, ((-50, 50), (0, 8), (0, 1e4)),
                   both(0, 2, 4, 5, 8, 25, special.jn_zeros(0, 300))),
}
# fmt: on


def ours(name: str) -> Callable[[Array], Array]:
    """Give backend openmp's fast function.

    Raises
    ------
    RuntimeError
        The backend, its mode, or the function is missing; the message says which.
    """

    def run(x: Array) -> Array:
        with backends.config_context(backend="openmp", mode="fast"):
            result: Array = getattr(backends, name)(x)
        return result

    try:
        run(np.array([0.5]))
    except (AttributeError, TypeError, ValueError, LookupError, RuntimeError) as error:
        raise RuntimeError(f"backend openmp runs no fast {name} here: {error}") from error
    return run


def ordered(bits: Array) -> Array:
    """Map the bits of numbers to integers in the numbers' order, and such integers to bits."""
    return np.where(bits < 0, np.iinfo(bits.dtype).min - bits, bits)


def near_multiples(dtype: np.dtype[Any], rng: np.random.Generator, count: int) -> Array:
    """Give numbers near multiples of pi/2, of all sizes, among them the nearest of each size."""
    import mpmath

    info = np.finfo(dtype)
    bits = int(info.nmant) + 1
    mp = mpmath.MPContext()
    mp.prec = 1400
    two_over_pi = int(mp.ldexp(2 / mp.pi, 1300))
    found = []
    # m * 2**e is near a multiple where m is the denominator of a convergent of 2**e * 2/pi.
    for exponent in range(1 - bits, int(info.maxexp) - bits + 1):
        top, bottom = two_over_pi << (exponent + bits), 1 << (1300 + bits)
        before, denominator = 1, 0
        while bottom:
            quotient, rest = divmod(top, bottom)
            before, denominator = denominator, quotient * denominator + before
            if denominator >> bits:
                break
            if denominator >> (bits - 10):
                found.append(math.ldexp(denominator, exponent))
            top, bottom = bottom, rest
    decades = rng.uniform(0, math.log10(info.max) - 1, count).tolist()
    found += [float(mp.floor(mp.power(10, decade)) * mp.pi / 2) for decade in decades]
    x = np.array(found, dtype)
    return np.where(rng.random(x.size) < 0.5, x, -x)


def points(function: Function, count: int, dtype: np.dtype[Any], seed: int) -> Array:
    """Choose `count` arguments, or more where those near the places leave too few others."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    integer = np.dtype(f"i{dtype.itemsize}")
    low, high = (dtype.type(np.clip(end, info.min, info.max)) for end in function.whole)

    powers = both(np.ldexp(1.0, np.arange(info.minexp - info.nmant, info.maxexp)))
    powers = powers[(powers >= low) & (powers <= high)]
    hard = function.hard[abs(function.hard) <= info.max]
    places = [hard, powers]
    crowd = [hard] * (count // (5 * hard.size) + 8) + [rng.choice(powers, count // 20)]
    if function.periodic:
        places.append(near_multiples(dtype, rng, count // 40))
        crowd += places[-1:] * 8
    # Each place and its neighbours; then at distances of 1, 2, 4, ... units up to the place's own
    # size: a tail as well as a cluster. Over the edge of a domain, but not past infinity.
    first = ordered(at(*places).astype(dtype).view(integer))
    centre = ordered(at(*crowd).astype(dtype).view(integer))
    offset = np.ldexp(rng.uniform(1, 2, centre.size), rng.integers(0, info.nmant - 2, centre.size))
    centre = centre + (offset * rng.choice([-1, 1], centre.size)).astype(integer)
    centre = np.concatenate([first - 1, first, first + 1, centre])
    centre = np.clip(centre, *ordered(np.array([info.min, info.max], dtype).view(integer)))
    ends = ordered(np.array([low, high], dtype).view(integer))
    everywhere = rng.integers(*ends, count // 4, endpoint=True, dtype=integer)
    x = ordered(np.concatenate([centre, everywhere])).view(dtype)
    others = np.array([0.0, np.nan, np.inf, -np.inf, info.max, info.min, -1, 2], dtype)
    x = np.unique(np.append(x, others))
    count = max(count, x.size + count // 4)
    while x.size < count:
        share = (count - x.size) // len(function.natural) + 1
        uniform = [rng.uniform(*ends, share).astype(dtype) for ends in function.natural]
        x = np.unique(np.concatenate([x, *uniform]))
    return np.append(x, dtype.type(-0.0))  # unique takes it for 0


def enclose(function: Callable[[Any], Any], x: float) -> Any:
    """Give a ball around ``function(x)`` that is narrow enough, or None where there is no value."""
    from flint import arb, ctx

    for precision in PRECISIONS:
        ctx.prec = precision
        y = function(arb(x))
        if not y.is_finite():
            continue
        if y.rel_accuracy_bits() >= ACCURATE:
            return y
        if abs(y) < arb(2) ** -1200:
            return arb(0)
    if not y.is_finite():
        return None
    raise ArithmeticError(f"Arb finds no accurate value at {x.hex()}")


def solve(function: Callable[[Any], Any], x: Array) -> Exact:
    """Give the true values by Arb, for the arguments of one process."""
    from flint import arb

    exact = np.full((3, x.size), np.nan)
    for i, argument in enumerate(x.astype(float).tolist()):
        y = enclose(function, argument) if math.isfinite(argument) else None
        if y is None:
            continue
        high, shift = float(y), 0
        if not SMALL < abs(high) < LARGE:
            shift = SCALE if abs(high) > 1 else -SCALE
            y *= arb(2) ** -shift
            high = float(y)
        exact[:, i] = high, float(y - high) if math.isfinite(high) else 0.0, shift
    return exact


def second_opinion(function: Callable[..., Any], x: Array, exact: Exact) -> Array:
    """Give by how many ULP mpmath differs from Arb, for the arguments of one process."""
    import mpmath

    mp = mpmath.MPContext()
    mp.dps = DIGITS
    apart = []
    for argument, (high, low, shift), ulp in zip(
        x.tolist(), exact.T.tolist(), exponents(exact, np.finfo(float)).tolist()
    ):
        y = mp.ldexp(mp.mpf(high) + mp.mpf(low), int(shift))
        apart.append(float(abs(function(mp, mp.mpf(argument), y) - y) / mp.ldexp(1, ulp)))
    return np.array(apart)


def exponents(exact: Exact, info: Any) -> Array:
    """Give the binary exponent of the unit in the last place at each true value."""
    high, low, shift = exact
    mantissa, exponent = np.frexp(high)
    # A value just below a power of two, that rounded up to it, has the unit below.
    below = (abs(mantissa) == 0.5) & (np.sign(high) * np.sign(low) < 0)
    exponent = np.where(high == 0, info.minexp, exponent + np.nan_to_num(shift) - 1 - below)
    # Below the smallest normal number the spacing no longer shrinks.
    return (np.clip(exponent, info.minexp, info.maxexp - 1) - info.nmant).astype(int)


def errors(result: Array, x: Array, exact: Exact, expected: Array, name: str) -> Array:
    """Give each error in ULP: infinity where the kind of the result, NaN or infinite, is wrong."""
    info = np.finfo(x.dtype)
    if result.dtype != x.dtype:
        raise TypeError(f"{name} of {x.dtype} gives {result.dtype}")
    high, low = exact[:2]
    shift = np.nan_to_num(exact[2]).astype(int)
    # Infinity stands for the power of two where overflow begins, as in rounding to nearest.
    limit = np.ldexp(1.0, info.maxexp - shift)
    scaled = np.ldexp(result.astype(float), -shift)
    scaled = np.where(np.isinf(result), np.copysign(limit, scaled), scaled)
    past = abs(high) >= limit
    gap = abs(scaled - np.where(past, np.copysign(limit, high), high) - np.where(past, 0.0, low))
    if name == "j0":
        # Near a zero an error in ULP would measure the argument's rounding, not the function's.
        wave = np.minimum(1.0, np.sqrt(2 / (np.pi * abs(x.astype(float)))))
        off = gap / (float(info.eps) * np.maximum(abs(high), wave))
    else:
        off = np.ldexp(gap, shift - exponents(exact, info))
    off = np.where(np.isnan(result), np.inf, off)
    surely = abs(high) > limit * (1 + 8 * float(info.eps))
    off = np.where(surely, np.where(result == np.copysign(np.inf, high), 0.0, np.inf), off)
    # Poles, and outside the domain: no true value, so that NumPy and SciPy define the right one.
    same = (result == expected) | (np.isnan(result) & np.isnan(expected))
    return np.where(np.isnan(high), np.where(same, 0.0, np.inf), off)


def regions(name: str, x: Array, bound: float, theirs: Array) -> Iterator[tuple[str, Array, Any]]:
    """Give a function's rows of the table: label, which points, and their bound."""
    if name not in {"gamma", "gammaln"}:
        label = "j0, in eps max(abs(j0), wave)" if name == "j0" else name
        yield label, np.ones(x.shape, bool), bound
        return
    negative = x < 0
    near = (name == "gammaln") & ((abs(x - 1) <= 0.25) | (abs(x - 2) <= 0.25))
    yield name, ~negative & ~near, bound
    if near.any():
        yield f"{name} near 1 and 2", near, max(bound, theirs[near].max())
    # SciPy's own loop: as good as that at each point, since the worst of it is very bad.
    yield f"{name}, x < 0", negative, np.maximum(bound, theirs[negative])


def measure(name: str, x: Array, jobs: int, seed: int, advance: Any) -> Iterator[tuple[str, bool]]:
    """Give a function's rows of the table, and whether each is within its bound."""
    function, rng = FUNCTIONS[name], np.random.default_rng(seed)
    processes = Parallel(jobs, return_as="generator")
    pieces = [x[i : i + CHUNK] for i in range(0, x.size, CHUNK)]
    parts = []
    for part in processes(delayed(solve)(function.arb, piece) for piece in pieces):
        parts.append(part)
        advance(part.shape[1])
    exact = np.concatenate(parts, axis=1)

    with np.errstate(over="ignore", under="ignore"):
        values = exact[0] * 2.0 ** exact[2]
    # mpmath fails where the result is far below the subnormal numbers.
    known = np.flatnonzero(np.isfinite(values) & (values != 0.0))
    asked = np.array_split(rng.choice(known, min(OPINIONS, known.size), replace=False), 20)
    opinions = (delayed(second_opinion)(function.mpmath, x[i], exact[:, i]) for i in asked)
    apart = np.concatenate(list(processes(opinions)))
    if not (apart <= AGREEMENT).all():
        place = float(x[np.concatenate(asked)[apart.argmax()]]).hex()
        raise ArithmeticError(f"{name}({place}): Arb and mpmath are {apart.max()} ULP apart")

    mine = ours(name)
    with np.errstate(all="ignore"):
        expected = function.numpy(x)
        if np.any(np.isnan(exact[0]) & np.isfinite(x) & np.isfinite(expected) & (expected != 0)):
            raise ArithmeticError(f"{name}: Arb finds no value where SciPy has one")
        theirs = errors(expected, x, exact, expected, name)
        # In a vector one hard element may send its neighbours another way: in both orders.
        order = rng.permutation(x.size)
        shuffled = np.empty_like(x)
        shuffled[order] = mine(x[order])
        fast = np.maximum(*(errors(y, x, exact, expected, name) for y in (mine(x), shuffled)))
    bound = function.bound if x.dtype == np.float64 else 1.0
    for label, mask, allowed in regions(name, x, bound, theirs):
        some, off = x[mask], fast[mask]
        inside = some[~np.isnan(exact[0][mask])]
        wrong = np.count_nonzero(np.isinf(off))
        note = f" ({wrong} of the wrong kind)" if wrong else ""
        limit = f"{allowed:.4g}" if np.ndim(allowed) == 0 else f"{bound:.4g} or SciPy's"
        yield (
            (
                f"| {label} | {inside.min():.3g} to {inside.max():.3g} | {some.size} "
                f"| {theirs[mask].max():.4g} | {off.max():.4g}{note} "
                f"| `{float(some[off.argmax()]).hex()}` | {limit} |"
            ),
            bool((off <= allowed).all()),
        )


def main() -> None:
    """Print the table, and exit with status 1 where a bound is exceeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("function", nargs="*", help=f"some of {', '.join(FUNCTIONS)}; all if none")
    parser.add_argument("--points", type=int, default=10**6, help="arguments a function (10**6)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (-1: a core each)")
    parser.add_argument("--seed", type=int, default=0, help="of the random arguments (0)")
    arguments = parser.parse_args()
    names = arguments.function or list(FUNCTIONS)
    if unknown := set(names) - set(FUNCTIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(FUNCTIONS)}")
    if importlib.util.find_spec("flint") is None:
        sys.exit("The exact values are Arb's, by python-flint: pip install python-flint")
    try:
        for name in names:
            ours(name)  # before minutes are spent on exact values
    except RuntimeError as error:
        sys.exit(str(error))

    print(f"| {' | '.join(HEADINGS)} |\n|---|---|--:|--:|--:|---|--:|")
    good, dtype = True, np.dtype(arguments.dtype)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for name in names:
            x = points(FUNCTIONS[name], arguments.points, dtype, arguments.seed)
            task = progress.add_task(name, total=x.size)
            advance = functools.partial(progress.advance, task)
            for row, within in measure(name, x, arguments.jobs, arguments.seed, advance):
                print(row, flush=True)
                good &= within
            progress.remove_task(task)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
