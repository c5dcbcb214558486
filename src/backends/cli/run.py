"""The command ``run``: a program as ``python`` would run it, with NumPy and SciPy accelerated.

* What the program sees is what ``python SCRIPT`` or ``python -m MODULE`` shows it: ``sys.argv``,
  ``sys.path``, ``__main__``; and so is what others see of it: output, traceback, exit status.
* Only above its own frames is there something else: ours.
* What is not needed is not imported, typer and rich above all: start-up is paid at each run.
"""

# Paths are strings here, made as Python itself makes them: a Path would drop a "./".
# ruff: noqa: PTH100, PTH109, PTH117, PTH118, PTH120
from __future__ import annotations

import atexit
import builtins
import contextlib
import getopt
import io
import os
import runpy
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from importlib.util import MAGIC_NUMBER
from types import ModuleType, TracebackType
from typing import NamedTuple, NoReturn

# Not "from backends import accelerate": the façade would look for a kernel of this name first, and
# import SciPy for it.
from backends.accelerate import count, counts, install, installed
from backends.accelerate.threads import jobs
from backends.errors import UnknownNameError

__all__ = ["HELP", "OPTIONS", "main"]

#: The options, as documents may show them.
OPTIONS = ("--mode", "--n-jobs", "--stats", "-m", "-h", "--help")
VALUED = ("--mode", "--n-jobs")
MODES = ("exact", "fast")
REFUSED = 2

HELP = """\
Usage: backends run [OPTIONS] SCRIPT [ARGS]...
       backends run [OPTIONS] -m MODULE [ARGS]...

Run a program, unmodified, with NumPy and SciPy accelerated, as from a first line
"import backends; backends.install()". Apart from that it is as under python: its arguments,
output, tracebacks, signals and exit status.

Options, before SCRIPT or -m; what follows these belongs to the program:
  --mode MODE   exact: NumPy's loops on several cores, every bit as without (the default, unless
                the configuration says another).
                fast: SIMD functions too, which may differ in the last digits.
  --n-jobs N    Threads at most; -1: every core that this process may use.
  --stats       After the program, print on stderr, by function: calls, elements, calls that ran
                parallel, why the others did not, and the time in them, of all threads together.
  -m            Run a module, as python -m does.
  -h, --help    Show this.

SCRIPT may be a file, a folder or zip file that has a __main__.py, or - for standard input.

Processes that the program starts run plain Python, unless they are forks: call
backends.install() in them. Where acceleration is refused, the reason is said on stderr and
the program runs without.

Examples:
  backends run script.py input.npy --output result.npy
  backends run --mode fast --n-jobs 4 --stats script.py
  backends run --stats -m package.module
"""


class Request(NamedTuple):
    """What the command line asks for."""

    mode: str | None
    n_jobs: int | None
    stats: bool
    module: bool
    program: list[str]


def main(arguments: list[str]) -> None:
    """Run the program that `arguments` name, and end as it ends."""
    request = _read(arguments)
    # Before anything is imported that remembers it, as multiprocessing does.
    sys.modules["__main__"] = _main_module()
    # A file that is not there is said before anything is installed.
    start = _module(request.program) if request.module else _file(request.program)
    if request.stats:
        count(True)
    _install(request)
    if request.stats:
        # Registered first, called last: what the program does at its exit is counted.
        atexit.register(_print_counts, os.getpid(), time.perf_counter())
    _run(start)


def _refuse(text: str) -> NoReturn:
    sys.stderr.write(f"backends run: {text}\n")
    raise SystemExit(REFUSED)


def _read(arguments: list[str]) -> Request:
    try:
        pairs, program = getopt.getopt(
            _parted(arguments), "hm", ["mode=", "n-jobs=", "stats", "help"]
        )
    except getopt.GetoptError as error:
        _refuse(f"{error}; `backends run --help` lists the options")
    options = dict(pairs)
    if "--help" in options or "-h" in options:
        sys.stdout.write(HELP)
        raise SystemExit
    if not program:
        _refuse("name a SCRIPT, or -m and a MODULE; `backends run --help` has examples")
    mode, n_jobs = options.get("--mode"), options.get("--n-jobs")
    if mode is not None and mode not in MODES:
        _refuse(f"--mode {mode}: give {' or '.join(MODES)}")
    try:
        threads = None if n_jobs is None else int(n_jobs)
        if threads == 0:
            raise ValueError
    except ValueError:
        _refuse(f"--n-jobs {n_jobs}: give a whole number, for example 2, or -1 for every core")
    return Request(mode, threads, "--stats" in options, "-m" in options, program)


def _parted(arguments: list[str]) -> list[str]:
    """Part -mMODULE, which Python takes, into -m and MODULE."""
    place = 0
    while place < len(arguments) and arguments[place].startswith("--") and arguments[place] != "--":
        place += 2 if arguments[place] in VALUED else 1
    first = arguments[place] if place < len(arguments) else ""
    if first.startswith("-m") and first != "-m":
        return [*arguments[:place], "-m", first[2:], *arguments[place + 1 :]]
    return arguments


def _install(request: Request) -> None:
    try:
        install(request.mode, request.n_jobs)
    except (ValueError, UnknownNameError) as error:
        _refuse(str(error))  # a setting is wrong, here or in the configuration
    except RuntimeError as error:
        # The program is the user's and runs; that it runs as ever must not go unseen.
        sys.stderr.write(f"backends run: {error}; running without acceleration\n")


def _module(program: list[str]) -> Callable[[], object]:
    sys.argv[:] = ["-m", *program[1:]]
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()
    # What python -m itself calls: messages and frames are the same.
    return partial(runpy._run_module_as_main, program[0])  # type: ignore[attr-defined]


def _file(program: list[str]) -> Callable[[], object]:
    sys.argv[:] = program
    name = program[0]
    path = _absolute(name)
    if name != "-" and _has_modules(path):
        if not sys.flags.safe_path:
            del sys.path[0]
        sys.path.insert(0, path)
        return partial(runpy._run_module_as_main, "__main__", alter_argv=False)  # type: ignore[attr-defined]
    if not sys.flags.safe_path:
        sys.path[0] = "" if name == "-" else os.path.dirname(os.path.realpath(path))
    if name == "-":
        return partial(_run_source, sys.stdin.buffer.read(), "<stdin>")
    try:
        with io.open_code(path) as file:
            return partial(_run_source, file.read(), path)
    except OSError as error:
        sys.stderr.write(
            f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}\n"
        )
        raise SystemExit(REFUSED) from None


def _absolute(path: str) -> str:
    # As Python makes __file__, on POSIX with ".." left in.
    if os.name == "nt" or path == ".":
        return os.path.abspath(path)
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)


def _has_modules(path: str) -> bool:
    """Say whether modules can be imported from `path`: a folder, a zip file."""
    for hook in sys.path_hooks:
        with contextlib.suppress(ImportError):
            hook(path)
            return True
    return False


def _main_module() -> ModuleType:
    """Give ``__main__`` as it is when Python starts, without what the launcher left in it."""
    module = ModuleType("__main__")
    names = vars(module)
    if "__annotations__" in vars(sys.modules["__main__"]):  # not since Python 3.14
        names["__annotations__"] = {}
    names.update(__builtins__=builtins, __loader__=BuiltinImporter)
    return module


def _run(start: Callable[[], object]) -> None:
    try:
        start()
    except SystemExit:
        raise
    except BaseException as error:
        _hide_our_frames(error)
        raise


def _run_source(source: bytes, path: str) -> None:
    names = vars(sys.modules["__main__"])
    names.update(__file__=path, __cached__=None)
    if path.endswith(".pyc") or source.startswith(MAGIC_NUMBER):
        names["__loader__"] = SourcelessFileLoader("__main__", path)
        code = names["__loader__"].get_code("__main__")
    else:
        if path != "<stdin>":
            names["__loader__"] = SourceFileLoader("__main__", path)
        # This module's `from __future__` is not the program's.
        code = compile(source, path, "exec", dont_inherit=True)
    exec(code, names)


def _hide_our_frames(error: BaseException) -> None:
    """Have the traceback of `error`, which will end the program, begin with the program."""
    # The frames that call this one join the traceback later: it is cut when it is shown.
    hook = sys.excepthook

    def show(kind: type[BaseException], value: BaseException, at: TracebackType | None) -> None:
        if value is error:
            while at is not None and at.tb_frame.f_globals is not globals():
                at = at.tb_next  # the launcher
            while at is not None and at.tb_frame.f_globals is globals():
                at = at.tb_next
            value.__traceback__ = at
        try:
            hook(kind, value, at)
        except BaseException as failure:  # shown by Python as the hook's: not with this frame
            if failure.__traceback__ is not None:
                failure.__traceback__ = failure.__traceback__.tb_next
            raise

    sys.excepthook = show


def _print_counts(process: int, start: float) -> None:
    seconds = time.perf_counter() - start
    if os.getpid() != process:
        return  # a fork of the program that ends by itself
    from backends.cli.counts import table

    settings = installed()
    mode = "none" if settings is None else settings.mode
    text = table(counts(), mode=mode, threads=jobs(), seconds=seconds)
    # What the program printed comes first. Who closed the other end of a pipe wants no table.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        # Not sys.stderr, which the program may have replaced.
        sys.__stderr__.write(text)  # type: ignore[union-attr]
