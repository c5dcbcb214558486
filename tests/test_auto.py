from __future__ import annotations

import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backends
from backends import auto as auto_module
from backends import kernels, lookup, profile, registry
from backends.auto import AutoBackend
from backends.position import DTYPES, LAYOUTS
from backends.profile import Choice, Key
from backends.testing import BackendConformance


def tune(*lines):
    """Write a profile of lines ``(mode, dtype, layout, kernel, *choices)``."""
    choices = {Key(*line[:4]): tuple(Choice(*step) for step in line[4:]) for line in lines}
    return profile.write("2026-01-02", choices, [])


def for_all(*choices):
    """Give choices for all kernels, dtypes and layouts."""
    return {
        Key("exact", dtype, layout, kernel): choices
        for kernel in kernels.every()
        for dtype in DTYPES
        for layout in LAYOUTS
    }


def everywhere(*choices):
    """Write a profile that chooses so for all kernels, dtypes and layouts."""
    return profile.write("2026-01-02", for_all(*(Choice(*step) for step in choices)), [])


def made_for(*choices):
    """Give a backend auto that goes by these choices, whatever the machine."""
    auto = AutoBackend(2)
    auto.profile = profile.Profile(Path("invented"), "", {}, for_all(*choices))
    return auto


class Spy:
    """Stands in for a backend and notes that it was called."""

    def __init__(self, backend, calls):
        self.backend, self.calls = backend, calls
        self.name, self.n_jobs, self.supports = backend.name, backend.n_jobs, backend.supports

    def call(self, kernel, arrays, out):
        self.calls.append((self.name, self.n_jobs))
        return self.backend.call(kernel, arrays, out)

    def divides(self, kernel, *arrays):
        return self.backend.divides(kernel, *arrays)


@pytest.fixture
def calls(monkeypatch):
    """Give the list of (backend, n_jobs) that auto has called; numpy is not among them."""
    found, real = [], registry.get

    def get(name, n_jobs=None, *, mode=None, scheduler=None):
        backend = real(name, n_jobs, mode=mode, scheduler=scheduler)
        seen = isinstance(backend, (AutoBackend, Spy)) or name == "numpy"
        return backend if seen else Spy(backend, found)

    monkeypatch.setattr(registry, "get", get)
    return found


class TestConformance(BackendConformance):
    @classmethod
    def make_backend(cls):
        return made_for(Choice(3, "threads", 2), Choice(50, "openmp", 2))


@pytest.mark.parametrize(
    ("size", "ran"), [(99, []), (100, ["threads"]), (999, ["threads"]), (1000, ["openmp"])]
)
def test_the_line_of_the_profile_chooses(calls, size, ran):
    line = ("exact", "float64", "contiguous", "sin", (100, "threads", 2), (1000, "openmp", 2))
    tune(line)
    x = np.linspace(0, 1, size)
    np.testing.assert_array_equal(AutoBackend(2).run(backends.sin, x), np.sin(x))
    assert [name for name, _ in calls] == ran


def test_layouts_and_dtypes_have_lines_of_their_own(calls):
    tune(
        ("exact", "float64", "strided", "sin", (1, "threads", 2)),
        ("exact", "float32", "contiguous", "sin", (1, "openmp", 2)),
    )
    auto = AutoBackend(2)
    for x in (np.ones(10), np.ones(10)[::2], np.ones(10, "f4"), np.ones(10, "f4")[::2]):
        auto.run(backends.sin, x)
    assert [name for name, _ in calls] == ["threads", "openmp"]


@st.composite
def operands(draw):
    """Draw a kernel and arrays of the kinds that look-ups tell apart."""
    name = draw(st.sampled_from(["sin", "add", "hypot", "matmul", "det", "solve"]))
    kernel = kernels.find(name)
    dtype = draw(st.sampled_from(["float64", "float32", "complex128", "int64", ">f8"]))
    if name == "hypot" and dtype == "complex128":
        dtype = "float64"
    size, step = draw(st.integers(1, 30)), draw(st.sampled_from([1, 2]))
    shape = (size,)
    if kernel.blas:
        shape = (*draw(st.sampled_from([(), (1,), (3,)])), size, size)
    arrays = [np.ones((*shape[:-1], shape[-1] * step), dtype)[..., ::step] for _ in kernel.core]
    if len(arrays) > 1 and not kernel.blas:
        other = draw(
            st.sampled_from(["same", "scalar", "float32", "column", "whole", "one", "list", "0-d"])
        )
        arrays[1] = {
            "same": arrays[1],
            "scalar": 2.0,
            "float32": np.ones(size, "f4"),
            "column": np.ones((size, 1), dtype),
            "whole": np.ones(size, int),
            "one": np.ones(1, int),
            "list": [1.0] * size,
            "0-d": np.ones((), dtype),
        }[other]
        if draw(st.booleans()):
            arrays.reverse()
    return kernel, arrays


@given(operands(), st.integers(1, 1000), st.integers(1, 1000))
@settings(max_examples=300)
def test_the_short_cut_finds_what_decide_explains(case, first, more):
    kernel, arrays = case
    auto = made_for(Choice(first, "threads", 2), Choice(first + more, "openmp", 2))
    decision = auto.decide(kernel, arrays)
    # Backends that do not compute: what is asked is which one is called.
    auto._backend = lambda kernel, step: SimpleNamespace(call=lambda *_: step.backend)
    with (
        mock.patch.object(auto_module, "in_one_piece", return_value="numpy"),
        mock.patch.object(lookup, "in_one_piece", return_value="numpy"),
    ):
        assert auto.call(kernel, tuple(arrays), None) == decision.backend


@pytest.mark.parametrize("out", [False, True])
@pytest.mark.parametrize(
    "make",
    [lambda x: np.ma.masked_array(x, x > 5), lambda x: np.reshape(x, (1, -1)).view(np.matrix)],
    ids=["masked", "matrix"],
)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_arrays_that_numpy_knows_best_are_numpys_at_every_size(make, out):
    auto, other = made_for(Choice(1, "openmp", 2)), make(np.arange(20.0))
    x = np.ones(other.shape)
    if out:
        assert auto.run(backends.add, x, x, out=other) is other
        return
    result, expected = auto.run(backends.add, x, other), np.add(x, other)
    assert type(result) is type(expected)
    np.testing.assert_array_equal(result, expected)
    assert auto.decide(backends.add, [x, other]).backend == "numpy"


def test_a_mapped_file_is_an_array_like_any_other(calls, tmp_path):
    everywhere((1, "openmp", 2))
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=10)
    AutoBackend(2).run(backends.cos, mapped)
    assert [name for name, _ in calls] == ["openmp"]


@pytest.mark.parametrize("kernel", [backends.sin, backends.add, backends.inv, backends.matmul])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_wrong_number_of_arrays_is_refused_as_by_numpy(kernel, count):
    if count == len(kernel.core):
        return
    for auto in (made_for(), made_for(Choice(1, "openmp", 2)), registry.get("openmp", 2)):
        with pytest.raises(TypeError, match=f"{kernel.name} takes .*not {count}"):
            auto.run(kernel, *[np.eye(3)] * count)


def test_what_the_profile_lacks_is_chosen_cautiously(calls):
    tune(("exact", "float64", "contiguous", "sin", (1, "threads", 2)))
    auto = AutoBackend(2)
    auto.run(backends.cos, np.ones(1000))
    assert calls == []
    auto.run(backends.cos, np.ones(200_000))
    assert [name for name, _ in calls] == ["openmp"]
    reason = auto.decide(backends.cos, [np.ones(200_000)]).reason
    assert "the profile has no cos" in reason
    assert "backends tune --kernel cos" in reason


def test_jobs_are_those_of_the_profile_and_no_more_than_the_users(calls):
    everywhere((1, "openmp", 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where there are fewer cores
        for n_jobs in (8, 3, 1):
            AutoBackend(n_jobs).run(backends.sin, np.ones(10))
    assert calls == [("openmp", 4), ("openmp", 3)]


def test_one_job_is_numpy_in_mode_exact_and_what_was_tuned_in_mode_fast(calls):
    tune(
        ("exact", "float64", "contiguous", "sin", (1, "threads", 2)),
        ("fast", "float64", "contiguous", "sin", (1, "openmp", 2)),
    )
    AutoBackend(1).run(backends.sin, np.ones(10))
    AutoBackend(1, mode="fast").run(backends.sin, np.ones(10))
    assert calls == [("openmp", 1)]


def test_without_a_profile_it_is_cautious_and_says_so_once(calls):
    with pytest.warns(UserWarning, match="backends tune"):
        backends.sin(np.ones(10), backend="auto", n_jobs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backends.cos(np.ones(10), backend="auto", n_jobs=2)
        AutoBackend(2).run(backends.sin, np.ones(1000))
        AutoBackend(2).run(backends.matmul, np.eye(10), np.eye(10))
        assert calls == []
        AutoBackend(2).run(backends.sin, np.ones(1_000_000))
        AutoBackend(2).run(backends.matmul, np.eye(600), np.eye(600))
    assert [name for name, _ in calls] == ["openmp", "openmp"]


def test_a_kernel_that_openmp_lacks_goes_to_the_threads_without_a_profile():
    @backends.elementwise(domain=(0.0, 1.0), flops=3)
    def twice(x, /, *, out=None):
        """Two times."""
        return np.add(np.multiply(x, 1.0), x, out=out)

    assert AutoBackend(2).decide(twice, [np.ones(10**5)]).backend == "numpy"
    assert AutoBackend(2).decide(twice, [np.ones(10**6)]).backend == "threads"


def test_a_profile_that_names_what_is_gone_is_said_to_and_numpy_computes(monkeypatch):
    everywhere((1, "cupy", 2))
    real = registry._load
    monkeypatch.setattr(registry, "_load", lambda n: "no GPU here" if n == "cupy" else real(n))
    auto = AutoBackend(2)
    with pytest.warns(UserWarning, match="names backend 'cupy' for sin.*no GPU here"):
        result = auto.run(backends.sin, np.ones(3))
    np.testing.assert_array_equal(result, np.sin(np.ones(3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auto.run(backends.sin, np.ones(3))
    assert "no GPU here" in auto.decide(backends.sin, [np.ones(3)]).reason


def test_arrays_of_another_library_stay_with_it():
    everywhere((1, "threads", 2))
    owned = type("ndarray", (), {"__module__": "cupy._core.core"})()
    seen = []

    class Cupy(backends.Backend):
        name = "cupy"

        def run(self, kernel, *arrays, out=None):
            seen.append((kernel.name, arrays))
            return owned

        def to_numpy(self, x):
            return np.zeros(3)

    registry._backends["cupy", -1, None, "exact", None] = Cupy(1)
    try:
        auto = AutoBackend(2)
        assert auto.run(backends.sin, owned) is owned
        assert auto.run(backends.add, np.ones(3), owned) is owned
        assert auto.asarray(owned) is owned
        assert auto.to_numpy(owned).shape == (3,)
        assert auto.decide(backends.sin, [owned]).backend == "cupy"
    finally:
        del registry._backends["cupy", -1, None, "exact", None]
    assert [name for name, _ in seen] == ["sin", "add"]


def test_many_threads_may_make_the_first_call():
    everywhere((1, "threads", 2))
    auto, x = AutoBackend(2), np.linspace(0, 1, 50_000)
    barrier, wrong = threading.Barrier(8), []

    def work():
        barrier.wait()
        for kernel in (backends.sin, backends.cos, backends.erf):
            if not np.array_equal(auto.run(kernel, x), kernel.reference(x)):
                wrong.append(kernel.name)  # noqa: PERF401 - several threads append

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_default_goes_by_the_profile(calls):
    everywhere((1, "threads", 2))
    backends.sin(np.ones(5))
    assert [name for name, _ in calls] == ["threads"]


def test_what_is_chosen_may_be_configured_for_one_kernel(calls):
    everywhere((1, "threads", 2))
    with backends.config_context(backend="auto", kernels={"sin": "numpy"}):
        backends.sin(np.ones(5))
        assert calls == []
        backends.cos(np.ones(5))
    assert [name for name, _ in calls] == ["threads"]


def test_it_says_what_it_is():
    everywhere()
    assert AutoBackend(2).label == "auto"
    assert AutoBackend(2, mode="fast").label == "auto (fast)"
    assert repr(AutoBackend(2)) == "<backend auto, n_jobs=2, mode=exact>"
    assert not AutoBackend(2).divides(backends.sin, np.ones(10**6))
