"""Floating-point errors of workers, reported once and in the caller.

NumPy raises, warns or stays silent about a division by zero as ``numpy.errstate`` says *in the
thread that computes*. A worker therefore only notes what happened, and the caller, who knows what
the user asked for, reports it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from backends.errors import users_level

__all__ = ["noted", "report", "special_errors_wanted"]

# NumPy's order and words, by the key under which numpy.errstate holds what to do.
ERRORS = {
    "divide": "divide by zero",
    "over": "overflow",
    "under": "underflow",
    "invalid": "invalid value",
}


@contextmanager
def noted() -> Iterator[set[str]]:
    """Collect the floating-point errors of a block instead of reporting them.

    Examples
    --------
    >>> with noted() as errors:
    ...     _ = np.log([0.0, 1.0])
    >>> errors
    {'divide by zero'}
    """
    errors: set[str] = set()
    with np.errstate(all="call", call=lambda error, flag: errors.add(error)):
        yield errors


def report(errors: set[str], function: str) -> None:
    """Report `errors` as NumPy would have done here, in the name of `function`.

    Raises
    ------
    FloatingPointError
        Where ``numpy.errstate`` asks for exceptions.
    """
    if not errors:
        return
    todo: dict[str, str] = dict(np.geterr())  # type: ignore[arg-type]
    for key, words in ERRORS.items():
        if words in errors:
            _report(todo[key], f"{words} encountered in {function}", words)


def special_errors_wanted() -> bool:
    """Tell whether ``scipy.special.errstate`` asks for warnings or exceptions here.

    SciPy keeps that setting, and raises, in the thread that computes: only there can it be obeyed.
    """
    special = sys.modules.get("scipy.special")
    if special is None:
        return False
    wanted = special.geterr()
    wanted.pop("memory", None)  # an exception in every thread, unless asked otherwise
    return set(wanted.values()) != {"ignore"}


def _report(action: str, message: str, words: str) -> None:
    handler: Any = np.geterrcall()
    if action == "raise":
        raise FloatingPointError(message)
    if action == "warn":
        warnings.warn(message, RuntimeWarning, stacklevel=users_level())
    elif action == "print":
        sys.stderr.write(f"Warning: {message}\n")
    elif action == "call":
        handler(words, 1 << list(ERRORS.values()).index(words))
    elif action == "log":
        handler.write(f"Warning: {message}\n")
