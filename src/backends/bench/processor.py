"""The processor's microarchitecture and instruction sets, from what Linux tells of it.

The model's name seldom says the first, and that of a virtual machine never. Numbers that are not
known here are given as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["microarchitecture", "simd"]

#: Instruction sets of floating-point vectors, as Linux calls them.
SIMD = (
    *("sse2", "sse4_2", "avx", "fma", "avx2", "avx512f", "avx512dq", "avx512vl", "avx512_fp16"),
    *("asimd", "asimdhp", "sve", "sve2"),
)
#: Intel's family 6, by model (Linux: arch/x86/include/asm/intel-family.h).
INTEL = {
    **dict.fromkeys((0x2A, 0x2D), "Sandy Bridge"),
    **dict.fromkeys((0x3A, 0x3E), "Ivy Bridge"),
    **dict.fromkeys((0x3C, 0x3F, 0x45, 0x46), "Haswell"),
    **dict.fromkeys((0x3D, 0x47, 0x4F, 0x56), "Broadwell"),
    **dict.fromkeys((0x4E, 0x55, 0x5E), "Skylake"),  # 0x55: Cascade and Cooper Lake too
    **dict.fromkeys((0x8E, 0x9E), "Kaby Lake"),  # Amber, Coffee and Whiskey Lake too
    **dict.fromkeys((0xA5, 0xA6), "Comet Lake"),
    0x66: "Cannon Lake",
    **dict.fromkeys((0x6A, 0x6C, 0x7D, 0x7E, 0x9D), "Ice Lake"),
    0xA7: "Rocket Lake",
    **dict.fromkeys((0x8C, 0x8D), "Tiger Lake"),
    0x8A: "Lakefield",
    **dict.fromkeys((0x97, 0x9A), "Alder Lake"),
    **dict.fromkeys((0xB7, 0xBA, 0xBF), "Raptor Lake"),
    0xD7: "Bartlett Lake",
    **dict.fromkeys((0xAA, 0xAC), "Meteor Lake"),
    **dict.fromkeys((0xB5, 0xC5, 0xC6), "Arrow Lake"),
    0xBD: "Lunar Lake",
    **dict.fromkeys((0xCC, 0xE5), "Panther Lake"),
    0xD5: "Wildcat Lake",
    0x8F: "Sapphire Rapids",
    0xCF: "Emerald Rapids",
    **dict.fromkeys((0xAD, 0xAE), "Granite Rapids"),
    0xBE: "Gracemont",
    **dict.fromkeys((0xAF, 0xB6), "Crestmont"),
    0xDD: "Darkmont",
}
#: AMD's families, and the first and last models of each kind (Linux: arch/x86/kernel/cpu/amd.c).
#: What is between them is not known, and is no other's.
AMD: dict[int, dict[str, tuple[tuple[int, int], ...]]] = {
    0x17: {
        "Zen": ((0x00, 0x2F), (0x50, 0x5F)),
        "Zen 2": ((0x30, 0x4F), (0x60, 0x7F), (0x90, 0x91), (0xA0, 0xAF)),
    },
    0x19: {
        "Zen 3": ((0x00, 0x0F), (0x20, 0x5F)),
        "Zen 4": ((0x10, 0x1F), (0x60, 0xAF)),
    },
    0x1A: {
        "Zen 5": ((0x00, 0x2F), (0x40, 0x4F), (0x60, 0x7F)),
        "Zen 6": ((0x50, 0x5F), (0x80, 0xAF), (0xC0, 0xCF)),
    },
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
            name = _amd(int(family), int(model))
        return name or f"family {family}, model {model}"
    designer, part = info.get("CPU implementer", ""), info.get("CPU part", "")
    if part:
        return ARM.get((designer, part), f"implementer {designer}, part {part}")
    return "unknown"


def _amd(family: int, model: int) -> str:
    for name, ranges in AMD.get(family, {}).items():
        if any(first <= model <= last for first, last in ranges):
            return name
    return ""
