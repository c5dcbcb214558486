"""The kernels that come with the package: linear algebra, elementwise, special functions."""

from __future__ import annotations

from importlib import import_module

from backends.errors import UnknownNameError, suggest
from backends.kernel import REGISTERED, Kernel

__all__ = ["every", "find"]


def every() -> dict[str, Kernel]:
    """Give every kernel by name, ours first, then those defined by others."""
    # The special functions are imported here and not above: they need SciPy, `import backends`
    # does not.
    for module in ("linalg", "elementwise", "special"):
        import_module(f"backends.kernels.{module}")
    return dict(REGISTERED)


def find(name: str) -> Kernel:
    """Give one kernel by name.

    Raises
    ------
    UnknownNameError
        There is none; the message has the nearest name and the list.

    Examples
    --------
    >>> find("matmul").core
    (2, 2)
    """
    kernel = REGISTERED.get(name) or every().get(name)
    if kernel is None:
        raise UnknownNameError(suggest(name, every(), what="kernel"))
    return kernel
