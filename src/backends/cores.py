"""How many cores this process may use, counted as joblib counts them.

joblib's own count brings in all of joblib, which takes about as long to import as NumPy. A test
holds the two equal.
"""

from __future__ import annotations

import os
import sys
from functools import cache

from backends.errors import ConfigError

__all__ = ["usable"]

#: joblib's limit, also where joblib is not used.
VARIABLE = "LOKY_MAX_CPU_COUNT"
#: Where Linux says what the control group of this process may have.
GROUP = "/sys/fs/cgroup"
#: Processes that Windows can wait for at once, which joblib's count stays below.
MOST_ON_WINDOWS = 61


@cache
def usable() -> int:
    """Count the cores that this process may use, once.

    That is the least of: the machine's cores, those that the process is bound to, what a control
    group (a container) grants, and the environment variable ``LOKY_MAX_CPU_COUNT``.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ConfigError
        ``LOKY_MAX_CPU_COUNT`` is no integer.

    Examples
    --------
    >>> import joblib
    >>> usable() == joblib.cpu_count()
    True
    """
    seen = os.cpu_count() or 1
    if sys.platform == "win32":
        seen = min(seen, MOST_ON_WINDOWS)  # uncounted: Windows
    text = os.environ.get(VARIABLE, str(seen))
    try:
        wanted = int(text)
    except ValueError:
        raise ConfigError(
            f"environment variable {VARIABLE}={text!r} is not an integer: give a number of cores"
        ) from None
    return max(min(seen, _bound_to(seen), _granted(seen), wanted), 1)


def _bound_to(seen: int) -> int:
    """Count the cores that the system lets this process run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    if sys.platform == "win32":  # uncounted: Windows
        import psutil  # here: nobody else needs it so early

        return len(psutil.Process().cpu_affinity() or ()) or seen
    return seen  # uncounted: macOS


def _granted(seen: int) -> int:
    """Give the cores' worth of time that a control group of Linux grants, rounded up."""
    words = _words("cpu.max")  # version 2
    if len(words) != 2:
        words = _words("cpu/cpu.cfs_quota_us") + _words("cpu/cpu.cfs_period_us")
    if len(words) != 2 or words[0] == "max":
        return seen
    quota, period = map(int, words)
    # A quota below 0 means that there is none.
    return -(-quota // period) if quota > 0 and period > 0 else seen


def _words(name: str) -> list[str]:
    # No pathlib: its import would be a fifth of what `backends run` takes to start.
    try:
        with open(f"{GROUP}/{name}", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().split()
    except OSError:
        return []
