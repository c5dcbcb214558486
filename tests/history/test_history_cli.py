from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backends.cli.app import app

sys.path.insert(0, str(Path(__file__).parent))
from synthetic import Suite, commit_hash, machine_name, write

SUITE = Suite(kernels=("sin", "exp", "erf"))


def slow(commit, kernel, backend, size):
    return 1.2 if (commit, kernel, backend, size) == (2, "sin", "openmp", 1_000_000) else 1.0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return write(tmp_path / "results", SUITE, machines=2, commits=3, samples=20, slow=slow)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_check_ends_with_1_on_a_slowdown_and_shows_the_row():
    done = run("check", "results", "--against", commit_hash(1)[:8])
    assert done.exit_code == 1
    assert "2 findings in 38 rows" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("sin")]
    assert len(lines) == 2
    assert all("openmp" in line and "slower" in line and "0.8" in line for line in lines)


def test_check_ends_with_0_where_nothing_is_slower(folder):
    for file in folder.glob(f"*/{commit_hash(2)[:8]}*"):
        file.unlink()
    done = run("check", "--against", commit_hash(0))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "nothing slower in 38 rows" in done.stdout


def test_check_ends_with_1_where_what_was_measured_fails(folder):
    for file in folder.glob(f"*/{commit_hash(2)[:8]}*"):
        content = json.loads(file.read_text())
        content["results"]["elementwise.track_exp"][0][-1] = None
        file.write_text(json.dumps(content))
    done = run("check", "--against", commit_hash(0), "--machine", "model 1")
    assert done.exit_code == 1
    assert f"exp openmp float64 1000000 on {machine_name(1)}: measured before" in done.stdout


def test_what_files_say_is_no_markup(folder):
    file = folder / machine_name(0) / "machine.json"
    for each in (file, *folder.glob("*/*-*.json"), folder / "benchmarks.json"):
        each.write_text(each.read_text().replace("openmp", "[/b]openmp"))
    done = run("check", "--against", commit_hash(1))
    assert done.exit_code == 1
    assert "[/b]openmp" in done.stdout
    assert "[/b]openmp" in run("compare", commit_hash(0), commit_hash(1)).stdout


def test_check_of_one_machine():
    done = run("check", "--against", commit_hash(1), "--machine", "model 1")
    assert machine_name(1) in done.stdout
    assert machine_name(0) not in done.stdout
    done = run("check", "--against", commit_hash(1), "--machine", "GPU")
    assert done.exit_code == 2
    assert "there is no machine in the results 'GPU'" in done.stderr


def test_check_reads_what_is_asked_for_from_backends_toml():
    Path("backends.toml").write_text(
        """
        [[check]]
        kernel = "sin"
        slower = 0.5

        [[check]]
        kernel = "sin"
        backend = "openmp"
        size = 1e6
        cores = 2
        speedup = 9.0

        [[check]]
        kernel = "sinh"
        speedup = 2
        """
    )
    done = run("check", "--against", commit_hash(1))
    assert done.exit_code == 1
    assert "1 findings in 38 rows" in done.stdout  # slower is allowed; one machine has two cores
    assert "below" in done.stdout
    assert "kernel = sinh, speedup = 2" in done.stderr
    assert run("list").exit_code == 0  # to other commands the rules are nothing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("check = 1", "[[check]]: Expected `array`"),
        ("[[check]]\nkernal = 'sin'", "unknown field `kernal`"),
        ("[[check]]\nspeedup = 'fast'", "Expected `float | null`"),
        ("[[check]]\nsize = inf", "size = inf: give a number from 1 on"),
        ("[[check]]\nslower = -2", "slower = -2"),
    ],
)
def test_rules_without_a_meaning_are_refused(text, message):
    Path("backends.toml").write_text(text)
    done = run("check", "--against", commit_hash(1))
    assert done.exit_code == 2
    assert "backends.toml" in done.stderr
    assert message in done.stderr


def test_commits_are_named_as_git_names_them(folder):
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    asked = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    head = asked.stdout.strip()
    done = run("check", "--against", "HEAD")
    assert done.exit_code == 2
    assert f"there are no results of HEAD ({head[:8]})" in done.stderr
    for file in folder.glob(f"*/{commit_hash(0)[:8]}*"):
        content = json.loads(file.read_text())
        content["commit_hash"] = head
        file.write_text(json.dumps(content))
    done = run("check", "--against", "HEAD")
    assert done.exit_code == 1
    assert f"{commit_hash(2)[:8]} against {head[:8]}" in done.stdout
    done = run("check", "--against", commit_hash(1))  # HEAD, though there is a newer one
    assert f"{head[:8]} against {commit_hash(1)[:8]}" in done.stdout


def test_compare_shows_rows_means_and_a_sentence():
    done = run("compare", commit_hash(1)[:8], commit_hash(2)[:8])
    assert done.exit_code == 0
    (line,) = {line for line in done.stdout.splitlines() if line.startswith("all     openmp")}
    assert "same" in line
    assert "slower in 2, same in 34" in done.stdout


def test_compare_with_nothing_in_common_ends_with_2(folder):
    file = next((folder / machine_name(1)).glob(f"{commit_hash(0)[:8]}*"))
    content = json.loads(file.read_text())
    content["results"] = {}
    for other in (folder / machine_name(1)).glob("*-*.json"):
        other.unlink()
    file.write_text(json.dumps(content))
    done = run("compare", machine_name(0), machine_name(1))
    assert done.exit_code == 2
    assert "nothing in common" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("check", "--against", "x"),
        ("export", "--format", "pytest-benchmark"),
        ("compare", "x", "y"),
    ],
)
def test_without_results_the_user_is_told_what_to_run(command, tmp_path, monkeypatch):
    (tmp_path / "empty" / "results").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "empty")
    done = run(*command)
    assert done.exit_code == 2
    assert "run `make asv`" in done.stderr


def test_what_was_left_out_is_said_on_stderr(folder):
    file = next(folder.glob(f"{machine_name(0)}/{commit_hash(0)[:8]}*"))
    file.write_bytes(file.read_bytes()[:100])
    done = run("check", "--against", commit_hash(1))
    assert f"left out of {machine_name(0)}/{file.name}: is no JSON, or cut short" in done.stderr


def test_export_to_a_file():
    form = ("--format", "github-action-benchmark")
    done = run(
        "export", *form, "-o", "out.json", "--machine", "model 1", "--commit", commit_hash(0)
    )
    assert (done.exit_code, done.output) == (0, "")
    assert len(json.loads(Path("out.json").read_text())) == 3 * 3 * 2 + 1
    done = run("export", "--format", "yaml")
    assert done.exit_code == 2
    assert "there is no format 'yaml'" in done.stderr
    assert "give --machine" in run("export", *form).stderr


def test_only_what_this_machine_measured_is_measured_again():
    done = run("check", "--against", commit_hash(1), "--again", "--machine", "model 1")
    assert done.exit_code == 2
    assert "--again measures on this machine" in done.stderr
    assert run("check", "--against", commit_hash(1), "--again").exit_code == 2


def test_what_looks_slower_is_measured_again_with_both_commits_installed(monkeypatch):
    from backends.cli import history
    from backends.history.data import Measurement

    done = []
    monkeypatch.setattr(history.again, "suite", lambda: Path("benchmarks"))
    monkeypatch.setattr(history.again, "install", lambda commit, folder: done.append(commit))
    monkeypatch.setattr(history.again, "ratio", lambda *given: given[0].commit)
    old, new = (Measurement("m", c, "b", (), 1.0, None, None, ()) for c in ("aaaa", "bbbb"))
    assert history._measure_again([]) == []
    assert history._measure_again([(old, new, 0.1)]) == ["aaaa"]
    assert done == ["aaaa", "bbbb"]


def test_without_git_a_commit_is_what_it_is_called(monkeypatch):
    from backends.cli import history

    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(history.subprocess, "run", missing)
    assert history._hash("v1.0") == "v1.0"


def test_many_reasons_are_counted_and_notes_say_what_rows_cannot(capsys):
    from backends.cli import history
    from backends.history.data import History, Problem
    from backends.history.gate import Checked

    whole = History.__new__(History)
    whole.problems = [Problem(f"file{i}", f"reason {i}") for i in range(99)]
    history._note_problems([whole])
    assert "more reasons; `backends report` lists all" in capsys.readouterr().err
    found = Checked(
        commit="a" * 40,
        against="b" * 40,
        compared=3,
        findings=[],
        gone=[("m", (f"kernel{i}", "numpy")) for i in range(99)],
        unmatched=[],
        unmet=[],
        least=[0.9],
        drift={"m": 0.3},
        left_out=4,
    )
    history._show_checked(found)
    told = capsys.readouterr()
    assert "more were measured before, and are not now" in told.out
    assert "90% slower to be found: --again" in told.err
    assert "m: all rows are 30% slower" in told.err
    assert "4 rows that were measured before were not tried now" in told.err


def test_a_report_goes_into_a_file_and_no_folder():
    Path("page.html").mkdir()
    done = run("report", "results", "--output", "page.html")
    assert done.exit_code == 2
    assert "is a folder: give the name of a file in it" in done.stderr


def test_an_export_goes_to_the_screen_without_an_output():
    done = run(
        *("export", "--format", "github-action-benchmark", "--machine", "model 0"),
        *("--commit", commit_hash(2)),
    )
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)


def test_this_machine_may_be_named_or_not(monkeypatch):
    from types import SimpleNamespace

    from backends.cli import history

    whole = SimpleNamespace(machines=["here", "there"])
    monkeypatch.setattr(history.fingerprint, "fingerprint", lambda: {"machine": "here"})
    assert history._here(whole, None) == history._here(whole, "here") == "here"
