"""Every kernel keeps the promises that the bench, the tests and the docs build on."""

from __future__ import annotations

import doctest
import re

import numpy as np
import pytest
from scipy import stats

import backends
from backends import kernels

EVERY = list(kernels.every().values())
OFFERED = [
    pytest.param(kernel, case, dtype, id=f"{kernel.name}-{case}-{dtype}")
    for kernel in EVERY
    for case in kernel.cases
    for dtype in kernel.dtypes
]

each = pytest.mark.parametrize("kernel", EVERY, ids=lambda kernel: kernel.name)
offered = pytest.mark.parametrize(("kernel", "case", "dtype"), OFFERED)


def size_of(case, *, doubled=False):
    size = {"elements": 500, "matrix": 12, "stack": 40}[case]
    return 2 * size if doubled else size


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def like(result, parts):
    """Put `parts` together as `result` is: one array, a tuple or a named tuple."""
    if not isinstance(result, tuple):
        return parts[0]
    return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)


# --- documentation --------------------------------------------------------------------------


def sections(kernel):
    """Split a numpydoc docstring at its underlined headings."""
    lines = kernel.__doc__.splitlines()
    indent = min(len(x) - len(x.lstrip()) for x in lines[1:] if x.strip())
    lines = [lines[0], *(x[indent:] for x in lines[1:])]
    found, heading = {"": []}, ""
    for line, after in zip(lines, [*lines[1:], ""]):
        if line and after == "-" * len(line):
            heading = line
            found[heading] = []
        elif set(line) != {"-"}:
            found[heading].append(line)
    return {name: "\n".join(body).strip() for name, body in found.items()}


@each
def test_kernel_begins_with_a_sentence(kernel):
    assert re.fullmatch(r"\S.*\.", kernel.__doc__.splitlines()[0])


@each
def test_kernel_has_numpydoc_sections_in_order(kernel):
    wanted = ["", "Parameters", "Returns", "Raises", "Notes", "References", "Examples"]
    names = list(sections(kernel))
    assert names == [name for name in wanted if name in names]
    assert {"Parameters", "Returns", "Raises", "Examples"} <= set(names)


@each
def test_kernel_documents_each_parameter_with_type_and_shape(kernel):
    text = sections(kernel)["Parameters"]
    entries = dict(re.findall(r"^(\w[\w, ]*?) : (.+(?:\n +.+)*)", text, re.MULTILINE))
    documented = [name.strip() for names in entries for name in names.split(",")]
    assert documented == [*kernel.parameters, "out"]
    for names, entry in entries.items():
        assert re.search(r"shape|tuple of (two|three)", entry), names
        assert re.match(r"array_like of (real )?number|ndarray|tuple of \w+ ndarray", entry), names


@each
def test_kernel_documents_shape_and_dtype_of_its_result(kernel):
    text = sections(kernel)["Returns"]
    assert re.search("shape", text, re.IGNORECASE)
    assert re.search("dtype|floating point|real", text)


@each
def test_kernel_documents_what_it_raises(kernel):
    text = sections(kernel)["Raises"]
    assert "TypeError" in text
    assert "ValueError" in text
    assert ("LinAlgError" in text) == (kernel.blas and kernel.name != "matmul")


@each
def test_examples_of_kernel_hold(kernel):
    test = doctest.DocTestParser().get_doctest(kernel.__doc__, {}, kernel.name, None, 0)
    assert any(f"backends.{kernel.name}(" in example.source for example in test.examples)
    output = []
    outcome = doctest.DocTestRunner(verbose=False).run(test, out=output.append)
    assert outcome.failed == 0, "".join(output)


# --- benchmark inputs -----------------------------------------------------------------------


@offered
def test_inputs_are_the_same_for_the_same_seed_only(kernel, case, dtype):
    first, again, other = (kernel.inputs(case, size_of(case), dtype, seed) for seed in (1, 1, 2))
    for x, y, z in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(x, y)
        assert not np.array_equal(x, z)


@offered
def test_inputs_are_arrays_of_the_dtype_and_size_asked_for(kernel, case, dtype):
    size = size_of(case)
    arrays = kernel.inputs(case, size, dtype)
    assert len(arrays) == len(kernel.parameters)
    for x in arrays:
        assert type(x) is np.ndarray
        assert x.dtype == dtype
        assert x.flags.c_contiguous
        shape = {"elements": (size,), "matrix": (size, size), "stack": (size**2 // 64, 8, 8)}[case]
        assert x.shape == shape


DOMAINS = {
    "add": (-10, 10),
    "subtract": (-10, 10),
    "multiply": (-10, 10),
    "divide": (0.5, 10),
    "sqrt": (0, 100),
    "exp": (-10, 10),
    "log": (0.01, 100),
    "ndtri": (0, 1),
    "norm_isf": (0, 1),
    "gammaln": (0.1, 30),
    "j0": (0, 50),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DOMAINS)
def test_inputs_fill_the_domain_and_stay_inside(name, dtype):
    low, high = DOMAINS[name]
    for x in kernels.find(name).inputs("elements", 10_000, dtype):
        assert low * (1 - 1e-6) <= x.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < x.max() <= high


def test_arguments_have_domains_of_their_own():
    x1, x2 = backends.power.inputs("elements", 1000, "float64")
    assert x1.min() > 0.1
    assert -3 < x2.min() < 0


@offered
def test_reference_is_finite_on_its_inputs_and_of_the_right_dtype(kernel, case, dtype):
    arrays = kernel.inputs(case, size_of(case), dtype)
    with np.errstate(all="raise", under="ignore"):
        parts = as_tuple(kernel.reference(*arrays))
    for part in parts:
        assert np.all(np.isfinite(part))
    assert parts[-1].dtype == dtype


@offered
def test_reference_writes_the_same_to_out(kernel, case, dtype):
    arrays = kernel.inputs(case, size_of(case), dtype)
    expected = kernel.reference(*arrays)
    empty = [np.empty_like(np.asarray(part)) for part in as_tuple(expected)]
    result = kernel.reference(*arrays, out=like(expected, empty))
    for part, out, right in zip(as_tuple(result), empty, as_tuple(expected), strict=True):
        assert part is out
        np.testing.assert_array_equal(out, right)


@offered
def test_flops_grow_as_the_size_does(kernel, case, dtype):
    small, large = (
        kernel.flops(*kernel.inputs(case, size, dtype))
        for size in (size_of(case), size_of(case, doubled=True))
    )
    assert small > 0
    # A stack has as many elements as one matrix of that order.
    assert large == pytest.approx({"elements": 2, "matrix": 8, "stack": 4}[case] * small)


# --- right and wrong results ----------------------------------------------------------------


@offered
def test_tolerance_accepts_the_reference(kernel, case, dtype):
    arrays = kernel.inputs(case, size_of(case), dtype)
    result = kernel.reference(*arrays)
    assert kernel.error(result, kernel.reference(*arrays), *arrays) <= kernel.tolerance


def one_wrong(x):
    x = np.array(x)
    at = np.unravel_index(x.size // 2, x.shape)
    x[at] = 1.1 * x[at] + 0.1 * np.abs(x).max()
    return x


def one_nan(x):
    x = np.array(x)
    x[np.unravel_index(x.size // 2, x.shape)] = np.nan
    return x


def one_infinite(x):
    x = np.array(x)
    x[np.unravel_index(x.size // 2, x.shape)] = np.inf
    return x


def one_missing(x):
    x = np.asarray(x)
    return x[:-1] if x.ndim else x[np.newaxis]


def one_dimension_more(x):
    return np.asarray(x)[np.newaxis]


def other_dtype(x):
    x = np.asarray(x)
    others = {"float64": "float32", "float32": "float64", "complex128": "complex64"}
    return x.astype(others[x.dtype.name])


def nothing(x):
    return np.zeros_like(x)


@pytest.mark.parametrize(
    "damage",
    [one_wrong, one_nan, one_infinite, one_missing, one_dimension_more, other_dtype, nothing],
)
@offered
def test_tolerance_refuses_a_wrong_result(kernel, case, dtype, damage):
    arrays = kernel.inputs(case, size_of(case), dtype)
    result = kernel.reference(*arrays)
    right = as_tuple(result)
    for i in range(len(right)):  # each part of the result alone
        with np.errstate(all="ignore"):
            parts = [damage(part) if j == i else part for j, part in enumerate(right)]
            assert kernel.error(like(result, parts), result, *arrays) > kernel.tolerance


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("name", ["svd", "eigh"])
def test_signs_of_vectors_are_free(name, dtype):
    kernel = kernels.find(name)
    arrays = kernel.inputs("matrix", 12, dtype)
    result = kernel.reference(*arrays)
    rng = np.random.default_rng(0)
    phase = rng.choice([-1.0, 1.0], 12)
    if dtype == "complex128":
        phase = np.exp(1j * rng.uniform(0, 7, 12))
    phase = phase.astype(dtype)
    if name == "svd":
        turned = (result.U * phase, result.S, result.Vh * phase.conj()[:, None])
        torn = (result.U * phase, result.S, result.Vh)
    else:
        turned = (result.eigenvalues, result.eigenvectors * phase)
        torn = (result.eigenvalues, result.eigenvectors * (1 + np.arange(12)).astype(dtype))
    assert kernel.error(turned, result, *arrays) <= kernel.tolerance
    assert kernel.error(torn, result, *arrays) > kernel.tolerance


@pytest.mark.parametrize("name", ["svd", "eigh"])
def test_values_in_another_order_are_wrong(name):
    kernel = kernels.find(name)
    arrays = kernel.inputs("matrix", 12, "float64")
    result = kernel.reference(*arrays)
    if name == "svd":
        shuffled = (result.U[:, ::-1], result.S[::-1], result.Vh[::-1])
    else:
        shuffled = (result.eigenvalues[::-1], result.eigenvectors[:, ::-1])
    assert kernel.error(shuffled, result, *arrays) > kernel.tolerance


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (3, 6, 4)])
def test_singular_vectors_are_checked_beyond_the_product(shape):
    a = np.random.default_rng(0).standard_normal(shape)
    u, s, vh = result = np.linalg.svd(a)
    error, tolerance = backends.svd.error, backends.svd.tolerance
    assert error(result, result, a) <= tolerance
    k = s.shape[-1]
    if u.shape[-1] > k:
        wrong = u.copy()
        wrong[..., k:] = 7.0
        assert error((wrong, s, vh), result, a) > tolerance
    if vh.shape[-1] > k:
        wrong = vh.copy()
        wrong[..., k:, :] = 7.0
        assert error((u, s, wrong), result, a) > tolerance
    assert error((2 * u, s, vh / 2), result, a) > tolerance


@pytest.mark.parametrize("name", ["svd", "eigh"])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_result_of_another_length_is_wrong(name, count):
    kernel = kernels.find(name)
    arrays = kernel.inputs("matrix", 4, "float64")
    result = kernel.reference(*arrays)
    assert kernel.error(tuple(result)[:1] * count, result, *arrays) > kernel.tolerance


# --- single kernels -------------------------------------------------------------------------


def test_norm_isf_is_that_of_scipy_stats():
    tiny = np.logspace(-300, -2, 2000)
    special = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, -1e-300, 1 + 1e-15, 5e-324]
    q = np.concatenate([np.linspace(-0.1, 1.1, 20_001), tiny, 1 - tiny, special])
    expected = stats.norm.isf(q)
    assert np.isnan(expected).any()
    assert np.isposinf(expected).any()
    assert np.isneginf(expected).any()
    np.testing.assert_array_equal(backends.norm_isf(q), expected)
    out = np.empty_like(q)
    np.testing.assert_array_equal(backends.norm_isf(q, out=out), expected)


@pytest.mark.parametrize("step", [1, 4, 8, -8, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norm_isf_and_out_with_steps(step, dtype):
    # NumPy before 2.5 negates other elements than it should where operands lie 64 bytes apart.
    q = np.linspace(0.0, 1.0, 33, dtype=dtype)
    out = np.full(33 * abs(step), 7.0, dtype)[::step]
    assert kernels.find("norm_isf").reference(q, out=out) is out
    np.testing.assert_array_equal(out, kernels.find("norm_isf").reference(q))


def test_norm_isf_of_a_number_is_a_number():
    assert backends.norm_isf(0.025) == stats.norm.isf(0.025)
    assert type(backends.norm_isf(0.025)) is np.float64


def test_norm_isf_in_float32_is_the_float64_result_rounded():
    q = np.linspace(0.001, 0.999, 1000, dtype=np.float32)
    result = backends.norm_isf(q)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, stats.norm.isf(q.astype(float)), rtol=2e-6, atol=2e-7)
