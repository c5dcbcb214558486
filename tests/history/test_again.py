from __future__ import annotations

import subprocess
import sys

import pytest

from backends.history import again
from backends.history.data import HistoryError, Measurement

SUITE = """
import random

import subject

print("what a benchmark prints is no answer")


def track_time(name, size):
    if name == "broken":
        raise ArithmeticError("wrong by 7 eps")
    return subject.SECONDS * random.lognormvariate(0, subject.NOISE)


def setup(name, size):
    if name == "missing":
        raise NotImplementedError("there is no missing")


track_time.setup = setup
del setup
track_time.params = [["numpy", "missing", "broken"], [10, 20]]


def track_samples():
    return {"samples": [9.0, subject.SECONDS, 9.0], "number": 3}


def time_call():
    for _ in range(subject.CALLS):
        pass


def teardown(*params):
    with open(subject.__file__ + ".done", "a") as file:
        file.write("x")
"""


@pytest.fixture
def trial(tmp_path):
    """Give the ratio that is measured where both sides are as is said."""
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "__init__.py").write_text("")
    (suite / "work.py").write_text(SUITE)
    sides = [tmp_path / "old", tmp_path / "new"]

    def measure(old, new, name="work.track_time", params=("numpy", "20"), floor=0.05):
        for side, (seconds, noise) in zip(sides, (old, new)):
            side.mkdir(exist_ok=True)
            text = f"SECONDS, NOISE, CALLS = {seconds}, {noise}, {int(seconds * 10_000)}"
            (side / "subject.py").write_text(text)
        measured = Measurement("m", "c", name, params, 1.0, None, None, ())
        return again.ratio(measured, suite, sides, floor)

    measure.sides = sides
    return measure


def pairs(trial):
    return len((trial.sides[1] / "subject.py.done").read_text())


def test_what_is_slower_is_found(trial):
    found = trial((1.0, 0.03), (1.2, 0.03))
    assert found.verdict == "slower"
    assert found.value == pytest.approx(1 / 1.2, rel=0.04)
    assert found.low < 1 / 1.2 < found.high < 1
    assert pairs(trial) == again.CONVICT


def test_what_is_not_slower_is_soon_let_go(trial):
    found = trial((1.0, 0.0), (1.0, 0.0))
    assert (found.value, found.verdict) == (1.0, "unclear")  # three pairs are no interval
    assert pairs(trial) == again.ACQUIT
    assert trial((1.0, 0.0), (0.8, 0.0)).value == pytest.approx(1.25)


def test_a_slowdown_that_is_allowed_is_none(trial):
    assert trial((1.0, 0.0), (1.04, 0.0)).verdict != "slower"
    assert trial((1.0, 0.0), (1.2, 0.0), floor=0.25).verdict != "slower"


def test_what_noise_leaves_open_is_not_slower(trial):
    assert trial((1.0, 1.0), (1.06, 1.0)).verdict != "slower"


def test_samples_and_calls_are_timed_as_asv_times_them(trial):
    assert trial((2.0, 0), (1.0, 0), "work.track_samples", ()).value == 2.0
    assert trial((1.0, 0), (0.1, 0), "work.time_call", ()).value > 2


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("work.track_time", ("missing", "10"), "track_time with missing, 10 is skipped"),
        ("work.track_time", ("broken", "10"), "ArithmeticError: wrong by 7 eps"),
        ("work.track_time", ("numpy", "30"), "no numpy, 30: measured with another profile"),
        ("work.track_nothing", (), "Could not find benchmark 'work.track_nothing'"),
    ],
)
def test_what_does_not_run_is_said(trial, name, params, message):
    with pytest.raises(HistoryError, match=message):
        trial((1.0, 0), (1.0, 0), name, params)


def test_a_commit_that_cannot_be_built_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    with pytest.raises(HistoryError, match="1a2b3c4d cannot be installed"):
        again.install("1a2b3c4d" * 5, tmp_path / "folder")


def test_where_asv_is_not_used_that_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HistoryError, match=r"there is no asv\.conf\.json in"):
        again.suite()
    monkeypatch.setitem(sys.modules, "asv.config", None)
    with pytest.raises(HistoryError, match=r"pip install 'array-backends\[asv\]'"):
        again.suite()


def test_the_suite_is_where_asv_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = '{"version": 1, "project": "x", "repo": ".", "benchmark_dir": "b/suite"} // own\n'
    (tmp_path / "asv.conf.json").write_text(settings)
    assert again.suite() == tmp_path / "b" / "suite"
