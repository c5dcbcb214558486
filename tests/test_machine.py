from __future__ import annotations

import platform
from importlib.metadata import version

import joblib
import msgspec
import numpy as np
import psutil
import pytest

from backends import blas, machine
from backends.machine import Machine, describe


def test_the_machine_is_described_as_the_libraries_see_it():
    here = describe()
    assert here.cores == joblib.cpu_count()
    assert here.memory == psutil.virtual_memory().total
    assert here.numpy == np.__version__
    assert here.python == platform.python_version()
    assert here.array_backends == version("array-backends")


def test_every_text_is_one_line_that_says_something():
    texts = [x for x in msgspec.structs.astuple(describe()) if isinstance(x, str)]
    assert len(texts) == 9
    for text in texts:
        assert text or text == describe().gpu
        assert text == " ".join(text.split())


def test_the_description_survives_json():
    here = describe()
    assert msgspec.json.decode(msgspec.json.encode(here), type=Machine) == here


def test_a_blas_that_is_not_governed_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr(blas, "library", lambda: None)
    assert "not governed" in describe.__wrapped__().blas


@pytest.mark.parametrize(
    ("cpuinfo", "cpu"),
    [
        ("processor\t: 0\nmodel\t\t: 85\nmodel name\t: Intel(R)   Xeon(R)\n", "Intel(R) Xeon(R)"),
        ("processor\t: 0\nBogoMIPS\t: 50\n\nModel\t\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
        ("cpu\t\t: POWER9, altivec\nclock\t: 2.3GHz\n", "POWER9, altivec"),
    ],
    ids=["x86", "arm", "power"],
)
def test_the_processor_has_the_name_that_linux_gives_it(tmp_path, monkeypatch, cpuinfo, cpu):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    monkeypatch.setattr(machine, "Path", lambda path: file)
    assert machine.describe.__wrapped__().cpu == cpu


@pytest.mark.parametrize("cpuinfo", ["", "model name\t:\n", "processor\t: 0\nBogoMIPS\t: 50\n"])
def test_a_processor_without_a_name_still_has_one_in_the_description(
    tmp_path, monkeypatch, cpuinfo
):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    monkeypatch.setattr(machine, "Path", lambda path: file)
    assert machine.describe.__wrapped__().cpu
