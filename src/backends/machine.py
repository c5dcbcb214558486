"""What machine this is: processor, cores, caches, memory, GPU, BLAS, versions."""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec

__all__ = ["Machine", "describe"]


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
    import psutil

    from backends import blas, cores

    library = blas.library()
    return Machine(
        cpu=_cpu(),
        cores=cores.usable(),
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
