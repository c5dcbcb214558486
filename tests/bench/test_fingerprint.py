from __future__ import annotations

import json
import os
import platform
import re
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from asv.machine import Machine, MachineCollection
from asv.results import Results

import backends
from backends import machine
from backends.bench import fingerprint, processor
from backends.bench.fingerprint import FIELDS, UNMEASURED
from backends.bench.record import Ceilings, Level, Rates

ROOT = Path(__file__).parents[2]
#: An absolute path, on any system. A slash between words ("GB/s", "12/21") is none.
PATH = re.compile(r"(?<![\w.])(/|~/|[A-Za-z]:\\)\w")
RESULTS = sorted(ROOT.glob("results/**/*.json"))
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


def test_results_are_committed():
    assert RESULTS  # else the next test looks at nothing


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
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
        ("x 1", 96, ", ".join(["NVIDIA H100"] * 8), "x-1-96-cores-8-x-NVIDIA-H100"),
        ("x 1", 96, "NVIDIA A100, NVIDIA T4", "x-1-96-cores-NVIDIA-A100-NVIDIA-T4"),
    ],
    ids=["intel", "amd", "gpu", "gpus", "two kinds"],
)
def test_a_machine_is_named_by_what_it_is_and_the_name_is_a_folder(cpu, cores, gpu, name):
    assert fingerprint._name(cpu, cores, gpu) == name


@pytest.mark.parametrize(
    ("cpu", "architecture", "kind", "model"),
    [
        ("AMD EPYC", "x86_64", "Zen 3", "AMD EPYC Zen 3"),
        ("aarch64", "aarch64", "Neoverse V2", "aarch64 Neoverse V2"),
        ("aarch64", "aarch64", "unknown", "aarch64"),
        ("AMD EPYC 7763 64-Core Processor", "x86_64", "Zen 3", "AMD EPYC 7763 64-Core Processor"),
        ("Apple M2", "arm64", "unknown", "Apple M2"),
    ],
)
def test_a_processor_without_a_number_is_told_from_its_successor(cpu, architecture, kind, model):
    assert fingerprint._model(cpu, architecture, kind) == model


def test_the_name_has_what_tells_the_processor_apart(monkeypatch):
    here = msgspec.structs.replace(fingerprint.describe(), cpu="AMD EPYC", cores=2, gpu="")
    monkeypatch.setattr(fingerprint, "describe", lambda: here)
    monkeypatch.setattr(fingerprint, "microarchitecture", lambda info: "Zen 3")
    found = fingerprint.fingerprint()
    assert found["machine"] == "AMD-EPYC-Zen-3-2-cores"
    assert found["cpu"] == "AMD EPYC"


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (b"\0GOMP_1.0\0GOMP_5.0.1\0GOMP_5.1\0OMP_5.0.2\0GOMP_4.5", "5.1"),
        (b"GOMP_9.0\0GOMP_10.0", "10.0"),
        (b"x\0@(#) Intel(R) OMP version: 5.0.20240815\0y", "5.0.20240815"),
        (b"\x7fELF", ""),
    ],
)
def test_the_version_of_openmp_is_read_from_its_file(tmp_path, content, version):
    file = tmp_path / "libgomp.so.1"
    file.write_bytes(content)
    assert fingerprint._version(file) == version
    assert fingerprint._version(tmp_path / "missing") == ""


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
    monkeypatch.setattr(machine, "Path", lambda path: Path(path + ".missing"))
    found = fingerprint.fingerprint()
    assert tuple(found) == FIELDS
    assert found["microarchitecture"] == found["simd"] == "unknown"


def test_gpus_are_given_with_memory_and_driver(monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda name: name)
    line = "NVIDIA H100, 81559 MiB, 550.1\n"
    for count, text in ((1, ""), (8, "8 x ")):
        answer = SimpleNamespace(returncode=0, stdout=line * count)
        monkeypatch.setattr(machine.subprocess, "run", lambda *_, answer=answer, **__: answer)
        assert fingerprint._gpus() == f"{text}NVIDIA H100, 81559 MiB, driver 550.1"


def test_a_driver_that_hangs_is_no_gpu(monkeypatch):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("nvidia-smi", 10)

    monkeypatch.setattr(machine.shutil, "which", lambda name: name)
    monkeypatch.setattr(machine.subprocess, "run", hang)
    assert fingerprint._gpus() == ""


def test_the_file_is_where_asv_looks():
    assert os.fspath(fingerprint.asv_file()) == MachineCollection.get_machine_file_path()


def test_without_the_engine_there_is_no_openmp(monkeypatch):
    def refuse(name):
        raise backends.BackendUnavailableError(name)

    monkeypatch.setattr(fingerprint.registry, "get", refuse)
    assert fingerprint._openmp() == "none"
