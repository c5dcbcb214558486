"""The cupy backend on a stand-in for CuPy; test_gpu.py has it on CuPy itself."""

from __future__ import annotations

import sys
import weakref

import fake_cupy
import numpy as np
import pytest

import backends
from backends import kernels
from backends.engines import cupy as engine
from backends.engines.cupy import CupyBackend
from backends.testing import BackendConformance


@pytest.fixture(scope="module")
def stand_in():
    """Give the stand-in, in CuPy's place for the tests of this module."""
    patch = pytest.MonkeyPatch()
    patch.setitem(sys.modules, "cupy", fake_cupy)
    patch.setitem(sys.modules, "cupyx", fake_cupy)
    patch.setattr(engine, "load", lambda name: fake_cupy)
    patch.setattr(engine, "_driver", lambda: 12040)
    patch.setattr(engine.util, "find_spec", lambda name: fake_cupy.__spec__)
    yield fake_cupy
    patch.undo()


@pytest.fixture
def cupy(stand_in):
    stand_in.calls.clear()
    stand_in.missing.clear()
    stand_in.memory.left = 2**40
    yield stand_in
    stand_in.missing.clear()
    stand_in.memory.left = 2**40


@pytest.mark.usefixtures("stand_in")
class TestOnStandIn(BackendConformance):
    exact = False
    reports_errors = False

    @classmethod
    def make_backend(cls):
        # Also called while tests are collected, without fixtures.
        patch = pytest.MonkeyPatch()
        patch.setattr(engine, "load", lambda name: fake_cupy)
        try:
            return CupyBackend()
        finally:
            patch.undo()


def test_arrays_go_through_page_locked_memory_and_the_device_is_chosen(cupy):
    backend = CupyBackend(device=1)
    assert np.array_equal(backend.run(backends.sqrt, np.arange(4.0)), np.sqrt(np.arange(4.0)))
    assert "device 1" in cupy.calls
    assert cupy.calls.index("asarray") < cupy.calls.index("empty_pinned") < cupy.calls.index("get")


def test_arrays_of_cupys_stay_there_and_the_call_waits(cupy):
    backend = CupyBackend()
    x = backend.asarray(np.arange(4.0))
    assert cupy.calls[-1] == "synchronize"
    cupy.calls.clear()
    result = backend.run(backends.sqrt, x)
    assert type(result) is cupy.ndarray
    assert cupy.calls[-1] == "synchronize"
    assert not {"asarray", "get"} & set(cupy.calls)
    out = backend.asarray(np.zeros(4))
    assert backend.run(backends.norm_isf, backend.asarray(np.full(4, 0.5)), out=out) is not None
    assert np.array_equal(out.values, np.zeros(4))


def test_out_of_memory_says_what_was_asked_and_what_is_free_and_releases_the_pool(cupy):
    cupy.memory.left = 100
    with pytest.raises(MemoryError, match=r"sqrt: GPU 0 .* 800 bytes .* 1,073,741,824 of 8,589"):
        CupyBackend().run(backends.sqrt, np.ones(100))
    assert cupy.calls[-2:] == ["free_all_blocks", "device 0"]


def test_what_a_failed_call_held_is_free_when_the_pool_is_released(cupy, monkeypatch):
    placed = []
    alive = []

    def asarray(x):
        if placed:
            raise cupy.OutOfMemoryError("Out of memory")
        there = cupy.ndarray(x)
        placed.append(weakref.ref(there))
        return there

    monkeypatch.setattr(cupy, "asarray", asarray)
    monkeypatch.setattr(cupy.pool, "free_all_blocks", lambda: alive.append(placed[0]()))
    with pytest.raises(MemoryError, match="are free now"):
        CupyBackend().run(backends.add, np.ones(3), np.ones(3))
    assert alive == [None]


def test_results_in_several_parts_go_into_arrays_of_cupys(cupy):
    backend = CupyBackend()
    a = backend.asarray(np.diag([3.0, 4.0]))
    out = tuple(backend.asarray(np.zeros(shape)) for shape in ((2, 2), (2,), (2, 2)))
    assert backend.run(backends.svd, a, out=out) is out
    assert out[1].values.tolist() == [4.0, 3.0]


def test_whole_numbers_to_a_power_are_refused(cupy):
    with pytest.raises(backends.UnsupportedKernelError, match="negative exponents"):
        CupyBackend().run(backends.power, np.array([2]), np.array([-1]))


def test_where_no_more_memory_can_be_locked_ordinary_memory_is_used(cupy, monkeypatch):
    def fail(*_):
        raise cupy.CUDARuntimeError("cudaErrorMemoryAllocation")

    monkeypatch.setattr(cupy, "empty_pinned", fail)
    assert CupyBackend().run(backends.sqrt, np.array([4.0])).tolist() == [2.0]


def test_a_function_that_cupy_lacks_is_refused_with_the_reason(cupy):
    cupy.missing.update({"j0", "svd"})
    backend = CupyBackend()
    for name in ("j0", "svd"):
        assert f"CuPy 14.0 has no {name}" in backend.supports(kernels.find(name))
    with pytest.raises(backends.UnsupportedKernelError, match=r"j0: CuPy .* has no j0"):
        backend.run(backends.j0, 1.0)
    assert backend.supports(kernels.find("eigh")) is True


def test_a_mixture_with_numpys_arrays_names_both_and_the_call_that_converts(cupy):
    backend = CupyBackend()
    there, here = backend.asarray(np.ones(3)), np.ones(3)
    for arrays in ((there, here), (here, there)):
        with pytest.raises(TypeError, match=r"numpy\.ndarray, x[12] a .*asarray\(x[12]\)"):
            backend.run(backends.add, *arrays)
    with pytest.raises(TypeError, match=r"argument out is a numpy\.ndarray"):
        backend.run(backends.add, there, there, out=here)


def test_a_device_that_is_not_there_is_refused(cupy):
    for device in (2, "cpu"):
        with pytest.raises(backends.BackendUnavailableError, match="from 0 to 1"):
            CupyBackend(device=device)


@pytest.mark.parametrize(
    ("driver", "count", "expected"),
    [
        (None, 0, "no driver can be loaded"),
        (12040, 0, "finds no GPU"),
        (12040, 1, None),
    ],
)
def test_unavailable_gives_the_reason(cupy, monkeypatch, driver, count, expected):
    monkeypatch.setattr(engine, "_driver", lambda: driver)
    monkeypatch.setattr(cupy.runtime, "getDeviceCount", lambda: count)
    reason = CupyBackend.unavailable()
    assert reason is None if expected is None else expected in reason


def test_a_driver_too_old_is_named_with_both_versions(cupy, monkeypatch):
    def fail():
        raise cupy.CUDARuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(engine, "_driver", lambda: 12020)
    monkeypatch.setattr(cupy.runtime, "getDeviceCount", fail)
    reason = CupyBackend.unavailable()
    assert "built for CUDA 12.9, the driver for 12.2" in reason
    assert 'pip install "array-backends[cuda12]"' in reason


def test_the_extra_that_fits_the_driver_is_named(cupy, monkeypatch):
    monkeypatch.setattr(engine.util, "find_spec", lambda name: None)
    for driver, extra in ((12040, "cuda12"), (13000, "cuda13")):
        monkeypatch.setattr(engine, "_driver", lambda driver=driver: driver)
        assert f'pip install "array-backends[{extra}]"' in CupyBackend.unavailable()


def test_arrays_of_numpys_and_empty_ones_need_no_way_back(cupy):
    backend = CupyBackend()
    x = np.arange(3.0)
    assert backend.to_numpy(x) is x
    assert backend.to_numpy(backend.asarray(np.empty((0, 2)))).shape == (0, 2)
