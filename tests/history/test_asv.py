from __future__ import annotations

import json
import math
import sys
import tracemalloc
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.history import asv
from backends.history.data import HistoryError, gather
from backends.history.findings import find
from backends.history.tables import as_csv, as_json, as_markdown

sys.path.insert(0, str(Path(__file__).parent))
import mutations
from synthetic import DAY, Suite, commit_hash, machine_name, write

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
    return "; ".join(f"{problem.where}: {problem.text}" for problem in history.problems)


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


def assert_equal_to_asv(folder: Path, *, also=lambda each: False):
    """Compare with what asv reads, and with what only we do: `also` says of what that is true."""
    ours = [each for each in asv.read(folder).measurements if not also(each)]
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
    assert_equal_to_asv(folder, also=lambda each: each.params[-1:] == ("1000",))
    assert "another version of the benchmark: elementwise.track_exp" in reasons(asv.read(folder))


def test_a_smaller_profile_hides_no_results(folder):
    def other(content):
        content["elementwise.track_sin"]["params"] = [["'numpy'"], ["'float64'"], ["1000"]]

    before = asv.read(folder)
    change(folder / "benchmarks.json", other)
    assert asv.read(folder) == before


def test_parameters_that_do_not_fit_are_named(folder):
    def other(content):
        content["elementwise.track_sin"]["param_names"] = ["backend", "dtype"]

    before = len(asv.read(folder).measurements)
    change(folder / "benchmarks.json", other)
    history = asv.read(folder)
    assert len(history.measurements) == before - 2 * 3 * 4
    assert "result that cannot be read (3 parameters, not 2)" in reasons(history)


def test_equals_asv_where_intervals_are_unbounded_or_nothing_was_measured(folder):
    def other(content):
        sin, low = sin_column(content, "stats_ci_99_a")
        sin[low][0], sin[low + 1][0] = -math.inf, math.inf
        content["results"]["elementwise.track_exp"][0] = None
        del content["results"]["elementwise.track_exp"][5:]

    change(first(folder), other)
    assert_equal_to_asv(folder)
    history = asv.read(folder)
    assert "6 results that failed: elementwise.track_exp" in reasons(history)
    [commit] = {c for _, c, _, params in history.failed if params[0] == "numpy"}
    assert first(folder).name.startswith(commit[:8])
    run = [each for each in history.failed if each[:2] == (first(folder).parent.name, commit)]
    exp = {params for _, _, name, params in run if name == "elementwise.track_exp"}
    assert exp == set(product(("numpy", "openmp", "cupy"), ("float64",), ("1000", "1000000")))
    assert {params[0] for _, _, name, params in run if name == "elementwise.track_sin"} == {"cupy"}


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
    assert history.problems[0].text.startswith("4 results that were skipped")
    # What was skipped was tried, too; of old commits it is counted only.
    assert {params[0] for _, _, _, params in history.failed} == {"cupy"}
    assert len(history.failed) == 2 * 3 * 4
    kept = {commit for _, commit, _, _ in asv.read(folder, samples_of=()).failed}
    assert history.commits[-1].hash in kept
    assert history.commits[0].hash not in kept


def test_what_takes_no_time_is_no_kernel(folder):
    # A rate, or a count, with the same parameters: a quotient of them would be no speedup.
    change(folder / "benchmarks.json", lambda c: c["elementwise.track_sin"].update(unit="GFLOP/s"))
    history = asv.read(folder)
    assert history.kernel_of("elementwise.track_sin") == ""
    assert {each.kernel for each in find(history).standings} == {"exp"}


@pytest.mark.parametrize("asked", [(), (0,), (1, 2), (2,)])
def test_samples_of_the_newest_and_of_commits_asked_for(folder, asked):
    history = asv.read(folder, samples_of=[commit_hash(each)[:9] for each in asked])
    timed = [each for each in history.measurements if history.units[each.benchmark] == "seconds"]
    kept = {commit_hash(each) for each in (*asked, 2)}
    assert {each.commit for each in timed if each.samples} == kept
    assert {each.commit for each in timed if not each.samples}.isdisjoint(kept)


def test_memory_does_not_grow_with_the_samples_of_old_commits(tmp_path):
    suite = Suite(kernels=tuple("abcdefghij"), sizes=(10, 100))
    folder = write(tmp_path / "results", suite, machines=1, commits=60, samples=40)
    held = []
    for samples_of in (None, ()):
        tracemalloc.start()
        history = asv.read(folder, samples_of=samples_of)
        held.append(tracemalloc.get_traced_memory()[1] / len(history.measurements))
        tracemalloc.stop()
    assert held[1] < held[0] / 3
    assert held[1] < 400  # bytes; 1.5 million measurements are to be less than 500 MB


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


def samples(numbers):
    def function(content):
        row, index = sin_column(content, "samples")
        row[index][0] = numbers

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
        (lambda c: c.update(date=10**18), "Expected `int` <", 9),
        (blank("stats_ci_99_a"), "4 results without statistics: elementwise.track_sin", 4),
        (value(None), "1 result that failed: elementwise.track_sin", 1),
        (value(math.nan), "NaN: elementwise.track_exp, elementwise.track_sin", 1),
        (value(0.0), "1 result, or samples, that cannot be", 1),
        (value(1e300), "1 result, or samples, that cannot be", 1),
        (value("fast"), "1 result that is no numbers", 1),
        (samples([0.0]), "1 result, or samples, that cannot be", 1),
        (samples([1.0, -1.0]), "1 result, or samples, that cannot be", 1),
        (value([1]), "cannot be read", 4),
        (lambda c: c["results"]["elementwise.track_sin"][0].pop(), "differ in number", 4),
        (lambda c: c["results"].update(gone=[[1.0], []]), "no longer in benchmarks.json: gone", 0),
    ],
)
def test_bad_input_is_named_left_out_and_counted(folder, function, message, lost):
    before = len(asv.read(folder).measurements)
    change(first(folder), function)
    history = asv.read(folder)
    assert before - len(history.measurements) == lost
    place = f"{first(folder).parent.name}/{first(folder).name}"
    assert any(p.where == place and message in p.text for p in history.problems), reasons(history)


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


def test_two_folders_of_one_machine_are_no_longer_series(folder):
    other = folder / "other"
    other.mkdir()
    for file in first(folder).parent.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    before = len(asv.read(folder).measurements)
    assert "other/machine.json: names the machine" in reasons(asv.read(folder))
    assert before == 2 * 3 * 9


def in_environment(file: Path, name: str, date: int) -> Path:
    """Copy a file of results as one of another environment, and another commit."""
    content = json.loads(file.read_text())
    content.update(commit_hash=commit_hash(date), date=content["date"] + date * DAY)
    other = file.with_name(f"{commit_hash(date)[:8]}-{name}.json")
    other.write_text(json.dumps(content))
    return other


def test_one_environment_a_machine_that_of_its_newest_commit(folder):
    file = first(folder)
    newer = in_environment(file, "virtualenv-py3.14", 100)
    history = asv.read(folder)
    machine = newer.parent.name
    assert {each.commit for each in history.measurements if each.machine == machine} == {
        commit_hash(100)
    }
    others = [each for each in history.problems if "another environment" in each.reason]
    assert [each.where.partition("/")[0] for each in others] == [machine] * 3
    assert len({each.reason for each in others}) == 1
    # The other machine has one only, and keeps it.
    assert len({each.commit for each in history.measurements if each.machine != machine}) == 3


def test_of_several_environments_of_the_newest_commit_the_one_with_more(folder):
    file = first(folder)
    in_environment(file, "virtualenv-py3.9", 100)
    in_environment(file, "virtualenv-py3.13", 100)
    before = [each for each in asv.read(folder).measurements if each.machine == file.parent.name]
    assert len({each.commit for each in before}) == 4
    # A damaged file chooses nothing.
    file.with_name("00000000-virtualenv-py3.14.json").write_text("{")
    after = [each for each in asv.read(folder).measurements if each.machine == file.parent.name]
    assert after == before


def test_nan_within_a_text_is_text(folder):
    def other(content):
        content["elementwise.track_sin"]["code"] = "x = [NaN, Infinity] # gives [ NaN ] where"

    before = asv.read(folder)
    change(folder / "benchmarks.json", other)
    assert asv.read(folder) == before


def test_problems_are_gathered_damage_first(folder):
    first(folder).write_text("{")
    change(sorted(folder.glob("*/*-*.json"))[1], value(None))
    found = gather(asv.read(folder).problems)
    assert [each.results for each in found] == [0, 1, 5 * 4]
    assert found[0].where == f"{first(folder).parent.name}/{first(folder).name}"
    assert found[2].where.endswith(" and 4 more")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return mutations.whole(tmp_path_factory.mktemp("whole") / "results")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_may_be_another_one(whole, data):
    with mutations.one_changed(whole, data) as file:
        try:
            found = find(asv.read(whole, samples_of=data.draw(st.sampled_from([None, ()]))))
        except HistoryError:
            assert file.name == "benchmarks.json"
            return
    assert as_csv(found)
    assert as_markdown(found, "Title")
    assert json.loads(as_json(found))
