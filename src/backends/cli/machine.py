"""The command ``machine``: what this machine is, shown, and recorded for asv."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from backends.backend import count_jobs
from backends.bench import ceilings, fingerprint
from backends.cli.common import console, errors, note

__all__ = ["machine_command"]

#: Seconds that measuring the ceilings takes, about.
SECONDS = 10.0


def machine_command(
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Measure the ceilings too: bandwidth of caches and memory, rate of a product of "
            "matrices (10 seconds). What is recorded is kept until the next time.",
        ),
    ] = False,
    name: Annotated[
        bool,
        typer.Option(
            "--name", help='Print the name only: `asv run --machine "$(backends machine --name)"`.'
        ),
    ] = False,
) -> None:
    """Show what this machine is, and record it in asv's file `~/.asv-machine.json`.

    The record has the same fields on every machine, no host name and no path. asv begins a new
    series of results where a field changes.

    Examples: `backends machine`, `backends machine --measure`.
    """
    with errors():
        found = fingerprint.UNMEASURED
        if measure:
            found = fingerprint.ceilings_text(ceilings.measure(count_jobs(-1), SECONDS))
        file = fingerprint.asv_file()
        fields, others = fingerprint.record(fingerprint.fingerprint(found), file)
    out = console()
    if name:
        out.print(fields["machine"], markup=False, soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key in fingerprint.FIELDS:
        # As it is: what is kept from the file may have brackets, which would be styles.
        table.add_row(key, Text(fields[key]))
    out.print(table)
    out.print(f"recorded for asv: {file}", style="dim", markup=False, soft_wrap=True)
    if others:
        # With one machine in the file, asv takes it; of several, that with the host's name.
        note(f"the file has other machines too: run asv with --machine {fields['machine']}")
