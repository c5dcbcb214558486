"""The commands ``list`` and ``explain``: what there is to choose from, what is chosen, and why."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from backends import explanation, kernels, listing
from backends.cli.common import console, errors, notes, read_dtype, read_size

__all__ = ["explain_command", "list_command"]


def list_command() -> None:
    """List kernels and backends, and why a backend cannot run here.

    Example: `backends list`.
    """
    with errors(), notes():
        listing.show(console())


def explain_command(
    kernel: Annotated[str, typer.Argument(help="A kernel, as `backends list` names them.")],
    size: Annotated[
        str,
        typer.Option("--size", "-s", help="Elements, or the order of the matrices: `1e6`."),
    ],
    dtype: Annotated[
        str, typer.Option("--dtype", "-d", help="float64, float32, complex128.")
    ] = "float64",
    strided: Annotated[
        bool, typer.Option("--strided", help="Ask for arrays that are not contiguous.")
    ] = False,
) -> None:
    """Say which backend a call of KERNEL runs on, with how many jobs, and why.

    Tells where each setting came from, and what `backends tune` measured at the nearest size.
    From Python, with your own arrays: `backends.explain("sin", x)`.

    Examples: `backends explain sin --size 1e6`, `backends explain matmul --size 500 -d float32`.
    """
    with errors():
        found, count, kind = kernels.find(kernel), read_size(size), np.dtype(read_dtype(dtype))
        step = 2 if strided else 1
        try:
            # Never written to, and so never more than an address.
            arrays = [
                np.empty((count,) * max(core, 1) + (step,), kind)[..., 0] for core in found.core
            ]
        except (MemoryError, ValueError):
            raise ValueError(f"--size {size}: no array is as large here; give less") from None
        with notes():
            text = str(explanation.explain(found, *arrays))
        console().print(text, markup=False, soft_wrap=True)
