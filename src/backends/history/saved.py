"""A saved bench as a history: one machine, one commit."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import datetime
from pathlib import Path

from backends.bench import record
from backends.bench.record import Result
from backends.history.data import AXES, Commit, History, Machine, Measurement, Problem

__all__ = ["read"]

#: Cases that are the plain use of a kernel, as in asv's suite; others are kernels of their own.
PLAIN = ("elements", "matrix")


def read(file: Path) -> History:
    """Read a file that ``backends bench`` has saved.

    Its commit is named by the file. Only plain calls count: asv's suite has no others.

    Raises
    ------
    RecordError
        It cannot be read.
    """
    saved = record.read(file)
    about = saved.machine
    machine = f"{about.cpu}, {about.cores} cores"
    date = int(datetime.fromisoformat(saved.created).timestamp() * 1000)
    fields = {
        "machine": machine,
        "os": about.system,
        "arch": about.architecture,
        "cpu": about.cpu,
        "num_cpu": str(about.cores),
        "ram": str(about.memory),
        "gpu": about.gpu,
        "blas": about.blas,
    }
    history = History(
        machines={machine: Machine(machine, fields)}, commits=[Commit(file.stem, date)]
    )
    lost: dict[str, list[str]] = defaultdict(list)
    for row in saved.rows:
        case = "" if row.case in PLAIN else f"_{row.case}"
        benchmark = f"bench.track_{row.kernel}{case}"
        history.param_names[benchmark], history.units[benchmark] = AXES, "seconds"
        for result in row.results:
            if result.status != "ok":
                lost[f"results that are {result.status}: {result.backend}"].append(benchmark)
            elif result.way != "call":
                lost[f"results not of plain calls, but {result.way}"].append(benchmark)
            elif result.median is None or result.median <= 0 or min(result.seconds, default=1) <= 0:
                lost["results without a time above 0"].append(benchmark)
            else:
                params = (result.backend, row.dtype, str(row.size))
                history.measurements.append(
                    Measurement(
                        *(machine, file.stem, benchmark, params, result.median),
                        *interval(result),
                        tuple(result.seconds),
                    )
                )
    history.problems = [
        Problem(file.name, why, len(names), tuple(sorted(set(names))))
        for why, names in lost.items()
    ]
    history.problems += [Problem(file.name, text) for text in saved.skipped]
    return history


def interval(result: Result) -> tuple[float, float]:
    """Give the 99 percent interval of the median, from the ranks of the rounds as asv does."""
    ordered = sorted(result.seconds)
    count, below = len(ordered), 0.0
    low, high = -math.inf, math.inf
    for rank, seconds in enumerate(ordered):
        below += math.comb(count, rank) / 2**count
        if below <= 0.005:
            low = seconds
        if below >= 0.995:
            high = seconds
            break
    return low, high
