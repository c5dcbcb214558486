from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backends.history import asv
from backends.history.compare import Side, compare, side
from backends.history.data import History, HistoryError

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import Suite, commit_hash, machine_name, write

SUITE = Suite(kernels=("sin", "exp"))


def slow(commit, kernel, backend, size):
    return 2.0 if commit == 2 and backend == "openmp" else 1.0


@pytest.fixture
def history(tmp_path) -> History:
    write(tmp_path, SUITE, machines=2, commits=3, samples=20, slow=slow)
    return asv.read(tmp_path)


def named(history, *names):
    return [side(name, lambda: history) for name in names]


def test_commits_are_compared_on_each_machine(history):
    found = compare(*named(history, commit_hash(0), commit_hash(2)[:7]))
    assert [(a[0], b[0]) for a, b in found.where] == [(machine_name(i),) * 2 for i in (0, 1)]
    assert len(found.rows) == 2 * len(SUITE.rows) * 2
    verdicts = {row.backend: each.verdict for _, row, each in found.rows}
    assert verdicts == {"numpy": "same", "threads": "same", "openmp": "slower"}
    assert found.backends["openmp"].value == pytest.approx(0.5, rel=0.05)
    assert found.mean.value == pytest.approx(0.5 ** (1 / 3), rel=0.05)


def test_machines_are_compared_at_the_newest_commit_of_both(history):
    history.measurements = [
        each
        for each in history.measurements
        if (each.machine, each.commit) != (machine_name(1), commit_hash(2))
    ]
    found = compare(*named(history, machine_name(0), "model 1"))
    assert found.where == [((machine_name(0), commit_hash(1)), (machine_name(1), commit_hash(1)))]
    assert found.mean.value == pytest.approx(1.2, rel=0.1)  # as synthetic.py makes them
    assert found.mean.verdict == "faster"


def test_a_machine_and_a_commit_are_that_machine_then_and_now(history):
    found = compare(*named(history, commit_hash(0)[:8], machine_name(1)))
    assert found.where == [((machine_name(1), commit_hash(0)), (machine_name(1), commit_hash(2)))]


def test_a_sentence_sums_up(history):
    found = compare(*named(history, commit_hash(0), commit_hash(1)))
    assert found.sentence.startswith(f"{commit_hash(1)[:8]} is ")
    assert "geometric mean of 24 rows): same in 24." in found.sentence
    # On 1,000 elements nothing pays; on a million openmp is the fastest.
    assert found.best[0] == {"numpy": 4, "openmp": 4}


def test_the_best_backend_is_of_the_least_time(history):
    found = compare(*named(history, commit_hash(0), commit_hash(2)))
    assert found.best == ({"numpy": 4, "openmp": 4}, {"numpy": 4, "threads": 4})


def test_nothing_in_common_is_said(history, tmp_path):
    other = Suite(kernels=("erf",))
    write(tmp_path / "other", other, machines=1, commits=1)
    (here,) = named(history, machine_name(0))
    there = Side("there", asv.read(tmp_path / "other"))
    with pytest.raises(HistoryError, match="nothing in common"):
        compare(here, there)
    with pytest.raises(HistoryError, match="both sides"):
        compare(here, here)


def test_runs_that_share_no_machine_are_not_compared(history):
    def is_of(each, machine, commit):
        return (each.machine, each.commit) == (machine_name(machine), commit_hash(commit))

    history.measurements = [
        each for each in history.measurements if is_of(each, 0, 0) or is_of(each, 1, 2)
    ]
    with pytest.raises(HistoryError, match="no machine has measured both"):
        compare(*named(history, commit_hash(0), commit_hash(2)))
    with pytest.raises(HistoryError, match="no machine has measured both"):
        compare(*named(history, commit_hash(0), machine_name(1)))
    # Two machines are, at the newest commit of each.
    found = compare(*named(history, machine_name(0), machine_name(1)))
    assert found.where == [((machine_name(0), commit_hash(0)), (machine_name(1), commit_hash(2)))]


def test_a_file_is_compared_with_its_own_processor(history, tmp_path):
    write(tmp_path / "file", SUITE, machines=2, commits=[2])
    file = asv.read(tmp_path / "file")
    file.measurements = [each for each in file.measurements if each.machine == machine_name(1)]
    found = compare(Side("file", file), Side("results", history, commit=commit_hash(0)))
    assert found.where == [((machine_name(1), commit_hash(2)), (machine_name(1), commit_hash(0)))]
    fields = file.machines[machine_name(1)]._replace(fields={"cpu": "another"})
    file.machines[machine_name(1)] = fields
    with pytest.raises(HistoryError, match="no machine has measured both"):
        compare(Side("file", file), Side("results", history, commit=commit_hash(0)))


def test_what_is_neither_is_resolved(history):
    found = side("HEAD", lambda: history, {"HEAD": commit_hash(1)}.__getitem__)
    assert found.commit == commit_hash(1)
    # A part of a machine's name is that, though git may know a commit that begins so.
    assert side("model 1", lambda: history, lambda name: commit_hash(1)).machine == machine_name(1)


def test_a_name_must_mean_one_thing(history):
    with pytest.raises(HistoryError, match="may be CPU model 0"):
        named(history, "CPU")
    with pytest.raises(HistoryError, match="in the results there are CPU model 0"):
        named(history, "no such thing")
