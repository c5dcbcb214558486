from __future__ import annotations

import functools
import inspect
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joblib.externals.loky.backend.reduction import dumps

import backends
from backends import Kernel, elementwise, kernels, linear_algebra
from backends.kernel import REGISTERED


def define(name="doubled", **changed):
    @elementwise(**{"domain": (0.0, 1.0), "flops": 1, **changed})
    def doubled(x, /, *, out=None):
        """Twice `x`."""
        return np.multiply(x, 2, out=out)

    assert doubled.name == name
    return doubled


# --- making one -----------------------------------------------------------------------------


def test_decorated_function_is_a_kernel_with_its_data():
    kernel = define(flops=3, dtypes=("float64",), tolerance=7.0, family="tests")
    assert isinstance(kernel, Kernel)
    assert (kernel.name, kernel.family, kernel.parameters) == ("doubled", "tests", ("x",))
    assert (kernel.core, kernel.rows, kernel.blas) == ((0,), False, False)
    assert (kernel.dtypes, kernel.tolerance) == (("float64",), 7.0)
    assert kernel.__doc__ == "Twice `x`."
    assert repr(kernel) == "<kernel doubled(x, /, *, out=None): tests>"
    assert repr(backends.add) == "<kernel add(x1, x2, /, *, out=None): elementwise>"


def test_what_linear_algebra_is_given_is_kept():
    def entry(mp, arrays, index):
        raise NotImplementedError

    def error(actual, expected, arrays):
        return float(len(arrays))

    @linear_algebra(
        core=(2, 2), flops=lambda a, b: 1.0, cases={}, size=17, entry=entry, error=error, rows=True
    )
    def product(a, b, /, *, out=None):
        return np.matmul(a, b, out=out)

    assert (product.size, product.entry, product.core) == (17, entry, (2, 2))
    assert (product.rows, product.blas) == (True, True)
    assert product.error(np.eye(2), np.eye(2), np.eye(2), np.eye(2)) == 2.0


@pytest.mark.parametrize("backend", ["numpy", "threads", "joblib"])
def test_new_kernel_runs_on_every_backend(backend):
    kernel = define()
    np.testing.assert_array_equal(kernel([1.0, 2.0], backend=backend), [2.0, 4.0])
    out = np.empty(2)
    assert kernel([1.0, 2.0], out=out, backend=backend) is out
    np.testing.assert_array_equal(out, [2.0, 4.0])


def test_new_kernel_is_listed_and_found():
    kernel = define()
    assert kernels.every()["doubled"] is kernel
    assert kernels.find("doubled") is kernel
    assert list(kernels.every())[-1] == "doubled"


def test_new_kernel_is_part_of_the_package(run_python):
    out = run_python(
        """
import numpy as np
import backends

@backends.elementwise(domain=(0.0, 1.0), flops=1)
def doubled(x, /, *, out=None):
    return np.multiply(x, 2, out=out)

assert backends.doubled is doubled
assert "doubled" in backends.kernels.every()
assert "doubled" in dir(backends)
assert "doubled" in backends.__all__
backends.set_config(kernels={"doubled": "threads"})
print(backends.get_config().backend_for("doubled").value, backends.doubled(21.0))
"""
    )
    assert out == "threads 42.0\n"


def test_kernel_of_another_module_cannot_be_replaced():
    define()
    with pytest.raises(ValueError, match="doubled is already defined in test_kernel: choose"):
        exec(
            "def doubled(x, /, *, out=None): ...\nelementwise(domain=(0.0, 1.0), flops=1)(doubled)",
            {"__name__": "elsewhere", "elementwise": elementwise},
        )


def test_kernel_defined_again_replaces_itself(run_python):
    out = run_python(
        """
import numpy as np
import backends

for factor in (2, 3):  # as a notebook's cell that is run again

    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def scaled(x, /, *, out=None, factor=factor):
        return np.multiply(x, factor, out=out)

    print(scaled(1.0), backends.scaled(1.0), backends.kernels.find("scaled")(1.0))
"""
    )
    assert out == "2.0 2.0 2.0\n3.0 3.0 3.0\n"


def test_kernel_of_ours_cannot_be_replaced_before_it_was_used_either(run_python):
    out = run_python(
        """
import backends

try:

    @backends.elementwise(domain=(0.0, 1.0), flops=1)
    def erf(x, /, *, out=None): ...

except ValueError as error:
    print(error)
"""
    )
    assert "erf is already defined in backends.kernels.special: choose another name" in out


@pytest.mark.parametrize("module", ["elsewhere", "backends_of_mine", "backends.of_ours"])
def test_our_kernels_are_imported_before_anothers_is_defined(module, monkeypatch):
    imported = []
    monkeypatch.setattr("backends.kernel.import_module", imported.append)
    space = {"__name__": module}
    exec("def trebled(x, /, *, out=None): ...", space)
    elementwise(domain=(0.0, 1.0), flops=1)(space["trebled"])
    ours = [f"backends.kernels.{name}" for name in ("linalg", "elementwise", "special")]
    # A module of ours must not: it may be the one that is being imported.
    assert imported == ([] if module.startswith("backends.") else ours)


def test_kernel_of_ours_cannot_be_replaced():
    original = backends.sin
    with pytest.raises(ValueError, match=r"sin is already defined in backends\.kernels\.element"):

        @elementwise(domain=(0.0, 1.0), flops=1)
        def sin(x, /, *, out=None):
            return np.cos(x, out=out)

    assert kernels.find("sin") is original


def without_marker(x, out=None):
    return np.sin(x, out=out)


def without_out(x, /):
    return np.sin(x)


def one_of_two(x1, x2, /, *, out=None):
    return np.add(x1, x2, out=out)


WRONG_SIGNATURES = {
    "no positional-only argument": (elementwise(domain=(0.0, 1.0), flops=1), without_marker),
    "no out": (elementwise(domain=(0.0, 1.0), flops=1), without_out),
    "not a Python function": (elementwise(domain=(0.0, 1.0), flops=1), np.sin),
    "core of another length": (
        linear_algebra(core=(2,), flops=lambda a: 1.0, cases={}),
        one_of_two,
    ),
    "domains of another length": (
        elementwise(domain=((0.0, 1.0), (0.0, 1.0), (0.0, 1.0)), flops=1),
        one_of_two,
    ),
}


@pytest.mark.parametrize("case", WRONG_SIGNATURES)
def test_wrong_signature_is_refused_and_not_registered(case):
    decorate, function = WRONG_SIGNATURES[case]
    before = set(REGISTERED)
    with pytest.raises(TypeError):
        decorate(function)
    assert set(REGISTERED) == before


def test_refusal_of_a_signature_says_what_to_write():
    decorate, function = WRONG_SIGNATURES["core of another length"]
    with pytest.raises(TypeError, match=r"kernel one_of_two.*positional-only.*x1, /, \*, out=None"):
        decorate(function)


def test_refusal_names_what_has_no_name_as_f():
    decorate, _ = WRONG_SIGNATURES["not a Python function"]
    wanted = r"kernel f: make its arrays.* out keyword-only: def f\(x1, /, \*, out=None\)"
    with pytest.raises(TypeError, match=wanted):
        decorate(functools.partial(np.sin))


def test_refusal_lists_as_many_arrays_as_there_are():
    with pytest.raises(TypeError, match=r": def one_of_two\(x1, x2, x3, /, \*, out=None\)$"):
        linear_algebra(core=(2, 2, 2), flops=lambda *_: 1.0, cases={})(one_of_two)


@pytest.mark.parametrize("name", ["matmull", "sine"])
def test_unknown_kernel_suggests_the_nearest(name):
    with pytest.raises(backends.UnknownNameError, match=r"did you mean '(matmul|sin)'\? Valid:"):
        kernels.find(name)


# --- pickling -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(kernels.every()))
def test_kernel_of_a_module_is_pickled_by_name(name):
    kernel = kernels.find(name)
    message = pickle.dumps(kernel)
    assert pickle.loads(message) is kernel
    assert len(message) < 100  # the name alone: it goes along with every chunk


def test_kernel_made_within_a_function_is_pickled_whole():
    kernel = define(flops=3, tolerance=7.0)
    again = pickle.loads(dumps(kernel))
    assert again is not kernel
    assert kernels.find("doubled") is again
    assert again(21.0) == 42.0
    assert (again.name, again.tolerance, again.flops(np.ones(5))) == ("doubled", 7.0, 15.0)
    (x,), (expected,) = (k.inputs("elements", 10, "float32") for k in (again, kernel))
    np.testing.assert_array_equal(x, expected)
    assert again.error(np.float64(3.0), np.float64(3.0)) == 0.0


def test_kernel_of_a_script_is_pickled_whole_though_it_can_be_found_by_name(monkeypatch):
    space = {"__name__": "__main__", "np": np}
    exec("def halved(x, /, *, out=None): return np.divide(x, 2, out=out)", space)
    kernel = elementwise(domain=(0.0, 1.0), flops=1)(space["halved"])
    monkeypatch.setattr(sys.modules["__main__"], "halved", kernel, raising=False)
    message = dumps(kernel)
    monkeypatch.delattr(sys.modules["__main__"], "halved")  # as in a worker process
    assert pickle.loads(message)(21.0) == 10.5


def test_kernel_of_a_script_reaches_worker_processes(run_python):
    # Nominal flops that make four elements worth sharing out.
    out = run_python(
        """
import os
import warnings
import numpy as np
import backends

warnings.filterwarnings("ignore", "n_jobs=2")

def helper(x):
    return x * 10

@backends.elementwise(domain=(0.0, 1.0), flops=1e9)
def where(x, /, *, out=None):
    result = helper(np.asarray(x)) + os.getpid()
    if out is None:
        return result
    out[...] = result
    return out

with backends.get("joblib", 2) as engine:
    x = np.arange(4.0)
    assert engine.divides(where, x)
    result = engine.run(where, x) - 10 * x
assert result.min() > 0
print(os.getpid() in result)
"""
    )
    assert out == "False\n"


# --- what it costs --------------------------------------------------------------------------

sides = st.integers(1, 20)


@given(n=sides, k=sides, m=sides, stack=st.lists(st.integers(1, 5), max_size=2))
def test_matmul_takes_2nkm_flops_a_product(n, k, m, stack):
    a, b = np.ones((*stack, n, k)), np.ones((k, m))
    assert backends.matmul.flops(a, b) == 2 * np.prod([*stack, n, k, m])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [((3,), (3,), 6), ((2, 3), (3,), 12), ((3,), (3, 4), 24), ((5, 2, 3), (3,), 60)],
)
def test_matmul_with_vectors_counts_their_missing_side_as_one(a, b, expected):
    assert backends.matmul.flops(np.ones(a), np.ones(b)) == expected


@pytest.mark.parametrize(
    ("name", "arrays", "expected"),
    [
        ("inv", [(6, 6)], 2 * 6**3),
        ("cholesky", [(6, 6)], 6**3 / 3),
        ("det", [(6, 6)], 2 / 3 * 6**3),
        ("solve", [(6, 6), (6,)], 2 / 3 * 6**3 + 2 * 6**2),
        ("solve", [(6, 6), (6, 5)], 2 / 3 * 6**3 + 2 * 6**2 * 5),
        ("svd", [(6, 6)], 21 * 6**3),
        ("eigh", [(6, 6)], 9 * 6**3),
    ],
)
def test_flops_are_those_of_the_textbook(name, arrays, expected):
    arrays = [np.ones(shape) for shape in arrays]
    assert kernels.find(name).flops(*arrays) == pytest.approx(expected)


def test_flops_of_a_stack_are_those_of_its_items():
    assert backends.inv.flops(np.ones((7, 5, 4, 4))) == 35 * backends.inv.flops(np.ones((4, 4)))


def test_flops_of_broadcast_arguments_count_every_result():
    assert backends.add.flops(np.ones((3, 1)), np.ones(4)) == 12
    assert backends.add.flops(np.ones(4), 1.0) == 4
    assert backends.matmul.flops(np.ones((5, 1, 2, 2)), np.ones((6, 2, 2))) == 30 * 16


@pytest.mark.parametrize("name", list(kernels.every()))
def test_complex_arithmetic_counts_four_times(name):
    kernel = kernels.find(name)
    real = [np.ones((4, 4))] * len(kernel.core)
    mixed = [np.ones((4, 4), complex), *real[1:]]
    assert kernel.flops(*mixed) == 4 * kernel.flops(*real)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_flops_of_another_number_of_arguments_are_refused(count):
    with pytest.raises(ValueError, match="argument"):
        backends.add.flops(*[np.ones(3)] * count)


def test_flops_of_nothing_are_none():
    assert backends.sin.flops(np.ones(0)) == 0
    assert backends.matmul.flops(np.ones((0, 3)), np.ones((3, 2))) == 0


def test_bytes_moved_are_inputs_and_results_once():
    a, b = np.ones((4, 3)), np.ones((3, 5), np.float32)
    assert backends.matmul.bytes_moved(a @ b, a, b) == 8 * 12 + 4 * 15 + 8 * 20
    x = np.ones((6, 4))
    u, s, vh = result = np.linalg.svd(x)
    assert backends.svd.bytes_moved(result, x) == x.nbytes + u.nbytes + s.nbytes + vh.nbytes
    assert backends.add.bytes_moved(np.float64(3.0), 1.0, 2.0) == 24


# --- inputs of the bench --------------------------------------------------------------------


def test_inputs_have_the_size_and_dtype_asked_for_and_the_seed_decides():
    kernel = define()
    (x,) = kernel.inputs("elements", 10, "float32")
    assert (x.shape, x.dtype) == ((10,), np.float32)
    (same,), (other,) = (kernel.inputs("elements", 10, "float32", seed) for seed in (0, 1))
    np.testing.assert_array_equal(x, same)
    assert not np.array_equal(x, other)


# --- calling --------------------------------------------------------------------------------


def test_reference_is_the_function_undispatched():
    with backends.config_context(backend="openmp"):
        assert backends.sqrt.reference(4.0) == 2.0


def test_probe_computes_nothing():
    calls = []

    @elementwise(domain=(0.0, 1.0), flops=1)
    def watched(x, /, *, out=None):
        calls.append(np.shape(x))
        return np.add(x, 0.5, out=out)

    assert watched.probe(np.ones((1000, 1000), np.float32)).dtype == np.float32
    assert calls == [(0,)]


@pytest.mark.parametrize(
    ("a", "b", "shape"),
    [
        ((4, 3), (3, 5), (0, 4, 5)),
        ((7, 4, 3), (3, 5), (0, 4, 5)),
        ((2, 7, 4, 3), (7, 3, 5), (0, 4, 5)),
        ((4, 3), (3,), (0, 4)),  # a vector has no dimension to replace
        ((3,), (3, 5), (0, 5)),
    ],
)
def test_probe_keeps_what_one_item_takes_and_replaces_the_loops_before_it(a, b, shape):
    found = backends.matmul.probe(np.ones(a, np.float32), np.ones(b, np.complex64))
    assert (found.shape, found.dtype) == (shape, np.complex64)
    assert backends.matmul.probe(np.ones(a), np.ones(b)).dtype == np.float64


def test_probe_promotes_as_the_call_does():
    x = np.ones(3, np.float32)
    for other in (2.0, 2, True, np.float32(2.0), np.float64(2.0), np.int8(2), 2j, np.ones(1)):
        assert backends.add.probe(x, other).dtype == np.add(x, other).dtype
    assert backends.add.probe(np.float32(1.0), np.float64(1.0)).shape == (0,)


def test_probe_warns_of_nothing_though_a_number_is_computed_with():
    assert backends.sqrt.probe(-1.0).dtype == np.float64


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="axis"):
        backends.sin([1.0], axis=0)


def test_signature_has_what_every_kernel_takes():
    assert str(inspect.signature(backends.solve)).startswith("(a: ")
    assert list(inspect.signature(backends.solve).parameters) == [
        *("a", "b", "out", "backend", "n_jobs")
    ]
