"""What a machine is, in the fixed set of fields by which asv tells machines apart.

* The fields are the same on every machine and for ever: asv makes a new series of results where a
  field is added or its text changes. A machine without a GPU has the field `gpu` too.
* No host name and no path: results are published. A machine is named by what it is.
* What was measured (`ceilings`) stays as it is in asv's file until it is measured anew.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from backends import cores, files, registry
from backends.bench.ceilings import largest_cache
from backends.bench.processor import microarchitecture, simd
from backends.bench.record import Ceilings
from backends.caches import cache_bytes
from backends.errors import BackendUnavailableError
from backends.machine import cpuinfo, describe, gpus

__all__ = ["FIELDS", "UNMEASURED", "asv_file", "ceilings_text", "fingerprint", "read", "record"]

#: In the order of the table. The first six are asv's own.
FIELDS = (
    *("machine", "os", "arch", "cpu", "num_cpu", "ram"),
    *("microarchitecture", "cores", "caches", "simd", "gpu", "blas", "openmp", "ceilings"),
)
UNMEASURED = "not measured"
#: Of asv's machine file.
API_VERSION = 1


def fingerprint(ceilings: str = UNMEASURED) -> dict[str, str]:
    """Give the fields of this machine.

    Parameters
    ----------
    ceilings : str
        What was measured, as :func:`ceilings_text` gives it.

    Examples
    --------
    >>> tuple(fingerprint()) == FIELDS
    True
    """
    here, info = describe(), cpuinfo()
    kind = microarchitecture(info)
    model = _model(here.cpu, here.architecture, kind)
    return dict(
        zip(
            FIELDS,
            (
                _name(model, here.cores, here.gpu),
                f"{here.system} {'.'.join(platform.release().split('.')[:2])}".strip(),
                here.architecture,
                here.cpu,
                str(os.cpu_count() or here.cores),
                f"{here.memory / 2**30:.0f} GiB",
                kind,
                _cores(),
                _caches(),
                simd(info),
                _gpus() or "none",
                here.blas,
                _openmp(),
                ceilings,
            ),
            strict=True,
        )
    )


def asv_file() -> Path:
    """Give the file in which asv looks machines up."""
    return Path.home() / ".asv-machine.json"


def record(fields: Mapping[str, str], file: Path) -> tuple[dict[str, str], list[str]]:
    """Write a machine into asv's file; what was measured before is kept where nothing is new.

    Parameters
    ----------
    fields : mapping of str to str
        A fingerprint.
    file : Path
        asv's machine file, made where there is none.

    Returns
    -------
    tuple
        The fields as they are in the file now, and the names of the other machines in it.

    Raises
    ------
    ValueError
        The file is none of asv's. It is left as it is.
    OSError
        It cannot be written.
    """
    known = read(file)
    old = known.get(fields["machine"], {})
    fields = dict(fields)
    if fields["ceilings"] == UNMEASURED:
        fields["ceilings"] = str(old.get("ceilings", UNMEASURED))
    known[fields["machine"]] = fields
    text = json.dumps({**known, "version": API_VERSION}, indent=4, sort_keys=True)
    files.write_whole(file, text.encode())
    return fields, [name for name in known if name != fields["machine"]]


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Give the machines in asv's file by name; none where there is no file.

    Raises
    ------
    ValueError
        The file is none of asv's.
    """
    if not file.exists():
        return {}
    remedy = "Move it away; asv and `backends machine` make a new one"
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON, or cut short: {error}. {remedy}") from None
    if not isinstance(found, dict) or found.pop("version", None) != API_VERSION:
        raise ValueError(f"{file} is no machine file of asv's version {API_VERSION}. {remedy}")
    if not all(isinstance(each, dict) for each in found.values()):
        raise ValueError(f"{file} has machines without fields. {remedy}")
    return found


def ceilings_text(found: Ceilings) -> str:
    """Give measured ceilings of all threads in one line, in two digits: more would be noise.

    Examples
    --------
    >>> from backends.bench.record import Level, Rates
    >>> rate = Rates(1.2e10, 2.134e10)
    >>> ceilings_text(Ceilings(2, [], [Level("memory", None, rate)], {"float64": rate}))
    'memory 21 GB/s, GEMM float64 21 GFLOP/s'
    """
    parts = [f"{level.name} {_giga(level.bandwidth.all)} GB/s" for level in found.levels]
    parts += [f"GEMM {dtype} {_giga(rates.all)} GFLOP/s" for dtype, rates in found.gemm.items()]
    return ", ".join(parts)


def _giga(rate: float) -> str:
    return f"{float(f'{rate / 1e9:.2g}'):g}"


def _model(cpu: str, architecture: str, kind: str) -> str:
    """Give the processor so that another is not called the same.

    To a virtual machine an EPYC of any generation may be "AMD EPYC", and Linux has no name at all
    for a processor of Arm's.
    """
    says_which = cpu != architecture and re.search(r"\d", cpu)
    return cpu if says_which or kind == "unknown" else f"{cpu} {kind}"


def _name(cpu: str, usable: int, gpu: str) -> str:
    """Give a name that is also that of a folder: asv makes one."""
    plain = re.sub(r"\((R|TM|tm)\)|\bCPU\b|\bProcessor\b|@", " ", cpu)
    gpus = " ".join(_counted(gpu.split(", ")))
    words = re.findall(r"[A-Za-z0-9.]+", f"{plain} {usable} cores {gpus}")
    return "-".join(words)


def _counted(things: Iterable[str]) -> list[str]:
    """Give each thing once, and how many there are of it: a server has eight GPUs of a kind."""
    counts = Counter(things).items()
    return [thing if count == 1 else f"{count} x {thing}" for thing, count in counts]


def _cores() -> str:
    physical = psutil.cpu_count(logical=False)
    return f"{physical or 'unknown'} physical, {cores.usable()} usable"


def _caches() -> str:
    sizes = [(f"L{level}", cache_bytes(level)) for level in (1, 2)]
    if cache_bytes(3):
        sizes.append(("L3", largest_cache()))
    return ", ".join(f"{name} {_size(size)}" for name, size in sizes if size) or "unknown"


def _size(size: int) -> str:
    return f"{size / 2**20:g} MiB" if size >= 2**20 else f"{size / 2**10:g} KiB"


def _gpus() -> str:
    lines = (line.rpartition(", ") for line in gpus("name,memory.total,driver_version"))
    return "; ".join(_counted(f"{model}, driver {driver}" for model, _, driver in lines))


def _openmp() -> str:
    """Give the OpenMP library that the engine runs on: its kind and version."""
    from threadpoolctl import threadpool_info

    try:
        registry.get("openmp")
    except BackendUnavailableError:
        return "none"
    # Others may be there, of other packages: what is loaded here was loaded by the engine.
    found = [each for each in threadpool_info() if each["user_api"] == "openmp"]
    names = (f"{each['prefix']} {_version(Path(each['filepath']))}".strip() for each in found)
    return ", ".join(dict.fromkeys(names)) or "unknown"


def _version(library: Path) -> str:
    """Give the version that is written in an OpenMP library; there is no call that tells it.

    In GNU's it is that of its newest symbols (GOMP_5.1 came with GCC 12), in LLVM's and Intel's a
    text.
    """
    try:
        content = library.read_bytes()
    except OSError:
        return ""
    found = re.findall(rb"\b(?:GOMP_|OMP version: )(\d+(?:\.\d+)+)", content)
    numbers = [tuple(map(int, each.split(b"."))) for each in found]
    return ".".join(map(str, max(numbers, default=())))
