"""Files of the user's: where they are, and written whole or not at all."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["data_folder", "try_folder", "write_whole"]


def data_folder(name: str) -> str:
    """Give the user's folder for files of one kind; it need not exist.

    No Path: the import of pathlib would be a fifth of what `backends run` takes to start.
    """
    if sys.platform == "linux":
        # As platformdirs has it, whose import would be a third of what `backends run` takes.
        base = os.environ.get("XDG_DATA_HOME", "")
        if not os.path.isabs(base):  # noqa: PTH117
            base = os.path.expanduser("~/.local/share")  # noqa: PTH111 - where there is no home, too
        return os.path.join(base, "array-backends", name)  # noqa: PTH118
    import platformdirs

    folder = platformdirs.user_data_dir("array-backends", appauthor=False)
    return os.path.join(folder, name)  # noqa: PTH118


def try_folder(folder: Path) -> None:
    """Make a file in `folder` and delete it: better to fail before the work than after.

    Raises
    ------
    OSError
        It cannot be written; the message names the folder.
    """
    temporary = _beside(folder / "try")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(folder)) from None
    temporary.unlink()


def write_whole(file: Path, content: bytes) -> None:
    """Write to a temporary file beside `file`, then rename it.

    Raises
    ------
    OSError
        The disk is full, say. What was in `file` before is still there.
    """
    temporary = _beside(file)
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(file: Path) -> Path:
    import secrets  # here, as above

    # Not by the process's number, which in containers comes again.
    return file.with_name(f".{file.name}.{secrets.token_hex(8)}")
