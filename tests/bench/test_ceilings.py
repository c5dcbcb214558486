from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.bench import ceilings
from backends.bench.ceilings import largest_cache, measure, place
from backends.bench.record import Ceilings, Level, Rates
from backends.errors import BackendUnavailableError

MB = 1e6
#: 1 MB in the second level, 11 MB in the third and the second; each ten times as fast as the next.
FOUND = Ceilings(
    2,
    ["threads"],
    [
        Level("L2", 10**6, Rates(5e10, 1e11)),
        Level("L3", 11 * 10**6, Rates(5e9, 1e10)),
        Level("memory", None, Rates(5e8, 1e9)),
    ],
    {"float32": Rates(1e9, 2e9), "float64": Rates(5e8, 1e9)},
)


def share(flops, moved, dtype="float64", seconds=1.0):
    value, bound, _ = place(FOUND, [seconds] * 6, flops, moved, dtype, 0.0)
    return value, bound


@pytest.mark.parametrize(
    ("moved", "seconds", "bound"),
    [
        (0.5 * MB, 0.5e6 / 1e11, "L2"),
        (1 * MB, 1e6 / 1e11, "L2"),
        (2 * MB, 1e6 / 1e11 + 1e6 / 1e10, "L3"),
        (11 * MB, 1e6 / 1e11 + 1e7 / 1e10, "L3"),
        (1011 * MB, 1e6 / 1e11 + 1e7 / 1e10 + 1e9 / 1e9, "memory"),
    ],
)
def test_bytes_come_from_the_nearest_level_that_holds_them(moved, seconds, bound):
    value, found = share(0.0, moved)
    assert value == pytest.approx(seconds, rel=1e-12)
    assert found == bound


@pytest.mark.parametrize(
    ("dtype", "seconds"),
    [
        ("float32", 0.5),
        ("complex64", 0.5),
        ("float64", 1.0),
        ("complex128", 1.0),
        ("float16", 1.0),
        ("int64", 1.0),
    ],
)
def test_arithmetic_takes_as_long_as_in_a_product_of_matrices_of_the_real_parts(dtype, seconds):
    assert share(1e9, 8.0, dtype) == (pytest.approx(seconds, rel=1e-12), "GEMM")


def test_what_takes_longer_binds():
    assert share(1e6, 1011 * MB)[1] == "memory"
    assert share(1e12, 1011 * MB)[1] == "GEMM"


def test_a_result_that_takes_twice_as_long_reaches_half():
    assert share(1e9, 8.0, seconds=2.0)[0] == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize(
    ("seconds", "noise", "above"),
    [
        ([1.01] * 6, 0.0, False),
        ([0.9] * 6, 0.0, True),
        ([0.9] * 6, 0.2, False),
        # The median is above the ceiling, its interval reaches below it.
        ([0.8, 0.8, 0.8, 0.8, 1.2, 1.2], 0.0, False),
    ],
)
def test_only_what_is_beyond_interval_and_noise_is_above_the_ceiling(seconds, noise, above):
    assert place(FOUND, seconds, 1e9, 8.0, "float64", noise)[2] is above


@given(
    st.floats(0, 1e15),
    st.floats(1, 1e12),
    st.floats(1, 1e12),
    st.sampled_from(["float32", "float64", "complex128"]),
)
def test_more_work_never_has_a_lower_bound_of_time(flops, moved, more, dtype):
    assert share(flops, moved + more, dtype)[0] >= share(flops, moved, dtype)[0] * (1 - 1e-12)
    assert share(flops + more, moved, dtype)[0] >= share(flops, moved, dtype)[0]


@pytest.mark.filterwarnings("ignore:n_jobs=2 is more than:UserWarning")  # a machine of one core
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_is_measured_makes_sense(n_jobs):
    found = measure(n_jobs, seconds=0.2)
    assert found.n_jobs == n_jobs
    assert [level.name for level in found.levels] == ["L2", "L3", "memory"]
    sizes = [level.size for level in found.levels]
    assert 0 < sizes[0] < sizes[1]
    assert sizes[2] is None
    assert set(found.gemm) == {"float32", "float64"}
    for rates in (*(level.bandwidth for level in found.levels), *found.gemm.values()):
        assert 0 < rates.one <= rates.all < math.inf
    # A nearer level can do what a farther one does.
    for near, far in zip(found.levels, found.levels[1:]):
        assert near.bandwidth.one >= far.bandwidth.one
        assert near.bandwidth.all >= far.bandwidth.all


def test_without_the_engine_the_threads_measure_alone(monkeypatch):
    def get(name, n_jobs, **_):
        if name == "openmp":
            raise BackendUnavailableError("no compiler")
        return original(name, n_jobs)

    original = ceilings.registry.get
    monkeypatch.setattr(ceilings.registry, "get", get)
    found = measure(1, seconds=0.0)
    assert found.triad == ["threads"]
    assert found.levels[-1].bandwidth.one > 0


def test_bandwidth_counts_the_bytes_of_three_arrays():
    seen = []

    def call(a, b, *, out):
        seen.append((a.nbytes, b.nbytes, out.nbytes))
        np.add(a, b, out=out)

    rate = ceilings._bandwidth(call, 24000, 0.0)
    assert set(seen) == {(8000, 8000, 8000)}
    assert 0 < rate < math.inf


def test_the_largest_cache_is_guessed_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(ceilings, "cache_bytes", lambda level: 0)
    assert largest_cache() >= ceilings.THIRD
    found = measure(1, seconds=0.0)
    assert found.levels[0].size == ceilings.SECOND
