"""The command ``report``: a saved bench again, or the page of what asv measured over commits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backends import files
from backends.bench import record, report
from backends.cli.bench import DeviceOnly
from backends.cli.common import console, errors, note
from backends.collector import uncollected
from backends.history import asv, drawing, tables
from backends.history.findings import find
from backends.history.page import Bundle, left_out, page

__all__ = ["report_command"]

TITLE = "Backends over machines and commits"
#: What stands beside the page.
BESIDE = (".csv", ".md", ".json")


def report_command(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of asv's results; or a file saved by `backends bench`, the newest if "
            "none is given.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Of a folder: the page; CSV, Markdown and JSON stand beside it."
        ),
    ] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Of a folder: where the figures go as SVG and PNG, too."),
    ] = None,
    device_only: DeviceOnly = False,
) -> None:
    """Print a saved bench again, or make one HTML page of what asv measured.

    Examples: `backends report`, `backends report results.json --device-only`,
    `backends report results/ -o report.html --figures figures/`.
    """
    with errors():
        if source is not None and _is_folder(source):
            _write(source, output, figures)
        else:
            saved = record.read(source or record.latest())
            report.show(saved, console(), device_only=device_only)


def _is_folder(source: Path) -> bool:
    """Say whether a folder is meant, also one that is not there: a saved bench has a suffix."""
    return source.is_dir() or not (source.exists() or source.suffix)


def _write(source: Path, output: Path, figures: Path | None) -> None:
    """Make the page and what goes with it."""
    _must_be_free(output)
    with Bundle() as bundle, uncollected():
        found = find(asv.read(source, samples_of=()))
        text = page(found, bundle.read(), TITLE)
    files.write_whole(output, text.encode())
    files.write_whole(output.with_suffix(".csv"), tables.as_csv(found).encode())
    files.write_whole(output.with_suffix(".md"), tables.as_markdown(found, TITLE).encode())
    files.write_whole(output.with_suffix(".json"), tables.as_json(found))
    if figures is not None:
        drawing.draw(found, figures, lambda name: note(f"drawing {name}"))
    if found.problems:
        note(f"{left_out(found.problems)}; the end of the page says what and why")
    others = ", ".join(BESIDE)
    console(stderr=True).print(f"saved: {output} (and {others})", style="dim", soft_wrap=True)


def _must_be_free(output: Path) -> None:
    """Refuse to replace what is no report: ``-o results.html`` beside someone's results.json."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--output {output}: give a file that ends in .html")
    if output.is_dir():
        raise ValueError(f"--output {output} is a folder: give the name of a file in it")
    files.try_folder(output.resolve().parent)
    for suffix in BESIDE:
        file = output.with_suffix(suffix)
        if file.exists() and not output.exists():
            raise ValueError(f"{file} is there already: choose another name with --output")
