"""What stands above the tables: the machine, its ceilings, and how far the numbers are to trust."""

from __future__ import annotations

from statistics import median

from rich.text import Text

from backends.bench.record import BASELINE, Ceilings, Conditions, Rates, Record, Row
from backends.machine import Machine

__all__ = ["disturbances", "heading", "machine_lines"]

#: Shares of the cores' time from which a bench was disturbed, and change of speed within it.
OTHERS, STEAL, DRIFT = 0.10, 0.02, 0.10


def heading(record: Record) -> list[Text]:
    """Give the lines above the tables: facts, then how far they are to trust.

    Parameters
    ----------
    record : Record
        What was measured.
    """
    lines = [
        machine_lines(record.machine),
        Text(_ceilings(record.ceilings)),
        Text(_noise(record.rows)),
        disturbances(record.conditions),
    ]
    if record.conditions.variables:
        found = ", ".join(f"{name}={value}" for name, value in record.conditions.variables.items())
        lines.append(Text(f"Set in the environment, and of influence: {found}"))
    return [line for line in lines if line.plain]


def machine_lines(machine: Machine) -> Text:
    """Give the machine in three lines.

    Examples
    --------
    >>> from backends.machine import describe
    >>> "cores usable" in machine_lines(describe()).plain
    True
    """
    return Text(
        f"{machine.cpu}, {machine.cores} cores usable, {machine.memory / 2**30:.0f} GiB, "
        f"{machine.system} {machine.architecture}\n"
        f"BLAS {machine.blas}\n"
        f"NumPy {machine.numpy}, SciPy {machine.scipy}, Python {machine.python}",
        style="bold",
    )


def _ceilings(ceilings: Ceilings) -> str:
    alone = ceilings.n_jobs == 1

    def both(rates: Rates) -> str:
        return _figure(rates.one) if alone else f"{_figure(rates.one)} and {_figure(rates.all)}"

    threads = "1 thread" if alone else f"1 and {ceilings.n_jobs} threads"
    levels = ", ".join(f"{level.name} {both(level.bandwidth)}" for level in ceilings.levels)
    gemm = ", ".join(f"{dtype} {both(rates)}" for dtype, rates in ceilings.gemm.items())
    return f"Ceilings ({threads}): {levels} GB/s; GEMM {gemm} GFLOP/s"


def _figure(rate: float) -> str:
    return f"{rate / 1e9:,.0f}" if rate >= 9.95e9 else f"{rate / 1e9:.1f}"


def _noise(rows: list[Row]) -> str:
    found = [(row.noise, row.kernel) for row in rows if row.noise is not None]
    if not found:
        return ""
    worst, kernel = max(found)
    if len(found) == 1:
        which = f"{_percent(worst)} (A/A: {BASELINE} against itself)"
    else:
        middle = median(noise for noise, _ in found)
        which = (
            f"{_percent(middle)} (A/A, median of the rows; {worst * 100:.1f} at most, in {kernel})"
        )
    return f"Noise: {which}: a smaller difference is none"


def disturbances(found: Conditions) -> Text:
    """Say in plain words what disturbed a measurement, or in one line that nothing did."""
    cores = f"{found.cores} cores" if found.cores > 1 else "core"
    busy = found.others is not None and found.others > OTHERS
    others = "what other programs did is not known"
    if found.others is not None:
        others = f"other programs used {_percent(found.others)} of the {cores}"
    host = "" if found.steal is None else f"the host took {_percent(found.steal)} (steal)"
    speed = "slower" if found.drift > 0 else "faster"
    drift = f"at the end the machine was {_percent(abs(found.drift))} {speed} than at the beginning"
    faults = [
        text
        for text, beyond in (
            (others, busy),
            (host, found.steal is not None and found.steal > STEAL),
            (drift, abs(found.drift) > DRIFT),
        )
        if beyond
    ]
    if not faults:
        return Text(f"Quiet: {'; '.join(filter(None, (others, host, drift)))}")
    remedy = "Close them, or measure again" if busy else "Measure again when it is quieter"
    return Text(f"BUSY: {'; '.join(faults)}. {remedy}", style="bold yellow")


def _percent(share: float) -> str:
    return f"{share * 100:.1f} percent"
