"""Files of the user's: where they are, and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["beside", "data_folder", "write_whole"]


def data_folder(name: str) -> Path:
    """Give the user's folder for files of one kind; it need not exist."""
    import platformdirs  # here: `import backends` must cost no more than `import numpy`

    return Path(platformdirs.user_data_dir("array-backends", appauthor=False)) / name


def beside(file: Path) -> Path:
    """Give the temporary file of this process that becomes `file`."""
    return file.with_name(f".{file.name}.{os.getpid()}")


def write_whole(file: Path, content: bytes) -> None:
    """Write to a temporary file beside `file`, then rename it.

    Raises
    ------
    OSError
        The disk is full, say. What was in `file` before is still there.
    """
    temporary = beside(file)
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
