"""What every command needs: where it prints, how options are read, how errors end it."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backends.declare import REAL_AND_COMPLEX
from backends.errors import BackendUnavailableError, UnknownNameError, suggest

__all__ = [
    "INTERRUPTED",
    "INVALID",
    "REFUSED",
    "console",
    "errors",
    "keep_what_is_done",
    "note",
    "notes",
    "progress_bar",
    "read_dtype",
    "read_size",
    "split",
]

#: Exit statuses: a result was wrong; the request or a file was; Ctrl-C (as shells report it).
INVALID, REFUSED, INTERRUPTED = 1, 2, 130


def keep_what_is_done() -> None:
    """Make a closed terminal and a polite kill Ctrl-C, which keeps what was measured."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def console(*, stderr: bool = False) -> Console:
    """Give where a command prints."""
    return Console(stderr=stderr, highlight=False)


def progress_bar() -> Progress:
    """Give a bar on stderr, which a terminal only sees, and no longer than the work lasts."""
    screen = console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )


def split(texts: Sequence[str] | None) -> list[str]:
    """Read an option that is repeated or has commas."""
    parts = (part.strip() for text in texts or () for part in text.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def read_size(text: str) -> int:
    """Read a number of elements, or an order.

    Raises
    ------
    ValueError
        It is no whole number from 1 on.
    """
    try:
        value = float(text.replace("_", ""))
        size = int(value)
    except (ValueError, OverflowError):
        raise ValueError(f"--size {text!r} is no number: give for example 1e6 or 2000") from None
    if size != value or size < 1:
        raise ValueError(f"--size {text!r}: give a whole number, at least 1")
    return size


def read_dtype(text: str) -> str:
    """Read the name of a dtype that kernels are timed in.

    Raises
    ------
    UnknownNameError
        There is no such dtype.
    """
    if text not in REAL_AND_COMPLEX:
        raise UnknownNameError(suggest(text, REAL_AND_COMPLEX, what="dtype"))
    return text


@contextmanager
def notes() -> Iterator[None]:
    """Print each warning once, as a line on stderr, when the block ends."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for text in dict.fromkeys(str(warning.message) for warning in caught):
                note(text)


def note(text: str) -> None:
    """Print what is worth knowing and no error, on stderr."""
    console(stderr=True).print(f"note: {text}", style="yellow", markup=False, soft_wrap=True)


@contextmanager
def errors() -> Iterator[None]:
    """Turn what the user can mend into one line on stderr and exit status 2."""
    try:
        yield
    except (UnknownNameError, BackendUnavailableError, ValueError, OSError) as error:
        text = error.args[0] if isinstance(error, LookupError) else str(error)
        console(stderr=True).print(f"backends: {text}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
