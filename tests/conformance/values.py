"""Operands of the corpus. Made without ufuncs, which are what is under test."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "X87", "make", "narrower"]

Array = NDArray[Any]
#: ``bits``: any bits. ``range``: 2**-40 to 2**40. ``one``: a single special value among ordinary
#: ones, which only one thread meets. ``various``: a kind for each operand.
KINDS = (
    *("bits", "unit", "domain", "positive", "range", "integers", "special", "mixed", "one"),
    *("various", "various"),
)
#: Whether long double is the x87's of 80 bits, of which the rest is padding with anything in it.
X87 = bool(np.finfo(np.longdouble).nmant == 63)
ORDINARY = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, -1.5, 3.0, 10.0, -7.0, 1e-3, -1e-3, 0.9999),
    *(1.0001, 3.141592653589793, 1.5707963267948966, 22.0, 88.72, 89.0, -87.4, -103.9, 104.5),
    *(170.6, 171.7, 709.78, 709.79, -708.4, -745.2, 1e4, -1e4, 65504.0, 65536.0),
    *(4503599627370497.0, 9007199254740993.0, 1e15, 1e16, 2.4048255576957728, 1e22, 1e-8, 1e-20),
)  # fmt: skip


def make(char: str, count: int, kind: str, rng: np.random.Generator) -> Array:
    """Make `count` values of a type."""
    if kind == "various":
        kind = KINDS[rng.integers(len(KINDS) - 2)]
    if char in "FDG":
        return make(char.lower(), 2 * count, kind, rng).view(char)
    if char == "?":
        return rng.integers(2, size=count).astype("?")
    if char == "m":
        return rng.integers(-100, 100, size=count).astype("m8[s]")
    if char not in "efdg":
        # Small: some functions of orders take as many steps as the order is large.
        low = 0 if np.dtype(char).kind == "u" else -3
        return rng.integers(low, 13, size=count).astype(char)
    if kind == "bits":
        return _bits(char, count, rng)
    if kind == "special":
        special = _special(char)
        return special[rng.integers(special.size, size=count)]
    if kind in ("mixed", "one"):
        array, special = make(char, count, "unit", rng), _special(char)
        chosen = rng.integers(count, size=1 if kind == "one" else max(1, count // 16))
        array[chosen] = special[rng.integers(special.size, size=chosen.size)]
        return array
    if kind == "range":
        return _range(char, count, rng)
    if kind == "integers":
        return rng.integers(-20, 21, size=count).astype(char)
    if kind == "positive":
        return rng.exponential(5.0, size=count).astype(char)
    return rng.uniform(
        -2.0 if kind == "unit" else 0.0, 2.0 if kind == "unit" else 1.0, count
    ).astype(char)


def narrower(char: str) -> str:
    """Give a type that NumPy casts, in its buffer, to the one of a loop."""
    return {"d": "f", "f": "e", "g": "d", "D": "F", "F": "f", "G": "D", "e": "b"}.get(char, char)


def _bits(char: str, count: int, rng: np.random.Generator) -> Array:
    if char == "g" and X87:
        return _x87(rng.integers(2**16, size=count), rng)
    return np.frombuffer(bytearray(rng.bytes(count * np.dtype(char).itemsize)), char)


def _range(char: str, count: int, rng: np.random.Generator) -> Array:
    if char == "e":
        return rng.uniform(-200.0, 200.0, count).astype(char)
    signs = rng.integers(2, size=count)
    exponents = rng.integers(-40, 41, size=count)
    if char == "g" and X87:
        return _x87((signs << 15) | (exponents + 16383), rng)
    bits = (signs << 63) | ((exponents + 1023) << 52) | rng.integers(2**52, size=count)
    return bits.view("d").astype(char)


def _x87(head: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Make long doubles of a sign with exponent, and any digits; all are valid."""
    parts = np.zeros((head.size, np.dtype("g").itemsize // 2), np.uint16)
    parts[:, :4] = rng.integers(2**16, size=(head.size, 4))
    # The first digit is written out: 1, but for subnormal numbers.
    parts[:, 3] = np.where((head & 0x7FFF) != 0, parts[:, 3] | 0x8000, parts[:, 3] & 0x7FFF)
    parts[:, 4] = head
    return parts.reshape(-1).view("g")


def _special(char: str) -> Array:
    """Give special values of a type: NaNs with a sign, a payload or that signal, and edges."""
    if char == "g":
        with np.errstate(all="ignore"):  # of NaNs that signal
            wide = _special("d").astype("g")
        info = np.finfo("g")
        return np.concatenate([wide, np.array([info.max, -info.max, info.tiny, info.eps], "g")])
    whole = {"e": np.uint16, "f": np.uint32, "d": np.uint64}[char]
    digits = {"e": 10, "f": 23, "d": 52}[char]
    bits = 8 * np.dtype(char).itemsize
    sign, infinity = 1 << (bits - 1), ((1 << (bits - 1 - digits)) - 1) << digits
    quiet = infinity | 1 << (digits - 1)
    edges = [
        *(infinity, sign | infinity, quiet, sign | quiet, quiet | 5, sign | quiet | 77),
        *(infinity | 1, sign | infinity | 9),  # signalling
        *(infinity - 1, sign | (infinity - 1)),  # the largest
        *(1, sign | 1, 12345 % (1 << digits), (1 << digits) - 1),  # subnormal
        *(1 << digits, sign | 1 << digits),  # the least normal
    ]
    # Beyond the range of float16 some become infinite, which is what a program has then, too.
    with np.errstate(all="ignore"):
        ordinary = np.array(ORDINARY).astype(char)
    return np.concatenate([np.array(edges, whole).view(char), ordinary])
