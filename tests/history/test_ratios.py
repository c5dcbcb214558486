from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.history.data import Measurement
from backends.history.ratios import geometric_mean, judge, ratio

TIMES = st.lists(st.floats(1e-7, 10), min_size=6, max_size=20)


def measured(samples, *, backend="numpy", machine="m", with_samples=True) -> Measurement:
    """Make what asv would have saved, its interval taken as the samples' range."""
    return Measurement(
        *(machine, "c", "elementwise.track_sin", (backend, "float64", "1000")),
        *(float(np.median(samples)), min(samples), max(samples)),
        tuple(samples) if with_samples else (),
    )


def noisy(rng, count, factor=1.0):
    """Samples as of a real machine: one in ten is disturbed, which only makes it longer."""
    disturbed = (rng.random(count) < 0.1) * rng.exponential(0.2, count)
    return factor * np.exp(0.02 * rng.standard_normal(count)) * (1 + disturbed)


@given(TIMES, TIMES, st.booleans())
def test_the_other_way_round_is_the_inverse(one, two, with_samples):
    a, b = (measured(times, with_samples=with_samples) for times in (one, two))
    there, back = ratio(a, b), ratio(b, a)
    assert there.value == a.value / b.value or math.isclose(there.value, a.value / b.value)
    assert there.low <= there.value <= there.high
    assert math.isclose(there.value, 1 / back.value)
    assert math.isclose(there.low, 1 / back.high, rel_tol=1e-9)
    opposite = {"faster": "slower", "slower": "faster"}
    assert back.verdict == opposite.get(there.verdict, there.verdict)


@pytest.mark.parametrize("with_samples", [True, False])
def test_the_interval_holds_the_truth(with_samples):
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(500):
        one, two = (measured(noisy(rng, 10), with_samples=with_samples) for _ in range(2))
        found = ratio(one, two)
        held += found.low <= 1 <= found.high
    assert held >= 0.975 * 500


def test_samples_tell_more_than_intervals():
    rng = np.random.default_rng(0)
    one, two = noisy(rng, 20), noisy(rng, 20)
    narrow = ratio(measured(one), measured(two))
    wide = ratio(measured(one, with_samples=False), measured(two, with_samples=False))
    assert narrow.high / narrow.low < wide.high / wide.low


@pytest.mark.parametrize(
    ("value", "half", "verdict"),
    [
        (1.2, 1.1, "faster"),
        (1.2, 1.3, "unclear"),
        (1.04, 1.01, "same"),
        (1.04, 1.2, "unclear"),
        (1 / 1.04, 1.01, "same"),
        (1 / 1.2, 1.1, "slower"),
        (1 / 1.2, 1.3, "unclear"),
        (1.2, math.inf, "unclear"),
    ],
)
def test_verdict_needs_an_interval_without_1_and_more_than_the_floor(value, half, verdict):
    assert judge(math.log(value), math.log(half), math.log(half), 0.05).verdict == verdict


@pytest.mark.parametrize("end", [None, math.inf, -math.inf, 0.0])
def test_without_an_interval_nothing_is_clear(end):
    one = measured([1.0] * 6, with_samples=False)._replace(high=end, low=end)
    found = ratio(one, measured([0.5] * 6, with_samples=False))
    assert found == (2.0, 0.0, math.inf, "unclear")


def test_so_few_samples_are_no_interval():
    assert ratio(measured([2.0, 2.1]), measured([1.0, 1.1])).verdict == "unclear"


def test_geometric_mean():
    two, half = (ratio(measured([x] * 20), measured([1.0] * 20)) for x in (2.0, 0.5))
    assert geometric_mean([two, half]).value == pytest.approx(1)
    assert geometric_mean([two, two]).verdict == "faster"


def test_what_two_runs_differ_by_as_wholes_stays_in_their_mean():
    ratios = [ratio(measured([1.01] * 20), measured([1.0] * 20))] * 300
    found = geometric_mean(ratios)
    assert found.low < 1 < found.high
    assert found.verdict == "same"


def test_thousands_of_samples_take_little_memory():
    rng = np.random.default_rng(0)
    one, two = noisy(rng, 100_000), noisy(rng, 100_000, 2.0)
    found = ratio(measured(one), measured(two))
    assert found.low < 0.5 < found.high
    assert found.high / found.low < 1.02


def test_where_lines_do_not_meet_their_middle_is_taken():
    from backends.history.crossovers import _meeting

    assert _meeting([4.0, 4.0], [1.0, 2.0])[0] == 0.5  # they come nearer only beyond the second
    assert _meeting([None, 1.0], [1.0, 2.0])[0] == 0.5
    assert 0 < _meeting([2.0, 1.0], [1.0, 2.0])[0] < 1


def test_one_sample_says_nothing_of_the_noise():
    from backends.history.noise import _loudness

    assert _loudness(Measurement("m", "c", "b", (), 1.0, None, None, (1.0,))) == 0.0


def test_cells_and_changes_of_tables():
    from backends.history.findings import Change
    from backends.history.tables import _cell, _change

    assert _cell(None) == "-"
    change = Change("value", "m", "b", "numpy", "float64", 1000, "c" * 40, 1.25)
    assert _change(change) == ("1.25", "b", "numpy", "float64", "1,000", "cccccccc", "m")
    assert _change(change._replace(size=0))[4] == ""


def test_who_is_nowhere_right_wins_nothing():
    from backends.history.standings import Standing, winners

    case = ("cpu", "sin", "elementwise.track_sin", "float64", 1000)
    assert winners([Standing(*case, "threads", "a1", 0.5, 0.5, 0.5, 0.5, "slower")]) == []


def test_a_file_of_no_commit_is_told(tmp_path):
    from backends.history import asv_file

    file = tmp_path / "results.json"
    file.write_text('{"version": 2, "commit_hash": "", "date": 0}')
    with pytest.raises(ValueError, match="names no commit"):
        asv_file.read_head(file)
