"""The part of ``make conformance`` that runs with every test: NumPy's tests of ufuncs, a corpus."""

import sys
from pathlib import Path

import pytest

# The scripts beside this file are no package: they run by themselves, too.
sys.path.insert(0, str(Path(__file__).parent))

import corpus
import upstream

pytestmark = pytest.mark.timeout(1200)


def test_numpys_tests_of_ufuncs_end_as_without(capfd):
    files = ["numpy/_core/tests/test_umath.py", "numpy/_core/tests/test_ufunc.py"]
    status = upstream.main(["--file", *files])
    shown = capfd.readouterr().out
    assert status == 0, shown
    assert "; 0 different" in shown
    assert "ran in parallel" in shown
    tests = int(shown.rsplit("\n", 2)[-2].split(" tests")[0].replace(",", ""))
    assert tests > 5000, shown


def test_a_small_corpus_has_the_same_bits(capfd):
    status = corpus.main(["--seconds", "8"])
    shown = capfd.readouterr().out
    assert status == 0, shown
    assert ": 0 different" in shown
    cases = int(shown.rsplit("\n", 2)[-2].split(" cases")[0].replace(",", ""))
    assert cases > 300, shown
