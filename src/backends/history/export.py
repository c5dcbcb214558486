"""One run's results in the forms that other tools read, and as tables."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from backends.history.data import Commit, History, HistoryError, Machine, Measurement
from backends.history.ratios import BASELINE, Ratio, Row, ratio, rows

__all__ = ["FORMATS", "export"]

#: Columns of a table, by which CSV and JSON name them.
COLUMNS = (
    *("machine", "commit", "kernel", "backend", "dtype", "size", "seconds", "low", "high"),
    *("speedup", "speedup_low", "speedup_high", "verdict"),
)


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
        if machine in (None, each.machine) and commit in (None, each.commit)
    }
    names = sorted({name for name, _ in runs})
    if len(names) > 1:
        raise HistoryError(f"there are several machines: give --machine {' or '.join(names)}")
    if not names:
        raise HistoryError("there are no results of this machine and commit: run `asv run` for it")
    run = max(runs, key=lambda each: order[each[1]])
    chosen = [each for each in history.measurements if (each.machine, each.commit) == run]
    about = history.machines[run[0]]
    return FORMATS[form](history, chosen, about, history.commits[order[run[1]]])


def _table(history: History, chosen: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Give a line for each row that times a kernel."""
    found = dict(rows(history, chosen))
    lines = []
    for row, each in found.items():
        base = found.get(row._replace(backend=BASELINE))
        speedup = ratio(base, each) if base and row.backend != BASELINE else None
        values = (
            *(each.machine, each.commit, *row, each.value, each.low, each.high),
            *(speedup or (None, None, None, "")),
        )
        lines.append(dict(zip(COLUMNS, values, strict=True)))
    return lines


def _csv(history: History, chosen: Sequence[Measurement], machine: Machine, commit: Commit) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_table(history, chosen))
    return out.getvalue()


def _json(history: History, chosen: Sequence[Measurement], machine: Machine, commit: Commit) -> str:
    content = {
        "machine": dict(machine.fields),
        "commit": commit._asdict(),
        "rows": _table(history, chosen),
        "left_out": [problem._asdict() for problem in history.problems],
    }
    return _dump(content)


def _markdown(
    history: History, chosen: Sequence[Measurement], machine: Machine, commit: Commit
) -> str:
    lines = [
        f"Commit {commit.hash[:8]} on {machine.name}: times the speed of {BASELINE}.",
        "",
        "| kernel | dtype | size | backend | time | speedup | 99% interval | verdict |",
        "|---|---|--:|---|--:|--:|--:|---|",
    ]
    found = dict(rows(history, chosen))
    for row, each in sorted(found.items(), key=lambda item: _order(item[0])):
        base = found.get(row._replace(backend=BASELINE))
        speedup: Sequence[str] = ("", "", "")
        if base and row.backend != BASELINE:
            speedup = _words(ratio(base, each))
        cells = (row.kernel, row.dtype, row.size, row.backend, _time(each.value), *speedup)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _order(row: Row) -> tuple[str, str, float, str]:
    size = float(row.size) if row.size.isdigit() else 0.0
    return row.kernel, row.dtype, size, row.backend


def _words(found: Ratio) -> tuple[str, str, str]:
    return f"{found.value:.2f}", f"{found.low:.2f} to {found.high:.2f}", found.verdict


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


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
    "csv": _csv,
    "github-action-benchmark": _github,
    "json": _json,
    "markdown": _markdown,
    "pytest-benchmark": _pytest,
}
