"""A kernel's arguments: refused where NumPy would refuse them, but with the argument's name."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backends.kernel import NUMERIC_KINDS, Kernel

__all__ = ["Bound", "bind", "explain", "kind", "numpys", "plain"]

#: Libraries with arrays of their own, by the package of the type: the call that brings one to
#: NumPy, and the backend that takes it as it is.
LIBRARIES = {
    "cupy": ("cupy.asnumpy({})", "cupy"),
    "torch": ("{}.numpy(force=True)", "torch"),
    "jaxlib": ("numpy.asarray({})", "jax"),
    "jax": ("numpy.asarray({})", "jax"),
    "dask": ("{}.compute()", "dask"),
}


class Bound(NamedTuple):
    """Arguments that have passed: what they are, and what the result will be.

    Attributes
    ----------
    operands : tuple
        An ndarray for each argument, or the Python scalar it was (which promotes weakly).
    loop : tuple of int
        Broadcast shape of the dimensions before the core ones, `out` included.
    items : tuple of (shape, dtype)
        Of one item of each result.
    result_type : type
        ``tuple`` or NumPy's named tuple where there are several results, ``ndarray`` where one.
    outs : tuple of ndarray or None
        The caller's own arrays for the results.
    """

    operands: tuple[Any, ...]
    loop: tuple[int, ...]
    items: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]
    result_type: type
    outs: tuple[Any, ...] | None


def bind(kernel: Kernel, arrays: tuple[Any, ...], out: Any = None) -> Bound:
    """Check the arguments of one call and work out shapes and dtypes, computing nothing.

    Raises
    ------
    TypeError
        Wrong number of arguments, a dtype that is not numeric, an `out` that cannot hold it.
    ValueError
        Shapes that do not broadcast, an `out` of another shape, or read-only.
    numpy.linalg.LinAlgError
        Not a matrix, or not a square one where it must be.

    Examples
    --------
    >>> import backends
    >>> bound = bind(backends.sin, ([[1, 2, 3]],))
    >>> bound.loop, bound.items
    ((1, 3), (((), dtype('float64')),))
    """
    if len(arrays) != len(kernel.parameters):
        raise TypeError(
            f"{kernel.name} takes {len(kernel.parameters)} array(s) "
            f"({', '.join(kernel.parameters)}), not {len(arrays)}"
        )
    operands = tuple(
        _operand(kernel, name, x) for name, x in zip(kernel.parameters, arrays, strict=True)
    )
    loop = _loop_shape(kernel, operands)
    try:
        probe = kernel.probe(*operands)
    except (TypeError, ValueError) as error:
        raise _again(error, f"{kernel.name}: {_describe(kernel, operands)}: {error}") from None
    results = probe if isinstance(probe, tuple) else (probe,)
    lead = any(
        isinstance(x, np.ndarray) and x.ndim >= core
        for x, core in zip(operands, kernel.core, strict=True)
    )
    items = tuple((np.shape(r)[lead:], np.asarray(r).dtype) for r in results)
    outs: tuple[Any, ...] | None = None
    if out is not None:
        outs = out if isinstance(out, tuple) else (out,)
        if len(outs) != len(items):
            kind = ValueError if isinstance(out, tuple) and len(items) == 1 else TypeError
            raise kind(f"{kernel.name}: argument out: give {len(items)} array(s)")
        for o, item in zip(outs, items, strict=True):
            loop = _check_out(kernel, o, loop, *item)
    return Bound(operands, loop, items, type(probe), outs)


def explain(kernel: Kernel, error: Exception, arrays: tuple[Any, ...], out: Any) -> Exception:
    """Give NumPy's exception again, of the same type, naming the argument and the remedy.

    Where no argument is at fault (a singular matrix, say) the exception comes back as it was.
    """
    try:
        bind(kernel, arrays, out)
    except (TypeError, ValueError) as named:
        return named
    return error


def plain(backend: str, kernel: Kernel, operands: tuple[Any, ...], out: Any = None) -> None:
    """Refuse array types that carry more than numbers: cutting them up would lose the rest.

    Raises
    ------
    TypeError
        A masked array, a matrix, a pandas or GPU object; names it and the call that converts.
    """
    numpys(backend, kernel, (*operands, out))
    # A wrong number of operands is for bind() to refuse.
    for name, x in zip(kernel.parameters, operands, strict=False):
        cls = type(x)
        if cls is np.ndarray or cls is np.memmap or isinstance(x, np.generic):
            continue
        if hasattr(cls, "__array_ufunc__"):
            raise TypeError(
                f"{kernel.name}: argument {name} is a {kind(x)}; "
                f"backend {backend!r} computes on plain arrays and would lose what it has besides: "
                f"pass numpy.asarray({name}), filled first if it is masked, or use backend 'numpy'"
            )


def numpys(backend: str, kernel: Kernel, arrays: tuple[Any, ...]) -> None:
    """Refuse arrays of other libraries; `arrays` are the operands and then `out`, if it is given.

    NumPy would hand them on, compute there, and the result would not be what this backend did.

    Raises
    ------
    TypeError
        Names the argument, its type, the call that converts it, and the backend that takes it.
    """
    names = [*kernel.parameters, "out"]
    if len(arrays) == len(names) and isinstance(arrays[-1], tuple):
        arrays = (*arrays[:-1], *arrays[-1])
        names += ["out"] * len(arrays)
    for name, x in zip(names, arrays, strict=False):
        if type(x) is np.ndarray:
            continue
        library = LIBRARIES.get(type(x).__module__.partition(".")[0])
        if library is not None:
            convert, other = library
            raise TypeError(
                f"{kernel.name}: argument {name} is a {kind(x)}; backend {backend!r} computes on "
                f"numpy.ndarray: pass {convert.format(name)}, or use backend {other!r}, with every "
                f"argument a {kind(x)}"
            )


def kind(x: object) -> str:
    """Give the type of `x` as its users write it.

    Examples
    --------
    >>> kind(np.zeros(3))
    'numpy.ndarray'
    """
    package, name = type(x).__module__.partition(".")[0], type(x).__qualname__
    if package == "builtins":
        return name
    return "jax.Array" if name == "ArrayImpl" else f"{package}.{name}"


def _operand(kernel: Kernel, name: str, x: Any) -> Any:
    if isinstance(x, (bool, int, float, complex)) and not isinstance(x, np.generic):
        return x
    try:
        a = np.asarray(x)
    except (TypeError, ValueError) as error:
        raise _again(error, f"{kernel.name}: argument {name} is not an array: {error}") from None
    if a.dtype.kind not in NUMERIC_KINDS:
        raise TypeError(
            f"{kernel.name}: argument {name} has dtype {a.dtype}, which is not numeric; convert "
            f"it first, for example numpy.asarray({name}, dtype=float)"
        )
    return a


def _loop_shape(kernel: Kernel, operands: tuple[Any, ...]) -> tuple[int, ...]:
    shapes = [np.shape(x) for x in operands]
    loops = [s[: max(len(s) - c, 0)] for s, c in zip(shapes, kernel.core, strict=True)]
    try:
        return np.broadcast_shapes(*loops)
    except ValueError:
        raise ValueError(
            f"{kernel.name}: {_describe(kernel, operands)}: the shapes do not broadcast; "
            "dimensions, counted from the last, must be equal or 1"
        ) from None


def _check_out(
    kernel: Kernel, out: Any, loop: tuple[int, ...], item: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[int, ...]:
    start = f"{kernel.name}: argument out"
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{start} must be a numpy.ndarray, not {kind(out)}")
    if not out.flags.writeable:
        raise ValueError(f"{start} is read-only; pass a writeable array")
    if out.dtype.kind not in NUMERIC_KINDS or not np.can_cast(dtype, out.dtype, "same_kind"):
        raise TypeError(
            f"{start} has dtype {out.dtype}, which cannot hold the result's {dtype}; pass "
            f"numpy.empty({(*loop, *item)}, dtype={dtype.name!r})"
        )
    shape = (*loop, *item)
    if out.shape != shape:
        # As NumPy's ufuncs, an elementwise `out` may have more dimensions than the arguments.
        larger: tuple[int, ...] | None = out.shape if not item and not any(kernel.core) else None
        if larger is None or _broadcast(loop, larger) != larger:
            raise ValueError(f"{start} has shape {out.shape}, the result has {shape}")
        return larger
    return loop


def _broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


def _describe(kernel: Kernel, operands: tuple[Any, ...]) -> str:
    parts = [
        f"{name} (shape {np.shape(x)}, {getattr(x, 'dtype', type(x).__name__)})"
        for name, x in zip(kernel.parameters, operands, strict=True)
    ]
    return f"argument{'s' if len(parts) > 1 else ''} {' and '.join(parts)}"


def _again(error: Exception, message: str) -> Exception:
    # NumPy's ufunc errors are subclasses of TypeError whose constructors take other arguments.
    for kind in (np.linalg.LinAlgError, TypeError, ValueError):
        if isinstance(error, kind):
            return kind(message)
    return error
