"""What is drawn from measurements: what was planted is found, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import kernels
from backends.history import asv
from backends.history.data import AXES, Commit, History, Machine, Measurement
from backends.history.findings import find
from backends.history.ratios import ratio
from backends.history.rooflines import ceilings, points, work
from backends.history.series import Group, Series, tables
from backends.history.standings import over_commits
from backends.history.steps import WINDOW, steps

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import Suite, commit_hash, machine_name, write

SIN = "elementwise.track_sin"


def history_of(*rows, commits=2):
    """Make a history of sin, rows of (commit, backend, size, seconds), on one machine."""
    measured = [
        Measurement("m", str(at), SIN, (backend, "float64", size), t, 0.99 * t, 1.01 * t, ())
        for at, backend, size, t in rows
    ]
    return History(
        machines={"m": Machine("m", {})},
        commits=[Commit(str(at), at) for at in range(commits)],
        param_names={SIN: AXES},
        units={SIN: "seconds"},
        measurements=measured,
    )


def times(count, at, ratio, noise=0.01, seed=0):
    values = np.where(np.arange(count) < at, 1.0, ratio)
    return values * np.exp(noise * np.random.default_rng(seed).standard_normal(count))


def found_in(values):
    return steps(values, 0.97 * values, 1.03 * values)


@given(
    st.integers(2, 30),
    st.integers(2, 30),
    st.sampled_from([0.5, 0.8, 1.25, 2.0]),
    st.integers(0, 1000),
)
def test_a_planted_step_is_found_at_its_commit(before, after, ratio, seed):
    [step] = found_in(times(before + after, before, ratio, seed=seed))
    assert step.at == before
    assert step.ratio == pytest.approx(ratio, rel=0.05)


@given(st.integers(0, 60), st.integers(0, 10000))
def test_noise_is_no_step(count, seed):
    assert found_in(times(count, count, 1.0, noise=0.02, seed=seed)) == []


@given(st.integers(2, 40), st.integers(0, 1000))
def test_one_bad_run_between_good_ones_is_no_step(place, seed):
    values = times(60, 60, 1.0, seed=seed)
    values[place] *= 3
    assert found_in(values) == []


def test_gaps_are_left_out_of_the_count():
    values = times(40, 20, 1.5)
    values[::2] = np.nan
    [step] = found_in(values)
    assert step.at == 21  # the first measured one of the new level


def test_two_steps_apart_are_two():
    values = np.concatenate([times(20, 20, 1.0), times(20, 0, 2.0, seed=1), times(20, 20, 1.0)])
    assert [step.at for step in found_in(values)] == [20, 40]


def test_a_last_commit_counts_only_beyond_its_interval():
    values = times(WINDOW + 1, WINDOW, 1.3)
    assert [step.at for step in steps(values, 0.97 * values, 1.03 * values)] == [WINDOW]
    assert steps(values, 0.8 * values, 1.2 * values) == []


def test_changes_are_those_that_were_planted(tmp_path):
    def slow(commit, kernel, backend, size):
        return 1.4 if kernel == "sin" and backend == "openmp" and commit >= 12 else 1.0

    folder = write(tmp_path / "results", machines=2, commits=24, slow=slow)
    changes = find(asv.read(folder)).changes
    assert {(each.machine, each.size) for each in changes} == {
        (machine_name(machine), size) for machine in (0, 1) for size in (1_000, 1_000_000)
    }
    # Of the speedup as of the time.
    assert {(each.quantity, each.benchmark, each.label, each.commit) for each in changes} == {
        (quantity, SIN, "openmp", commit_hash(12)) for quantity in ("value", "speedup")
    }
    assert len(changes) == 2 * 2 * 2
    assert all(each.ratio == pytest.approx(1.4, rel=0.1) for each in changes)


def test_speedups_are_quotients_at_the_newest_commit():
    found = find(
        history_of(
            (0, "numpy", "10", 4.0),
            (0, "openmp", "10", 1.0),
            (1, "numpy", "10", 3.0),
            (1, "openmp", "10", 1.5),
        )
    )
    assert [(s.backend, s.commit, s.speedup) for s in found.standings] == [
        ("numpy", "1", 1.0),
        ("openmp", "1", pytest.approx(2.0)),
    ]
    assert found.standings[1].low < 2.0 < found.standings[1].high
    assert [(w.backend, w.speedup) for w in found.winners] == [("openmp", pytest.approx(2.0))]


def test_what_was_measured_without_numpy_has_no_speedup():
    found = find(history_of((0, "numpy", "10", 4.0), (1, "openmp", "10", 1.0)))
    assert found.standings == []


def test_a_backend_without_an_interval_does_not_win():
    history = history_of((0, "numpy", "10", 4.0), (0, "openmp", "10", 1.0))
    history.measurements = [each._replace(low=None, high=None) for each in history.measurements]
    found = find(history)
    assert [each.verdict for each in found.standings] == ["baseline", "unclear"]
    assert found.standings[1].low is None
    assert found.winners[0].backend == "numpy"


def test_crossovers_lie_where_the_lines_cross():
    rows = [
        (0, backend, size, seconds)
        for size, numpy, openmp in (("100", 1.0, 4.0), ("10000", 100.0, 25.0))
        for backend, seconds in (("numpy", numpy), ("openmp", openmp))
    ]
    [crossed] = find(history_of(*rows)).crossovers
    assert (crossed.below, crossed.above) == ("numpy", "openmp")
    assert (crossed.last, crossed.first) == (100, 10000)
    assert crossed.size == pytest.approx(1000)
    assert crossed.speedup == pytest.approx(1.0)


def test_where_all_are_slower_no_speedup_is_less(tmp_path):
    folder = write(
        tmp_path / "results",
        machines=1,
        commits=24,
        slow=lambda commit, kernel, backend, size: 1.5 if commit >= 12 else 1.0,
    )
    changes = find(asv.read(folder)).changes
    assert {each.quantity for each in changes} == {"value"}
    assert {each.label for each in changes} == {"numpy", "threads", "openmp"}


def test_where_more_memory_is_used_that_is_a_change(tmp_path):
    folder = write(tmp_path / "results", machines=1, commits=12)
    for index in range(6, 12):
        [file] = folder.glob(f"*/{commit_hash(index)[:8]}-*.json")
        file.write_text(file.read_text().replace("[[200000000.0]", "[[300000000.0]"))
    [change] = find(asv.read(folder)).changes
    assert (change.label, change.commit) == ("peakmem_joblib", commit_hash(6))
    assert change.ratio == pytest.approx(1.5)


def test_speedups_over_commits_are_ratios_without_samples(tmp_path):
    history = asv.read(write(tmp_path / "results", machines=1, commits=3))
    rows = {(each.commit, each.benchmark, each.params): each for each in history.measurements}
    [table] = tables(history).values()
    found = over_commits(table)
    checked = 0
    for row, (group, label) in enumerate(table.series):
        for column, commit in enumerate(history.commits):
            value, low, high = found[:, row, column]
            if not group.dtype or label == "numpy":
                assert np.isnan([value, low, high]).all()
                continue
            params = (label, group.dtype, str(group.size))
            base = rows[commit.hash, group.benchmark, ("numpy", *params[1:])]
            own = rows[commit.hash, group.benchmark, params]
            bare = ratio(base._replace(samples=()), own._replace(samples=()))
            assert (value, low, high) == pytest.approx(bare[:3], rel=1e-4)
            checked += 1
    assert checked == 2 * 2 * 2 * 3


def test_speedups_without_ends_are_unbounded():
    history = history_of((0, "numpy", "10", 4.0), (0, "openmp", "10", 1.0))
    history.measurements[1] = history.measurements[1]._replace(low=-np.inf, high=np.inf)
    found = over_commits(tables(history)["m"])
    assert found[:, 1, 0].tolist() == [4.0, 0.0, np.inf]
    assert find(history).changes == []


@pytest.mark.parametrize("size", ["0", "-1", "many", "1e400", "nan", "1e300"])
def test_what_is_no_size_is_a_parameter(size):
    history = history_of((0, "numpy", size, 4.0), (0, "openmp", size, 1.0))
    found = find(history)
    assert found.standings == []
    assert [each.label for each in found.tables["m"].series] == [
        f"numpy, float64, {size}",
        f"openmp, float64, {size}",
    ]


@pytest.mark.parametrize("apart", [False, True])
def test_tables_hold_every_measurement_and_nothing_else(tmp_path, apart):
    history = asv.read(write(tmp_path / "results", machines=2, commits=4, apart=apart))
    found = tables(history)
    assert len(history.commits) == (8 if apart else 4)
    for each in history.measurements:
        table = found[each.machine]
        if each.benchmark.startswith("package"):
            series = Series(Group(each.benchmark), "peakmem_joblib")
        else:
            backend, dtype, size = each.params
            series = Series(Group(each.benchmark, dtype, int(size)), backend)
        row = table.series.index(series)
        hashes = [history.commits[at].hash for at in table.commits]
        assert table.values[row, hashes.index(each.commit)] == np.float32(each.value)
    # Machines that have no commit in common share no columns: they would be empty.
    assert sum(table.values.size for table in found.values()) == len(history.measurements)
    assert not any(np.isnan(table.values).any() for table in found.values())


@pytest.mark.parametrize("name", kernels.every())
def test_work_is_that_of_the_arrays_at_full_size(name):
    kernel, size = kernels.find(name), 40
    arrays = kernel.inputs(next(iter(kernel.cases)), size, "float64")
    expected = kernel.flops(*arrays), kernel.bytes_moved(kernel.reference(*arrays), *arrays)
    assert work(name, "float64", size) == expected


def test_rooflines_need_ceilings(tmp_path):
    suite = Suite(kernels=("sin", "matmul"))
    history = asv.read(write(tmp_path / "results", suite, machines=2, commits=1))
    name = machine_name(0)
    said = "memory 12.5 GB/s, GEMM float64 60 GFLOP/s"
    fields = {**history.machines[name].fields, "ceilings": said}
    history.machines[name] = Machine(name, fields)
    found = find(history)
    assert {(each.machine, each.name) for each in found.roofs} == {
        (name, "memory"),
        (name, "GEMM float64"),
    }


@pytest.mark.parametrize(
    ("said", "rates"),
    [
        ("memory 12.5 GB/s, L3 0 GB/s", [12.5e9]),
        ("memory 1.2.3 GB/s", []),
        ("GEMM float64 1e400 GFLOP/s", []),
        ("not measured", []),
    ],
)
def test_a_ceiling_is_a_rate(said, rates):
    assert [each.rate for each in ceilings([Machine("m", {"ceilings": said})])] == rates


@pytest.mark.parametrize(
    ("gpu", "placed"),
    [("none", {"numpy", "torch", "jax"}), ("", {"numpy", "torch", "jax"}), ("H100", {"numpy"})],
)
def test_what_ran_on_a_gpu_is_not_under_the_processors_roof(gpu, placed):
    rows = [(0, name, "1000", 1.0) for name in ("numpy", "torch", "jax", "cupy")]
    found = points(find(history_of(*rows)).standings, {"m": Machine("m", {"gpu": gpu})})
    assert {each.backend for each in found} == placed


@pytest.mark.parametrize(("dtype", "size"), [("bfloat16", 1000), ("float64", 2**40)])
def test_what_no_array_can_be_has_no_work(dtype, size):
    assert work("matmul", dtype, size) is None
