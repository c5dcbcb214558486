"""The command ``backends``: what there is, how fast it is here, and which to choose."""

from __future__ import annotations

import typer

from backends.cli import bench, choose, tune

__all__ = ["app", "main"]

app = typer.Typer(
    name="backends",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="NumPy and SciPy kernels on pluggable backends: what there is, and how fast it is here.",
    epilog="Examples: `backends list`, `backends bench`, `backends bench --help`.",
)
app.command("list")(choose.list_command)
app.command("explain")(choose.explain_command)
app.command("bench")(bench.bench_command)
app.command("report")(bench.report_command)
app.command("tune")(tune.tune_command)


def main() -> None:
    """Run the command line; errors that have a remedy are one line, not a traceback."""
    app()
