"""Checkpoints: nothing lost, nothing twice, however the call ended; nothing of another function."""

import functools
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backends
from backends import JobsFailedError
from backends.jobs.checkpoint import Checkpoint, describe

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
pytestmark = pytest.mark.filterwarnings("ignore:n_jobs=. is more than:UserWarning")
EACH = pytest.mark.parametrize("backend", ["joblib", "threads", "numpy"])


def square(x):
    return x * x


CALLS = []


def called(x):
    CALLS.append(x)
    return x * x


def noted(folder, x):
    """Leave a file for each time this is done."""
    for number in range(100):
        try:
            (Path(folder) / f"{x}.{number}").touch(exist_ok=False)
            return x * x
        except FileExistsError:
            continue
    return None


def times(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@EACH
@pytest.mark.parametrize("ordered", [True, False])
def test_second_call_does_nothing_again(backend, ordered, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    job = functools.partial(noted, str(notes))
    given = {"backend": backend, "n_jobs": 2, "ordered": ordered, "checkpoint": tmp_path / "kept"}
    for _ in range(2):
        found = list(backends.map(job, range(20), **given))
        assert sorted(found) == [x * x if ordered else (x, x * x) for x in range(20)]
    assert times(notes) == sorted(f"{x}.0" for x in range(20))


@EACH
def test_only_what_failed_is_done_again(backend, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    broken = tmp_path / "broken"
    broken.touch()

    def job(x, notes=str(notes), broken=str(broken)):
        if x == 3 and Path(broken).exists():
            raise OSError("no such beam")
        return noted(notes, x)

    given = {"backend": backend, "n_jobs": 2, "checkpoint": tmp_path / "kept"}
    found = []
    with pytest.raises(JobsFailedError, match="the same call does the failed ones again") as e:
        found.extend(backends.map(job, range(8), **given))
    assert found == [0, 1, 4]
    assert e.value.results == {}  # they are in the folder
    broken.unlink()
    assert list(backends.map(job, range(8), **given)) == [x * x for x in range(8)]
    assert times(notes) == sorted(f"{x}.0" for x in range(8))


@settings(max_examples=30)
@given(data=st.data())
def test_items_may_be_added_left_out_and_put_in_another_order(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    CALLS.clear()
    lists = st.lists(st.integers(0, 5), max_size=8)  # some twice: each is a job of its own
    first, second = data.draw(lists), data.draw(lists)
    wanted = {x: max(first.count(x), second.count(x)) for x in {*first, *second}}
    for items in (first, second):
        found = list(backends.map(called, items, backend="numpy", checkpoint=folder))
        assert found == [x * x for x in items]
    assert {x: CALLS.count(x) for x in CALLS} == wanted


def test_arrays_and_names_are_items(tmp_path):
    items = [np.arange(3.0), np.arange(4.0), "beam", {"b": 1, "a": 2}]
    for _ in range(2):
        found = list(backends.map(len, items, backend="numpy", checkpoint=tmp_path / "kept"))
        assert found == [3, 4, 4, 2]


def test_folder_of_another_function_is_refused(tmp_path):
    list(backends.map(abs, [1], backend="numpy", checkpoint=tmp_path))
    with pytest.raises(ValueError, match=r"holds the results of builtins.abs, not of builtins.len"):
        backends.map(len, ["a"], backend="numpy", checkpoint=tmp_path)
    assert list(backends.map(abs, [1], backend="numpy", checkpoint=tmp_path)) == [1]


def made(source, name="job"):
    """Make a function of a file, as a script has it."""
    file = Path("script.py")
    file.write_text(source)
    space = {"__name__": "script"}
    exec(compile(source, str(file.absolute()), "exec"), space)
    import linecache

    linecache.checkcache()
    return space[name]


def test_folder_of_another_version_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    job = made("def job(x):\n    return x + 1\n")
    list(backends.map(job, [1], backend="numpy", checkpoint=folder))
    changed = made("def job(x):\n    return x + 2\n")
    with pytest.raises(ValueError, match=r"as it was before: another source.*delete this one"):
        backends.map(changed, [1], backend="numpy", checkpoint=folder)
    job = made("def job(x):\n    return x + 1\n")
    assert list(backends.map(job, [1], backend="numpy", checkpoint=folder)) == [2]


def test_folder_of_another_release_of_the_package_is_refused(tmp_path, monkeypatch):
    list(backends.map(np.sum, [1], backend="numpy", checkpoint=tmp_path))
    monkeypatch.setattr(np, "__version__", "1.0")
    with pytest.raises(ValueError, match=r"version .* then, 1.0 now"):
        backends.map(np.sum, [1], backend="numpy", checkpoint=tmp_path)


def test_values_a_function_holds_are_part_of_it():
    def closing_over(n):
        return lambda x: x + n

    class Scale:
        def __init__(self, by):
            self.by = by

        def __call__(self, x):
            return x * self.by

        def method(self, x):
            return x

    assert describe(functools.partial(pow, 2)) == describe(functools.partial(pow, 2))
    assert describe(functools.partial(pow, 2)) != describe(functools.partial(pow, 3))
    assert describe(closing_over(1)) == describe(closing_over(1))
    assert describe(closing_over(1)) != describe(closing_over(2))
    assert describe(Scale(1)) != describe(Scale(2))
    assert describe(Scale(1).method) != describe(Scale(2).method)
    assert describe(square) != describe(noted)


def test_folder_in_use_is_refused(tmp_path):
    results = backends.map(abs, range(9), backend="numpy", checkpoint=tmp_path)
    assert next(results) == 0
    with pytest.raises(RuntimeError, match="in use by another call"):
        backends.map(abs, range(9), backend="numpy", checkpoint=tmp_path)
    assert list(results) == list(range(1, 9))
    assert len(list(backends.map(abs, range(9), backend="numpy", checkpoint=tmp_path))) == 9


@pytest.mark.parametrize("what", ["no database", "another table"])
def test_what_is_no_checkpoint_is_refused(what, tmp_path):
    file = tmp_path / "results.sqlite"
    if what == "no database":
        file.write_bytes(b"results" * 1000)
    else:
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE about (color TEXT)")
        other.close()
    with pytest.raises(ValueError, match=r"checkpoint=.*cannot be used.*another folder"):
        backends.map(abs, [1], backend="numpy", checkpoint=tmp_path)


def test_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        backends.map(abs, [1], backend="numpy", checkpoint=tmp_path / "file")


def test_item_that_cannot_be_found_again_is_refused(tmp_path):
    import threading

    with pytest.raises(TypeError, match="cannot be pickled"):
        list(backends.map(id, [threading.Lock()], backend="numpy", checkpoint=tmp_path))


def test_folder_that_was_deleted_begins_anew(tmp_path):
    import shutil

    folder = tmp_path / "kept"
    for _ in range(2):  # the workers live on
        assert list(backends.map(abs, range(9), n_jobs=2, checkpoint=folder)) == list(range(9))
        with sqlite3.connect(folder / "results.sqlite") as kept:
            assert kept.execute("SELECT count(*) FROM results").fetchone() == (9,)
        kept.close()
        shutil.rmtree(folder)


def test_result_of_another_machine_is_written_by_the_caller(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "try_put", lambda self, key, value: False)
    for _ in range(2):
        found = list(backends.map(abs, range(5), backend="threads", n_jobs=2, checkpoint=tmp_path))
        assert found == list(range(5))
    with sqlite3.connect(tmp_path / "results.sqlite") as kept:
        assert kept.execute("SELECT count(*) FROM results").fetchone() == (5,)
    kept.close()


SURVEY = """
import os, sys, time
import backends

def job(x):
    time.sleep(0.01)
    with open("notes", "a") as notes:
        notes.write(f"{x} {os.getpid()}\\n")
    return x * x

if __name__ == "__main__":
    results = backends.map(
        job, range(200), backend=sys.argv[1], n_jobs=2, checkpoint="kept", ordered=False
    )
    print(sum(result for _, result in results), flush=True)
"""


def noted_in(notes):
    """Give the jobs that were done, each with its process."""
    lines = notes.read_text().splitlines(keepends=True) if notes.exists() else []
    return [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]


@posix
@pytest.mark.parametrize("backend", ["joblib", "threads"])
def test_killed_call_goes_on_where_it_was(backend, tmp_path):
    """kill -9 again and again: at most the jobs that were under way are done twice."""
    script = tmp_path / "survey.py"
    script.write_text(textwrap.dedent(SURVEY))
    notes = tmp_path / "notes"
    kills = 0
    for wait in (40, 90, 150, None):
        program = subprocess.Popen(
            [sys.executable, script, backend], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        while wait is not None and program.poll() is None:
            if len(done := noted_in(notes)) >= wait:
                workers = psutil.Process(program.pid).children(True)
                program.kill()
                kills += 1
                # By themselves. One that had no job yet is loky's, which ends it later.
                working = {process for _, process in done}
                _, alive = psutil.wait_procs([w for w in workers if w.pid in working], timeout=20)
                assert alive == []
                break
            time.sleep(0.005)
        out, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    assert int(out) == sum(x * x for x in range(200))
    done = [x for x, _ in noted_in(notes)]
    assert set(done) == set(range(200))
    assert kills == 3
    assert len(done) - 200 <= 2 * kills


def test_what_cannot_be_kept_is_said_by_the_caller_and_told_by_a_worker(tmp_path):
    kept = Checkpoint(tmp_path / "kept")
    kept.open(abs)
    assert not kept.try_put(None, b"")
    assert kept.try_put(b"key", b"value")
    kept._execute("DROP TABLE results")
    assert not kept.try_put(b"key", b"value")
    with pytest.raises(OSError, match=r"checkpoint=.* cannot be written"):
        kept.put(b"key", b"value")
    kept.close()


def test_a_function_is_described_by_the_functions_that_it_holds():
    def made(inner):
        return lambda x: inner(x)

    assert describe(made(abs)) != describe(made(len))
    assert describe(made(abs)) == describe(made(abs))
    lock = threading.Lock()
    with pytest.raises(TypeError, match="holds values that cannot be pickled"):
        describe(lambda: lock)
