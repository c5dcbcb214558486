from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backends.bench import record
from backends.bench.record import Result, Row
from backends.history import saved
from backends.history.compare import compare, side
from backends.history.saved import interval

sys.path.insert(0, str(Path(__file__).parent.parent / "bench"))
from test_record import make


def result(backend, seconds, **changes):
    whole = {"seconds": [seconds] * 20, "median": seconds, "status": "ok", **changes}
    return Result(backend, **whole)


def save(file: Path, openmp: float) -> Path:
    results = [
        result("numpy", 2.0),
        result("openmp", openmp),
        result("openmp", 1.0, way="out"),
        Result("joblib", "refused", reason="it has no such kernel"),
    ]
    rows = [
        Row("sin", "elementwise", "elements", 1000, "1000", "float64", results),
        Row("matmul", "linear algebra", "batch", 10, "9 x 10 x 10", "float64", results[:2]),
    ]
    record.write(make(rows=rows), file)
    return file


def test_a_saved_bench_is_a_history_of_one_run(tmp_path):
    history = saved.read(save(tmp_path / "before.json", 1.0))
    assert list(history.machines) == ["AMD EPYC, 2 cores"]
    assert [commit.hash for commit in history.commits] == ["before"]
    found = {(m.benchmark, m.params): m.value for m in history.measurements}
    assert found == {
        ("bench.track_sin", ("numpy", "float64", "1000")): 2.0,
        ("bench.track_sin", ("openmp", "float64", "1000")): 1.0,
        ("bench.track_matmul_batch", ("numpy", "float64", "10")): 2.0,
        ("bench.track_matmul_batch", ("openmp", "float64", "10")): 1.0,
    }
    assert {history.kernel_of(name) for name in history.units} == {"sin", "matmul_batch"}


def test_what_does_not_count_is_named(tmp_path):
    history = saved.read(save(tmp_path / "before.json", 1.0))
    assert [problem.text for problem in history.problems] == [
        "1 result not of plain calls, but out: bench.track_sin",
        "1 result that is refused: joblib: bench.track_sin",
        "hypot has no complex128: float32, float64",
    ]


@pytest.mark.parametrize("changes", [{"median": None}, {"median": 0.0}, {"seconds": [0.0]}])
def test_a_result_without_a_time_is_named(tmp_path, changes):
    odd = Result("openmp", **{"status": "ok", "seconds": [1.0], "median": 1.0, **changes})
    results = [result("numpy", 2.0), odd]
    rows = [Row("sin", "elementwise", "elements", 1000, "1000", "float64", results)]
    record.write(make(rows=rows, skipped=[]), tmp_path / "odd.json")
    history = saved.read(tmp_path / "odd.json")
    assert [each.params[0] for each in history.measurements] == ["numpy"]
    assert [each.text for each in history.problems] == [
        "1 result without a time above 0: bench.track_sin"
    ]


def test_saved_benches_are_compared(tmp_path):
    files = [save(tmp_path / f"{name}.json", t) for name, t in (("before", 1.0), ("after", 0.5))]
    found = compare(*(side(str(file), history_of_none) for file in files))
    assert {row.backend: each.value for _, row, each in found.rows} == {"numpy": 1.0, "openmp": 2.0}


def history_of_none():
    raise AssertionError("a file needs no folder of results")


@pytest.mark.parametrize("count", [8, 9, 20, 77])
def test_the_interval_is_as_asv_takes_it(count):
    statistics = pytest.importorskip("asv_runner.statistics")
    seconds = [((7 * i) % count + 1) / 10 for i in range(count)]
    found = statistics.quantile_ci(seconds, 0.5, alpha_min=0.99)[1]
    assert interval(Result("numpy", "ok", seconds=seconds)) == found
