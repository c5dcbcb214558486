from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

import backends
from backends import profile
from backends.cli.app import app
from backends.errors import UnknownNameError
from backends.measurements import Measured, Point
from backends.profile import Choice, Key


@pytest.fixture
def tuned():
    points = [
        Point(
            "sin",
            "float64",
            "contiguous",
            size,
            [
                Measured("numpy", 1, "exact", size * 1e-8, 1.0, 1.0, 1.0),
                Measured("threads", 2, "exact", size * 0.6e-8, gain, gain - 0.1, gain + 0.1),
                Measured("openmp", 2, "fast", size * 1e-9, 10.0, 9.0, 11.0),
            ],
        )
        for size, gain in ((1000, 0.7), (100_000, 1.66))
    ]
    choices = {
        Key("exact", "float64", "contiguous", "sin"): (Choice(50_000, "threads", 2),),
        Key("exact", "float64", "strided", "sin"): (),
    }
    return profile.write("2026-01-02", choices, points)


def test_it_tells_what_the_profile_chose_and_what_was_measured(tuned):
    why = backends.explain("sin", np.zeros(80_000), n_jobs=2)
    assert (why.kernel, why.backend, why.n_jobs) == ("sin", "threads", 2)
    assert why.point.size == 100_000
    text = str(why)
    assert "threads from 50,000" in text
    assert "1.66 (1.56 to 1.76)" in text
    assert "openmp (fast)" in text
    assert str(tuned.path) in text
    assert "the argument n_jobs" in text


def test_below_the_first_size_it_is_numpy(tuned):
    why = backends.explain(backends.sin, np.zeros(900), n_jobs=2)
    assert why.backend == "numpy"
    assert "below 50,000" in why.reason
    assert why.point.size == 1000


def test_what_was_not_tuned_is_said(tuned):
    assert "nothing like these arguments" in backends.explain("sin", [1, 2]).reason
    assert "has no cos" in backends.explain("cos", np.zeros(9)).reason
    assert backends.explain("sin", np.zeros(9)[::2]).point is None


@pytest.mark.parametrize("name", ["numpy", "threads", "openmp"])
def test_a_backend_that_is_set_is_named_with_its_source(name):
    with backends.config_context(backend=name, n_jobs=2):
        why = backends.explain("sin", np.zeros(10))
    assert why.backend == name
    assert "config_context says so" in why.reason
    assert why.settings["n_jobs"] == (2, "config_context")


def test_a_call_that_is_not_shared_is_said_to_run_in_one_piece():
    small, large = (
        backends.explain("sin", np.zeros(size), backend="threads", n_jobs=2)
        for size in (10, 10_000_000)
    )
    assert "in one piece" in small.reason
    assert "in one piece" not in large.reason


def test_a_kernel_that_is_refused_is_said_to_be():
    @backends.elementwise(domain=(0.0, 1.0), flops=3)
    def thrice(x, /, *, out=None):
        """Three times."""
        return np.add(np.multiply(x, 2.0), x, out=out)

    why = backends.explain(thrice, np.zeros(10), backend="openmp")
    assert "it refuses: openmp cuts the loop of a ufunc" in why.reason


def test_bad_questions_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'sin'"):
        backends.explain("sine", np.zeros(3))
    with pytest.raises(UnknownNameError, match="there is no kernel <ufunc 'sin'>"):
        backends.explain(np.sin, np.zeros(3))
    with pytest.raises(TypeError, match="add takes x1, x2: 1 arrays were given"):
        backends.explain("add", np.zeros(3))


def test_the_mode_and_the_device_are_told():
    with backends.config_context(mode="fast", device="cpu"):
        why = backends.explain("sin", np.zeros(3))
    assert why.settings["mode"] == ("fast", "config_context")
    assert why.settings["device"] == ("cpu", "config_context")


def test_the_command_explains(tuned):
    done = CliRunner().invoke(app, ["explain", "sin", "--size", "8e4"])
    assert done.exit_code == 0
    assert "sin runs on" in done.output
    assert "by the profile, [exact.float64.contiguous] sin" in done.output
    done = CliRunner().invoke(app, ["explain", "matmul", "-s", "30", "-d", "float32", "--strided"])
    assert "float32, strided, size 30" in done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sine", "-s", "1"], "did you mean 'sin'"),
        (["sin", "-s", "x"], "--size 'x' is no number"),
        (["sin", "-s", "1e18"], "give less"),
        (["sin", "-s", "1", "-d", "float16"], "there is no dtype 'float16'"),
    ],
)
def test_the_command_refuses_with_a_remedy(arguments, says):
    done = CliRunner().invoke(app, ["explain", *arguments])
    assert done.exit_code == 2
    assert says in done.output


def test_the_scheduler_is_told_with_its_source():
    with backends.config_context(scheduler="local"):
        found = backends.explain("sin", np.ones(3), backend="numpy")
        assert found.settings["scheduler"].value == "local"
    assert repr(found) == str(found)


def test_the_list_tells_what_was_chosen(run_command):
    with backends.config_context(scheduler="local", mode="fast"):
        text = run_command("list").stdout
    assert "mode 'fast'" in text
    assert "scheduler 'local'" in text
