from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from backends import files, kernels, measurements, profile
from backends.bench import curves, tune
from backends.profile import Choice, Key

COMMAND = [sys.executable, "-c", "from backends.cli import main; main()"]
KEY = Key("exact", "float64", "contiguous", "sin")


@pytest.fixture
def here(monkeypatch, run_command):
    """Run the command in this process, on a screen of one width."""
    monkeypatch.setenv("COLUMNS", "100")
    return run_command


@pytest.fixture
def start(tmp_path):
    """Start the command as a user does: in a process of its own, without a terminal."""
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "COLUMNS")},
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": str(tmp_path),
        "LOCALAPPDATA": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
    }
    running = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def quick(monkeypatch, *, interrupt_after=None, unclear="", notes=()):
    """Let every curve be measured at once, with times that openmp wins."""
    two = curves.Candidate("openmp", 2, ("exact",))

    def fake(plan, *, seconds):
        for index, curve in enumerate(plan):
            if index == interrupt_after:
                raise KeyboardInterrupt
            points = {1000: {curves.BASELINE: [2.0] * 6, two: [1.0] * 6}}
            yield tune.Tuned(curve, points, not unclear, unclear, 0.1, 0.1, notes)

    monkeypatch.setattr(tune, "tune", fake)


def test_tune_measures_and_saves(here):
    done = here("tune", "--kernel", "negative", "--time", "2")
    assert done.returncode == 0
    assert f"saved: {profile.path()}" in done.stdout.replace("\n", "")
    assert "backends explain negative" in done.stdout
    assert 'backend = "numpy"' in done.stdout
    found = profile.current()
    assert found.problem == ""
    assert {key.kernel for key in found.profile.choices} == {"negative"}
    points = measurements.read(profile.path().with_suffix(".json"), found.profile.created)
    assert {point.kernel for point in points} == {"negative"}


def test_kernel_keeps_what_the_profile_says_of_others(here, monkeypatch):
    quick(monkeypatch)
    old = {KEY._replace(kernel="cos"): (Choice(7, "threads", 2),)}
    profile.write("before", old, [])
    done = here("tune", "-k", "sin,negative", "-k", "erf")
    assert done.returncode == 0
    choices = profile.read(profile.path()).choices
    assert choices[KEY] == (Choice(1000, "openmp", 2),)
    assert choices[KEY._replace(kernel="cos")] == old[KEY._replace(kernel="cos")]
    assert {key.kernel for key in choices} == {"sin", "negative", "erf", "cos"}


def test_ctrl_c_keeps_what_is_finished(here, monkeypatch):
    quick(monkeypatch, interrupt_after=2)
    old = {Key("exact", "complex128", "strided", "sin"): (Choice(7, "threads", 2),)}
    profile.write("before", old, [])
    done = here("tune", "--kernel", "sin")
    assert done.returncode == 130
    assert "interrupted: 2 of 6 curves are kept" in done.stderr.replace("\n", " ")
    choices = profile.read(profile.path()).choices
    assert {(key.dtype, key.layout) for key in choices} == {
        *(("float32", "contiguous"), ("float32", "strided"), ("complex128", "strided"))
    }


def test_ctrl_c_before_anything_saves_nothing(here, monkeypatch):
    quick(monkeypatch, interrupt_after=0)
    done = here("tune", "--kernel", "sin")
    assert done.returncode == 130
    assert "nothing is saved" in done.stderr
    assert not profile.path().exists()


def test_a_damaged_profile_is_replaced_and_said(here, monkeypatch):
    quick(monkeypatch)
    profile.folder().mkdir(parents=True)
    profile.path().write_text("[machine\n", encoding="utf-8")
    done = here("tune", "--kernel", "sin")
    assert done.returncode == 0
    assert "line 1" in done.stderr
    assert "takes its place" in done.stderr
    assert profile.read(profile.path()).choices[KEY]


def test_too_little_time_is_said_with_what_would_do(here, monkeypatch):
    quick(monkeypatch, unclear="there was no time for sizes below 1,000")
    done = here("tune", "--kernel", "sin", "--time", "100")
    text = done.stdout.replace("\n", " ")
    assert done.returncode == 0
    assert "unclear: 6 of 6 curves" in text
    assert "sin float32 strided: there was no time for sizes below 1,000" in text
    assert "goes by what was certain; --time 150 would do, about." in text


def test_no_time_at_all_saves_nothing(here):
    done = here("tune", "--kernel", "sin", "--time", "0")
    assert done.returncode == 1
    assert "no time to measure anything: nothing is saved. --time 10 would do" in done.stderr
    assert not profile.path().exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kernel", "sinn"], ["sinn", "sin"]),
        (["--time", "inf"], ["--time", "number of seconds"]),
        (["--check"], ["no profile", "backends tune"]),
    ],
)
def test_what_makes_no_sense_is_refused(here, arguments, words):
    done = here("tune", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr


def test_check_needs_a_profile_that_can_be_read(here):
    profile.folder().mkdir(parents=True)
    profile.path().write_text("schema = 99\n", encoding="utf-8")
    done = here("tune", "--check")
    assert done.returncode == 2
    assert "line 1" in done.stderr


def test_check_measures_and_saves_nothing(here):
    assert here("tune", "--kernel", "negative", "--time", "1").returncode == 0
    before = {file: file.read_bytes() for file in profile.folder().iterdir()}
    done = here("tune", "--check", "--time", "1")
    assert done.returncode in (0, 1)  # a busy machine may pass a limit
    assert "geometric mean" in done.stdout
    assert "beyond noise" in done.stdout
    assert "Slower than plain NumPy" in done.stdout
    assert ("auto is" in done.stdout) == (done.returncode == 1)
    assert {file: file.read_bytes() for file in profile.folder().iterdir()} == before


def test_the_second_run_waits_and_no_file_is_torn(start, tmp_path):
    folder = tmp_path / "array-backends" / "profiles"
    if sys.platform != "linux":
        pytest.skip("the folder has another name there")
    folder.mkdir(parents=True)
    lock = filelock.FileLock(folder / "tune.lock")
    with lock:
        second = start("tune", "--kernel", "negative", "--time", "1")
        line = second.stderr.readline()
        assert "another `backends tune` is running: waiting" in line
        assert second.poll() is None
        assert not list(folder.glob("*.toml"))
    _, errors = second.communicate(timeout=100)
    assert second.returncode == 0, errors
    assert len(list(folder.glob("*.toml"))) == 1


def test_two_runs_at_once_both_end_in_the_profile(start, tmp_path):
    if sys.platform != "linux":
        pytest.skip("the folder has another name there")
    both = [start("tune", "--kernel", name, "--time", "4") for name in ("negative", "absolute")]
    for process in both:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
    (file,) = (tmp_path / "array-backends" / "profiles").glob("*.toml")
    assert {key.kernel for key in profile.read(file).choices} == {"negative", "absolute"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_gives_up_waiting(start, tmp_path):
    if sys.platform != "linux":
        pytest.skip("the folder has another name there")
    folder = tmp_path / "array-backends" / "profiles"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / "tune.lock"):
        second = start("tune", "--kernel", "negative", "--time", "1")
        second.stderr.readline()
        second.send_signal(signal.SIGINT)
        second.communicate(timeout=100)
    assert second.returncode == 130
    assert not list(folder.glob("*.toml"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_in_a_real_run_keeps_the_finished_curves(start, tmp_path):
    if sys.platform != "linux":
        pytest.skip("the folder has another name there")
    process = start("tune", "--time", str(2 * len(curves.plan([]))))
    folder = tmp_path / "array-backends" / "profiles"
    end = time.monotonic() + 60
    while not (folder / "tune.lock").exists() and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(10)  # for a few curves
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    assert "curves are kept" in errors
    (file,) = folder.glob("*.toml")
    first = next(iter(kernels.every()))
    assert first in {key.kernel for key in profile.read(file).choices}


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(here, monkeypatch):
    monkeypatch.setattr(files, "data_folder", lambda name: Path("/dev/null/profiles"))
    done = here("tune", "--kernel", "sin")
    assert done.returncode == 2
    assert "profiles cannot be written to /dev/null/profiles" in done.stderr
    assert "XDG_DATA_HOME" in done.stderr


def test_fewer_threads_than_cores_are_refused(here, monkeypatch):
    monkeypatch.setattr("backends.cli.tune.count_jobs", lambda n_jobs: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    done = here("tune", "--kernel", "sin", "--time", "1")
    assert done.returncode == 2
    assert "OMP_NUM_THREADS=2 lets the engines use 2 of the 4 cores" in done.stderr


def test_of_many_unclear_curves_some_are_named(here, monkeypatch):
    quick(monkeypatch, unclear="there was no time")
    kernels_ = [word for name in ("sin", "cos", "tan", "exp") for word in ("--kernel", name)]
    done = here("tune", *kernels_, "--time", "100")
    assert done.returncode == 0
    assert "more\n" in done.stdout


def checks(monkeypatch, *found):
    """Let a check find this; an exception is raised."""

    def measure(cases, *, seconds):
        for each in found:
            if isinstance(each, type):
                raise each
            yield each

    monkeypatch.setattr("backends.cli.check.check.measure", measure)


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (["sin at 100: ZeroDivisionError"], 2, "is too little to measure one point"),
        ([KeyboardInterrupt], 130, ""),
        ([], 2, "--time 1 is too little to measure one point"),
    ],
)
def test_a_check_that_finds_nothing_says_why(here, monkeypatch, found, status, words):
    quick(monkeypatch)
    assert here("tune", "--kernel", "sin").returncode == 0
    checks(monkeypatch, *found)
    done = here("tune", "--check", "--time", "1")
    assert done.returncode == status
    assert words in done.stderr
    assert all(each in done.stderr for each in found if isinstance(each, str))


def test_what_was_noted_is_said_once(here, monkeypatch):
    quick(monkeypatch, notes=("joblib is left out: it died",))
    done = here("tune", "--kernel", "sin")
    assert done.returncode == 0
    assert done.stderr.count("note: joblib is left out: it died") == 1
