"""Memory of jobs: what is read, and how many fit."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backends
from backends.jobs import room

pytestmark = pytest.mark.filterwarnings("ignore:n_jobs=. is more than:UserWarning")


@given(number=st.integers(1, 10**6), unit=st.sampled_from(sorted(room.UNITS)), space=st.booleans())
def test_amounts_are_read(number, unit, space):
    assert room.read(f"{number}{' ' * space}{unit.lower()}") == number * room.UNITS[unit]


@pytest.mark.parametrize("wrong", ["", "2", "GB", "-1 GB", "2 G", "1e9 B", 0, -5, float("nan")])
def test_what_is_no_amount_is_refused(wrong):
    with pytest.raises(ValueError, match="memory_per_job="):
        room.read(wrong)


@pytest.mark.parametrize("wrong", [True, None, [1]])
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(TypeError, match="memory_per_job must be"):
        room.read(wrong)


def test_jobs_are_as_many_as_fit(monkeypatch):
    monkeypatch.setattr(room, "usable", lambda: 1_000_000)
    monkeypatch.setattr(room, "free", lambda: 500_000)
    assert room.jobs_at_once(200_000, 8) == 2
    assert room.jobs_at_once(1, 8) == 8
    with pytest.raises(MemoryError, match=r"needs 600 kB, and 500 kB are free now"):
        room.jobs_at_once(600_000, 8)
    with pytest.raises(ValueError, match=r"needs 2 MB, which is more than the 1 MB"):
        room.jobs_at_once(2_000_000, 8)


def test_no_more_jobs_run_at_once_than_fit(monkeypatch):
    monkeypatch.setattr(room, "free", lambda: 2_500)
    running, most, lock = 0, 0, threading.Lock()

    def job(_):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    list(backends.map(job, range(20), backend="threads", n_jobs=4, memory_per_job=1000))
    assert most == 2


def test_job_that_does_not_fit_now_is_told_before_any_begins(monkeypatch):
    monkeypatch.setattr(room, "free", lambda: 500)
    begun = []
    with pytest.raises(MemoryError, match="memory_per_job: a job needs 1 kB"):
        list(backends.map(begun.append, [1], backend="threads", memory_per_job=1000))
    assert begun == []


def test_room_of_another_machine_is_taken_there(monkeypatch):
    monkeypatch.setattr(room, "usable", lambda: 2_500)
    inside, most, lock = 0, 0, threading.Lock()
    places = room.Room("backends-test-room", 1000)

    def use():
        nonlocal inside, most
        with places.take():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    places.remove()
    assert most == 2
    with pytest.raises(ValueError, match="memory_per_job"), room.Room("x", 3000).take():
        pass
