"""Places for input and output: few at once, in threads and processes, free again after a kill."""

import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

import backends
from backends.jobs.slots import Slots, io_slot, offered

pytestmark = pytest.mark.filterwarnings("ignore:n_jobs=. is more than:UserWarning")


@pytest.mark.parametrize("backend", ["joblib", "threads"])
@pytest.mark.parametrize("io_jobs", [1, 2])
def test_no_more_jobs_than_that_are_inside_at_once(backend, io_jobs, tmp_path):
    def job(number):
        with backends.io_slot():
            began = time.monotonic()
            time.sleep(0.03)
            ended = time.monotonic()
        return began, ended

    results = backends.map(job, range(12), backend=backend, n_jobs=4, io_jobs=io_jobs)
    times = sorted(results)
    most = max(sum(b <= began < e for b, e in times) for began, _ in times)
    assert most == io_jobs


def test_folder_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def job(number):
        with backends.io_slot():
            return len(list(tmp_path.glob("backends-*")))

    assert list(backends.map(job, [1, 2], backend="threads", n_jobs=2, io_jobs=1)) == [1, 1]
    assert not list(tmp_path.glob("backends-*"))


def test_outside_of_jobs_nothing_is_waited_for():
    with io_slot(), io_slot():
        pass


def test_place_of_a_killed_process_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = textwrap.dedent(f"""
        import tempfile, time
        tempfile.tempdir = {str(tmp_path)!r}
        from backends.jobs.slots import Slots
        with Slots("backends-killed", 1).take():
            print("inside", flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "inside\n"
        assert Path(tmp_path / "backends-killed").is_dir()
        other.kill()
        with offered(Slots("backends-killed", 1)), io_slot():
            pass
