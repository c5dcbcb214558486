"""How much memory there is to be used here, and how much of that is free.

That is the machine's, or what is less: the limit of the control group that this process is in (a
container), or of one around that. A process may have a limit of its own besides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["free", "of_process", "usable"]

#: Where Linux says in which control groups this process is, and what these may have.
MINE, GROUPS = "/proc/self/cgroup", "/sys/fs/cgroup"
#: Of a control group: its limit, what is used of it, and in which field of the statistics stands
#: what of that are files that can be read again. First the names of version 2.
NAMES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def usable() -> int:
    """Give the bytes that all that runs here together may use.

    Examples
    --------
    >>> usable() > 0
    True
    """
    return min([_physical(), *(limit for limit, *_ in _limits())])


def free() -> int:
    """Give the bytes that are free now, counting what the system would give back if asked.

    Examples
    --------
    >>> 0 <= free() <= usable()
    True
    """
    import psutil  # here: `backends run` would take a tenth longer to start

    left = [limit - _used(folder, version) for limit, folder, version in _limits()]
    return max(min([int(psutil.virtual_memory().available), *left]), 0)


def of_process() -> int:
    """Give the bytes that this process may use by itself: all of them, or what ``ulimit`` says.

    Examples
    --------
    >>> of_process() <= usable()
    True
    """
    return min([usable(), *_process_limits()])


def _physical() -> int:
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    import psutil  # Windows

    return int(psutil.virtual_memory().total)


def _limits() -> Iterator[tuple[int, str, int]]:
    """Give the limits of the control group and of those around it, their folders and versions."""
    for line in _read(MINE).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" and path:
            version, root = 0, GROUPS
        elif "memory" in controllers.split(","):
            version, root = 1, f"{GROUPS}/memory"
        else:
            continue
        # Within a container the path may be the host's, of which only the root is seen.
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            folder = "/".join([root, *parts[:depth]])
            limit = _number(_read(f"{folder}/{NAMES[version][0]}"))
            if limit is not None:  # and not "max", or nothing: no limit
                yield limit, folder, version


def _used(folder: str, version: int) -> int:
    _, current, idle = NAMES[version]
    words = _read(f"{folder}/memory.stat").split()
    statistics = dict(zip(words[::2], words[1::2]))
    used = _number(_read(f"{folder}/{current}")) or 0
    return max(used - (_number(statistics.get(idle, "")) or 0), 0)


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _read(path: str) -> str:
    # No pathlib: its import would be a fifth of what `backends run` takes to start. A group's name
    # may be any bytes, by which it is found again.
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def _process_limits() -> list[int]:
    try:
        import resource
    except ImportError:  # uncounted: Windows
        return []
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    limits = [resource.getrlimit(kind)[0] for kind in kinds]
    return [limit for limit in limits if limit != resource.RLIM_INFINITY]
