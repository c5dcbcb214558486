"""The scaling model in benchmarks/ finds what made the seconds it is fitted to."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def scaling():
    file = Path(__file__).parents[2] / "benchmarks" / "scaling.py"
    spec = importlib.util.spec_from_file_location("scaling", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rounds(scaling):
    every = itertools.product(scaling.POINTS, (1, 2), scaling.PIECES, scaling.BYTES)
    return [scaling.Round(p, w, w * pieces, w * pieces * more) for p, w, pieces, more in every]


@given(
    wait=st.floats(1e-5, 1e-1),
    message=st.floats(1e-6, 1e-2),
    byte=st.floats(1e-11, 1e-7),
    point=st.floats(1e-10, 1e-5),
)
def test_the_parts_of_exact_seconds_are_found(scaling, wait, message, byte, point):
    truth = scaling.Model(wait, message, byte, point)
    model = scaling.fit({each: truth.seconds(each) for each in rounds(scaling)})
    far = scaling.Round(10**9, 1024, 4096, 4096 * 1280)
    assert model.seconds(far) == pytest.approx(truth.seconds(far), rel=1e-4)


def test_noise_of_ten_percent_leaves_a_prediction_within_a_fifth(scaling):
    truth = scaling.Model(1e-3, 2e-4, 1e-9, 1e-7)
    noise = np.random.default_rng(1).uniform(0.9, 1.1, 1000)
    seconds = {each: truth.seconds(each) * n for each, n in zip(rounds(scaling), noise)}
    model = scaling.fit(seconds)
    far = scaling.Round(10**7, 256, 1024, 1024 * 1280)
    assert model.seconds(far) == pytest.approx(truth.seconds(far), rel=0.2)
    assert np.abs(scaling.errors(model, seconds)).max() < 0.2


def test_the_fullest_worker_has_the_most_pieces(scaling):
    assert scaling.Round(100, 2, 4, 0).fullest == 50
    assert scaling.Round(100, 2, 5, 0).fullest == 60
    assert scaling.Round(100, 8, 4, 0).fullest == 25


def test_a_network_only_makes_slower(scaling):
    model = scaling.Model(1e-3, 1e-4, 1e-12, 1e-7)
    assert scaling.on_network(model, 1e-4, 1e9) == (1.1e-3, 1e-4, 1e-9, 1e-7, 0.0)
    assert scaling.on_network(model, 0.0, 1e15) == model


def test_steps_of_heat_are_fitted_too(scaling, monkeypatch):
    monkeypatch.setattr(scaling, "usable", lambda: 2)
    monkeypatch.setattr(scaling, "largest_cache", lambda: 2**25)
    truth = scaling.Model(1e-5, 0.0, 1e-9, 2e-9, 3e-9)
    steps = [scaling.Step(size, ranks) for size in scaling.SIZES for ranks in (1, 2)]
    model = scaling.fit({each: truth.seconds(each) for each in steps})
    assert model == pytest.approx(truth)
    assert scaling.Step(1000, 1).terms == (0, 0, 0, 1e6, 0)
    # Two arrays of 1.28 million points do not fit into half of the cache, on paper neither.
    assert scaling.Step(1600, 2).terms == (1, 0, 25_600, 1.28e6, 1.28e6)
    assert scaling.Step(3200, 8).terms == (2, 0, 102_400, 1.28e6, 1.28e6)
    assert scaling.Step(1000, 4).terms == (2, 0, 32_000, 2.5e5, 0)
