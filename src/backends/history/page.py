"""The report as one HTML file: figures, filters and tables, and nothing that would be fetched."""

from __future__ import annotations

import base64
import html
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from types import TracebackType
from typing import IO, Any

import msgspec
import numpy as np

from backends.history import figures
from backends.history.data import SKIPPED, Machine, Problem, gather
from backends.history.findings import Findings
from backends.history.ratios import BASELINE

__all__ = ["Bundle", "left_out", "page"]

#: Reasons for which something was left out that are listed; the JSON beside the page has all.
MOST_REASONS = 200
#: Commits of each machine, the newest, of which the page has the intervals of speedups: those of
#: all would be larger than all else.
INTERVALS = 50
#: Machines whose fields are shown without being asked for.
MOST_OPEN = 3
#: Prints Vega, Vega-Lite and Vega-Embed as one script.
PRINT_BUNDLE = """
import sys, vl_convert
sys.stdout.buffer.write(vl_convert.javascript_bundle(vl_version="VERSION").encode())
"""


class Bundle:
    """Vega's script, which a process of its own makes while results are read.

    It takes seconds and 150 MB, during which no other thread of a process could run.

    Raises
    ------
    HistoryError
        Altair or vl-convert is not installed; the message has the command.
    """

    def __enter__(self) -> Bundle:
        program = PRINT_BUNDLE.replace("VERSION", figures.vega_lite_version())
        self._output: IO[bytes] = tempfile.TemporaryFile()  # a pipe would fill, and stop it
        self._process = subprocess.Popen([sys.executable, "-c", program], stdout=self._output)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.wait()
        self._output.close()

    def read(self) -> str:
        """Wait for the script."""
        if self._process.wait():
            raise RuntimeError("vl-convert could not make Vega's script; its error is above")
        self._output.seek(0)
        return self._output.read().decode()


def page(findings: Findings, bundle: str, title: str) -> str:
    """Give the page.

    Parameters
    ----------
    findings : Findings
        What it shows.
    bundle : str
        Vega's script, from :class:`Bundle`.
    title : str
        Its heading.
    """
    static = files("backends.history") / "static"
    template = Template((static / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        summary=html.escape(_summary(findings)),
        style=_palettes() + (static / "page.css").read_text(encoding="utf-8"),
        script=(static / "page.js").read_text(encoding="utf-8"),
        bundle=bundle,
        data=_within_script(_data(findings)),
        values="\n".join(_values(findings)),
        intervals=INTERVALS,
        environment=_environment(findings),
        problems=_problems(findings.problems),
    )


def _summary(found: Findings) -> str:
    counts = [
        _counted(len(found.machines), "machine"),
        _counted(len(found.commits), "commit"),
        _counted(sum(len(table.series) for table in found.tables.values()), "series"),
    ]
    text = f"{', '.join(counts)}."
    if found.commits:
        newest = found.commits[-1]
        date = datetime.fromtimestamp(newest.date / 1000, UTC).date()
        text += f" The newest commit is {newest.hash[:8]} of {date}."
    return f"{text} {left_out(found.problems)}: see the end."


def left_out(problems: Sequence[Problem]) -> str:
    """Count what was left out.

    Examples
    --------
    >>> left_out([Problem("a/1.json", "is cut short"), Problem("a/2.json", SKIPPED, 4, ("sin",))])
    'Left out: 1 problem, 4 skipped results'
    """
    skipped = sum(each.results for each in problems if each.reason == SKIPPED)
    others = sum(each.reason != SKIPPED for each in problems)
    return f"Left out: {_counted(others, 'problem')}, {_counted(skipped, 'skipped result')}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("s" if count != 1 and not what.endswith("s") else "")


def _data(found: Findings) -> bytes:
    """Give what the script reads, but for the series."""
    return msgspec.json.encode(
        {
            "baseline": BASELINE,
            "backends": found.backends,
            "labels": found.labels,
            "commits": found.commits,
            "kernels": found.kernels,
            "units": found.units,
            "factors": figures.FACTORS,
            "figures": figures.describe(found.labels),
            "themes": {name: figures.theme(name) for name in figures.PALETTES},
            "tables": {
                machine: {
                    "id": index,
                    "commits": table.commits,
                    "intervals": min(INTERVALS, len(table.commits)),
                    "series": [(*each.group, each.label) for each in table.series],
                }
                for index, (machine, table) in enumerate(found.tables.items())
            },
            "speedups": _records(found.standings),
            "winners": _records(found.winners),
            "crossovers": _records(found.crossovers),
            "changes": _records(found.changes),
            "points": _records(found.points),
            "roofs": _records(found.roofs),
        }
    )


def _records(rows: Sequence[Any]) -> dict[str, Any]:
    """Give rows with their columns' names said once."""
    return {"columns": rows[0]._fields if rows else (), "rows": rows}


def _values(found: Findings) -> Iterator[str]:
    """Give two script elements a machine: the values of its series, and intervals of speedups."""
    for index, (machine, table) in enumerate(found.tables.items()):
        ends = found.speedups[machine][1:, :, -INTERVALS:]
        for name, values in (("values", table.values), ("intervals", ends)):
            yield f'<script type="text/plain" id="{name}-{index}">{_packed(values)}</script>'


def _packed(values: Any) -> str:
    """Give the upper three bytes of each float32, rounded, as text.

    A relative error of 1.6e-5 at most, where measurements are never so exact, and two thirds of
    what JSON's shortest digits would take.
    """
    whole = np.ascontiguousarray(values).view(np.uint32) + 0x80
    upper = whole.astype(">u4").view(np.uint8).reshape(-1, 4)
    return base64.b64encode(upper[:, :3].tobytes()).decode()


def _within_script(text: bytes) -> str:
    """Make JSON safe to stand in a script element, which only its end tag or a comment ends."""
    return text.decode().replace("<", "\\u003c")


def _palettes() -> str:
    """Give the colours of both themes as CSS variables: the system's, unless the reader chose."""
    rules = {}
    for name, palette in figures.PALETTES.items():
        shades = {f"shade-{i}": shade for i, shade in enumerate(figures.SHADES[name])}
        rules[name] = "".join(f"--{key}:{value};" for key, value in {**palette, **shades}.items())
        rules[name] += f"color-scheme:{name};"
    return (
        f":root{{{rules['light']}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{rules['dark']}}}}}\n"
        f':root[data-theme="light"]{{{rules["light"]}}}\n'
        f':root[data-theme="dark"]{{{rules["dark"]}}}\n'
    )


def _environment(found: Findings) -> str:
    # A few are read, many looked up.
    opened = " open" if len(found.machines) <= MOST_OPEN else ""
    return "\n".join(_machine(machine, opened) for machine in found.machines.values())


def _machine(machine: Machine, opened: str) -> str:
    fields = "".join(
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>"
        for key, value in machine.fields.items()
        if key != "machine" and value
    )
    name = html.escape(machine.name)
    heading = f"<summary><strong>{name}</strong></summary>"
    return f"<details{opened}>{heading}<dl>{fields}</dl></details>"


def _problems(problems: Sequence[Problem]) -> str:
    if not problems:
        return "<p>Nothing: every result that was found is in this report.</p>"
    reasons = gather(problems)
    rows = "".join(
        f"<tr><td><code>{html.escape(each.where)}</code></td><td>{html.escape(each.text)}</td></tr>"
        for each in reasons[:MOST_REASONS]
    )
    said = left_out(problems)
    if len(reasons) > MOST_REASONS:
        said += f". The first {MOST_REASONS} of {len(reasons):,} reasons are listed"
    return (
        f"<p>{said}. The JSON beside this page names each file.</p>"
        '<div class="wide" tabindex="0" role="region" aria-labelledby="left-out">'
        '<table class="reasons" aria-labelledby="left-out">'
        '<thead><tr><th scope="col">Where</th><th scope="col">Why</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
