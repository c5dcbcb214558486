from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
from backends import profile, registry
from backends.backend import Backend
from backends.bench import check, curves
from backends.bench.check import Case, Checked
from backends.bench.curves import Curve
from backends.bench.timer import Ratio
from backends.measurements import Point

SIN = Curve(backends.sin, "float64", "contiguous")


def checked(loss=1.0, low=1.0, *, slower=1.0, seconds=1e-3):
    interval = Ratio(loss, low, 1.05 * loss, "")
    plain = Ratio(slower, slower, slower, "")
    return Checked(Case(SIN, 100, "exact"), "numpy 1", interval, plain, seconds, seconds)


@given(st.sets(st.integers(32, 10**6), min_size=1, max_size=20))
def test_sizes_are_new_and_one_is_beyond(sizes):
    tuned = [Point("sin", "float64", "contiguous", size, []) for size in sizes]
    found = [case.size for case in check.plan(curves.plan(["sin", "cos"]), tuned, ["exact"])]
    assert not sizes & set(found)
    assert len(found) == len(set(found)) <= check.BETWEEN + 1
    assert sum(size > max(sizes) for size in found) == 1
    assert all(size > min(sizes) for size in found)


def test_modes_and_stacks_are_checked_and_other_dtypes_are_not():
    plan = curves.plan(["matmul"])
    tuned = [Point("matmul", c.dtype, c.layout, c.fit(s), []) for c in plan for s in (50, 9999)]
    found = check.plan(plan, tuned, ["exact", "fast"])
    assert {case.mode for case in found} == {"exact", "fast"}
    assert {case.curve.dtype for case in found} == {"float32", "float64"}
    assert {case.curve.layout for case in found} == {c.layout for c in plan}
    assert all(case.size == case.curve.fit(case.size) for case in found)


def test_what_was_not_tuned_is_not_checked():
    assert check.plan([SIN], [], ["exact"]) == []


@given(st.lists(st.floats(0.5, 2.0), min_size=1))
def test_the_mean_is_geometric(losses):
    found = check.mean_loss([checked(loss) for loss in losses])
    assert found == pytest.approx(float(np.exp(np.mean(np.log(losses)))))


def test_limits():
    assert check.failures([checked(), checked(1.02, 0.9)]) == []
    # A point is judged by what is beyond its noise, the mean by all that was measured.
    assert check.failures([checked(1.3, 1.1), *[checked()] * 20]) == []
    (worst,) = check.failures([checked(1.3, 1.2), *[checked()] * 20])
    assert "20.0% slower at the worst point" in worst
    # What the look-up takes is allowed.
    assert check.failures([checked(1.3, 1.2, seconds=1e-6), *[checked()] * 20]) == []
    (mean,) = check.failures([checked(1.05, 0.9)] * 5)
    assert "5.0% slower than the best backend in the mean" in mean
    (slower,) = check.failures([checked(slower=1.04), checked()])
    assert "slower than plain NumPy at 1 point(s)" in slower


def test_who_measures_too_little_does_not_pass_by_it():
    sure = [checked()] * 8
    vague = checked()._replace(loss=Ratio(1.02, 0.99, 2.5, ""))
    assert vague.is_unclear
    assert not checked(1.3, 1.2).is_unclear
    assert not vague._replace(auto=1e-6).is_unclear
    (text,) = check.failures([*sure * 3, *[vague] * 3])
    assert "perhaps more than 15% slower at 3 points" in text
    assert check.failures([*sure * 5, vague]) == []


def test_a_microsecond_more_than_numpy_is_allowed():
    assert not checked(slower=1.9, seconds=1e-6).is_slower
    assert checked(slower=2.1, seconds=1e-6).is_slower
    assert not checked(slower=1.02, seconds=1.0).is_slower
    assert checked(slower=1.04, seconds=1.0).is_slower


@pytest.fixture
def tuned(tmp_path):
    """Write a profile that says numpy for everything."""
    profile.write("now", {profile.Key("exact", "float64", "contiguous", "sin"): ()}, [])


def test_auto_is_measured_beside_the_others(tuned):
    cases = [Case(SIN, size, "exact") for size in (50, 700)]
    found = list(check.measure(cases, seconds=0.5))
    assert [each.case for each in found] == cases
    for each in found:
        # Not how fast it is: the machine may be busy. That it was measured at all.
        assert 0 < each.loss.low <= each.loss.value <= each.loss.high
        assert each.oracle == "numpy 1"
        assert each.seconds > 0


def test_a_bad_choice_is_found(tuned, monkeypatch):
    class Slow(Backend):
        name = "auto"
        takes_mode = True

        def __init__(self, n_jobs, mode):
            self.n_jobs = 1

        def run(self, kernel, *arrays, out=None):
            for _ in range(20):
                result = kernel.reference(*arrays)
            return result

    monkeypatch.setitem(registry._backends, ("auto", -1, None, "exact", None), Slow(1, "exact"))
    (found,) = check.measure([Case(SIN, 30_000, "exact")], seconds=0.5)
    assert found.beyond_noise > 2
    assert found.is_slower
    assert len(check.failures([found])) == 3


def test_no_time_measures_nothing(tuned):
    assert list(check.measure([Case(SIN, 50, "exact")], seconds=0)) == []


def test_a_point_that_fails_is_said_and_the_others_go_on(monkeypatch):
    def fail(case, seconds, used):
        if case.size == 100:
            raise ZeroDivisionError("here")
        return checked()

    monkeypatch.setattr(check, "_measure", fail)
    cases = [Case(SIN, size, "exact") for size in (100, 200)]
    found = list(check.measure(cases, seconds=60.0))
    assert found == ["sin at 100: ZeroDivisionError: here", checked()]
