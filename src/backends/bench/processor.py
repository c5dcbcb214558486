"""The processor's microarchitecture and instruction sets, from what Linux tells of it.

The model's name seldom says the first, and that of a virtual machine never. Numbers that are not
known here are given as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["cpuinfo", "microarchitecture", "simd"]

#: Instruction sets of floating-point vectors, as Linux calls them.
SIMD = (
    *("sse2", "sse4_2", "avx", "fma", "avx2", "avx512f", "avx512dq", "avx512vl", "avx512_fp16"),
    *("asimd", "asimdhp", "sve", "sve2"),
)
#: Intel's family 6, by model (Linux: arch/x86/include/asm/intel-family.h).
INTEL = {
    **dict.fromkeys((60, 63, 69, 70), "Haswell"),
    **dict.fromkeys((61, 71, 79, 86), "Broadwell"),
    **dict.fromkeys((78, 85, 94), "Skylake"),  # 85: Cascade and Cooper Lake too
    **dict.fromkeys((142, 158), "Kaby Lake"),  # Coffee Lake too
    **dict.fromkeys((106, 108, 125, 126), "Ice Lake"),
    **dict.fromkeys((140, 141), "Tiger Lake"),
    **dict.fromkeys((151, 154), "Alder Lake"),
    **dict.fromkeys((183, 186, 191), "Raptor Lake"),
    **dict.fromkeys((170, 172), "Meteor Lake"),
    143: "Sapphire Rapids",
    207: "Emerald Rapids",
    **dict.fromkeys((173, 174), "Granite Rapids"),
}
#: AMD's families, and the ranges of models in them (Linux: arch/x86/kernel/cpu/amd.c).
AMD = {
    23: ((range(0x30), "Zen"), (range(0x30, 0x100), "Zen 2")),
    25: (
        (range(0x10, 0x20), "Zen 4"),
        (range(0x60, 0xB0), "Zen 4"),
        (range(0x100), "Zen 3"),
    ),
    26: ((range(0x100), "Zen 5"),),
}
#: Arm's parts, by the number of who designed them (0x41 is Arm itself).
ARM = {
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse N1",
    ("0x41", "0xd40"): "Neoverse V1",
    ("0x41", "0xd49"): "Neoverse N2",
    ("0x41", "0xd4f"): "Neoverse V2",
    ("0xc0", "0xac3"): "AmpereOne",
}


def cpuinfo() -> dict[str, str]:
    """Give what Linux tells of the last processor; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def simd(info: Mapping[str, str]) -> str:
    """Give the instruction sets of a processor that Linux describes by `info`.

    Examples
    --------
    >>> simd({"flags": "fpu sse2 avx avx2"}), simd({"Features": "fp asimd"}), simd({})
    ('sse2 avx avx2', 'asimd', 'unknown')
    """
    flags = info.get("flags", info.get("Features", "")).split()
    return " ".join(name for name in SIMD if name in flags) or "unknown"


def microarchitecture(info: Mapping[str, str]) -> str:
    """Give the name, or the numbers, or "unknown" where `info` of Linux has neither.

    Examples
    --------
    >>> microarchitecture({"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "1"})
    'Zen 3'
    >>> microarchitecture({"vendor_id": "GenuineIntel", "cpu family": "6", "model": "999"})
    'family 6, model 999'
    """
    family, model = info.get("cpu family", ""), info.get("model", "")
    if family.isdecimal() and model.isdecimal():
        name = ""
        if info.get("vendor_id") == "GenuineIntel" and family == "6":
            name = INTEL.get(int(model), "")
        elif info.get("vendor_id") == "AuthenticAMD":
            known = AMD.get(int(family), ())
            name = next((name for models, name in known if int(model) in models), "")
        return name or f"family {family}, model {model}"
    designer, part = info.get("CPU implementer", ""), info.get("CPU part", "")
    if part:
        return ARM.get((designer, part), f"implementer {designer}, part {part}")
    return "unknown"
