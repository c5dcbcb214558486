"""Wrong arguments are refused as NumPy refuses them, with the name of the one at fault."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import backends
from backends import arguments, catalogue, kernels, registry

NUMPY = {
    **{name: getattr(np, name) for name in ("add", "divide", "hypot", "matmul", "power", "sin")},
    **{name: getattr(np.linalg, name) for name in ("cholesky", "det", "eigh", "inv", "solve")},
    "svd": np.linalg.svd,
    "subtract": np.subtract,
}
# Which it says of a machine that was never tuned, as every test's is.
pytestmark = pytest.mark.filterwarnings("ignore:backend auto is cautious:UserWarning")

# The optional ones have not all kernels, nor all dtypes: engines/test_peers.py is for them.
BACKENDS = [
    name
    for name, reason in registry.reasons().items()
    if reason is None and name in catalogue.BUILT_IN and name not in catalogue.OPTIONAL
]

LinAlgError = np.linalg.LinAlgError


def frozen(*shape):
    x = np.zeros(shape)
    x.flags.writeable = False
    return x


class Wrong(NamedTuple):
    """A call that must fail, the words its message must have, and where NumPy is laxer, how."""

    kernel: str
    arrays: tuple
    words: tuple = ()
    out: object = None
    kind: type | None = None


ones = np.ones
OBJECTS = np.array([1, 2], dtype=object)
SQUARE = np.eye(3) + 1

WRONG = {
    # shapes
    "add: shapes": Wrong("add", (ones(3), ones(4)), ("x1", "x2", "(3,)", "(4,)")),
    "hypot: shapes": Wrong("hypot", (ones((2, 3)), ones((3, 2))), ("x1", "x2", "(2, 3)")),
    "matmul: inner": Wrong("matmul", (ones((2, 3)), ones((2, 3))), ("x1", "x2", "(2, 3)")),
    "matmul: vectors": Wrong("matmul", (ones(3), ones(4)), ("x1", "x2")),
    "matmul: stacks": Wrong("matmul", (ones((2, 3, 3)), ones((4, 3, 3))), ("x1", "x2")),
    "matmul: 0-d": Wrong("matmul", (ones(()), ones((2, 2))), ("x1", "x2")),
    "matmul: number": Wrong("matmul", (2.0, ones((2, 2))), ("x1", "x2")),
    "solve: sides": Wrong("solve", (SQUARE, ones(4)), ("a", "b", "(3, 3)", "(4,)")),
    "solve: stack": Wrong("solve", (ones((5, 3, 3)), ones((4, 3, 2))), ("a", "b")),
    "solve: not square": Wrong("solve", (ones((2, 3)), ones(3)), ("a", "square")),
    **{
        f"{name}: not square": Wrong(name, (ones((2, 3)),), ("a", "(2, 3)", "square"))
        for name in ("inv", "det", "cholesky", "eigh")
    },
    **{
        f"{name}: {label}": Wrong(name, (x,), ("a", "dimension"))
        for name in ("inv", "det", "cholesky", "eigh", "svd")
        for label, x in {"vector": ones(3), "number": 3.0, "0-d": ones(()), "list": [1]}.items()
    },
    "solve: vector": Wrong("solve", (ones(3), ones(3)), ("a", "dimension")),
    # ragged lists
    "sin: ragged": Wrong("sin", ([[1.0], [1.0, 2.0]],), ("x", "not an array")),
    "add: ragged": Wrong("add", (ones(2), [[1.0], [1.0, 2.0]]), ("x2", "not an array")),
    "matmul: ragged": Wrong("matmul", ([[1.0], [1.0, 2.0]], ones(2)), ("x1", "not an array")),
    "inv: ragged": Wrong("inv", ([[1.0], [1.0, 2.0]],), ("a", "not an array")),
    # dtypes
    "sin: objects": Wrong("sin", (OBJECTS,), ("x", "object", "dtype=float")),
    "sin: None": Wrong("sin", (None,), ("x", "object")),
    "sin: text": Wrong("sin", (np.array(["1.0"]),), ("x", "<U3", "dtype=float")),
    "sin: one text": Wrong("sin", ("1.0",), ("x", "<U3")),
    "sin: bytes": Wrong("sin", (np.array([b"1"]),), ("x", "|S1")),
    "sin: dates": Wrong("sin", (np.array(["2020"], "M8[Y]"),), ("x", "datetime64[Y]")),
    "sin: record": Wrong("sin", (np.zeros(1, "f8,f8"),), ("x", "not numeric")),
    "add: objects": Wrong("add", (1.0, OBJECTS), ("x2", "object"), kind=TypeError),
    "add: texts": Wrong("add", ("a", "b"), ("x1", "<U1"), kind=TypeError),
    "add: spans": Wrong("add", (1, np.ones(1, "m8[s]")), ("x2", "timedelta64"), kind=TypeError),
    "matmul: objects": Wrong("matmul", (OBJECTS, OBJECTS), ("x1", "object"), kind=TypeError),
    "matmul: text": Wrong("matmul", (ones(2), np.array(["1", "2"])), ("x2", "<U1")),
    "inv: objects": Wrong("inv", (np.eye(2).astype(object),), ("a", "object")),
    "svd: objects": Wrong("svd", (np.eye(2).astype(object),), ("a", "object")),
    "solve: text": Wrong("solve", (np.eye(2), np.array(["1", "2"])), ("b", "<U1")),
    "hypot: complex": Wrong("hypot", (1.0, ones(2) * 1j), ("x2", "complex128")),
    "subtract: bool": Wrong("subtract", (ones(2, bool), ones(2, bool)), ("x1", "x2", "bool")),
    "inv: float16": Wrong("inv", (np.eye(2, dtype="f2"),), ("a", "float16")),
    # counts
    "sin: none": Wrong("sin", (), ("takes 1", "x", "not 0")),
    "sin: two": Wrong("sin", (ones(2), ones(2)), ("takes 1", "x", "not 2"), kind=TypeError),
    "add: one": Wrong("add", (ones(2),), ("takes 2", "x1", "x2", "not 1")),
    "add: three": Wrong("add", (ones(2),) * 3, ("takes 2", "x1", "not 3"), kind=TypeError),
    "add: four": Wrong("add", (ones(2),) * 4, ("takes 2", "x1", "x2", "not 4")),
    "matmul: one": Wrong("matmul", (ones(2),), ("takes 2", "x1", "x2", "not 1")),
    "inv: two": Wrong("inv", (np.eye(2), np.eye(2)), ("takes 1", "a", "not 2"), kind=TypeError),
    "solve: one": Wrong("solve", (np.eye(2),), ("takes 2", "a", "b", "not 1")),
    # out, where NumPy has one
    "sin: out list": Wrong("sin", (ones(2),), ("out", "list"), out=[0.0, 0.0]),
    "sin: out number": Wrong("sin", (1.0,), ("out", "float"), out=0.0),
    "sin: out shape": Wrong("sin", (ones(2),), ("out", "(3,)", "(2,)"), out=ones(3)),
    "sin: out smaller": Wrong("sin", (ones((2, 3)),), ("out", "(3,)"), out=ones(3)),
    "sin: out dtype": Wrong("sin", (ones(2),), ("out", "int64", "float64"), out=ones(2, "i8")),
    "sin: out real": Wrong("sin", (1j * ones(2),), ("out", "complex128"), out=ones(2)),
    "sin: out read-only": Wrong("sin", (ones(2),), ("out", "read-only"), out=frozen(2)),
    "sin: out many": Wrong("sin", (ones(2),), ("out", "1 array"), out=(ones(2), ones(2))),
    "add: out shape": Wrong("add", (ones((2, 1)), ones(3)), ("out", "(2, 3)"), out=ones((2, 1))),
    "matmul: out shape": Wrong("matmul", (SQUARE, ones(3)), ("out", "(3,)"), out=ones(4)),
    "matmul: out dtype": Wrong("matmul", (SQUARE, SQUARE), ("out", "int"), out=ones((3, 3), "i8")),
    "matmul: out read-only": Wrong("matmul", (SQUARE, SQUARE), ("out", "read-"), out=frozen(3, 3)),
    "matmul: out list": Wrong("matmul", (ones(2), ones(2)), ("out", "list"), out=[0.0]),
    # out, where NumPy has none
    "inv: out list": Wrong("inv", (SQUARE,), ("out", "list"), [[0.0]], TypeError),
    "inv: out shape": Wrong("inv", (SQUARE,), ("out", "(2, 2)"), ones((2, 2)), ValueError),
    "inv: out dtype": Wrong("inv", (SQUARE,), ("out", "int64"), ones((3, 3), "i8"), TypeError),
    "inv: out read-only": Wrong("inv", (SQUARE,), ("out", "read-only"), frozen(3, 3), ValueError),
    "det: out shape": Wrong("det", (SQUARE,), ("out", "(1,)", "()"), ones(1), ValueError),
    "svd: out one array": Wrong("svd", (SQUARE,), ("out", "3 array"), SQUARE.copy(), TypeError),
    "svd: out two": Wrong("svd", (SQUARE,), ("out", "3 array"), (ones(3),) * 2, TypeError),
    "svd: out shape": Wrong(
        "svd", (SQUARE,), ("out", "(4,)"), (ones((3, 3)), ones(4), ones((3, 3))), ValueError
    ),
    "eigh: out dtype": Wrong(
        "eigh", (SQUARE,), ("out", "int64"), (ones(3), ones((3, 3), "i8")), TypeError
    ),
    "eigh: out read-only": Wrong(
        "eigh", (SQUARE,), ("out", "read-only"), (ones(3), frozen(3, 3)), ValueError
    ),
}


def public(error):
    """The documented type of an exception: NumPy's private ones are subclasses."""
    return next(k for k in (LinAlgError, TypeError, ValueError) if isinstance(error, k))


def numpys_own(wrong):
    if wrong.kind is not None:
        return wrong.kind
    out = {} if wrong.out is None else {"out": wrong.out}
    with pytest.raises((TypeError, ValueError)) as caught:
        NUMPY[wrong.kernel](*wrong.arrays, **out)
    return public(caught.value)


def contents(wrong):
    given = (*wrong.arrays, *(wrong.out if isinstance(wrong.out, tuple) else (wrong.out,)))
    return [x.copy() for x in given if isinstance(x, np.ndarray)]


# NumPy 2.5 warns of what it will refuse one day, and we refuse today.
@pytest.mark.filterwarnings("ignore:The 'generic' unit:DeprecationWarning")
@pytest.mark.parametrize(
    ("backend", "case"),
    [
        (backend, case)
        for case, wrong in WRONG.items()
        for backend in BACKENDS
        if backend != "openmp" or kernels.find(wrong.kernel).blas
    ],
)
def test_wrong_call_raises_what_numpy_raises_and_names_the_argument(backend, case):
    wrong = WRONG[case]
    expected, before = numpys_own(wrong), contents(wrong)
    with pytest.raises(expected) as caught:
        kernels.find(wrong.kernel)(*wrong.arrays, out=wrong.out, backend=backend)
    assert type(caught.value) is expected
    message = str(caught.value)
    assert message.startswith(wrong.kernel)
    for word in wrong.words:
        assert re.search(rf"(?<!\w){re.escape(word)}", message), (word, message)
    for old, new in zip(before, contents(wrong), strict=True):
        np.testing.assert_array_equal(old, new)  # refused before anything was written


@pytest.mark.parametrize("backend", BACKENDS)
def test_remedy_for_a_wrong_out_works(backend):
    with pytest.raises(TypeError, match="pass numpy") as caught:
        backends.inv(SQUARE, out=ones((3, 3), int), backend=backend)
    (remedy,) = re.findall(r"pass (numpy\.empty\(.*\))", str(caught.value))
    out = eval(remedy, {"numpy": np})
    assert backends.inv(SQUARE, out=out, backend=backend) is out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["inv", "solve", "cholesky"])
def test_failure_of_the_computation_keeps_its_own_words(backend, name):
    kernel = kernels.find(name)
    singular = [-np.ones((3, 3)), np.ones(3)][: len(kernel.parameters)]
    with pytest.raises(LinAlgError) as own:
        NUMPY[name](*singular)
    with pytest.raises(LinAlgError) as ours:
        kernel(*singular, backend=backend)
    assert str(ours.value) == str(own.value)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "openmp"])
@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("add", (np.ones(2, np.uint8), 300)),
        ("add", (2**70, 1)),
        ("add", (np.ones(2, np.int64), 2**70)),
        ("power", (np.arange(3), -1)),
        ("power", (2, -1)),
    ],
    ids=repr,
)
def test_number_out_of_range_raises_what_numpy_raises(backend, name, arrays):
    with pytest.raises((OverflowError, ValueError)) as own:
        NUMPY[name](*arrays)
    with pytest.raises(type(own.value)) as ours:
        kernels.find(name)(*arrays, backend=backend)
    assert str(own.value) in str(ours.value)


class Tagged(np.ndarray):
    """An array with units, say."""


@pytest.mark.parametrize("backend", ["threads", "joblib"])
@pytest.mark.parametrize(
    "x", [np.ma.masked_array([1.0, 2.0], [True, False]), np.ones(2).view(Tagged)], ids=type
)
def test_arrays_that_are_more_than_numbers_are_refused_where_they_would_be_cut(backend, x):
    name = type(x).__qualname__
    with pytest.raises(TypeError, match=rf"argument x1 is a .*{name}.*pass numpy\.asarray\(x1\)"):
        backends.add(x, 1.0, backend=backend)
    plain = np.asarray(x)
    np.testing.assert_array_equal(backends.add(plain, 1.0, backend=backend), plain + 1.0)


def test_masked_array_stays_one_on_numpy():
    result = backends.add(np.ma.masked_array([1.0, 2.0], [True, False]), 1.0, backend="numpy")
    assert result.mask.tolist() == [True, False]


# --- what is accepted: shape and dtype of the result -----------------------------------------

DTYPES = ["?", "i1", "u1", "<i2", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "g", "<c8", "<c16"]
DTYPES += [">i4", ">f4", ">f8", ">c16"]
# Not negative: an integer to a negative power is refused for its value, which bind does not see.
NUMBERS = st.one_of(
    st.booleans(),
    st.integers(0, 300),
    st.floats(0, 10),
    st.complex_numbers(max_magnitude=10),
    st.sampled_from([np.float32(0.5), np.int8(3), np.float64(2.0), np.complex64(1j)]),
)


@st.composite
def operand(draw, shape):
    x = np.ones(shape, draw(st.sampled_from(DTYPES)))
    return draw(st.sampled_from([x, x.tolist(), x[..., ::-1]] if x.ndim else [x, x[()]]))


@st.composite
def elementwise_calls(draw):
    kernel = draw(st.sampled_from([k for k in kernels.every().values() if not any(k.core)]))
    count = len(kernel.parameters)
    shapes = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=count, min_side=0, max_dims=3, max_side=3)
    ).input_shapes
    arrays = [draw(st.one_of(operand(shape), NUMBERS)) for shape in shapes]
    return kernel, tuple(arrays)


@st.composite
def matrix_calls(draw):
    name = draw(st.sampled_from(["matmul", "solve", "inv", "det", "cholesky", "eigh", "svd"]))
    signature = {
        "matmul": "(n?,k),(k,m?)->(n?,m?)",
        "solve": "(n,n),(n,m)->(n,m)",
        "svd": "(m,n)->(m,n)",
    }.get(name, "(n,n)->(n,n)")
    shapes = draw(
        hnp.mutually_broadcastable_shapes(signature=signature, min_side=0, max_side=3, max_dims=2)
    ).input_shapes
    shapes = list(shapes)
    if name == "solve" and draw(st.booleans()):
        shapes[1] = shapes[0][-1:]
    arrays = []
    for shape in shapes:
        x = np.ones(shape, draw(st.sampled_from(DTYPES)))
        if x.ndim >= 2 and name != "matmul" and x.shape[-1] == x.shape[-2]:
            x = np.broadcast_to(np.eye(shape[-1], dtype=x.dtype), shape)
        arrays.append(x)
    return kernels.find(name), tuple(arrays)


@settings(max_examples=400)
@given(call=st.one_of(elementwise_calls(), matrix_calls()))
def test_bound_shape_and_dtype_are_those_of_the_result(call):
    kernel, arrays = call
    try:
        with np.errstate(all="ignore"):
            result = kernel.reference(*arrays)
    except (TypeError, ValueError, OverflowError) as error:
        kind = OverflowError if isinstance(error, OverflowError) else public(error)
        with pytest.raises(kind):
            arguments.bind(kernel, arrays)
        return
    bound = arguments.bind(kernel, arrays)
    results = result if isinstance(result, tuple) else (result,)
    assert len(bound.items) == len(results)
    for (shape, dtype), part in zip(bound.items, results, strict=True):
        assert (*bound.loop, *shape) == np.shape(part)
        assert dtype == part.dtype
    if isinstance(result, tuple):
        assert bound.result_type is type(result)


@settings(max_examples=400)
@given(call=st.one_of(elementwise_calls(), matrix_calls()))
def test_bound_operands_give_the_same_result_as_the_arguments(call):
    kernel, arrays = call
    with np.errstate(all="ignore"):
        try:
            expected = kernel.reference(*arrays)
        except (TypeError, ValueError, OverflowError):
            return
        result = kernel.reference(*arguments.bind(kernel, arrays).operands)
    if not isinstance(result, tuple):
        result, expected = (result,), (expected,)
    for part, right in zip(result, expected, strict=True):
        np.testing.assert_array_equal(part, right, strict=True)


@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=3, min_side=0, max_side=3, max_dims=3),
    dtype=st.sampled_from(["f4", "f8", "c16", "i8", ">f8"]),
)
def test_out_is_accepted_exactly_where_numpy_accepts_it(shapes, dtype):
    a, b, shape = shapes.input_shapes
    arrays, out = (np.ones(a), np.ones(b, np.float32)), np.empty(shape, dtype)
    try:
        np.add(*arrays, out=out)
    except (TypeError, ValueError) as error:
        with pytest.raises(public(error)):
            arguments.bind(backends.add, arrays, out)
    else:
        bound = arguments.bind(backends.add, arrays, out)
        assert bound.loop == shape
        assert bound.outs == (out,)


def test_an_error_of_another_kind_stays_as_it_is():
    error = KeyError("x")
    assert arguments._again(error, "said better") is error
