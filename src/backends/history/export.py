"""One run's results in the forms that other tools read."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from backends.history.data import Commit, History, HistoryError, Machine, Measurement

__all__ = ["FORMATS", "export"]

#: What other tools compare, less being better.
UNITS = ("seconds", "bytes")


def export(history: History, form: str, *, machine: str | None, commit: str | None) -> str:
    """Give the newest run, or that of a machine and a commit, as text.

    Parameters
    ----------
    form : str
        One of `FORMATS`.
    machine, commit : str or None
        The machine's name, and the hash of the commit, whole.

    Raises
    ------
    HistoryError
        There is no such run, or it must be said which.
    """
    order = {each.hash: index for index, each in enumerate(history.commits)}
    runs = {
        (each.machine, each.commit)
        for each in history.measurements
        if machine in (None, each.machine)
        and commit in (None, each.commit)
        and history.units[each.benchmark] in UNITS
    }
    names = sorted({name for name, _ in runs})
    if len(names) > 1:
        raise HistoryError(f"there are several machines: give --machine {' or '.join(names)}")
    if not names:
        raise HistoryError("there are no results of this machine and commit: run `asv run` for it")
    run = max(runs, key=lambda each: order[each[1]])
    chosen = [
        each
        for each in history.measurements
        if (each.machine, each.commit) == run and history.units[each.benchmark] in UNITS
    ]
    about = history.machines[run[0]]
    return FORMATS[form](history, chosen, about, history.commits[order[run[1]]])


def _github(
    history: History, chosen: Sequence[Measurement], machine: Machine, commit: Commit
) -> str:
    """Give what github-action-benchmark reads as tool "customSmallerIsBetter"."""
    content = []
    for each in chosen:
        entry = {"name": _name(each), "unit": history.units[each.benchmark], "value": each.value}
        if each.low is not None and each.high is not None:
            entry["range"] = f"{each.low:.4g} to {each.high:.4g}"
        entry["extra"] = f"{machine.name}, commit {commit.hash[:8]}"
        content.append(entry)
    return _dump(content)


def _pytest(
    history: History, chosen: Sequence[Measurement], machine: Machine, commit: Commit
) -> str:
    """Give what pytest-benchmark writes, and reads with ``pytest-benchmark compare``."""
    when = datetime.fromtimestamp(commit.date / 1000, UTC).isoformat()
    benchmarks = []
    for each in chosen:
        if history.units[each.benchmark] != "seconds" or not each.samples:
            continue  # it knows times only, and makes its columns of their samples
        names = history.param_names[each.benchmark]
        benchmarks.append(
            {
                "group": _group(history, each),
                "name": _name(each),
                "fullname": _name(each),
                "params": dict(zip(names, each.params)),
                "param": "-".join(each.params),
                "extra_info": {},
                "options": {"timer": "perf_counter"},
                "stats": _stats(each.samples),
            }
        )
    if not benchmarks:
        raise HistoryError("pytest-benchmark's form needs samples: run asv with --record-samples")
    cpu = {"brand_raw": machine.fields.get("cpu", ""), "count": machine.fields.get("num_cpu", "")}
    return _dump(
        {
            "machine_info": {**machine.fields, "node": machine.name, "cpu": cpu},
            "commit_info": {"id": commit.hash, "time": when, "dirty": False},
            "benchmarks": benchmarks,
            "datetime": when,
            "version": "5.0.0",
        }
    )


def _group(history: History, each: Measurement) -> str:
    """Name what is compared with one another: backends of one kernel, dtype and size."""
    kernel = history.kernel_of(each.benchmark)
    return " ".join((kernel, *each.params[1:])) if kernel else each.benchmark


def _name(each: Measurement) -> str:
    return f"{each.benchmark}[{'-'.join(each.params)}]" if each.params else each.benchmark


def _stats(samples: Sequence[float]) -> dict[str, Any]:
    """Give pytest-benchmark's columns."""
    ordered = sorted(samples)
    mean, count = statistics.fmean(ordered), len(ordered)
    spread = statistics.stdev(ordered) if count > 1 else 0.0
    middle = statistics.median(ordered)
    first, _, third = (
        statistics.quantiles(ordered, method="inclusive") if count > 1 else (mean,) * 3
    )
    low, high = first - 1.5 * (third - first), third + 1.5 * (third - first)
    far = sum(abs(x - mean) > spread for x in ordered)
    out = sum(not low <= x <= high for x in ordered)
    inside = [x for x in ordered if low <= x <= high]
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": spread,
        "rounds": count,
        "median": middle,
        "iqr": third - first,
        "q1": first,
        "q3": third,
        "iqr_outliers": out,
        "stddev_outliers": far,
        "outliers": f"{far};{out}",
        "ld15iqr": inside[0],
        "hd15iqr": inside[-1],
        "ops": 1 / mean,
        "total": sum(ordered),
        "data": list(samples),
        "iterations": 1,
    }


def _dump(content: object) -> str:
    # Infinity, as an open end of an interval, is no JSON.
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


#: Name of a form, and what makes it.
FORMATS: dict[str, Callable[[History, Sequence[Measurement], Machine, Commit], str]] = {
    "github-action-benchmark": _github,
    "pytest-benchmark": _pytest,
}
