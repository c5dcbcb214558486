from __future__ import annotations

import json
import math
import sys
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.history import asv
from backends.history.data import HistoryError

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import Suite, machine_name, write

SUITE = Suite(backends=("numpy", "openmp", "cupy"), absent=("cupy",))


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path / "results", SUITE, machines=2, commits=3)


def first(folder: Path) -> Path:
    return sorted(folder.glob("*/*-*.json"))[0]


def change(file: Path, function) -> None:
    content = json.loads(file.read_text())
    function(content)
    file.write_text(json.dumps(content))


def sin_column(content, column):
    return content["results"]["elementwise.track_sin"], content["result_columns"].index(column)


def reasons(history) -> str:
    return "; ".join(f"{problem.where}: {problem.reason}" for problem in history.problems)


def as_asv_reads(folder: Path):
    """All measurements, by asv's own code, that are numbers."""
    results = pytest.importorskip("asv.results")
    from asv.util import load_json

    benchmarks = load_json(folder / "benchmarks.json", 2)
    shown = results._format_param_value
    for each in results.iter_results(str(folder)):
        for name in each.get_result_keys(benchmarks):
            params = benchmarks[name]["params"]
            values = each.get_result_value(name, params)
            stats = each.get_result_stats(name, params)
            samples = each.get_result_samples(name, params)
            for key, value, stat, sample in zip(product(*params), values, stats, samples):
                if value is not None and not math.isnan(value):
                    interval = (stat["ci_99_a"], stat["ci_99_b"]) if stat else (None, None)
                    key = tuple(map(shown, key))
                    machine = each.params["machine"]
                    which = (machine, each.commit_hash, name, key)
                    yield (*which, value, *interval, tuple(sample or ()))


def assert_equal_to_asv(folder: Path):
    ours = asv.read(folder).measurements
    assert ours
    assert sorted(map(repr, map(tuple, ours))) == sorted(map(repr, as_asv_reads(folder)))


def test_equals_what_asv_itself_reads(folder):
    assert_equal_to_asv(folder)


def test_equals_asv_where_the_suite_has_changed(folder):
    def other(content):
        sin = content["elementwise.track_sin"]
        sin["params"] = [["'openmp'", "'new'", "'numpy'"], ["'float64'"], ["1000000", "7"]]
        content["elementwise.track_exp"]["version"] = "2"

    change(folder / "benchmarks.json", other)
    assert_equal_to_asv(folder)
    assert "another version of the benchmark: elementwise.track_exp" in reasons(asv.read(folder))
    assert "no longer has: elementwise.track_sin" in reasons(asv.read(folder))


def test_equals_asv_where_intervals_are_unbounded_or_nothing_was_measured(folder):
    def other(content):
        sin, low = sin_column(content, "stats_ci_99_a")
        sin[low][0], sin[low + 1][0] = -math.inf, math.inf
        content["results"]["elementwise.track_exp"][0] = None
        del content["results"]["elementwise.track_exp"][5:]

    change(first(folder), other)
    assert_equal_to_asv(folder)
    assert "results failed: elementwise.track_exp" in reasons(asv.read(folder))


def test_what_a_history_holds(folder):
    history = asv.read(folder)
    assert list(history.machines) == [machine_name(0), machine_name(1)]
    assert history.machines[machine_name(1)].fields["num_cpu"] == "4"
    assert [commit.date for commit in history.commits] == sorted({c.date for c in history.commits})
    assert history.kernel_of("elementwise.track_sin") == "sin"
    assert history.kernel_of("package.peakmem_joblib") == ""
    assert history.units["package.peakmem_joblib"] == "bytes"
    # 2 kernels x 2 backends x 2 sizes, and the memory; what cupy lacks is counted in each file.
    assert len(history.measurements) == 2 * 3 * (2 * 2 * 2 + 1)
    assert len(history.problems) == 6
    assert "4 results were skipped" in history.problems[0].reason


def test_samples_of_recent_commits_only(folder):
    history = asv.read(folder, recent=1)
    newest = history.commits[-1].hash
    timed = [each for each in history.measurements if history.units[each.benchmark] == "seconds"]
    assert {bool(each.samples) for each in timed if each.commit == newest} == {True}
    assert {bool(each.samples) for each in timed if each.commit != newest} == {False}


def test_an_empty_folder_is_told_what_to_run(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(HistoryError, match="make asv"):
            asv.read(folder)
    write(tmp_path / "results", commits=0)
    with pytest.raises(HistoryError, match=r"has no results: run `make asv`"):
        asv.read(tmp_path / "results")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 3}', '{"version": 2, "x": 1}'])
def test_without_a_list_of_benchmarks_nothing_has_a_name(folder, text):
    (folder / "benchmarks.json").write_text(text)
    with pytest.raises(HistoryError, match="just-discover"):
        asv.read(folder)


def blank(column):
    def function(content):
        row, index = sin_column(content, column)
        row[index] = None

    return function


def value(number):
    def function(content):
        content["results"]["elementwise.track_sin"][0][0] = number

    return function


@pytest.mark.parametrize(
    ("function", "message", "lost"),
    [
        (lambda c: c.update(version=1), "has version 1, not 2 (`asv update`", 9),
        (lambda c: c.pop("version"), "has no version", 9),
        (lambda c: c.update(version="2"), "Expected `int | null`", 9),
        (lambda c: c["params"].update(machine="other"), "of another machine, 'other'", 9),
        (lambda c: c["result_columns"].__setitem__(0, "new"), "has no column result", 9),
        (lambda c: c.pop("results"), "missing required field `results`", 9),
        (blank("stats_ci_99_a"), "4 results have no statistics: elementwise.track_sin", 4),
        (value(None), "1 results failed: elementwise.track_sin", 1),
        (value(math.nan), "NaN: elementwise.track_exp, elementwise.track_sin", 1),
        (value(0.0), "1 results are no times", 1),
        (value("fast"), "NaN", 1),
        (value([1]), "cannot be read", 4),
        (lambda c: c["results"]["elementwise.track_sin"][0].pop(), "differ in number", 4),
        (lambda c: c["results"].update(gone=[[1.0], []]), "no longer exist in benchmarks.json", 0),
    ],
)
def test_bad_input_is_named_left_out_and_counted(folder, function, message, lost):
    before = len(asv.read(folder).measurements)
    change(first(folder), function)
    history = asv.read(folder)
    assert before - len(history.measurements) == lost
    place = f"{first(folder).parent.name}/{first(folder).name}"
    assert any(p.where == place and message in p.reason for p in history.problems), reasons(history)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_file_that_is_cut_short_anywhere_is_left_out(tmp_path_factory, data):
    folder = write(tmp_path_factory.mktemp("cut"), SUITE, machines=1, commits=2)
    file = first(folder)
    text = file.read_bytes()
    file.write_bytes(text[: data.draw(st.integers(0, len(text) - 1))])
    history = asv.read(folder)
    assert len(history.commits) == 1
    assert any(problem.where.endswith(file.name) for problem in history.problems)


def test_a_machine_without_a_file_is_left_out_with_all_its_results(folder):
    (folder / machine_name(0) / "machine.json").unlink()
    history = asv.read(folder)
    assert list(history.machines) == [machine_name(1)]
    assert "3 files of results left out" in reasons(history)


def test_one_environment_a_commit(folder):
    file = first(folder)
    other = file.with_name(file.name.replace("3.13", "3.9"))
    other.write_bytes(file.read_bytes())
    before = len(asv.read(folder).measurements)
    file.unlink()  # the only result of a commit counts, in whatever environment
    assert len(asv.read(folder).measurements) == before
    file.write_bytes(other.read_bytes())
    history = asv.read(folder)
    assert len(history.measurements) == before
    assert f"{other.parent.name}/{other.name}: another environment" in reasons(history)
