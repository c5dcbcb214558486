from __future__ import annotations

import json

import pytest

from backends.bench import ceilings, fingerprint
from backends.bench.fingerprint import FIELDS
from backends.bench.record import Ceilings, Level, Rates


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Give a machine file that is not the user's."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(fingerprint, "asv_file", lambda: tmp_path / "machines.json")
    return tmp_path / "machines.json"


def test_the_table_has_every_field_and_the_file_has_them_too(file, run_command):
    result = run_command("machine")
    assert result.returncode == 0
    lines = [line.split()[0] for line in result.stdout.splitlines() if line[:1].strip()]
    assert [word for word in lines if word in FIELDS] == list(FIELDS)
    assert str(file) in result.stdout
    found = json.loads(file.read_bytes())
    assert set(found) == {"version", fingerprint.fingerprint()["machine"]}
    assert result.stderr == ""


def test_the_name_alone_is_what_asv_is_told(file, run_command):
    result = run_command("machine", "--name")
    assert result.stdout == fingerprint.fingerprint()["machine"] + "\n"
    assert file.exists()


def test_ceilings_are_measured_when_asked_and_then_kept(file, run_command, monkeypatch):
    rates = Rates(1e9, 2e9)
    found = Ceilings(2, [], [Level("memory", None, rates)], {})
    monkeypatch.setattr(ceilings, "measure", lambda n_jobs, seconds: found)
    assert "memory 2 GB/s" in run_command("machine", "--measure").stdout
    assert "memory 2 GB/s" in run_command("machine").stdout


def test_brackets_in_what_is_kept_are_shown_as_they_are(file, run_command):
    name = fingerprint.fingerprint()["machine"]
    kept = {"version": 1, name: {"ceilings": "memory [bold]2[/b] GB/s"}}
    file.write_text(json.dumps(kept))
    assert "memory [bold]2[/b] GB/s" in run_command("machine").stdout


def test_other_machines_in_the_file_are_said(file, run_command):
    file.write_text('{"version": 1, "other": {}}')
    result = run_command("machine")
    assert "--machine" in result.stderr
    assert fingerprint.fingerprint()["machine"] in result.stderr


def test_a_file_that_is_not_asvs_ends_it_with_status_2(file, run_command):
    file.write_text("{")
    result = run_command("machine")
    assert result.returncode == 2
    assert "Move it away" in result.stderr
    assert file.read_text() == "{"
