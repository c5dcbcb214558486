"""What the pages take from the package: the kernels, the reference, the commands.

A line ``<!-- made.py: name -->`` in a page becomes what the function of that name gives, which is
Markdown as MyST reads it. A new kernel, backend, public name, command or option is on the pages
with nothing else touched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

import backends
from backends import catalogue, kernels
from backends.backend import Backend
from backends.cli import run
from backends.cli.app import app as command_line
from backends.kernel import Kernel

__all__ = ["PARTS", "setup", "with_parts"]

#: Order of the matrices whose operations and bytes are counted.
ORDER = 100
#: A line of a page that becomes a part.
PLACE = re.compile(r"^<!-- made\.py: (\w+) -->$", re.M)


def kernel_tables() -> str:
    """Give a table for each family of kernels, and say who has them all."""
    bounds, engines = _fast_bounds(), _engines()
    every = list(kernels.every().values())
    whole = [name for name, engine in engines.items() if all(_has(engine, k) for k in every)]
    some = {name: engine for name, engine in engines.items() if name not in whole}
    lines = [f"These backends have every kernel: {_code(whole)}.", ""]
    for family, group in groupby(every, key=lambda kernel: kernel.family):
        lines += [f"## {family.capitalize()}", "", *_table(group, some, bounds), ""]
    return "\n".join(lines)


def kernel_reference() -> str:
    """Give what each kernel's docstring says."""
    lines = []
    for family, group in groupby(kernels.every().values(), key=lambda kernel: kernel.family):
        lines += [f"## {family.capitalize()}", ""]
        for kernel in group:
            lines += _documented("function", kernel.name)
    return "\n".join(lines)


def reference() -> str:
    """Give what the docstrings of all other public names say."""
    found: dict[str, list[str]] = {"function": [], "class": [], "exception": []}
    for name in backends.__all__:
        thing = getattr(backends, name)
        if not isinstance(thing, type):
            if not isinstance(thing, Kernel):
                found["function"].append(name)
        else:
            found["exception" if issubclass(thing, Exception) else "class"].append(name)
    lines = []
    for kind, heading in zip(found, ("Functions", "Classes", "Exceptions")):
        lines += [f"## {heading}", ""]
        for name in found[kind]:
            lines += _documented(kind, name)
    return "\n".join(lines)


def commands() -> str:
    """Give the help of each command."""
    lines = []
    for name, command in get_command(command_line).commands.items():  # type: ignore[attr-defined]
        lines += [f"## backends {name}", ""]
        if name == "run":  # it reads its arguments itself
            lines += ["```text", run.HELP.rstrip(), "```", ""]
            continue
        context = typer.Context(command, info_name=f"backends {name}")
        lines += ["```text", command.get_usage(context), "```", "", command.help, ""]
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None:
                what, meaning = (re.sub(r"\s+", " ", text).strip() for text in record)
                lines += [f"`{what}`", f": {meaning or 'Show this.'}", ""]
    return "\n".join(lines)


#: What can be asked for.
PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part for part in (kernel_tables, kernel_reference, reference, commands)
}


def with_parts(text: str) -> str:
    """Put the parts into a page where it asks for them."""
    return PLACE.sub(lambda found: PARTS[found[1]](), text)


def setup(app: Any) -> dict[str, Any]:
    """Be an extension of Sphinx."""

    def fill(_app: Any, _page: str, source: list[str]) -> None:
        source[0] = with_parts(source[0])

    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _documented(kind: str, name: str) -> list[str]:
    members = ["   :members:"] if kind == "class" else []
    return ["```{eval-rst}", f".. auto{kind}:: backends.{name}", *members, "```", ""]


def _table(
    group: Iterable[Kernel], engines: dict[str, Backend], bounds: dict[str, float]
) -> Iterator[str]:
    yield "| kernel | dtypes | flops | bytes | tolerance | fast | also on |"
    yield "|---|---|--:|--:|--:|--:|---|"
    for kernel in group:
        case = next(iter(kernel.cases))
        arrays = kernel.inputs(case, ORDER, "float64")
        divisor = 1 if any(kernel.core) else ORDER
        flops = kernel.flops(*arrays) / divisor
        moved = kernel.bytes_moved(kernel.reference(*arrays), *arrays) / divisor
        cells = (
            f"{{py:func}}`{kernel.name} <backends.{kernel.name}>`",
            " ".join(kernel.dtypes),
            f"{flops:,.0f}",
            f"{moved:,.0f}",
            f"{kernel.tolerance:,.0f}",
            f"{bounds[kernel.name]:g}" if kernel.name in bounds else "",
            " ".join(name for name, engine in engines.items() if _has(engine, kernel)),
        )
        yield f"| {' | '.join(cells)} |"


def _engines() -> dict[str, Backend]:
    """Give a backend of each class that has kernels and says which without its library."""
    found: dict[str, Backend] = {}
    for name in catalogue.BUILT_IN:
        module, _, attribute = catalogue.BUILT_IN[name].partition(":")
        # Not made ready to compute: the libraries need not be here.
        engine = object.__new__(getattr(import_module(module), attribute))
        if name != "auto" and any(_has(engine, kernel) for kernel in kernels.every().values()):
            found[name] = engine
    return found


def _has(engine: Backend, kernel: Kernel) -> bool:
    try:
        return engine.supports(kernel) is True
    except AttributeError:  # cupy must be asked on a GPU
        return False


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _fast_bounds() -> dict[str, float]:
    """Give the errors in ULP to which ``benchmarks/accuracy.py`` holds the functions of ours."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    try:
        functions = import_module("accuracy").FUNCTIONS
    finally:
        del sys.path[0]
    return {name: function.bound for name, function in functions.items()}
