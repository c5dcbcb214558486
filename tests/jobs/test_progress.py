"""The bar: where it is shown, and what it says."""

import io
import sys
import time

import pytest

import backends
from backends.jobs import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def begin(monkeypatch):
    """Make stderr a terminal; called in the test, as pytest sets another one before it."""

    def begin():
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("COLUMNS", "100")
        return stream

    return begin


@pytest.mark.parametrize("items", [range(30), iter(range(30))], ids=["known", "unknown"])
def test_bar_on_a_terminal_tells_count_and_rate(begin, items):
    terminal = begin()

    def job(x):
        time.sleep(0.02)
        return x

    assert len(list(backends.map(job, items, backend="threads", n_jobs=1))) == 30
    text = terminal.getvalue()
    assert "30/30" in text or "30/?" in text
    assert "/s" in text
    assert "left" in text


def test_no_bar_where_there_is_no_terminal_unless_it_is_asked_for(capsys):
    list(backends.map(abs, range(3), backend="threads", n_jobs=1))
    assert capsys.readouterr().err == ""
    list(backends.map(abs, range(3), backend="threads", n_jobs=1, progress=True))
    assert "3/3" in capsys.readouterr().err


def test_no_bar_on_a_terminal_where_it_is_declined(begin):
    terminal = begin()
    list(backends.map(abs, range(3), backend="threads", n_jobs=1, progress=False))
    assert terminal.getvalue() == ""


def test_what_a_program_prints_stays_on_its_stdout(begin, capsys):
    terminal = begin()
    for x in backends.map(abs, range(3), backend="threads", n_jobs=1):
        sys.stdout.write(f"result {x}\n")
    assert capsys.readouterr().out.count("result") == 3
    assert "result" not in terminal.getvalue()


def test_jobs_that_need_not_be_done_are_not_counted(begin, tmp_path):
    terminal = begin()
    list(backends.map(abs, range(4), backend="threads", n_jobs=1, checkpoint=tmp_path / "c"))
    list(backends.map(abs, range(10), backend="threads", n_jobs=1, checkpoint=tmp_path / "c"))
    assert "4/4" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()


def test_without_stderr_there_is_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress.shown(3, None) as bar:
        bar.done()
