"""The command ``backends``: what there is, how fast it is here, which to choose, and running it."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    # Here and not above: a program under `backends run` must not wait for typer and rich.
    if sys.argv[1:2] == ["run"]:
        from backends.cli import run

        run.main(sys.argv[2:])
    else:
        from backends.cli.app import app

        app()
