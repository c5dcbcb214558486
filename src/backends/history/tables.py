"""What the page shows, as CSV, Markdown and JSON."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

import msgspec

from backends.history.data import gather
from backends.history.findings import Change, Findings
from backends.history.standings import Standing, Winner, largest

__all__ = ["as_csv", "as_json", "as_markdown"]

#: Lines of a Markdown table: it is for people.
MOST = 50
#: What Markdown may take for more than the character: of emphasis, code, links, HTML, tables.
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|!#~&])")


def as_csv(found: Findings) -> str:
    """Give every backend's speedup, a line each, with the interval.

    Examples
    --------
    >>> from backends.history.data import History
    >>> from backends.history.findings import find
    >>> as_csv(find(History()))[:21]
    'machine,kernel,benchm'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Standing._fields)
    writer.writerows(found.standings)
    return text.getvalue()


def as_json(found: Findings) -> bytes:
    """Give all that the page shows but for the series over commits: asv's own files have them.

    Of these it has the changes, those of the speedups too.
    """
    content = {
        "machines": [each.fields for each in found.machines.values()],
        "commits": [each._asdict() for each in found.commits],
        **{
            name: [each._asdict() for each in rows]
            for name, rows in (
                ("speedups", found.standings),
                ("winners", found.winners),
                ("crossovers", found.crossovers),
                ("changes", found.changes),
                ("roofline", found.points),
                ("ceilings", found.roofs),
            )
        },
        "problems": [{"where": each.where, "reason": each.text} for each in found.problems],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def as_markdown(found: Findings, title: str) -> str:
    """Give what a person wants to see first: winners, crossovers, what became slower."""
    parts = [f"# {_plain(title)}"]
    for dtype in dict.fromkeys(each.dtype for each in found.winners):
        rows = [each for each in largest(found.winners) if each.dtype == dtype]
        parts += [f"## The fastest backend, {dtype}, largest size", _matrix(rows)]
    crossed = [
        (each.machine, each.kernel, each.dtype, each.below, each.above, f"{each.size:,.2g}")
        for each in found.crossovers
    ]
    head = ("Machine", "Kernel", "Dtype", "Up to there", "From there", "Size, about")
    parts += ["## Where the fastest changes", _table(head, crossed)]
    worse = sorted(found.changes, key=lambda each: -each.ratio)
    for quantity, heading, times in (
        ("value", "What became slower, or larger", "Times the old"),
        ("speedup", "Which speedups became less", "Times less"),
    ):
        changed = [_change(each) for each in worse if each.quantity == quantity and each.ratio > 1]
        heads = (times, "Benchmark", "Backend", "Dtype", "Size", "Since", "Machine")
        parts += [f"## {heading}", _table(heads, changed)]
    fields = [
        (each.name, key, value)
        for each in found.machines.values()
        for key, value in each.fields.items()
        if key != "machine" and value
    ]
    parts += ["## The machines", _table(("Machine", "Field", "Value"), fields, len(fields))]
    left_out = [(each.where, each.text) for each in gather(found.problems)]
    parts += ["## What was left out", _table(("Where", "Why"), left_out)]
    return "\n\n".join(parts) + "\n"


def _change(each: Change) -> tuple[str, ...]:
    size = f"{each.size:,}" if each.size else ""
    named = (each.benchmark, each.label, each.dtype, size, each.commit[:8], each.machine)
    return (f"{each.ratio:.2f}", *named)


def _matrix(rows: Sequence[Winner]) -> str:
    machines = list(dict.fromkeys(each.machine for each in rows))
    cells = {(each.kernel, each.machine): each for each in rows}
    lines = []
    for kernel in dict.fromkeys(each.kernel for each in rows):
        mine = [cells.get((kernel, machine)) for machine in machines]
        lines.append((kernel, *map(_cell, mine)))
    return _table(("Kernel", *machines), lines, len(lines))


def _cell(each: Winner | None) -> str:
    if each is None:
        return "-"
    return each.backend if each.speedup <= 1 else f"{each.backend} {each.speedup:.3g}x"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], most: int = MOST) -> str:
    rows = list(rows)
    if not rows:
        return "Nothing."
    lines = [head, ["---"] * len(head), *rows[:most]]
    text = "\n".join("| " + " | ".join(map(_plain, line)) + " |" for line in lines)
    more = len(rows) - most
    return text if more <= 0 else f"{text}\n\n{more:,} more are in the JSON file beside this one."


def _plain(text: str) -> str:
    """Make text that Markdown takes for nothing else, in a table's cell."""
    return " ".join(SPECIAL.sub(r"\\\1", text).split())
