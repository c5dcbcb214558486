from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.history import asv, gate
from backends.history.data import HistoryError
from backends.history.ratios import judge
from backends.history.rules import Rule

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import Suite, commit_hash, machine_name, write

SUITE = Suite(kernels=("sin", "exp", "erf", "log", "tan"))


def checked(folder, slow=None, *, rules=(), commits=2, suite=SUITE, **how):
    """Write some commits, of which the last is the new one, and check it against that before."""
    write(folder, suite, commits=commits, machines=1, slow=slow, **{"samples": 20, **how})
    return gate.check(asv.read(folder), commit_hash(commits - 2), rules=rules)


def planted(factor, *, backend="openmp", since=1):
    def slow(commit, kernel, name, size):
        here = commit >= since and kernel == "sin" and name == backend and size == 1_000_000
        return factor if here else 1.0

    return slow


@pytest.mark.parametrize("seed", range(20))
def test_the_same_code_again_raises_no_alarm(tmp_path, seed):
    found = checked(tmp_path, seed=seed, noise=0.02, spread=0.015)
    assert found.findings == []
    assert found.compared == 5 * 3 * 2 + 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("backend", ["numpy", "openmp"])
def test_a_fifth_slower_is_found_and_nothing_else(tmp_path, seed, backend):
    found = checked(tmp_path, planted(1.2, backend=backend), seed=seed)
    slower = [each for each in found.findings if each.kind == "slower"]
    assert [(each.row.kernel, each.row.backend, each.row.size) for each in slower] == [
        ("sin", backend, "1000000")
    ]
    assert slower[0].ratio.value == pytest.approx(1 / 1.2, rel=0.06)
    assert found.findings == slower


def test_faster_is_no_finding(tmp_path):
    assert checked(tmp_path, planted(0.5)).findings == []


def test_what_its_interval_leaves_open_is_no_finding(tmp_path):
    quiet = checked(tmp_path / "quiet", planted(1.3), noise=0.01)
    loud = checked(tmp_path / "loud", planted(1.3), noise=0.5)
    assert [len(quiet.findings), len(loud.findings)] == [1, 0]


def test_a_slow_machine_is_not_a_slow_kernel(tmp_path):
    found = checked(tmp_path, lambda commit, *_: 1.3 if commit == 1 else 1.0)
    assert found.findings == []
    assert found.drift == {machine_name(0): pytest.approx(0.3, abs=0.05)}


def test_a_slow_machine_hides_no_slow_kernel(tmp_path):
    one = planted(1.25)
    found = checked(tmp_path, lambda commit, *row: one(commit, *row) * (1.3 if commit else 1.0))
    assert [each.row.kernel for each in found.findings] == ["sin"]


def test_a_whole_backend_that_is_slower_is_found(tmp_path):
    found = checked(tmp_path, lambda commit, _, name, __: 1.3 if commit and name == "openmp" else 1)
    assert {each.row.backend for each in found.findings} == {"openmp"}
    assert len(found.findings) == 10


def test_a_row_that_always_jumped_raises_no_alarm(tmp_path):
    def jumps(commit, kernel, name, size):
        return 1.3 if commit % 2 and (kernel, name, size) == ("sin", "openmp", 1_000) else 1.0

    assert len(checked(tmp_path / "new", jumps, commits=2).findings) == 1
    assert checked(tmp_path / "old", jumps, commits=14).findings == []


def test_short_calls_of_threads_may_jump_more_than_others(tmp_path):
    kernels = tuple("abcdefghijklmnopqrst")
    rng = np.random.default_rng(0)
    jumps = {(commit, kernel): rng.lognormal(0, 0.15) for commit in (0, 1) for kernel in kernels}

    def slow(commit, kernel, backend, size):
        return jumps[commit, kernel] if (backend, size) == ("threads", 1_000) else 1.0

    assert checked(tmp_path, slow, suite=Suite(kernels=kernels)).findings == []


def test_of_few_rows_the_samples_tell_how_loud_the_machine_is(tmp_path):
    few = Suite(kernels=("sin",))
    loud = {"noise": 0.15, "spread": 0.15}
    for seed in range(20):
        assert checked(tmp_path / f"{seed}", suite=few, seed=seed, **loud).findings == []
    assert len(checked(tmp_path / "quiet", planted(1.2), suite=few).findings) == 1


def test_a_lost_speedup_is_found_though_nothing_is_slower(tmp_path):
    # NumPy is suddenly four times as fast, and openmp is not worth while any more.
    found = checked(tmp_path, planted(0.25, backend="numpy"))
    assert {(each.kind, each.row.backend) for each in found.findings} == {
        ("lost speedup", "openmp"),
        ("lost speedup", "threads"),
    }


def test_rules_allow_more_or_less_and_the_last_counts(tmp_path):
    slow = planted(1.2)
    loose = [Rule(kernel="sin", slower=0.5)]
    assert checked(tmp_path / "loose", slow, rules=loose).findings == []
    strict = [*loose, Rule(kernel="sin", backend="openmp", slower=0.0)]
    assert len(checked(tmp_path / "strict", slow, rules=strict).findings) == 1


def test_rules_ask_for_speedups_by_row_and_cores(tmp_path):
    rules = [
        Rule(kernel="sin", backend="openmp", size=1e6, cores=2, speedup=1.5),
        Rule(kernel="exp", backend="threads", size=1_000_000, speedup=2.5),
        Rule(kernel="exp", backend="openmp", cores=64, speedup=50.0),
    ]
    found = checked(tmp_path, rules=rules)
    (below,) = found.findings
    assert (below.kind, below.row.kernel, below.row.backend) == ("below", "exp", "threads")
    assert below.ratio.value == pytest.approx(1.8, rel=0.1)
    assert found.unmatched == rules[2:]  # a rule that is for nothing is said to be so


PARALLEL = Suite(kernels=tuple("abcdefghijklmnopqrst"), sizes=(1_000_000,))


def test_lost_parallel_speed_is_no_slow_machine(tmp_path):
    # Most rows are parallel, and as slow as NumPy's now.
    gain = {"threads": 1.8, "openmp": 3.0}

    def slow(commit, _, name, __):
        return gain.get(name, 1.0) if commit else 1.0

    found = checked(tmp_path, slow, suite=PARALLEL)
    assert {each.row.backend for each in found.findings} == {"threads", "openmp"}
    assert len(found.findings) == 40
    assert found.drift == {}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [2.0, 1.3])
def test_half_of_a_backend_does_not_hide_itself(tmp_path, seed, factor):
    def slow(commit, kernel, name, _):
        return factor if commit and name == "openmp" and kernel <= "j" else 1.0

    found = checked(tmp_path, slow, suite=PARALLEL, seed=seed)
    slower = {each.row.kernel for each in found.findings if each.row.backend == "openmp"}
    assert slower == set("abcdefghij")
    assert {each.row.backend for each in found.findings} == {"openmp"}


def test_half_that_is_faster_hides_nothing(tmp_path):
    def slow(commit, kernel, name, _):
        here = commit and name == "openmp"
        return 0.5 if here and kernel <= "j" else 1.3 if here and kernel == "k" else 1.0

    found = checked(tmp_path, slow, suite=PARALLEL)
    assert [each.row.kernel for each in found.findings] == ["k"]


def test_a_backend_that_was_disturbed_is_said_and_no_alarm(tmp_path):
    found = checked(
        tmp_path,
        lambda commit, _, name, __: 1.08 if commit and name == "threads" else 1.0,
        suite=PARALLEL,
    )
    assert found.findings == []
    assert found.drift == {f"{machine_name(0)}, threads": pytest.approx(0.08, abs=0.03)}


def test_what_fails_now_is_told_from_what_was_not_measured(tmp_path):
    write(tmp_path, SUITE, machines=1, commits=[0])
    write(tmp_path, Suite(kernels=SUITE.kernels, absent=("openmp",)), machines=1, commits=[1])
    found = gate.check(asv.read(tmp_path), commit_hash(0))
    assert len(found.gone) == 10
    assert {row.backend for _, row in found.gone} == {"openmp"}
    assert (found.left_out, found.passed) == (0, False)
    partly = tmp_path / "partly"
    write(partly, SUITE, machines=1, commits=2)
    history = asv.read(partly)
    history.measurements = [
        each
        for each in history.measurements
        if each.commit == commit_hash(0) or each.benchmark.endswith("track_sin")
    ]
    found = gate.check(history, commit_hash(0))
    assert (found.gone, found.compared, found.passed) == ([], 6, True)
    assert found.left_out == 4 * 3 * 2 + 1


def test_a_rule_that_cannot_be_checked_is_not_met(tmp_path):
    write(tmp_path, SUITE, machines=1, commits=[0])
    write(tmp_path, Suite(kernels=SUITE.kernels, absent=("numpy",)), machines=1, commits=[1])
    rule = Rule(kernel="sin", backend="openmp", cores=2, speedup=1.5)
    found = gate.check(asv.read(tmp_path), commit_hash(0), rules=[rule])
    assert found.unmet == [(machine_name(0), rule)]
    assert not found.passed


def test_more_memory_is_found(tmp_path):
    write(tmp_path, SUITE, machines=1, commits=2)
    history = asv.read(tmp_path)
    history.measurements = [
        each._replace(value=1.5 * each.value)
        if each.commit == commit_hash(1) and history.units[each.benchmark] == "bytes"
        else each
        for each in history.measurements
    ]
    (found,) = gate.check(history, commit_hash(0)).findings
    assert (found.kind, found.ratio.value) == ("more memory", pytest.approx(1 / 1.5))


def test_runs_without_a_common_row_are_no_pass(tmp_path):
    write(tmp_path, SUITE, machines=1, commits=2)
    history = asv.read(tmp_path)
    history.measurements = [
        each
        for each in history.measurements
        if (each.commit == commit_hash(0)) == each.benchmark.endswith("track_sin")
    ]
    with pytest.raises(HistoryError, match="no row in common"):
        gate.check(history, commit_hash(0))


def test_nothing_to_compare_is_said(tmp_path):
    write(tmp_path, SUITE, machines=1, commits=2)
    history = asv.read(tmp_path)
    for commit in (commit_hash(1), "unknown"):
        with pytest.raises(HistoryError, match="asv run"):
            gate.check(history, commit)
    with pytest.raises(HistoryError, match="asv run"):
        gate.check(history, commit_hash(0), machine="no such machine")


def test_what_looks_slower_is_so_only_if_it_is_when_measured_again(tmp_path):
    def slow(commit, kernel, name, size):
        return 2.0 if commit and kernel in ("sin", "exp") and name == "numpy" else 1.0

    asked = []

    def again(suspects):
        asked.extend(suspects)
        values = [0.5 if "sin" in old.benchmark else 1.0 for old, _, _ in suspects]
        return [judge(math.log(x), 0.01, 0.01, 0.05) for x in values]

    write(tmp_path, SUITE, commits=2, machines=1, slow=slow, samples=20)
    history = asv.read(tmp_path)
    found = gate.check(history, commit_hash(0), rules=[Rule(kernel="exp", slower=0.5)], again=again)
    assert {each.row.kernel for each in found.findings} == {"sin"}
    assert {each.kind for each in found.findings} == {"slower"}
    assert {old.commit for old, _, _ in asked} == {commit_hash(0)}
    assert {new.commit for _, new, _ in asked} == {commit_hash(1)}
    floors = {old.benchmark: floor for old, _, floor in asked}
    assert floors["elementwise.track_sin"] == 0.05
    assert floors["elementwise.track_exp"] == 0.5


def test_nothing_is_measured_again_where_nothing_looks_slower(tmp_path):
    write(tmp_path, SUITE, commits=2, machines=1, samples=20, noise=0.0, spread=0.0)
    asked = []
    found = gate.check(
        asv.read(tmp_path), commit_hash(0), again=lambda rows: asked.extend(rows) or []
    )
    assert (asked, found.findings) == ([], [])
