from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backends.history import asv
from backends.history.data import HistoryError
from backends.history.export import FORMATS, export

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import Suite, machine_name, write


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


def test_counts_are_not_compared_by_other_tools(history):
    history.units = dict.fromkeys(history.units, "threads")
    with pytest.raises(HistoryError, match="no results"):
        newest(history, "github-action-benchmark")


@pytest.mark.parametrize("form", FORMATS)
def test_one_machine_must_be_meant(history, tmp_path, form):
    with pytest.raises(HistoryError, match="no results"):
        export(history, form, machine="other", commit=None)
    write(tmp_path, Suite(), machines=2, commits=1)
    two = asv.read(tmp_path)
    with pytest.raises(HistoryError, match="give --machine"):
        export(two, form, machine=None, commit=None)
    assert machine_name(1) in export(two, form, machine=machine_name(1), commit=None)
