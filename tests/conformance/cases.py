"""The cases of the corpus: each is named by a line, and can be made again from that line alone."""

from __future__ import annotations

import sys
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import values
from numpy.typing import NDArray

__all__ = ["LAYOUTS", "Call", "Case", "arrange", "cases", "ufuncs"]

Array = NDArray[Any]
INEXACT = frozenset("efdgFDG")
#: Where lengths begin to matter: a cut of the engine (64), a block of its SIMD loops (512), and
#: NumPy's buffer (8,192 elements).
SIZES = (
    *(1, 2, 3, 17, 63, 64, 65, 127, 128, 129, 200, 500, 511, 512, 513, 640, 1000, 1025, 2047),
    *(4097, 8191, 8192, 8193, 10000, 16384, 16385, 24577, 33000),
)
ERRORS = ("warn", "warn", "warn", "default", "raise", "call", "ignore")
WIDTHS = (2, 7, 64, 65, 300, 513)

#: Functions of scipy.special that some values crash or keep busy for minutes, plain: they get tame
#: ones. What even those crash is left out.
DELICATE = frozenset(
    f"scipy.special.{name}"
    for name in (
        *("_basic._stirling2_inexact", "_special_ufuncs._gen_harmonic"),
        "_special_ufuncs._normalized_gen_harmonic",
        *("_special_ufuncs._riemann_zeta", "_special_ufuncs._zeta", "_ufuncs._binom_isf"),
        *("_ufuncs._binom_ppf", "_ufuncs._hypergeom_cdf", "_ufuncs._hypergeom_pmf"),
        *("_ufuncs._hypergeom_sf", "_ufuncs._invgauss_isf", "_ufuncs._invgauss_ppf"),
        *("_ufuncs._nbinom_isf", "_ufuncs._nbinom_ppf", "_ufuncs._nct_isf", "_ufuncs._nct_pdf"),
        *("_ufuncs._ncx2_isf", "_ufuncs._ncx2_sf", "_ufuncs._smirnovc", "_ufuncs._smirnovci"),
        *("chndtridf", "chndtrinc", "eval_chebyc", "eval_chebys", "eval_chebyt", "eval_chebyu"),
        *("eval_gegenbauer", "eval_genlaguerre", "eval_jacobi", "eval_laguerre"),
        *("eval_legendre", "eval_sh_chebyt", "eval_sh_chebyu", "eval_sh_jacobi"),
        *("eval_sh_legendre", "hyp1f1", "hyp2f1", "hyperu", "lpmv", "mathieu_a", "mathieu_b"),
        *("mathieu_cem", "mathieu_modcem1", "mathieu_modcem2", "mathieu_modsem1"),
        *("mathieu_modsem2", "mathieu_sem", "nctdtr", "nctdtridf", "nctdtrinc", "nctdtrit"),
        *("obl_ang1", "obl_ang1_cv", "obl_cv", "obl_rad1", "obl_rad1_cv", "obl_rad2"),
        *("obl_rad2_cv", "pbdv", "pbvv", "pro_ang1", "pro_ang1_cv", "pro_cv", "pro_rad1"),
        *("pro_rad1_cv", "pro_rad2", "pro_rad2_cv", "smirnovi", "struve", "yn"),
    )
)  # fmt: skip
TAME = ("domain", "unit", "positive")

LEFT_OUT = frozenset({"scipy.special._basic._stirling2_inexact"})

CALLS = (
    *("contiguous", "strided", "negative", "window", "transposed", "misaligned", "swapped"),
    *("mixed", "half-transposed", "permuted", "rows", "scalar", "python-scalar", "cast", "zerod"),
    *("empty", "readonly", "out", "out-strided", "out-negative", "out-transposed"),
    *("out-misaligned", "out-swapped", "out-cast", "inplace", "inplace-strided", "inplace-last"),
    *("overlap-ahead", "overlap-behind", "overlap-reversed", "overlap-last", "where"),
    *("where-rows", "where-strided", "order-F", "window-number"),
)
#: Of two dimensions, the second narrow.
WIDE = ("window", "window-number", "transposed", "half-transposed", "out-transposed", "order-F")
METHODS = (
    *("reduce", "reduce-rows", "reduce-all", "reduce-where", "reduce-strided", "accumulate"),
    *("accumulate-rows", "accumulate-inplace", "reduceat", "outer", "at", "at-repeated"),
)
#: With a Python number for one operand: NumPy finds the loop by itself for the second.
NUMBERS = ("python-scalar", "window-number")
LAYOUTS = CALLS + METHODS


class Case(NamedTuple):
    """A call: of which function's loop, on what, of how many elements, under which errstate."""

    function: str
    loop: str
    layout: str
    kind: str
    size: int
    errors: str
    seed: int

    @classmethod
    def read(cls, line: str) -> Case:
        """Make the case that a line names."""
        function, loop, layout, kind, size, errors, seed = line.split()
        return cls(function, loop, layout, kind, int(size), errors, int(seed))

    def __str__(self) -> str:
        return " ".join(map(str, self))


class Call(NamedTuple):
    """What is called, with what; and all the memory that its operands lie in."""

    method: str
    inputs: list[Any]
    named: dict[str, Any]
    memory: list[Array]


def ufuncs() -> dict[str, np.ufunc]:
    """Give NumPy's and scipy.special's ufuncs that have a floating-point loop, each once.

    Functions of whole vectors and matrices are left out: their loops are not cut.
    """
    found: dict[int, tuple[str, np.ufunc]] = {}
    modules = [
        name
        for name in sorted(sys.modules)
        if name.split(".")[0] == "numpy" or name.startswith("scipy.special")
    ]
    for module in modules:
        for name, value in sorted(vars(sys.modules[module]).items()):
            if isinstance(value, np.ufunc) and value.signature is None and loops(value):
                found.setdefault(id(value), (f"{module}.{name}", value))
    return dict(found.values())


def loops(ufunc: np.ufunc) -> list[str]:
    """Give the loops with a floating-point operand, and without Python objects."""
    return [types for types in ufunc.types if INEXACT & set(types) and "O" not in types]


def cases(seed: int) -> Iterator[Case]:
    """Give cases without end, in rounds of every loop in every layout; sizes are the largest.

    Within a round the order is random, so that any time spent sees some of everything.
    """
    # These step the pointers that they are given, so that with `where` NumPy makes them write
    # elsewhere (scipy#25127, mended after SciPy 1.17).
    module = vars(sys.modules["scipy.special._special_ufuncs"])
    stepping = frozenset(map(id, module.values()))
    every = [
        (name, types, layout)
        for name, ufunc in ufuncs().items()
        if name not in LEFT_OUT
        for types in loops(ufunc)
        for layout in LAYOUTS
        if applies(ufunc, types, layout, stepping)
    ]
    number = seed * 1_000_000
    while True:
        rng = np.random.default_rng([seed, number])
        for index in rng.permutation(len(every)):
            name, types, layout = every[index]
            number += 1
            kinds = TAME if name in DELICATE else values.KINDS
            yield Case(
                name,
                types,
                layout,
                kinds[rng.integers(len(kinds))],
                SIZES[rng.integers(len(SIZES))],
                ERRORS[rng.integers(len(ERRORS))],
                number,
            )


def applies(ufunc: np.ufunc, types: str, layout: str, stepping: frozenset[int]) -> bool:
    """Tell whether the function has such a call."""
    given, made = types.split("->")
    if "where" in layout and id(ufunc) in stepping:
        return False
    if layout.startswith(("reduce", "accumulate")):
        return ufunc.nin == 2 and ufunc.nout == 1 and given[0] == made == given[1]
    if layout == "outer":
        return ufunc.nin == 2 and ufunc.nout == 1
    if layout.startswith("at"):
        return ufunc.nin <= 2 and ufunc.nout == 1 and given[0] == made
    if layout.startswith(("inplace", "overlap")):
        return given[-1 if layout.endswith("last") else 0] in made
    if layout in ("mixed", "half-transposed"):
        return ufunc.nin > 1
    return True


def place(data: Array, shape: tuple[int, ...], layout: str, rng: np.random.Generator) -> Call:
    """Lay `data` out in memory of its own, with other elements between and around."""
    count = int(np.prod(shape, dtype=int))
    dtype = data.dtype.newbyteorder() if layout == "swapped" else data.dtype
    last = shape[-1] if shape else 1
    if layout == "strided" and shape:
        whole = _memory(3 * count, dtype)
        view = whole.reshape(*shape[:-1], 3 * last)[..., 1::3]
    elif layout == "negative" and shape:
        whole = _memory(count, dtype)
        view = whole.reshape(shape)[(slice(None, None, -1),) * len(shape)]
    elif layout == "window" and shape:
        outer = tuple(length + 3 for length in shape)
        whole = _memory(int(np.prod(outer, dtype=int)), dtype)
        view = whole.reshape(outer)[(slice(1, -2),) * len(shape)]
    elif layout == "transposed":
        whole = _memory(count, dtype)
        view = whole.reshape(shape[::-1]).T
    elif layout == "permuted":
        whole = _memory(count, dtype)
        order = [int(axis) for axis in rng.permutation(len(shape))]
        view = whole.reshape([shape[axis] for axis in order]).transpose(
            [order.index(axis) for axis in range(len(shape))]
        )
    elif layout == "misaligned":
        raw = _memory(count * dtype.itemsize + 2, np.dtype(np.uint8))
        whole = raw[1:-1].view(dtype)
        view = whole[:count].reshape(shape)
    else:
        start = int(rng.integers(4))  # not always where a vector begins
        whole = _memory(count + 4, dtype)
        view = whole[start : start + count].reshape(shape)
    view[...] = data[:count].reshape(shape)
    return Call("", [view], {}, [whole])


def _memory(count: int, dtype: np.dtype[Any]) -> Array:
    return np.full(count * dtype.itemsize, 0x3B, np.uint8).view(dtype)


def arrange(case: Case, ufunc: np.ufunc) -> Call:
    """Make the operands of a case."""
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    given, made = case.loop.split("->")
    layout, size = case.layout, case.size
    if layout in METHODS:
        return _method(case, given, rng)
    width = int(rng.choice(WIDTHS))
    shape: tuple[int, ...] = (size,)
    if layout in WIDE:
        shape = (max(1, size // width), width)
    elif layout == "permuted":
        shape = (max(1, size // 6 // width), 6, width)
    elif layout in ("rows", "where-rows"):
        shape = (max(1, size // width), width)
    elif layout == "zerod":
        shape = ()
    elif layout == "empty":
        shape = (0,)
    elif layout in ("negative", "strided", "out-strided", "inplace-strided") and rng.random() < 0.3:
        shape = (max(1, size // width), width)
    inputs: list[Any] = []
    memory: list[Array] = []
    for k, char in enumerate(given):
        data = values.make(char, max(1, int(np.prod(shape, dtype=int))), case.kind, rng)
        how, own = layout.split("-")[0], shape
        if layout == "mixed":
            how = ("contiguous", "negative", "strided")[(k + case.seed) % 3]
        elif layout == "half-transposed":
            how = "transposed" if k % 2 == case.seed % 2 else "contiguous"
        elif layout == "inplace-strided":
            how = "strided"
        elif layout == "rows":
            own = (shape[0], 1) if k % 2 else shape[1:]
        elif layout in ("scalar", *NUMBERS) and k == (case.seed % len(given)):
            how, own = "scalar", ()
        elif layout == "cast":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = data.astype(values.narrower(char))
        placed = place(data, own, how, rng)
        operand = placed.inputs[0]
        if layout == "rows" and len(given) == 1:
            operand = np.broadcast_to(operand, shape)
        elif layout in NUMBERS and own == ():
            operand = operand.item() if char not in "mgG" else operand[()]
        elif layout == "readonly":
            operand.flags.writeable = False
        inputs.append(operand)
        memory += placed.memory
    named: dict[str, Any] = {}
    if layout in ("cast", "python-scalar", "scalar"):
        named = {"signature": case.loop, "casting": "unsafe"}
    if layout == "order-F":
        named["order"] = "F"
    if layout.startswith(("out", "where")):
        _outputs(made, shape, layout, rng, named, memory)
    if layout.startswith(("inplace", "overlap")):
        _overlap(given, made, layout, shape, rng, inputs, named, memory)
    return Call("__call__", inputs, named, memory)


def _outputs(
    made: str,
    shape: tuple[int, ...],
    layout: str,
    rng: np.random.Generator,
    named: dict[str, Any],
    memory: list[Array],
) -> None:
    """Add outputs that lie as `layout` says, and where to write to them."""
    out = []
    for char in made:
        if layout == "out-cast":
            char = {"f": "d", "d": "f", "e": "d", "g": "d"}.get(char, "D" if char in "FG" else char)
            named["casting"] = "unsafe"
        how = layout.removeprefix("out-") if layout.startswith("out-") else "contiguous"
        before = values.make(char, max(1, int(np.prod(shape, dtype=int))), "unit", rng)
        placed = place(before, shape, how, rng)
        out += placed.inputs
        memory += placed.memory
    named["out"] = tuple(out)
    if layout.startswith("where"):
        chosen = shape[1:] if layout == "where-rows" else shape
        mask = rng.random(chosen) < rng.choice([0.03, 0.5, 0.97])
        if rng.random() < 0.3:
            mask[...] = rng.random() < 0.8
        named["where"] = mask if layout != "where-strided" else np.repeat(mask, 2)[::2]


def _overlap(
    given: str,
    made: str,
    layout: str,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    inputs: list[Any],
    named: dict[str, Any],
    memory: list[Array],
) -> None:
    """Let the output lie on an input, or beside it by a few elements."""
    k = len(given) - 1 if layout.endswith("last") else 0
    target = made.index(given[k])
    out: list[Any] = [None] * len(made)
    if layout.startswith("inplace"):
        out[target] = inputs[k]
    else:
        size = shape[0]
        shift = int(rng.choice([1, 2, 7, 64, 65]))
        data = values.make(given[k], size, "unit", rng)
        whole = _memory(size + shift, data.dtype)
        low, high = whole[:size], whole[shift:]
        if layout == "overlap-reversed":
            out[target], inputs[k] = low[::-1], low
        elif layout == "overlap-behind":
            out[target], inputs[k] = low, high
        else:
            out[target], inputs[k] = high, low
        whole[...] = np.resize(data, whole.shape)
        memory.append(whole)
    named["out"] = tuple(out)


def _method(case: Case, given: str, rng: np.random.Generator) -> Call:
    """Make the operands of reduce and the other methods."""
    layout, size = case.layout, case.size
    method = layout.split("-")[0]
    width = int(rng.choice(WIDTHS))
    rows = max(1, size // width)
    if method == "outer":
        lengths = (rows, width)
        parts = [
            place(values.make(char, n, case.kind, rng), (n,), "contiguous", rng)
            for char, n in zip(given, lengths, strict=True)
        ]
        return Call(method, [p.inputs[0] for p in parts], {}, [m for p in parts for m in p.memory])
    shape: tuple[int, ...] = (size,)
    if layout in ("reduce", "reduce-rows", "reduce-strided", "accumulate-rows", "reduce-where"):
        shape = (rows, width)
    data = values.make(given[0], int(np.prod(shape, dtype=int)), case.kind, rng)
    placed = place(data, shape, "strided" if layout == "reduce-strided" else "contiguous", rng)
    array = placed.inputs[0]
    memory = placed.memory
    if method == "at":
        indices = rng.permutation(size) if layout == "at" else rng.integers(size, size=size)
        more = []
        if len(given) > 1:
            other = place(values.make(given[1], size, case.kind, rng), (size,), "contiguous", rng)
            more, memory = other.inputs, memory + other.memory
        return Call("at", [array, indices, *more], {}, memory)
    if method == "reduceat":
        return Call(method, [array, rng.integers(size, size=max(1, size // 20))], {}, memory)
    named: dict[str, Any] = {"dtype": array.dtype}
    if layout == "reduce-all":
        named["axis"] = None
    elif layout in ("reduce-rows", "accumulate-rows"):
        named["axis"] = 1
    elif layout == "reduce-where":
        named |= {"axis": int(rng.integers(2)), "where": rng.random(shape) < 0.7, "initial": 1}
    elif layout == "accumulate-inplace":
        named["out"] = array
    return Call(method, [array], named, memory)
