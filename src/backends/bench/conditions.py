"""What else the machine does during a bench: other programs, the host's, and a changing speed."""

from __future__ import annotations

import contextlib
import os
import time

import numpy as np
import psutil

from backends.bench.record import Conditions

__all__ = ["Watch"]

#: Environment variables that change how many threads run, where, and how long they spin.
VARIABLES = (
    *("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_DYNAMIC", "OMP_PROC_BIND", "OMP_PLACES"),
    *("OMP_WAIT_POLICY", "GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT", "KMP_AFFINITY", "KMP_BLOCKTIME"),
    *("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DYNAMIC"),
    *("BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"),
)
#: Seconds that the arithmetic is timed for, at either end.
CALIBRATION = 0.3


class Watch:
    """Watches from when it is made until :meth:`stop`.

    Examples
    --------
    >>> watch = Watch()
    >>> watch.stop().cores >= 1
    True
    """

    def __init__(self) -> None:
        self._speed = _calibrate()
        self._start = time.perf_counter()
        self._cores, self._before = _cores(), _Times.now()

    def stop(self) -> Conditions:
        """Give what happened since the beginning."""
        after, seconds = _Times.now(), time.perf_counter() - self._start
        before, capacity = self._before, seconds * self._cores
        others = steal = None
        # A container may be shown clocks of the machine that stand still.
        if before is not None and after is not None and after.busy > before.busy:
            others = _share(after.busy - before.busy - (after.own - before.own), capacity)
        if before is not None and after is not None and after.steal is not None:
            steal = _share(after.steal - (before.steal or 0.0), capacity)
        return Conditions(
            cores=self._cores,
            others=others,
            steal=steal,
            drift=_calibrate() / self._speed - 1,
            variables={name: os.environ[name] for name in VARIABLES if os.environ.get(name)},
        )


class _Times:
    """CPU seconds up to now: of everything on our cores, of the host's others, and our own."""

    def __init__(self, busy: float, steal: float | None, own: float) -> None:
        self.busy, self.steal, self.own = busy, steal, own

    @classmethod
    def now(cls) -> _Times | None:
        try:
            clocks = psutil.cpu_times(percpu=True)
            usable = _usable()
            if usable is not None:
                clocks = [clocks[core] for core in usable if core < len(clocks)]
            has_steal = all(hasattr(clock, "steal") for clock in clocks)
            return cls(
                busy=sum(map(_busy, clocks)),
                steal=sum(clock.steal for clock in clocks) if has_steal else None,
                own=_own(),
            )
        except (OSError, RuntimeError, psutil.Error):  # a system that hides them
            return None


def _busy(clock: object) -> float:
    # A guest's time is counted as the user's already.
    names = ("user", "nice", "system", "irq", "softirq", "interrupt", "dpc")
    return sum(float(getattr(clock, name, 0.0)) for name in names)


def _own() -> float:
    """Add up the CPU seconds of this process and its children, also of those that ended."""
    this = psutil.Process()
    total = 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it has ended: its parent has its times
            times = process.cpu_times()
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def _usable() -> list[int] | None:
    """Give the numbers of the cores that this process may use; None for all of them."""
    process = psutil.Process()
    return list(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else None


def _cores() -> int:
    return len(_usable() or ()) or os.cpu_count() or 1


def _share(seconds: float, capacity: float) -> float:
    # The clocks tick every 10 ms: what was just begun may seem less than nothing.
    return min(max(seconds / capacity, 0.0), 1.0) if capacity > 0 else 0.0


def _calibrate() -> float:
    """Time a fixed piece of arithmetic on arrays that stay in a core's own cache."""
    x = np.linspace(0.0, 1.0, 4000)
    y = np.empty_like(x)
    samples: list[float] = []
    end = time.perf_counter() + CALIBRATION
    while not samples or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(100):
            np.multiply(x, x, y)
            np.add(x, y, y)
            np.sqrt(y, y)
        samples.append(time.perf_counter() - start)
    return float(np.median(samples))
