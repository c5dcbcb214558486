"""What machine this is: processor, cores, caches, memory, GPU, BLAS, versions."""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec

__all__ = ["Machine", "cpuinfo", "describe", "gpus"]


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
        gpu=", ".join(gpus("name")),
        python=platform.python_version(),
        numpy=version("numpy"),
        scipy=version("scipy"),
        array_backends=version("array-backends"),
    )


def cpuinfo() -> dict[str, str]:
    """Give what Linux tells of the last processor; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def gpus(fields: str) -> list[str]:
    """Ask NVIDIA's driver for some fields of each GPU, with commas between; none without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs
        return []
    lines = asked.stdout.splitlines() if asked.returncode == 0 else []
    return [line.strip() for line in lines if line.strip()]


def _cpu() -> str:
    for key, value in cpuinfo().items():
        if key in ("model name", "Model", "Hardware", "cpu") and value:
            return " ".join(value.split())
    if platform.system() == "Darwin":  # uncounted: macOS
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine() or "unknown processor"
