"""How much memory there is: the machine's, a control group's, or the process's."""

from __future__ import annotations

import os

import psutil
import pytest

from backends import ram

VERSION_2 = {
    "memory.max": "1000000\n",
    "memory.current": "700000\n",
    "memory.stat": "anon 400000\nfile 300000\ninactive_file 200000\n",
}
VERSION_1 = {
    "memory.limit_in_bytes": "1000000\n",
    "memory.usage_in_bytes": "700000\n",
    "memory.stat": "inactive_file 1\ntotal_inactive_file 200000\n",
}


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Give what makes control groups: the lines of /proc/self/cgroup, and files by path."""

    def make(lines, files):
        (tmp_path / "mine").write_text(lines)
        for name, content in files.items():
            (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "fs" / name).write_text(content)

    monkeypatch.setattr(ram, "MINE", str(tmp_path / "mine"))
    monkeypatch.setattr(ram, "GROUPS", str(tmp_path / "fs"))
    return make


def within(folder, files):
    return {f"{folder}/{name}".lstrip("/"): content for name, content in files.items()}


@pytest.mark.parametrize(
    ("lines", "files", "limits"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "5000\n", "a/memory.max": "max\n"}, [5000]),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "700\n"}, [700]),
        ("0::/a\n", {"a/memory.max": "300\n", "memory.max": "700\n"}, [700, 300]),
        ("0::/\n", {"memory.max": "900\n"}, [900]),
        ("4:cpu,memory:/c\n3:cpu:/d\n", {"memory/c/memory.limit_in_bytes": "600\n"}, [600]),
        ("4:memory:/host/c\n", {"memory/memory.limit_in_bytes": "800\n"}, [800]),
        ("1:cpu:/d\n0::/\n", {}, []),
    ],
)
def test_limits_of_control_groups_count(groups, lines, files, limits):
    groups(lines, files)
    assert [limit for limit, *_ in ram._limits()] == limits
    assert ram.usable() == min(limits, default=ram.usable())


@pytest.mark.parametrize(
    ("lines", "files"),
    [
        ("0::/\n", VERSION_2),
        ("0::/job\n", within("job", VERSION_2)),
        ("4:memory:/\n", within("memory", VERSION_1)),
        ("4:memory:/job\n", within("memory/job", VERSION_1)),
    ],
    ids=["v2", "v2 below", "v1", "v1 below"],
)
def test_files_that_can_be_read_again_are_free(groups, lines, files):
    groups(lines, files)
    assert ram.usable() == 1_000_000
    assert ram.free() == 500_000


def test_the_group_with_the_least_left_counts(groups):
    around = {"memory.max": "2000000\n", "memory.current": "1900000\n"}
    groups("0::/a/b\n", {**within("a", around), **within("a/b", VERSION_2)})
    assert ram.usable() == 1_000_000
    assert ram.free() == 100_000


def test_more_than_the_limit_in_use_leaves_nothing(groups):
    groups("0::/\n", {"memory.max": "10\n", "memory.current": "12\n"})
    assert ram.free() == 0


@pytest.mark.parametrize("files", [{}, {"memory.max": "max\n", "memory.current": "5\n"}])
def test_without_a_limit_it_is_the_machines(groups, files):
    groups("0::/\n", files)
    assert ram.usable() == psutil.virtual_memory().total
    assert 0 < ram.free() <= ram.usable()


@pytest.mark.parametrize("lines", ["", "\n", "0\n", "0:\n", "0::\n", "x:memory\n", "no colon\n:\n"])
def test_what_makes_no_sense_is_no_limit(groups, lines):
    groups(lines, {"memory.max": "much\n", "memory.current": "", "memory.stat": "inactive_file"})
    assert ram.usable() == psutil.virtual_memory().total
    assert ram.free() > 0


def test_statistics_that_are_no_numbers_count_nothing(groups):
    wrong = {"memory.current": "70 B\n", "memory.stat": "inactive_file x\n"}
    groups("0::/\n", {"memory.max": "1000\n", **wrong})
    assert ram.free() == 1000


def test_a_groups_name_may_be_any_bytes(groups, tmp_path):
    groups("", {})
    (tmp_path / "mine").write_bytes(b"0::/caf\xe9\n")
    folder = tmp_path / "fs" / os.fsdecode(b"caf\xe9")
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text("600\n")
    assert ram.usable() == 600


def test_a_system_without_control_groups_has_no_limit_of_theirs(monkeypatch, tmp_path):
    monkeypatch.setattr(ram, "MINE", str(tmp_path / "none"))
    assert list(ram._limits()) == []


def test_a_system_without_sysconf_tells_its_memory(monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert ram._physical() == psutil.virtual_memory().total


def test_a_limit_of_the_process_is_the_processs(monkeypatch):
    before = ram.usable()
    monkeypatch.setattr(ram, "_process_limits", lambda: [12345])
    assert ram.of_process() == 12345
    assert ram.usable() == before
