"""The direct road of scipy.stats.norm gives what SciPy's own gives, to the bit."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from joblib.externals.loky.backend import reduction
from scipy import special, stats

from backends.accelerate import normal

METHODS = ("isf", "ppf", "cdf", "sf", "logcdf", "logsf", "pdf", "logpdf")
EVERY = pytest.mark.parametrize("name", METHODS)
NORM = type(stats.norm)
SIGNALLING = np.array([0x7FF0000000000001], np.uint64).view(np.float64)[0]
HARD = [
    *(0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1 - 2**-53, 1 + 2**-52, 5e-324, -5e-324, 1e-310, 2.2e-308),
    *(1e-20, 0.025, 0.975, 3.0, -3.0, 8.3, -8.3, 37.6, -37.6, 38.6, -38.6, 40.0, -40.0, 1e3),
    *(1e154, -1e154, 1e155, 1e300, -1e300, 1.7e308, -1.7e308, np.inf, -np.inf, np.nan, -np.nan),
]


@pytest.fixture(autouse=True)
def installed():
    before = set(vars(NORM))
    assert normal.install() is None
    yield
    normal.uninstall()
    assert set(vars(NORM)) == before


@pytest.fixture
def taken(monkeypatch):
    """Results of the direct road, in the order of calls: None where SciPy computed."""
    seen = []
    direct = normal._direct

    def spy(*args):
        seen.append(direct(*args))
        return seen[-1]

    monkeypatch.setattr(normal, "_direct", spy)
    return seen


def outcome(call):
    """Everything that a caller can notice: bits, type, layout, warnings, errors."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = call()
        except Exception as error:
            result = type(error), str(error)
    said = [(w.category, str(w.message)) for w in caught]
    if isinstance(result, (np.ndarray, np.generic)):
        array = np.asarray(result)
        layout = array.shape, array.strides, str(array.flags)
        # A long double has unused bytes.
        values = str(array) if array.dtype == np.longdouble else array.tobytes()
        return type(result), array.dtype, layout, values, said
    return type(result), result, said


def theirs(name, *args, distribution=stats.norm, **kwds):
    return getattr(stats.rv_continuous, name)(distribution, *args, **kwds)


def check(name, *args, distribution=stats.norm, **kwds):
    kept = [np.array(x, copy=True) for x in args if isinstance(x, np.ndarray)]
    here = outcome(lambda: getattr(distribution, name)(*args, **kwds))
    assert here == outcome(lambda: theirs(name, *args, distribution=distribution, **kwds))
    left = [x for x in args if isinstance(x, np.ndarray)]
    assert [x.tobytes() for x in kept] == [x.tobytes() for x in left]


def arrays(dtype, **kwds):
    near = st.floats(-0.25, 1.25, width=np.dtype(dtype).itemsize * 8)
    wide = st.floats(width=np.dtype(dtype).itemsize * 8)
    with np.errstate(over="ignore"):
        hard = st.sampled_from([x.item() for x in np.array(HARD).astype(dtype)])
    shapes = hnp.array_shapes(max_dims=3, max_side=6)
    return hnp.arrays(dtype, shapes, elements=near | hard | wide, **kwds)


LAYOUTS = {
    "as it is": lambda x: x,
    "transposed": lambda x: x.T,
    "backwards": lambda x: x[::-1],
    "every other": lambda x: x[..., ::2],
    "broadcast": lambda x: np.broadcast_to(x, (3, *x.shape)),
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "unaligned": lambda x: np.frombuffer(b"-" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "column": lambda x: np.stack([x, x], axis=-1)[..., 0],
}
FINITE = st.floats(-1e3, 1e3) | st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, 0.1])
POSITIVE = st.floats(1e-3, 1e3) | st.sampled_from([1.0, 0.1, 5e-324, 1e-308, 1.7e308])
WRONG = st.sampled_from([0.0, -0.0, -1.0, np.nan, np.inf, -np.inf])
KINDS = (
    float,
    *(np.float64, np.float32, np.float16, np.longdouble, np.array, np.atleast_1d),
    *(lambda x: np.array([[x], [x]]), lambda x: np.array([x, 1.0]), lambda x: [x]),
)
# Whole numbers as int, bool, uint64, and beyond all of them.
WHOLE = st.integers(-3, 3) | st.sampled_from([True, 2**63, 2**70, np.int8(2), np.int64(3)])


def parameters(usual):
    return st.builds(lambda kind, x: kind(x), st.sampled_from(KINDS), usual | WRONG) | WHOLE


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(METHODS),
    x=arrays(np.float64) | arrays(np.float32),
    layout=st.sampled_from(sorted(LAYOUTS)),
    loc=parameters(FINITE),
    scale=parameters(POSITIVE),
)
@pytest.mark.filterwarnings("ignore")  # of making the arguments: float16 of 1e308
def test_same_as_scipy(name, x, layout, loc, scale):
    x = LAYOUTS[layout](x)
    check(name, x)
    check(name, x, loc, scale)
    check(name, x, scale=scale)


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(METHODS),
    x=arrays(np.float64),
    loc=FINITE,
    scale=POSITIVE,
    errors=st.fixed_dictionaries(
        dict.fromkeys(["over", "under", "invalid"], st.sampled_from(["ignore", "warn", "raise"]))
    ),
)
def test_same_warnings_and_errors(name, x, loc, scale, errors):
    with np.errstate(**errors):
        check(name, x, loc, scale)


@EVERY
@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("loc", [0, 0.0, -0.0, 1.5, np.float64(2), np.array(3.0)])
@pytest.mark.parametrize("scale", [1, 1.0, 0.1, np.int64(2), np.array([0.5])])
def test_hard_values_take_the_direct_road(name, dtype, loc, scale, taken):
    with np.errstate(all="ignore"):
        check(name, np.array(HARD).astype(dtype), loc, scale)
    assert len(taken) == 1
    assert taken[0] is not None


@EVERY
@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize(
    ("loc", "scale"),
    [
        *((np.inf, 1), (-np.inf, 1), (0, np.inf), (np.nan, 1), (0, np.nan), (0, 0), (0, -1.0)),
        *((np.array([0.1], "f4"), 1), (0, np.array(0.1, "f4")), (np.float32(0.1), 1)),
        *((np.float16(0.1), np.float32(0.1)), (np.longdouble("0.1"), 1), (True, 2**64)),
    ],
)
def test_other_parameters_are_left_to_scipy(name, dtype, loc, scale, taken):
    with np.errstate(all="ignore"):
        check(name, np.array(HARD).astype(dtype), loc, scale)
    assert taken == [None]


@EVERY
def test_many_elements(name, taken):
    rng = np.random.default_rng(7)
    x = rng.random(300_001) if name in ("isf", "ppf") else 4 * rng.standard_normal(300_001)
    check(name, x)
    check(name, x, 0.3, 1.7)
    check(name, x, rng.random(300_001), 1 + rng.random(300_001))
    check(name, x.astype("f4")[::3], 1)
    assert all(result is not None for result in taken)


@EVERY
def test_not_a_number_that_signals(name, taken):
    x = np.array([0.5, SIGNALLING, 0.25])
    check(name, x)
    check(name, x, 1.0, 2.0)
    with np.errstate(invalid="ignore"):
        check(name, x)
    assert taken[-1] is not None


@EVERY
def test_what_is_reported_is_reported_by_scipy(name, taken):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(stats.norm, name)(np.array([0.25, 0.75]), 1e308, 1e308)
        getattr(stats.norm, name)(np.array([-1e300, 1e300]), 0, 1e-300)
    assert {"_distn_infrastructure.py", "_continuous_distns.py"} >= {
        w.filename.replace("\\", "/").rpartition("/")[2] for w in caught
    }


OTHERS = {
    "number": 0.5,
    "whole number": 1,
    "list": [0.25, 0.5],
    "0-d": np.array(0.5),
    "scalar": np.float64(0.5),
    "empty": np.empty(0),
    "empty rows": np.empty((2, 0)),
    "integers": np.arange(3),
    "booleans": np.array([True, False]),
    "half": np.array([0.25, 0.5], "f2"),
    "long double": np.array([0.25, 0.5], "g"),
    "complex": np.array([0.25 + 0j, 0.5]),
    "swapped bytes": np.array([0.25, 0.5]).astype(np.dtype("f8").newbyteorder()),
    "objects": np.array([0.25, 0.5], object),
    "strings": np.array(["a", "b"]),
    "masked": np.ma.array([0.25, 0.5], mask=[True, False]),
    "matrix": np.array([[0.25, 0.5]]).view(np.matrix),
    "memory map": np.array([0.25, 0.5]).view(np.memmap),
    "record": np.rec.array([0.25, 0.5]),
    "none": None,
}


@EVERY
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # matrix
def test_others_are_left_to_scipy(name, kind, taken):
    here = outcome(lambda: getattr(stats.norm, name)(OTHERS[kind]))
    there = outcome(lambda: theirs(name, OTHERS[kind]))
    assert here == there
    assert taken == []


@EVERY
def test_names_of_arguments(name, taken):
    x = np.array([0.25, 0.5])
    first = "q" if name in ("isf", "ppf") else "x"
    check(name, x, loc=2, scale=3)
    check(name, scale=3, **{first: x})
    check(name, x, 2, scale=3)
    assert len(taken) == 3


@EVERY
def test_wrong_calls(name, taken):
    x = np.array([0.25, 0.5])
    first = "q" if name in ("isf", "ppf") else "x"
    check(name)
    check(name, loc=1)
    check(name, x, **{first: x})
    check(name, x, 1, loc=1)
    check(name, x, 1, 2, 3)
    check(name, x, 1, 2, scale=2)
    check(name, x, location=1)
    check(name, x, nonsense=1, loc=2)
    check(name, **{first + first: x})
    assert taken == []
    check(name, x, [0, 1, 2])
    check(name, x, np.zeros(3))
    check(name, x, scale=np.ones((2, 3)))
    check(name, x, "a")
    check(name, x, None, None)
    assert not any(result is not None for result in taken)


@EVERY
def test_special_errors_are_left_to_scipy(name, taken):
    with special.errstate(domain="raise"):
        check(name, np.array([-1.0, 0.5, 2.0]))
    assert taken == [None]


@EVERY
def test_frozen(name, taken):
    frozen = stats.norm(1.0, scale=2.0)
    x = np.array(HARD)
    with np.errstate(all="ignore"):
        here = outcome(lambda: getattr(frozen, name)(x))
        assert here == outcome(lambda: theirs(name, x, 1.0, scale=2.0, distribution=frozen.dist))
    assert taken[-1] is not None


@EVERY
def test_distributions_of_other_making(name, taken):
    x = np.array(HARD)
    with np.errstate(all="ignore"):
        check(name, x, distribution=NORM(badvalue=-1.0))
        assert taken[-1] is not None
        for other in (NORM(badvalue=-1), NORM(a=-1.0), NORM(b=1.0)):
            check(name, x, distribution=other)
            assert taken[-1] is None


@EVERY
def test_what_a_program_overrides_counts(name, taken, monkeypatch):
    class Mine(NORM):
        pass

    def one(self, x):
        return np.ones_like(x)

    x = np.array([0.25, 0.5])
    mine = Mine()
    check(name, x, distribution=mine)
    assert len(taken) == 1
    setattr(Mine, f"_{name}", one)
    check(name, x, distribution=mine)
    with monkeypatch.context() as patch:
        patch.setattr(NORM, f"_{name}", one)
        check(name, x)
    with monkeypatch.context() as patch:
        patch.setattr(stats.norm, f"_{name}", lambda x: x, raising=False)
        check(name, x)
    with monkeypatch.context() as patch:
        patch.setattr(stats.rv_continuous, name, lambda self, x: "theirs")
        assert getattr(stats.norm, name)(x) == "theirs"
    assert len(taken) == 1


@EVERY
def test_looks_like_scipys_method(name):
    here, there = getattr(stats.norm, name), getattr(stats.rv_continuous, name)
    assert here.__doc__ == there.__doc__
    assert here.__name__ == name
    assert inspect.signature(NORM.__dict__[name]) == inspect.signature(there)
    assert inspect.getsource(here) == inspect.getsource(there)


@EVERY
def test_copies_and_pickles(name):
    x = np.array([0.25, 0.5])
    expected = outcome(lambda: theirs(name, x, 1, 2))
    frozen = stats.norm(1, 2)
    for again in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        ours, fixed = getattr(again(stats.norm), name), getattr(again(frozen), name)
        assert expected == outcome(functools.partial(ours, x, 1, 2))
        assert expected == outcome(functools.partial(fixed, x))
    for dumps in (pickle.dumps, reduction.dumps):
        for method in (getattr(stats.norm, name), NORM.__dict__[name]):
            data = bytes(dumps(method))
            assert b"backends" not in data
            again = pickle.loads(data)
            assert getattr(again, "__func__", again) is NORM.__dict__[name]


def test_pickles_work_where_nothing_is_installed():
    data = pickle.dumps([getattr(stats.norm, name) for name in METHODS])
    program = "import sys, pickle; print(sum(f(0.5) for f in pickle.loads(eval(sys.argv[1]))))"
    done = subprocess.run(
        [sys.executable, "-c", program, repr(data)], check=True, capture_output=True, text=True
    )
    assert float(done.stdout) == sum(theirs(name, 0.5) for name in METHODS)


def test_the_rest_of_norm_and_other_distributions():
    def all_of_it():
        data = stats.norm.rvs(2, 3, size=50, random_state=1)
        x = np.linspace(0.01, 0.99, 7)
        return [
            data.tolist(),
            stats.norm.fit(data),
            stats.norm.interval(0.9, loc=[1, 2]),
            stats.norm.stats(moments="mvsk"),
            stats.norm.expect(lambda x: x**2),
            stats.lognorm.ppf(x, 0.5).tolist(),
            stats.truncnorm.cdf(x, -1, 2).tolist(),
            stats.halfnorm.isf(x).tolist(),
            stats.t.isf(x, 3).tolist(),
        ]

    with_it = repr(all_of_it())
    normal.uninstall()
    assert with_it == repr(all_of_it())


def test_threads(taken):
    x = np.random.default_rng(3).random(20_000)
    expected = {name: theirs(name, x, 0.5, 2).tobytes() for name in METHODS}
    names = list(METHODS) * 20
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: getattr(stats.norm, name)(x, 0.5, 2).tobytes(), names))
    assert found == [expected[name] for name in names]
    assert len(taken) == len(names)


def test_threads_that_install():
    normal.uninstall()
    start = threading.Barrier(8)

    def both(number):
        start.wait()
        return normal.install() if number % 2 else normal.uninstall()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(both, range(8))) == {None}
    normal.uninstall()
    assert not set(METHODS) & vars(NORM).keys()


def test_install_twice_and_uninstall_twice():
    normal.uninstall()
    before = list(vars(NORM).items())
    assert normal.install() is None
    methods = dict(vars(NORM))
    assert normal.install() is None
    assert dict(vars(NORM)) == methods
    normal.uninstall()
    normal.uninstall()
    assert list(vars(NORM).items()) == before


def test_uninstall_leaves_what_others_have_set():
    def other(self, x):
        return x

    NORM.cdf = other
    normal.uninstall()
    assert NORM.cdf is other
    assert not {"isf", "sf"} & vars(NORM).keys()
    assert "cdf" in normal.install()
    del NORM.cdf


REFUSALS = {
    "cdf is not that of": (NORM, "cdf", lambda self, x, *args, **kwds: x),
    "does not take the arguments": (stats.rv_continuous, "sf", lambda self, y, *args, **kwds: y),
    "_argcheck of its own": (NORM, "_argcheck", lambda self: 1),
    "logpdf gives something else": (NORM, "_logpdf", lambda self, x: x + 1e-16),
    # A zero of the other sign.
    "isf gives something else": (NORM, "_isf", lambda self, x: -special.ndtri(x) + 0.0),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_scipy_that_is_not_known_is_refused(reason, monkeypatch):
    normal.uninstall()
    place, name, function = REFUSALS[reason]
    with monkeypatch.context() as patch:
        patch.setattr(place, name, function, raising=False)
        before = dict(vars(NORM))
        assert reason in normal.install()
        assert dict(vars(NORM)) == before


def test_a_missing_function_is_refused(monkeypatch):
    normal.uninstall()
    with monkeypatch.context() as patch:
        patch.delattr(NORM, "_logsf")
        assert "it has no method _logsf" in normal.install()


def test_memory_is_no_more_than_scipys():
    tracemalloc = pytest.importorskip("tracemalloc")
    x = np.random.default_rng(0).random(200_000)
    x[5] = np.nan
    for name in METHODS:
        peaks = []
        for method in (getattr(stats.norm, name), lambda x, name=name: theirs(name, x)):
            tracemalloc.start()
            method(x)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[0] < min(peaks[1], 1.5 * x.nbytes)
