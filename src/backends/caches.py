"""How large the processor's caches are."""

from __future__ import annotations

import os
from functools import cache

__all__ = ["LARGE", "cache_bytes"]

#: Bytes taken for the third level's where they are not known: results of more go past the caches.
LARGE = 32 * 2**20


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
    for index in range(10):
        try:
            kind, size, number = (_read(index, name) for name in ("type", "size", "level"))
            if kind != "Instruction" and int(number) == level:
                return int(size.removesuffix("K")) * 1024
        except (OSError, ValueError):
            continue
    try:
        name = f"SC_LEVEL{level}_{'DCACHE' if level == 1 else 'CACHE'}_SIZE"
        return max(os.sysconf(name), 0)
    except (AttributeError, ValueError, OSError):  # other systems do not tell
        return 0


def _read(index: int, name: str) -> str:
    # No pathlib: its import takes longer than all this, in programs that may never need it.
    path = f"/sys/devices/system/cpu/cpu0/cache/index{index}/{name}"
    with open(path, encoding="ascii") as file:  # noqa: PTH123
        return file.read().strip()
