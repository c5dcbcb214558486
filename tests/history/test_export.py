from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from backends.history import asv
from backends.history.data import HistoryError
from backends.history.export import FORMATS, export
from backends.history.ratios import Row, ratio, rows

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import Suite, commit_hash, machine_name, write


@pytest.fixture
def history(tmp_path):
    write(tmp_path, Suite(absent=("threads",)), machines=1, commits=2, samples=20)
    return asv.read(tmp_path)


def newest(history, form):
    return export(history, form, machine=None, commit=None)


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_csv_and_json_hold_the_same_rows(history):
    lines = list(csv.DictReader(io.StringIO(newest(history, "csv"))))
    content = strict(newest(history, "json"))
    assert [line["size"] for line in lines] == [row["size"] for row in content["rows"]]
    assert [line["seconds"] for line in lines] == [str(row["seconds"]) for row in content["rows"]]
    assert len(lines) == 2 * 2 * 2
    assert content["commit"]["hash"] == commit_hash(1)
    assert "skipped" in content["left_out"][0]["reason"]


def test_speedups_are_those_of_the_medians(history):
    chosen = [each for each in history.measurements if each.commit == commit_hash(1)]
    found = dict(rows(history, chosen))
    row = Row("sin", "openmp", "float64", "1000000")
    expected = ratio(found[row._replace(backend="numpy")], found[row])
    (line,) = (
        line
        for line in strict(newest(history, "json"))["rows"]
        if (line["kernel"], line["backend"], line["size"]) == ("sin", "openmp", "1000000")
    )
    assert (line["speedup"], line["speedup_low"], line["speedup_high"]) == expected[:3]
    assert f"| {expected.value:.2f} | {expected.low:.2f} to" in newest(history, "markdown")


def test_github_action_benchmark(history):
    content = strict(newest(history, "github-action-benchmark"))
    assert len(content) == 2 * 2 * 2 + 1
    # What the action asks of "customSmallerIsBetter": name, unit, value; texts, and a number.
    for entry in content:
        assert {type(entry[key]) for key in ("name", "unit", "extra")} == {str}
        assert isinstance(entry["value"], float)
    names = [entry["name"] for entry in content]
    assert len(set(names)) == len(names)
    assert "elementwise.track_sin[openmp-float64-1000000]" in names
    assert {entry["unit"] for entry in content} == {"seconds", "bytes"}


def test_pytest_benchmark_itself_shows_it(history, tmp_path):
    pytest.importorskip("pytest_benchmark")
    file = tmp_path / "exported.json"
    file.write_text(newest(history, "pytest-benchmark"))
    strict(file.read_text())
    table = tmp_path / "table.csv"
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(file), "--csv", str(table)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert shown.returncode == 0, shown.stderr
    assert "elementwise.track_sin[openmp-float64-1000000]" in shown.stdout + table.read_text()


def test_without_samples_pytest_benchmark_has_nothing_to_show(history):
    history.measurements = [each._replace(samples=()) for each in history.measurements]
    with pytest.raises(HistoryError, match="--record-samples"):
        newest(history, "pytest-benchmark")


def test_an_open_interval_is_null(history):
    history.measurements = [each._replace(low=-math.inf) for each in history.measurements]
    assert strict(newest(history, "json"))["rows"][0]["low"] is None


@pytest.mark.parametrize("form", FORMATS)
def test_one_machine_must_be_meant(history, tmp_path, form):
    with pytest.raises(HistoryError, match="no results"):
        export(history, form, machine="other", commit=None)
    write(tmp_path, Suite(), machines=2, commits=1)
    two = asv.read(tmp_path)
    with pytest.raises(HistoryError, match="give --machine"):
        export(two, form, machine=None, commit=None)
    assert machine_name(1) in export(two, form, machine=machine_name(1), commit=None)
