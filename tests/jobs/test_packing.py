"""What travels: classes of the caller's script come back as its own."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.jobs.packing import Thrown, check_function, pack, unpack


@settings(max_examples=30)
@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=9))
def test_what_was_packed_comes_back(value):
    assert unpack(pack(value)) == value


def test_arrays_come_back_writable():
    found = unpack(pack(np.arange(1000.0)))
    found += 1
    assert found[999] == 1000


def test_large_functions_are_looked_at_without_a_copy():
    large = np.zeros(10_000_000)
    check_function(lambda: large.sum())
    with pytest.raises(TypeError, match="cannot be sent"):
        check_function(threading.Lock().acquire)


@pytest.mark.parametrize("backend", ["joblib", "threads"])
def test_instances_of_a_scripts_classes_are_its_own(backend, run_python):
    out = run_python(
        f"""
from dataclasses import dataclass
import backends

@dataclass
class Candidate:
    period: float
    class Kind: pass

def search(beam):
    return Candidate(beam / 2), Candidate.Kind()

if __name__ == "__main__":
    for again in range(2):  # the second time they are read
        found = list(
            backends.map(search, [1, 2], backend={backend!r}, n_jobs=2, checkpoint="survey")
        )
        print([c == Candidate(b / 2) for b, (c, _) in zip([1, 2], found)])
        print(all(type(kind) is Candidate.Kind for _, kind in found) or bool(again))
"""
    )
    assert out.split("\n")[:4] == ["[True, True]", "True"] * 2


def test_an_exception_that_cannot_travel_goes_in_words():
    class OddError(Exception):
        def __init__(self, lock):
            super().__init__("odd")
            self.lock = lock

    for error, travels in ((ValueError("plain"), True), (OddError(threading.Lock()), False)):
        thrown = Thrown.of(error)
        assert (thrown.data is not None) == travels
        assert thrown.text == f"{type(error).__name__}: {error}"
