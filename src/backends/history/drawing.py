"""The page's figures as files: SVG and PNG, with a panel for each kernel."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from backends import files
from backends.history import figures
from backends.history.findings import Findings
from backends.history.standings import largest

__all__ = ["draw"]

#: Pixels of a panel, and how many stand beside each other.
WIDTH, HEIGHT, COLUMNS = 280, 180, 3
#: Commits in a figure, the newest; the page has all.
COMMITS = 60
#: Pixels of a PNG for one of the figure: sharp on any screen.
SCALE = 2.0
#: The dtype that is drawn, where it was measured.
DTYPE = "float64"

Rows = list[dict[str, Any]]


def draw(found: Findings, folder: Path, note: Callable[[str], None]) -> list[Path]:
    """Write the figures into a folder, which is made.

    Parameters
    ----------
    found : Findings
        What they show.
    folder : Path
        Where.
    note : callable
        Told the name of each figure before it is drawn, which takes a second or so.

    Returns
    -------
    list of Path
        The files.
    """
    import vl_convert

    version = figures.vega_lite_version()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, description in _figures(found):
        note(name)
        text = json.dumps(description)
        svg = vl_convert.vegalite_to_svg(text, vl_version=version)
        png = vl_convert.vegalite_to_png(text, vl_version=version, scale=SCALE)
        for suffix, content in ((".svg", svg.encode()), (".png", png)):
            file = folder / f"{name}{suffix}"
            files.write_whole(file, content)
            written.append(file)
    return written


def _figures(found: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
    described = figures.describe(found.labels, WIDTH)
    groups = (group for table in found.tables.values() for group, _ in table.series)
    dtypes = {group.dtype for group in groups if group.dtype}
    dtype = DTYPE if DTYPE in dtypes else min(dtypes, default="")
    best = [each._asdict() for each in largest(found.winners) if each.dtype == dtype]
    if best:
        yield "matrix", _filled(described["matrix"], best, f"The fastest backend, {dtype}")
    for machine in found.tables:
        parts = {
            "speedup": (_speedups(found, machine, dtype), f"Speedup, {dtype}"),
            "history": (_history(found, machine, dtype), f"Seconds by commit, {dtype}"),
            "roofline": (_roofline(found, machine, dtype), f"Roofline, {dtype}"),
        }
        for name, (rows, title) in parts.items():
            if rows:
                one = {**described[name], "width": COLUMNS * WIDTH}
                panels = one if name == "roofline" else _panels(described[name])
                slug = re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")
                drawn = _filled(panels, rows, f"{title}, on {machine}")
                _set(drawn, "commits", [each.hash for each in found.commits])
                shown = {row["label"] for row in rows if "label" in row}
                _set(drawn, "shown", [label for label in found.labels if label in shown])
                yield f"{name}-{slug}", drawn


def _filled(description: dict[str, Any], rows: Rows, title: str) -> dict[str, Any]:
    light = figures.PALETTES["light"]["background"]
    return {
        **description,
        "datasets": {figures.DATA: rows},
        "title": title,
        "background": light,
        "config": figures.theme("light"),
    }


def _set(description: dict[str, Any], name: str, value: Sequence[str]) -> None:
    params = description["params"]
    description["params"] = [
        {**each, "value": value} if each["name"] == name else each for each in params
    ]


def _panels(description: dict[str, Any]) -> dict[str, Any]:
    """Draw each kernel in a panel of its own."""
    own = {key: description[key] for key in ("$schema", "data", "params")}
    panel = {key: value for key, value in description.items() if key not in own}
    return {
        **own,
        "facet": {"field": "kernel", "title": None},
        "columns": COLUMNS,
        "spec": {**panel, "height": HEIGHT},
        "resolve": {"scale": {"y": "independent"}, "axis": {"x": "independent"}},
    }


def _speedups(found: Findings, machine: str, dtype: str) -> Rows:
    def mine(each: Any) -> bool:
        return bool(each.machine == machine and each.dtype == dtype)

    rows: Rows = [
        {"kind": "speedup", "label": each.backend, **each._asdict()}
        for each in found.standings
        if mine(each)
    ]
    return rows + [
        {"kind": "crossover", "words": f"{each.above} from {_short(each.size)}", **each._asdict()}
        for each in found.crossovers
        if mine(each)
    ]


def _short(size: float) -> str:
    """Give two digits of a size, as axes show it: 1.4k."""
    power = max(0, min(int(math.log10(size)) // 3, 3))
    return f"{float(f'{size:.2g}') / 1000**power:g}{['', 'k', 'M', 'G'][power]}"


def _history(found: Findings, machine: str, dtype: str) -> Rows:
    """Give the newest commits of each kernel at its largest size here."""
    table = found.tables[machine]
    sizes: dict[str, int] = {}
    for group, _ in table.series:
        if group.dtype == dtype:
            sizes[group.benchmark] = max(sizes.get(group.benchmark, 0), group.size)
    changed = {
        (each.benchmark, each.label, each.size, each.commit): each.ratio
        for each in found.changes
        if (each.quantity, each.machine, each.dtype) == ("value", machine, dtype)
    }
    rows: Rows = []
    for values, (group, label) in zip(table.values, table.series):
        if not dtype or group.dtype != dtype or group.size != sizes[group.benchmark]:
            continue
        for column in np.flatnonzero(values > 0)[-COMMITS:].tolist():
            at = table.commits[column]
            commit = found.commits[at]
            row = {
                "kernel": found.kernels[group.benchmark],
                "at": at,
                "label": label,
                "value": float(values[column]),
                "commit": commit.hash[:8],
                "date": str(datetime.fromtimestamp(commit.date / 1000, UTC).date()),
            }
            rows.append({"kind": "time", **row})
            ratio = changed.get((group.benchmark, label, group.size, commit.hash))
            if ratio is not None:
                rows.append({"kind": "change", "ratio": ratio, **row})
    return rows


def _roofline(found: Findings, machine: str, dtype: str) -> Rows:
    roofs = [each for each in found.roofs if (each.machine, each.dtype) == (machine, dtype)]
    if not roofs:
        return []
    points = [each for each in found.points if (each.machine, each.dtype) == (machine, dtype)]
    return [
        *({"kind": "roof", **each._asdict()} for each in roofs),
        *({"kind": "point", "label": each.backend, **each._asdict()} for each in points),
    ]
