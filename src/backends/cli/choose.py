"""The command ``list``: what there is to choose from."""

from __future__ import annotations

from backends import listing
from backends.cli.common import console, errors

__all__ = ["list_command"]


def list_command() -> None:
    """List kernels and backends, and why a backend cannot run here.

    Example: `backends list`.
    """
    with errors():
        listing.show(console())
