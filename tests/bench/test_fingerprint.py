from __future__ import annotations

import json
import os
import platform
import re
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from asv.machine import Machine, MachineCollection
from asv.results import Results

from backends.bench import fingerprint, processor
from backends.bench.fingerprint import FIELDS, UNMEASURED
from backends.bench.record import Ceilings, Level, Rates

ROOT = Path(__file__).parents[2]
#: An absolute path, on any system. A slash between words ("GB/s", "12/21") is none.
PATH = re.compile(r"(?<![\w.])(/|~/|[A-Za-z]:\\)\w")
HOST = "a-host-that-is-private"


@pytest.fixture
def private(monkeypatch):
    """Give the machine a host name, which nothing that is published may have."""
    monkeypatch.setattr(platform, "node", lambda: HOST)
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    return platform.uname()._replace(node=HOST)


def texts(path):
    """Give every text in a file of JSON, names of fields too."""

    def walk(value):
        if isinstance(value, dict):
            value = [*value.keys(), *value.values()]
        if isinstance(value, list):
            for each in value:
                yield from walk(each)
        elif isinstance(value, str):
            yield value

    return list(walk(json.loads(path.read_bytes())))


def x86(vendor, family, model):
    """Give what Linux tells of a processor."""
    return {"vendor_id": vendor, "cpu family": str(family), "model": str(model)}


def assert_publishable(text):
    assert HOST not in text
    assert re.search(rf"\b{re.escape(socket.gethostname())}\b", text) is None
    for word in (str(Path.home()), str(Path.cwd()), str(ROOT)):
        assert word not in text
    assert PATH.search(text) is None


def test_the_fields_are_fixed_and_each_is_one_line():
    # A field that is added, or comes and goes, begins every machine's series anew.
    assert (
        *("machine", "os", "arch", "cpu", "num_cpu", "ram", "microarchitecture", "cores"),
        *("caches", "simd", "gpu", "blas", "openmp", "ceilings"),
    ) == FIELDS
    found = fingerprint.fingerprint()
    assert tuple(found) == FIELDS
    for text in found.values():
        assert text
        assert text == " ".join(text.split())
    assert found["ceilings"] == UNMEASURED
    assert found == fingerprint.fingerprint()


def test_asv_has_no_field_that_we_have_not():
    assert {name for name, _ in Machine.fields} <= set(FIELDS)


@pytest.mark.parametrize("text", [f"on {HOST}", "/home/me/x", "at ~/x", "C:\\Users", "(/opt/x)"])
def test_the_check_for_what_is_private_finds_it(text):
    with pytest.raises(AssertionError):
        assert_publishable(text)


def test_no_host_name_and_no_path_is_in_what_asv_writes(tmp_path, private):
    file = tmp_path / "machines.json"
    fields, _ = fingerprint.record(fingerprint.fingerprint("GEMM float64 2 GFLOP/s"), file)
    ours = file.read_text()
    # As `asv run` does; it writes the file again.
    machine = Machine.load(machine_name=fields["machine"], _path=str(file))
    assert file.read_text() == ours
    machine.save(str(tmp_path / "results"))
    results = Results(
        {**machine.__dict__, "python": "3.11"}, {}, "0" * 40, 0, "3.11", "virtualenv-py3.11", {}
    )
    results.save(str(tmp_path / "results"))
    written = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert len(written) == 2
    for path in (file, *written):
        for text in (*texts(path), path.relative_to(tmp_path).as_posix()):
            assert_publishable(text)


@pytest.mark.parametrize("path", sorted(ROOT.glob("results/**/*.json")), ids=lambda path: path.name)
def test_no_host_name_and_no_path_is_in_committed_results(path):
    found = texts(path)
    assert found
    for text in (*found, path.name, path.parent.name):
        assert_publishable(text)
    if path.name == "machine.json":
        assert set(json.loads(path.read_bytes())) == {*FIELDS, "version"}


@pytest.mark.parametrize(
    ("cpu", "cores", "gpu", "name"),
    [
        ("Intel(R) Xeon(R) 8370C CPU @ 2.80GHz", 2, "", "Intel-Xeon-8370C-2.80GHz-2-cores"),
        ("AMD EPYC 7763 64-Core Processor", 4, "", "AMD-EPYC-7763-64-Core-4-cores"),
        ("unknown/../processor", 1, "NVIDIA H100", "unknown-..-processor-1-cores-NVIDIA-H100"),
    ],
    ids=["intel", "amd", "gpu"],
)
def test_a_machine_is_named_by_what_it_is_and_the_name_is_a_folder(cpu, cores, gpu, name):
    assert fingerprint._name(cpu, cores, gpu) == name


def test_asv_finds_the_machine_also_without_being_told_its_name(tmp_path, monkeypatch):
    file = tmp_path / "machines.json"
    fields, others = fingerprint.record(fingerprint.fingerprint(), file)
    assert others == []
    monkeypatch.setattr("asv.machine._get_unique_machine_name", lambda: HOST)
    assert MachineCollection.load(HOST, _path=str(file)) == fields


def test_other_machines_stay_and_ceilings_stay_until_they_are_measured_anew(tmp_path):
    file = tmp_path / "machines.json"
    MachineCollection.save("other", {"machine": "other", "cpu": "x"}, _path=str(file))
    first, others = fingerprint.record(fingerprint.fingerprint("memory 2 GB/s"), file)
    assert others == ["other"]
    again, _ = fingerprint.record(fingerprint.fingerprint(), file)
    assert again == first
    third, _ = fingerprint.record(fingerprint.fingerprint("memory 4 GB/s"), file)
    assert third["ceilings"] == "memory 4 GB/s"
    assert fingerprint.read(file) == {
        "other": {"machine": "other", "cpu": "x"},
        third["machine"]: third,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cut short"), ("[]", "no machine file"), ('{"version": 2}', "no machine file"),
     ('{"version": 1, "a": 1}', "without fields")],
)  # fmt: skip
def test_a_file_that_is_not_asvs_is_named_and_left_as_it_is(tmp_path, content, message):
    file = tmp_path / "machines.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        fingerprint.record(fingerprint.fingerprint(), file)
    assert str(file) in str(caught.value)
    assert file.read_text() == content


def test_ceilings_are_given_in_two_digits():
    rates = Rates(0.567e9, 123.4e9)
    found = Ceilings(
        4, [], [Level("L2", 1, rates), Level("memory", None, rates)], {"float32": rates}
    )
    assert fingerprint.ceilings_text(found) == (
        "L2 120 GB/s, memory 120 GB/s, GEMM float32 120 GFLOP/s"
    )


@pytest.mark.parametrize(
    ("info", "name"),
    [
        (x86("GenuineIntel", 6, 143), "Sapphire Rapids"),
        (x86("GenuineIntel", 6, 0x9E), "Kaby Lake"),
        (x86("GenuineIntel", 6, 0xFE), "family 6, model 254"),
        (x86("GenuineIntel", 25, 1), "family 25, model 1"),
        (x86("AuthenticAMD", 6, 143), "family 6, model 143"),
        (x86("AuthenticAMD", 23, 0x2F), "Zen"),
        (x86("AuthenticAMD", 23, 0x31), "Zen 2"),
        (x86("AuthenticAMD", 23, 0x50), "Zen"),
        (x86("AuthenticAMD", 23, 0x80), "family 23, model 128"),
        (x86("AuthenticAMD", 23, 0x91), "Zen 2"),
        (x86("AuthenticAMD", 23, 0x92), "family 23, model 146"),
        (x86("AuthenticAMD", 25, 1), "Zen 3"),
        (x86("AuthenticAMD", 25, 0x11), "Zen 4"),
        (x86("AuthenticAMD", 25, 0x21), "Zen 3"),
        (x86("AuthenticAMD", 25, 0xAF), "Zen 4"),
        (x86("AuthenticAMD", 25, 0xB0), "family 25, model 176"),
        (x86("AuthenticAMD", 26, 0x02), "Zen 5"),
        (x86("AuthenticAMD", 26, 0x30), "family 26, model 48"),
        (x86("AuthenticAMD", 26, 0x50), "Zen 6"),
        (x86("AuthenticAMD", 26, 0x7F), "Zen 5"),
        (x86("AuthenticAMD", 26, 0x80), "Zen 6"),
        (x86("AuthenticAMD", 26, 0xB0), "family 26, model 176"),
        (x86("Other", 6, 143), "family 6, model 143"),
        ({"CPU implementer": "0x41", "CPU part": "0xd4f"}, "Neoverse V2"),
        ({"CPU implementer": "0x99", "CPU part": "0x1"}, "implementer 0x99, part 0x1"),
        ({}, "unknown"),
    ],
)
def test_the_microarchitecture_is_named_or_its_numbers_are_given(info, name):
    assert processor.microarchitecture(info) == name


def test_a_system_without_cpuinfo_has_all_fields(monkeypatch):
    monkeypatch.setattr(processor, "Path", lambda path: Path(path + ".missing"))
    found = fingerprint.fingerprint()
    assert tuple(found) == FIELDS
    assert found["microarchitecture"] == found["simd"] == "unknown"


def test_gpus_are_given_with_memory_and_driver(monkeypatch):
    monkeypatch.setattr(fingerprint.shutil, "which", lambda name: name)
    monkeypatch.setattr(
        fingerprint.subprocess,
        "run",
        lambda *_, **__: SimpleNamespace(returncode=0, stdout="NVIDIA H100, 81559 MiB, 550.1\n"),
    )
    assert fingerprint._gpus() == "NVIDIA H100, 81559 MiB, driver 550.1"


def test_a_driver_that_hangs_is_no_gpu(monkeypatch):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("nvidia-smi", 10)

    monkeypatch.setattr(fingerprint.shutil, "which", lambda name: name)
    monkeypatch.setattr(fingerprint.subprocess, "run", hang)
    assert fingerprint._gpus() == ""


def test_the_file_is_where_asv_looks():
    assert os.fspath(fingerprint.asv_file()) == MachineCollection.get_machine_file_path()
