"""The count of usable cores is joblib's, without joblib."""

from __future__ import annotations

import os
from pathlib import Path

import joblib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joblib.externals.loky.backend import context

from backends import cores
from backends.errors import ConfigError

linux = pytest.mark.skipif(
    not Path(cores.GROUP).is_dir(), reason="this system has no control groups"
)


def counted():
    """Count anew: ours, then joblib's."""
    cores.usable.cache_clear()
    return cores.usable(), joblib.cpu_count()


@pytest.fixture(autouse=True)
def counted_again():
    yield
    cores.usable.cache_clear()


def test_as_joblib_counts():
    ours, theirs = counted()
    assert ours == theirs >= 1


@pytest.mark.parametrize("limit", ["1", "0", "-3", " 2 ", "1000"])
def test_limit_by_the_environment(limit, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", limit)
    ours, theirs = counted()
    assert ours == theirs


@pytest.mark.parametrize("limit", ["", "two"])
def test_limit_that_is_no_number(limit, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", limit)
    with pytest.raises(ConfigError, match=f"LOKY_MAX_CPU_COUNT='{limit}'.*give a number of cores"):
        counted()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity to set")
def test_affinity():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert counted() == (1, 1)
    finally:
        os.sched_setaffinity(0, before)


def pretend(folder, patch):
    """Let there be 64 cores, and control groups in a folder of the test's own."""
    real, there = cores.GROUP, folder / "cgroup"

    def moved(path):
        return str(path).replace(str(real), str(there))

    exists = os.path.exists
    patch.setattr(cores, "GROUP", there)
    patch.setattr(os, "cpu_count", lambda: 64)
    patch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    patch.setattr(os.path, "exists", lambda path: exists(moved(path)))
    opened = lambda path: Path(moved(path)).open()  # noqa: E731, SIM115 - joblib closes it
    patch.setattr(context, "open", opened, raising=False)
    (there / "cpu").mkdir(parents=True)
    return there


@pytest.fixture
def groups(tmp_path, monkeypatch):
    return pretend(tmp_path, monkeypatch)


@linux
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000"}, 1),
        ({"cpu.max": ""}, 64),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "300000"}, 64),
        ({"cpu.max": "max 1", "cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"}, 64),
        ({"cpu.max": "9", "cpu/cpu.cfs_quota_us": "7", "cpu/cpu.cfs_period_us": "2"}, 4),
    ],
)
def test_control_groups(files, expected, groups):
    for name, content in files.items():
        (groups / name).write_text(content)
    assert counted() == (expected, expected)


@linux
@given(quota=st.integers(-(10**7), 10**7), period=st.integers(0, 10**6))
def test_any_quota(quota, period, any_groups):
    (any_groups / "cpu.max").write_text(f"{quota} {period}")
    ours, theirs = counted()
    assert ours == theirs


@pytest.fixture(scope="module")
def any_groups(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield pretend(tmp_path_factory.mktemp("any"), patch)


def test_counting_brings_in_nothing_heavy(run_python):
    out = run_python(
        "import sys; from backends import budget; budget.cores(); "
        "print({'joblib', 'multiprocessing', 'psutil', 'subprocess'} & set(sys.modules))",
        COVERAGE_PROCESS_CONFIG="",  # counting lines brings in some of them
    )
    assert out.strip() == "set()"
