"""Floating-point errors of workers reach the caller as NumPy's own would."""

import io
import warnings

import numpy as np
import pytest

from backends.engines import floating


def trouble():
    np.log(np.array([0.0, -1.0]))
    np.exp(np.array([1e6]))
    np.multiply(np.array([1e-300]), 1e-300)


def test_errors_are_noted_and_not_reported():
    with floating.noted() as errors:
        trouble()
    assert errors == {"divide by zero", "invalid value", "overflow", "underflow"}


def test_the_caller_decides_what_becomes_of_each_error():
    with (
        np.errstate(divide="ignore", invalid="warn", over="ignore", under="ignore"),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        floating.report(set(floating.ERRORS.values()), "f")
    assert [str(w.message) for w in caught] == ["invalid value encountered in f"]
    assert caught[0].filename == __file__


@pytest.mark.parametrize(("key", "words"), floating.ERRORS.items())
def test_raising_names_the_function_as_numpy_does(key, words):
    with np.errstate(**{key: "raise"}), pytest.raises(FloatingPointError) as error:
        floating.report({words}, "sin")
    assert str(error.value) == f"{words} encountered in sin"


def test_print_log_and_call_are_obeyed_with_numpys_own_flags(capsys):
    def by_numpy(seen):
        with np.errstate(all="call", call=lambda *a: seen.append(a)):
            trouble()

    def by_us(seen):
        with np.errstate(all="call", call=lambda *a: seen.append(a)):
            floating.report(set(floating.ERRORS.values()), "f")

    numpys, ours = [], []
    by_numpy(numpys)
    by_us(ours)
    # NumPy hands over all flags of a call at once; each of ours must be among them.
    assert {words for words, _ in ours} == {words for words, _ in numpys}
    for words, flag in ours:
        assert any(words == w and flag & f for w, f in numpys)

    log = io.StringIO()
    with np.errstate(all="log", call=log):
        floating.report({"overflow"}, "f")
    assert log.getvalue() == "Warning: overflow encountered in f\n"
    with np.errstate(all="print"):
        floating.report({"overflow"}, "f")
    assert "overflow encountered in f" in capsys.readouterr().err


def test_nothing_to_report_says_nothing():
    with np.errstate(all="raise"):
        floating.report(set(), "f")
