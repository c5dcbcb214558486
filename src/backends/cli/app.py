"""All commands of ``backends``, as typer shows and reads them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from backends.cli import bench, choose, history, machine, page, run, tune

__all__ = ["app"]

app = typer.Typer(
    name="backends",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="NumPy and SciPy kernels on pluggable backends: what there is, and how fast it is here.",
    epilog="Examples: `backends list`, `backends bench`, `backends run script.py`.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"backends {version('array-backends')}")
        raise typer.Exit


@app.callback()
def _options(
    wanted: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


app.command("list")(choose.list_command)
app.command("explain")(choose.explain_command)
app.command("bench")(bench.bench_command)
app.command("report")(page.report_command)
app.command("tune")(tune.tune_command)
app.command("compare")(history.compare_command)
app.command("check")(history.check_command)
app.command("export")(history.export_command)
app.command("machine")(machine.machine_command)


# run.main reads its arguments, --help too: typer would take from them what is the program's.
@app.command("run", context_settings={"ignore_unknown_options": True, "help_option_names": []})
def _run_command(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Run a program, unmodified, with NumPy and SciPy accelerated."""
    run.main(arguments or [])
