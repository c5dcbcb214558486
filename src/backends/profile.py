"""The tuned profile: from which size on which backend wins on this machine.

``backends tune`` measures and writes it, backend ``auto`` chooses by it, and a person may read and
edit it: a TOML file in the user's data folder, named after the machine and the versions that it
is for. Beside it, as JSON, lie the times that it was made from, for ``backends explain``.
"""

# Over 300 lines: a person edits the file, and each mistake has a message with its line.
from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from backends import catalogue, files, kernels, machine, measurements
from backends.errors import suggest
from backends.measurements import Point
from backends.position import DTYPES, LAYOUTS, Position

__all__ = [
    "Choice",
    "Found",
    "Key",
    "Profile",
    "ProfileError",
    "current",
    "fingerprint",
    "folder",
    "path",
    "read",
    "write",
]

#: Raised with every change that an older reader would misunderstand.
SCHEMA = 1
MODES = ("exact", "fast")
HEAD = """\
# Which backend array-backends chooses on this machine where backend is "auto", which it is where
# nothing else is chosen. Measured by `backends tune`; edit it as you like, or delete the file to
# be without it. Each line: from so many elements on (single matrices: from that order), this
# backend with so many jobs; below the first size, and for what is not here, numpy. [fast...] holds
# for mode "fast" and needs only what differs from [exact...]. The last line must stay the last.
"""


#: What follows where a profile cannot be used.
UNTIL = (
    "Until it is mended, or `backends tune` has made another, numpy is the default, "
    "and auto is cautious"
)
#: The last line: a file that was cut short between two lines is no other profile.
END = "# end"


class ProfileError(ValueError):
    """A profile cannot be used; the message names the file and the line."""


class Choice(NamedTuple):
    """From `start` on (elements, or the order of single matrices): a backend and its jobs."""

    start: int
    backend: str
    n_jobs: int


class Key(NamedTuple):
    """What a list of choices is for."""

    mode: str
    dtype: str
    layout: str
    kernel: str


class Profile(NamedTuple):
    """What a file says.

    Attributes
    ----------
    choices : mapping of Key to sequence of Choice
        By rising `start`; numpy below the first.
    """

    path: Path
    created: str
    machine: Mapping[str, str | int]
    choices: Mapping[Key, Sequence[Choice]]

    def find(self, mode: str, kernel: str, place: Position) -> tuple[Key, Sequence[Choice]] | None:
        """Give the line that is for a call, or None; mode "fast" has what "exact" has and more."""
        for how in dict.fromkeys((mode, "exact")):
            key = Key(how, place.dtype, place.layout, kernel)
            if key in self.choices:
                return key, self.choices[key]
        return None


class Found(NamedTuple):
    """The machine's profile, or why there is none; both empty where nobody ever tuned."""

    profile: Profile | None
    problem: str = ""


def fingerprint() -> dict[str, str | int]:
    """Give what a profile depends on.

    Examples
    --------
    >>> sorted(fingerprint())
    ['array_backends', 'blas', 'cores', 'cpu', 'gpu', 'numpy', 'scipy']
    """
    here = machine.describe()
    names = ("cpu", "cores", "gpu", "blas", "numpy", "scipy", "array_backends")
    found = {name: getattr(here, name) for name in names}
    # The release, so that a profile outlives the commits on the way to it.
    found["array_backends"] = found["array_backends"].partition(".dev")[0]
    return found


def folder() -> Path:
    """Give the user's folder for profiles."""
    return Path(files.data_folder("profiles"))


def path() -> Path:
    """Give the file for this machine; there may be none yet."""
    here = fingerprint()
    text = msgspec.json.encode(here, order="sorted")
    name = re.sub(r"[^a-z0-9]+", "-", str(here["cpu"]).lower()).strip("-")[:40]
    return folder() / f"{name}-{here['cores']}-{hashlib.sha256(text).hexdigest()[:8]}.toml"


@cache
def current() -> Found:
    """Read this machine's profile, once."""
    place = folder()
    try:
        others = sorted(place.glob("*.toml"), key=lambda file: file.stat().st_mtime)
        if not others:
            return Found(None)
    except OSError as error:
        return Found(None, f"{place} cannot be read: {error}")
    try:
        if path() in others:
            return Found(read(path()))
        text = others[-1].read_text(encoding="utf-8")
        changes = _changes(tomllib.loads(text)["machine"]) or "a file of another name"
    except ProfileError as error:
        return Found(None, f"{error}. {UNTIL}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        changes = "another machine"
    return Found(
        None,
        f"the tuned profile {others[-1]} is for {changes}: it is kept and not used. {UNTIL}",
    )


def read(file: Path) -> Profile:
    """Read a profile.

    Raises
    ------
    ProfileError
        It is no profile, was made for another machine, or says what has no meaning; the message
        has the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise ProfileError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ProfileError(f"{file} is no text: {error}") from None
    except (ValueError, RecursionError) as error:  # has the line, but for endless numbers and lists
        raise ProfileError(f"{file} is no TOML, or cut short: {error}") from None
    lines = _Lines(file, text)
    if not text.rstrip().endswith(END):
        raise ProfileError(
            f"{file}, line {max(len(text.splitlines()), 1)}: it is cut short, or something stands "
            f"after its last line, which must be {END!r}"
        )
    schema, created, made_on = (content.pop(key, None) for key in ("schema", "created", "machine"))
    if schema != SCHEMA:
        raise lines.error(
            f"schema {schema!r} is not {SCHEMA}, which this version reads", "", "schema"
        )
    if not isinstance(created, str):
        raise lines.error(f"created must be a text, not {created!r}", "", "created")
    if not isinstance(made_on, dict):
        raise lines.error("there is no table [machine]", "")
    changes = _changes(made_on)
    if changes:
        different = next(k for k, v in fingerprint().items() if made_on.get(k) != v)
        raise lines.error(f"it is for {changes}", "machine", different)
    choices: dict[Key, Sequence[Choice]] = {}
    for mode, dtypes in content.items():
        _known(lines, "", mode, MODES, "mode")
        for dtype, layouts in _table(lines, mode, dtypes).items():
            _known(lines, mode, dtype, DTYPES, "dtype")
            for layout, table in _table(lines, f"{mode}.{dtype}", layouts).items():
                _known(lines, f"{mode}.{dtype}", layout, LAYOUTS, "layout")
                where = f"{mode}.{dtype}.{layout}"
                for kernel, steps in _table(lines, where, table).items():
                    _known(lines, where, kernel, kernels.every(), "kernel")
                    key = Key(mode, dtype, layout, kernel)
                    choices[key] = _choices(lines, where, kernel, steps)
    return Profile(file, created, made_on, choices)


def write(
    created: str, choices: Mapping[Key, Sequence[Choice]], points: Sequence[Point]
) -> Profile:
    """Write this machine's profile and its measurements, each whole or not at all.

    Parameters
    ----------
    created : str
        Time, in both files: measurements of another run are not taken for this one's.
    choices : mapping of Key to sequence of Choice
        All of them; what was in the file before is replaced.
    points : sequence of Point
        All that was measured.

    Raises
    ------
    OSError
        The folder cannot be written; what was there before still is.
    """
    file, here = path(), fingerprint()
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = [HEAD, f"schema = {SCHEMA}\ncreated = {_quoted(created)}\n\n[machine]\n"]
    parts += [f"{k} = {v if isinstance(v, int) else _quoted(v)}\n" for k, v in here.items()]
    table = None
    for key in sorted(choices, key=_order):
        if key[:3] != table:
            table = key[:3]
            parts.append(f"\n[{'.'.join(table)}]\n")
        steps = ", ".join(
            f"{{ from = {c.start}, backend = {_quoted(c.backend)}, n_jobs = {c.n_jobs} }}"
            for c in choices[key]
        )
        parts.append(f"{key.kernel} = [{steps}]\n")
    parts.append(f"\n{END}\n")
    measurements.write(file, created, points)
    files.write_whole(file, "".join(parts).encode())
    current.cache_clear()
    return Profile(file, created, here, choices)


def _order(key: Key) -> tuple[Any, ...]:
    return MODES.index(key.mode), key.dtype, LAYOUTS.index(key.layout), key.kernel


def _quoted(text: str | int) -> str:
    # JSON's strings are TOML's basic strings.
    return msgspec.json.encode(text).decode()


def _changes(made_on: Mapping[str, Any]) -> str:
    """Say what the machine of a profile had that this one has not."""
    return ", ".join(
        f"{name} {made_on.get(name)!r} (here {here!r})"
        for name, here in fingerprint().items()
        if made_on.get(name) != here
    )


class _Lines:
    """Finds the line of a value, which the TOML parser does not tell."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._numbers: dict[tuple[str, str], int] = {}
        table = ""
        for number, line in enumerate(text.splitlines(), start=1):
            if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
                table = re.sub(r"[\s\"']", "", header[1])
                self._numbers.setdefault((table, ""), number)
            elif value := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line):
                self._numbers.setdefault((table, value[1]), number)

    def error(self, text: str, table: str, key: str = "") -> ProfileError:
        """Give an error that names the file and the line, or the nearest table above."""
        inner = f"{table}.{key}".strip(".")
        found = [
            line
            for (name, value), line in self._numbers.items()
            if (name, value) == (table, key) or (not value and f"{name}.".startswith(f"{inner}."))
        ]
        number = min(found, default=None) if inner else None
        where = f", line {number}" if number else ""
        return ProfileError(f"{self._file}{where}: {text}")


def _known(lines: _Lines, table: str, name: str, valid: Iterable[str], what: str) -> None:
    if name not in valid:
        raise lines.error(suggest(name, valid, what=what), table, name)


def _table(lines: _Lines, name: str, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        table, _, key = name.rpartition(".")
        raise lines.error(f"{name} must be a table, not {content!r}", table, key)
    return content


def _choices(lines: _Lines, table: str, kernel: str, steps: Any) -> tuple[Choice, ...]:
    example = '[{ from = 10000, backend = "openmp", n_jobs = 2 }], or [] for numpy'
    wrong = lines.error(f"{kernel} must look like {example}, not {steps!r}", table, kernel)
    if not isinstance(steps, list):
        raise wrong
    choices: list[Choice] = []
    for step in steps:
        if not isinstance(step, dict) or set(step) != {"from", "backend", "n_jobs"}:
            raise wrong
        start, backend, n_jobs = step["from"], step["backend"], step["n_jobs"]
        if type(start) is not int or start < 0 or type(n_jobs) is not int or n_jobs < 1:
            raise wrong
        if not isinstance(backend, str) or backend == "auto" or not catalogue.locate(backend):
            hint = suggest(backend, set(catalogue.names()) - {"auto"}, what="backend")
            raise lines.error(f"{kernel}: {hint}", table, kernel)
        if choices and start <= choices[-1].start:
            text = f"{kernel}: from = {start} must be more than the {choices[-1].start} before it"
            raise lines.error(text, table, kernel)
        choices.append(Choice(start, backend, n_jobs))
    return tuple(choices)
