from __future__ import annotations

import os
from types import SimpleNamespace

import psutil
import pytest

from backends.bench import conditions
from backends.bench.conditions import VARIABLES, Watch


class Machine:
    """A machine of `count` cores, of which this process may use the last two, with its clocks."""

    def __init__(self, count=4, steal=True):
        self.now = 100.0
        self.speed = 1.0
        self.clocks = [
            {"user": 50.0, "system": 5.0, "idle": 1000.0, "iowait": 3.0, "guest": 1.0}
            | ({"steal": 7.0} if steal else {})
            for _ in range(count)
        ]
        self.own = {"user": 1.0, "system": 0.5, "children_user": 2.0, "children_system": 0.0}
        self.children = {}

    def cpu_times(self, *, percpu):
        assert percpu
        return [SimpleNamespace(**clock) for clock in self.clocks]

    def process(self, times, children=()):
        def cpu_times():
            if times is None:
                raise psutil.NoSuchProcess(1)
            return SimpleNamespace(**times)

        return SimpleNamespace(
            cpu_times=cpu_times,
            cpu_affinity=lambda: [len(self.clocks) - 2, len(self.clocks) - 1],
            children=lambda recursive: children,
        )

    def __call__(self):
        children = [self.process(times) for times in self.children.values()]
        return self.process(self.own, children)


@pytest.fixture
def computer(monkeypatch):
    found = Machine()
    use(monkeypatch, found)
    return found


def use(monkeypatch, found):
    monkeypatch.setattr(conditions.psutil, "cpu_times", found.cpu_times)
    monkeypatch.setattr(conditions.psutil, "Process", found)
    monkeypatch.setattr(conditions.time, "perf_counter", lambda: found.now)
    monkeypatch.setattr(conditions, "_calibrate", lambda: found.speed)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_load_of_others_is_what_we_did_not_use_of_our_cores(computer):
    watch = Watch()
    computer.now += 10.0  # of two cores: 20 s
    computer.clocks[0]["user"] += 10.0  # not ours to use
    computer.clocks[2]["user"] += 6.0
    computer.clocks[3]["system"] += 5.0
    computer.clocks[3]["idle"] += 4.0
    computer.clocks[3]["iowait"] += 1.0
    computer.clocks[3]["guest"] += 3.0  # within user
    computer.own["user"] += 3.0
    found = watch.stop()
    assert found.cores == 2
    assert found.others == pytest.approx((11.0 - 3.0) / 20.0)


def test_children_are_our_own_also_when_they_have_ended(computer):
    computer.children["early"] = {"user": 4.0, "system": 0.0}
    watch = Watch()
    computer.now += 10.0
    computer.clocks[2]["user"] += 10.0
    computer.children["late"] = {"user": 2.0, "system": 1.0}
    computer.children["gone"] = None
    # The early one ended: 4 s before, 5 s since.
    del computer.children["early"]
    computer.own["children_user"] += 9.0
    assert watch.stop().others == pytest.approx((10.0 - 3.0 - 5.0) / 20.0)


def test_steal_is_a_share_of_our_cores(computer):
    watch = Watch()
    computer.now += 10.0
    computer.clocks[0]["steal"] += 10.0
    computer.clocks[2]["steal"] += 1.0
    assert watch.stop().steal == pytest.approx(1.0 / 20.0)


def test_drift_is_how_much_slower_it_was_at_the_end(computer):
    watch = Watch()
    computer.now += 10.0
    computer.speed = 1.25
    assert watch.stop().drift == pytest.approx(0.25)


def test_shares_are_within_one_where_clocks_tick_unevenly(computer):
    watch = Watch()
    computer.now += 0.01
    computer.clocks[2]["user"] += 1.0
    assert watch.stop().others == 1.0
    watch = Watch()
    computer.now += 0.01
    computer.clocks[2]["user"] += 0.01
    computer.own["user"] += 0.02
    assert watch.stop().others == 0.0


def test_a_system_without_steal_has_none(monkeypatch):
    found = Machine(steal=False)
    use(monkeypatch, found)
    watch = Watch()
    found.now += 1.0
    found.clocks[2]["user"] += 1.0
    assert watch.stop().steal is None
    assert watch.stop().others == 0.5


def test_a_system_that_hides_its_clocks_is_not_known(computer, monkeypatch):
    def fail(*, percpu):
        raise OSError("/proc/stat is hidden")

    monkeypatch.setattr(conditions.psutil, "cpu_times", fail)
    found = Watch().stop()
    assert (found.others, found.steal) == (None, None)


def test_clocks_that_stand_still_tell_nothing(computer):
    watch = Watch()
    computer.now += 10.0
    assert watch.stop().others is None


def test_a_system_without_affinity_has_all_its_cores(computer, monkeypatch):
    bare = computer()
    del bare.cpu_affinity
    monkeypatch.setattr(conditions.psutil, "Process", lambda: bare)
    watch = Watch()
    computer.now += 1.0
    computer.clocks[0]["user"] += 1.0
    found = watch.stop()
    assert found.cores == os.cpu_count()
    assert found.others == pytest.approx(1.0 / found.cores)


def test_variables_of_threads_are_told_and_empty_ones_are_not(computer, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_PROC_BIND", "")
    monkeypatch.setenv("PATH_OF_MINE", "x")
    assert Watch().stop().variables == {"OMP_NUM_THREADS": "1"}


def test_this_machine_can_be_watched():
    watch = Watch()
    sum(range(10**6))
    found = watch.stop()
    assert found.cores >= 1
    assert found.others is None or 0 <= found.others <= 1
    assert found.drift > -1
