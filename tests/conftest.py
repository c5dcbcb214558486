"""What every test starts from: no settings but the defaults, no kernels but the package's own."""

from __future__ import annotations

import dis
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings
from typer.testing import CliRunner

import backends
from backends import auto, config, files, kernels, profile, registry
from backends.kernel import REGISTERED

# No deadline: the cores of a test machine are shared. The same examples at every run: a failure
# that comes and goes says nothing about the change under test.
settings.register_profile("tests", deadline=None, derandomize=True, database=None)
settings.load_profile("tests")

kernels.every()  # so that no kernel of ours is first imported, and then forgotten, within a test


@pytest.fixture(autouse=True)
def clean_configuration(tmp_path, monkeypatch):
    """Give the test an empty folder, and take back what it sets and defines."""
    for variable in os.environ:
        if variable.startswith("BACKENDS_"):
            monkeypatch.delenv(variable)
    if os.environ.get("MUTANT_UNDER_TEST") == "stats":
        # `make mutants` looks which tests call what, in this process; others could not tell it.
        monkeypatch.delenv("MUTANT_UNDER_TEST")
    monkeypatch.setattr(files, "data_folder", lambda name: tmp_path / "array-backends" / name)
    monkeypatch.chdir(tmp_path)
    ours = dict(REGISTERED)
    _forget_settings()
    yield
    _forget_settings()
    REGISTERED.clear()
    REGISTERED.update(ours)


def _forget_settings():
    config._found, config._process = None, config.Layer("set_config")
    profile.current.cache_clear()
    auto._say_untuned.cache_clear()
    for key in [key for key in registry._backends if key[0] == "auto"]:
        del registry._backends[key]
    config._version += 1  # never back to 0: what was resolved before would look fresh


@pytest.fixture
def run_command():
    """Run the command line in this process, which is quicker than in one of its own."""
    from backends.cli.app import app

    runner = CliRunner()

    def run(*arguments: str):
        handlers = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            result = runner.invoke(app, arguments)
        finally:
            for name, handler in handlers.items():
                signal.signal(name, handler)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return SimpleNamespace(
            returncode=result.exit_code, stdout=result.stdout, stderr=result.stderr
        )

    return run


@pytest.fixture
def run_python(tmp_path):
    """Run a script in a fresh interpreter, with this package and nothing imported; its output."""

    def run(script: str, **environment: str) -> str:
        file = tmp_path / "script.py"
        file.write_text(script, encoding="utf-8")
        home = str(Path(backends.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, file],
            env={
                **os.environ,
                "PYTHONPATH": home,
                "XDG_DATA_HOME": str(tmp_path / "data"),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def pytest_addoption(parser):
    parser.addoption(
        "--require",
        default="",
        metavar="NAMES",
        help="backends, `browser` or `docs`, with commas between them: what is missing fails",
    )


def _points(code):
    """Give the offsets in `code` where Python looks whether Ctrl-C was pressed."""
    steps = itertools.pairwise(dis.get_instructions(code))
    looks = ("RESUME", "CALL", "JUMP_BACKWARD")
    return {after.offset for before, after in steps if before.opname.startswith(looks)}


@pytest.fixture
def interrupted():
    """Call a function again and again, ended by Ctrl-C at one point of other functions after the
    other; give their numbers, each when the call has ended."""

    def each(function, *inside):
        points = {f.__code__: _points(f.__code__) for f in inside}
        passed = 0

        def trace(frame, event, arg):
            nonlocal passed
            frame.f_trace_opcodes = frame.f_code in points
            if event == "opcode" and frame.f_lasti in points.get(frame.f_code, ()):
                passed += 1
                if passed == number:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        for number in itertools.count(1):
            passed = 0
            try:
                sys.settrace(trace)
                function()
            except KeyboardInterrupt as error:
                # Kept alive, as by an interactive session: nothing must depend on its end.
                sys.last_value = error
                sys.settrace(before)
                yield number
            else:
                break
            finally:
                sys.settrace(before)
        assert number > len(inside)

    return each
