"""What machine this is: processor, cores, caches, memory, GPU, BLAS, versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec

__all__ = ["Machine", "cache_bytes", "describe"]


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine and the software that a result depends on.

    Attributes
    ----------
    cpu : str
        Model name of the processor.
    cores : int
        Cores that this process may use.
    memory : int
        Bytes of main memory.
    blas : str
        Library, version, the architecture it chose, and its kind of threads.
    gpu : str
        Models of the GPUs that NVIDIA's driver has; empty without one.
    """

    cpu: str
    cores: int
    memory: int
    system: str
    architecture: str
    blas: str
    gpu: str
    python: str
    numpy: str
    scipy: str
    array_backends: str


@cache
def describe() -> Machine:
    """Describe this machine.

    Examples
    --------
    >>> describe().cores >= 1
    True
    """
    import joblib
    import psutil

    from backends import blas

    library = blas.library()
    return Machine(
        cpu=_cpu(),
        cores=joblib.cpu_count(),
        memory=psutil.virtual_memory().total,
        system=platform.system(),
        architecture=platform.machine(),
        blas=(
            "unknown, threads not governed"
            if library is None
            else f"{library.name} {library.version} {library.architecture} {library.layer}"
        ),
        gpu=_gpu(),
        python=platform.python_version(),
        numpy=version("numpy"),
        scipy=version("scipy"),
        array_backends=version("array-backends"),
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(
            line.split(":", 1) for line in info.read_text().splitlines() if line.count(":") >= 1
        )
        for key, value in fields.items():
            if key.strip() in ("model name", "Model", "Hardware", "cpu") and value.strip():
                return " ".join(value.split())
    if platform.system() == "Darwin":
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine() or "unknown processor"


def _gpu() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        asked = subprocess.run(
            [tool, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs
        return ""
    return ", ".join(asked.stdout.split("\n")).strip(", ") if asked.returncode == 0 else ""


@cache
def cache_bytes(level: int) -> int:
    """Give the size in bytes of one core's data cache of a level, 0 where that is not known.

    Parameters
    ----------
    level : {1, 2, 3}
        The third is shared by several cores.

    Examples
    --------
    >>> cache_bytes(1) <= cache_bytes(2) or not cache_bytes(2)
    True
    """
    # Linux tells each cache as it is; sysconf adds up the parts of a divided one.
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index[0-9]"):
        try:
            kind, size = (index / "type").read_text().strip(), (index / "size").read_text().strip()
            if kind != "Instruction" and int((index / "level").read_text()) == level:
                return int(size.removesuffix("K")) * 1024
        except (OSError, ValueError):
            continue
    try:
        name = f"SC_LEVEL{level}_{'DCACHE' if level == 1 else 'CACHE'}_SIZE"
        return max(os.sysconf(name), 0)
    except (AttributeError, ValueError, OSError):  # other systems do not tell
        return 0
