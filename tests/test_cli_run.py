"""`backends run` beside `python`: the same output, the same errors, the same end."""

from __future__ import annotations

import ast
import os
import py_compile
import re
import signal
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

from backends.accelerate import Count
from backends.cli import counts, run

#: What pip writes for the command.
LAUNCHER = """\
import sys
from backends.cli import main
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(main())
"""
#: The same, where the engine is not to be had.
REFUSING = (
    """\
import sys
import backends.accelerate
def refuse(*_, **__):
    raise RuntimeError("no engine here; install a compiler")
backends.accelerate.install = refuse
"""
    + LAUNCHER
)
posix = pytest.mark.skipif(os.name != "posix", reason="signals, forks and links as on POSIX")


@pytest.fixture
def ended(tmp_path):
    """Run Python in a folder of its own; give its status and what it printed, without addresses."""
    ours = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "XDG_DATA_HOME": str(tmp_path / "data"),  # nobody tuned
    }
    folder = tmp_path / "work"
    folder.mkdir()

    def end(*arguments: str, stdin: bytes = b"") -> SimpleNamespace:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, **ours},
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )
        out, err = (re.sub(rb"0x[0-9a-f]+", b"0x", text) for text in (done.stdout, done.stderr))
        return SimpleNamespace(status=done.returncode, out=out, err=err)

    end.folder = folder
    return end


@pytest.fixture
def uncounted(monkeypatch):
    """Count no lines: `make coverage` brings modules, handlers of signals and ends of its own."""
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "")


@pytest.fixture
def ours(ended, tmp_path):
    """Run `backends run` as its launcher does."""

    def end(*arguments: str, flags=(), launcher: str = LAUNCHER, stdin: bytes = b""):
        file = tmp_path / "bin" / "backends"
        file.parent.mkdir(exist_ok=True)
        file.write_text(launcher)
        return ended(*flags, str(file), "run", *arguments, stdin=stdin)

    end.folder = ended.folder
    return end


@pytest.fixture
def same(ended, ours):
    """Run a program under python and under us, make sure that they end alike; give the end."""

    def run_both(*arguments: str, flags=(), stdin: bytes = b""):
        expected = ended(*flags, *arguments, stdin=stdin)
        found = ours(*arguments, flags=flags, stdin=stdin)
        assert (found.status, found.out, found.err) == (expected.status, expected.out, expected.err)
        return found

    run_both.folder = ended.folder
    return run_both


SEES = """\
'''What it is about.'''
import sys, __main__
print(sys.argv, sys.path[:2], sys.flags)
print(list(globals()), __name__, __file__, __doc__, __package__, __cached__, type(__loader__))
print(__spec__ and (__spec__.name, __spec__.origin, __spec__.parent))
print(vars(__main__) is globals(), type(__builtins__), sys.modules['__main__'] is __main__)
def annotated(x: 1 + 1): pass
print(annotated.__annotations__)
"""

# Programs of one file: each prints, fails or ends as it may.
PROGRAMS = {
    "sees": SEES,
    "nothing": "",
    "no newline at the end": "print('x')",
    "windows lines": "print(1)\r\nprint('''a\r\nb''')\r\n",
    "main guard": "if __name__ == '__main__':\n    print('main')\n",
    "exit with text": "import sys\nsys.exit('text')\n",
    "exit with number": "import sys\nsys.exit(3)\n",
    "exit with none": "import sys\nsys.exit(None)\n",
    "exit with exception": "raise SystemExit(ValueError('x'))\n",
    "exit at once": "import os\nprint('lost')\nos._exit(5)\n",
    "quit": "quit(4)\n",
    "error": "def f(x):\n    return g(x)\ndef g(x):\n    return 1 / x\nf(0)\n",
    "chained": (
        "def f():\n    try:\n        {}['a']\n    except KeyError:\n        1 / 0\n"
        "try:\n    f()\nexcept Exception as e:\n    raise ValueError('b') from e\n"
    ),
    "group": (
        "def f():\n    raise TypeError('in f')\nerrors = []\n"
        "try:\n    f()\nexcept TypeError as e:\n    e.add_note('a note')\n    errors.append(e)\n"
        "raise ExceptionGroup('both', [*errors, OSError(2, 'x')])\n"
    ),
    "error without text": (
        "class Bad(Exception):\n    def __str__(self):\n        1 / 0\nraise Bad\n"
    ),
    "caught and printed": (
        "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()\n"
    ),
    "syntax error": "print('never')\nx = = 1\n",
    "indentation": "if 1:\nx = 1\n",
    "syntax error in eval": "eval('1 +')\n",
    "error of an import": "import no_such_module_at_all\n",
    "own hook": (
        "import sys, traceback\n"
        "def hook(kind, value, tb):\n"
        "    print('mine', kind.__name__, len(traceback.extract_tb(tb)))\n"
        "    print(value.__traceback__ is tb, tb.tb_frame.f_code.co_name)\n"
        "sys.excepthook = hook\n1 / 0\n"
    ),
    "hook that fails": (
        "import sys\ndef hook(*_):\n    raise ValueError('in the hook')\n"
        "sys.excepthook = hook\n1 / 0\n"
    ),
    "hook that exits": (
        "import sys\ndef hook(*_):\n    sys.exit(9)\nsys.excepthook = hook\n1 / 0\n"
    ),
    "hook called at exit": (
        "import atexit, sys\n"
        "@atexit.register\ndef late():\n    try:\n        {}[1]\n    except KeyError:\n"
        "        sys.excepthook(*sys.exc_info())\n1 / 0\n"
    ),
    "thread that fails": (
        "import threading\ndef f():\n    1 / 0\n"
        "t = threading.Thread(target=f, name='T')\nt.start(); t.join(); print('on')\n"
    ),
    "thread that outlives": (
        "import threading, time, atexit\natexit.register(print, 'at exit')\n"
        "def f():\n    time.sleep(0.2); print('thread done')\n"
        "threading.Thread(target=f).start()\nprint('end of main')\n"
    ),
    "at exit": (
        "import atexit\nfor n in range(3):\n    atexit.register(print, n)\n"
        "atexit.register(lambda: 1 / 0)\n"
    ),
    "deleted at the end": (
        "class C:\n    def __del__(self):\n        print('deleted', __name__)\nc = C()\n"
    ),
    "deletion that fails": (
        "class C:\n    def __del__(self):\n        raise ValueError('in del')\nC()\n"
    ),
    "interrupt": "raise KeyboardInterrupt\n",
    "warnings": (
        "import warnings\ndef f():\n    warnings.warn('caller', UserWarning, stacklevel=2)\n"
        "f()\nwarnings.warn('here', DeprecationWarning)\nwarnings.warn('not', ImportWarning)\n"
    ),
    "input": "import sys\nprint(input(), sys.stdin.read(), sys.stdout.isatty())\n",
    "pickle and source": (
        "import pickle, inspect, dataclasses, doctest\n"
        "@dataclasses.dataclass\nclass Point:\n    '''\n    >>> Point(1)\n    Point(x=2)\n    '''\n"
        "    x: int\n"
        "print(pickle.loads(pickle.dumps(Point(3))), Point.__module__)\n"
        "print(inspect.getsource(Point), doctest.testmod())\n"
    ),
    "numpy": (
        "import numpy as np\nx = np.linspace(-1, 1, 5)\n"
        "print(np.sin(x), x + x, np.log(x))\nnp.seterr(all='raise')\nnp.sqrt(x)\n"
    ),
    "joblib": (
        "from joblib import Parallel, delayed\ndef f(x):\n    return x * x\n"
        "if __name__ == '__main__':\n"
        "    print(Parallel(n_jobs=2)(delayed(f)(x) for x in range(4)))\n"
    ),
    "child process": (
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(__name__)'],"
        " capture_output=True))\n"
    ),
    "future of its own": (
        "from __future__ import annotations\ndef f(x: no_such): pass\nprint(f.__annotations__)\n"
    ),
}
ON_POSIX = {
    "terminated": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "interrupted": (
        "import atexit, os, signal, time\natexit.register(print, 'cleaned up')\n"
        "def work():\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(30)\nwork()\n"
    ),
    "handlers": (
        "import signal\nprint({s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGPIPE)})\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    ),
    "fork that exits": (
        "import atexit, os, sys\natexit.register(print, 'at exit', flush=True)\n"
        "if os.fork() == 0:\n    sys.exit(7)\nprint(os.wait()[1] >> 8)\n"
    ),
}
METHODS = ["spawn", "forkserver", "fork"] if os.name == "posix" else ["spawn"]
POOL = """\
import multiprocessing, sys
class Thing:
    pass
def f(x):
    return x * x, __name__, sys.argv[1:]
if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(pool.map(f, range(3)))
        print(pool.apply(type, (Thing(),)))
        pool.apply(divmod, (1, 0))
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_ends_as_under_python(same, name):
    (same.folder / "program.py").write_bytes(PROGRAMS[name].encode())
    same("program.py", stdin=b"one\ntwo\n")


@posix
@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize("name", ON_POSIX)
def test_signals_and_forks_are_as_under_python(same, name):
    (same.folder / "program.py").write_text(ON_POSIX[name])
    end = same("program.py")
    assert name != "interrupted" or end.status == -signal.SIGINT


@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize("method", METHODS)
def test_processes_of_multiprocessing_find_the_program(ended, ours, method):
    (ours.folder / "program.py").write_text(POOL.format(method=method))
    expected, found = ended("program.py", "a"), ours("program.py", "a")
    assert (found.status, found.out) == (expected.status, expected.out)
    assert b"ZeroDivisionError" in found.err  # the tracebacks of two workers may come mixed
    assert b"cli" not in found.err


@pytest.mark.parametrize(
    "arguments",
    [["--stats", "--mode", "fast", "-m", "x", "--help"], ["--", "-", "--n-jobs=x", ""]],
    ids=lambda arguments: arguments[0],
)
def test_arguments_after_the_program_are_the_programs(same, arguments):
    (same.folder / "program.py").write_text(SEES)
    (same.folder / "module.py").write_text(SEES)
    assert repr(arguments)[1:].encode() in same("program.py", *arguments).out
    assert repr(arguments)[1:].encode() in same("-m", "module", *arguments).out
    assert repr(arguments)[1:].encode() in same("-mmodule", *arguments).out


@pytest.mark.parametrize("name", ["./program.py", "folder/../program.py", ""])
def test_script_is_found_where_python_finds_it(same, name):
    (same.folder / "folder").mkdir()
    for folder in (same.folder, same.folder / "folder"):
        (folder / "program.py").write_text("import near\n" + SEES)
        (folder / "near.py").write_text("print(__file__)\n")
    same(name or str(same.folder / "program.py"))


@posix
def test_link_to_a_script(same):
    (same.folder / "folder").mkdir()
    (same.folder / "folder" / "program.py").write_text("import near\n" + SEES)
    (same.folder / "folder" / "near.py").write_text("print(__file__)\n")
    (same.folder / "link").symlink_to("folder/program.py")
    same("link")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-8"])
def test_encoding_of_a_script(same, encoding):
    cookie = "# -*- coding: latin-1 -*-\n" if encoding == "latin-1" else "\n"
    text = f"{cookie}import sys\nprint(ascii('äé'))\nraise ValueError(ascii('ö'))  # ü\n"
    (same.folder / "program.py").write_bytes(text.encode(encoding))
    assert rb"'\xe4\xe9'" in same("program.py").out


@pytest.mark.parametrize("flags", [["-O"], ["-P"], ["-W", "error"], ["-X", "dev"]], ids="".join)
def test_interpreters_flags_hold(same, flags):
    text = SEES + "assert 0, __debug__\nimport warnings\nwarnings.warn('x')\n"
    (same.folder / "program.py").write_text(text)
    same("program.py", flags=flags)


@pytest.mark.parametrize("name", ["nope.py", "nope/", "folder", ".", "-mnope"])
def test_what_is_not_there(same, name):
    (same.folder / "folder").mkdir()
    arguments = ["-m", name[2:]] if name.startswith("-m") else [name]
    end = same(*arguments)
    assert end.status == (2 if name.startswith("nope") else 1)


@pytest.mark.parametrize(
    "name",
    ["package", "package.inner", "package.fails", "package.wrong", "package.none", "package.empty"],
)
def test_modules(same, name):
    package = same.folder / "package"
    (package / "empty").mkdir(parents=True)
    (package / "empty" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("print('package', __name__)\n")
    (package / "__main__.py").write_text("from . import inner\n" + SEES)
    (package / "inner.py").write_text("from .  import empty\n" + SEES)
    (package / "fails.py").write_text("def f():\n    1 / 0\nf()\n")
    (package / "wrong.py").write_text("x = = 1\n")
    same("-m", name, "argument")


@pytest.mark.parametrize("name", ["folder", "folder/", "archive.zip", "program.pyc", "compiled"])
def test_folders_archives_and_compiled_files(same, name):
    (same.folder / "folder").mkdir()
    main = same.folder / "folder" / "__main__.py"
    main.write_text("import near\n" + SEES + "near.f()\n")
    (same.folder / "folder" / "near.py").write_text("def f():\n    1 / 0\n")
    if name == "archive.zip":
        with zipfile.ZipFile(same.folder / name, "w") as archive:
            archive.write(main, "__main__.py")
            archive.write(main.with_name("near.py"), "near.py")
    elif "compiled" in name or name.endswith(".pyc"):
        (same.folder / "near.py").write_text("def f():\n    1 / 0\n")
        py_compile.compile(str(main), cfile=str(same.folder / "program.pyc"))
        if name == "compiled":
            (same.folder / "program.pyc").rename(same.folder / name)
    same(name, "argument")


@pytest.mark.parametrize("program", [SEES, "print(input())\n", "def f():\n    1 / 0\nf()\n", "= 1"])
def test_program_from_standard_input(same, program):
    same("-", "argument", stdin=program.encode())


@posix
def test_pipe_that_nobody_reads(ended, ours):
    program = ours.folder / "program.py"
    program.write_text("for n in range(10**5):\n    print(n)\n")

    def end(*command: str):
        script = '"$@" | head -1; echo ${PIPESTATUS[0]}'
        done = subprocess.run(
            ["bash", "-c", script, "bash", sys.executable, *command],
            capture_output=True,
            timeout=120,
            check=False,
        )
        return done.stdout, done.stderr

    command = "from backends.cli import main; main()"
    expected = end(str(program))
    assert b"BrokenPipeError" in expected[1]
    assert end("-c", command, "run", str(program)) == expected


@pytest.mark.usefixtures("uncounted")
def test_nothing_heavy_is_imported(ours):
    (ours.folder / "program.py").write_text("import sys\nprint(sorted(sys.modules))\n")
    end = ours("program.py")
    heavy = {"typer", "rich", "click", "msgspec", "scipy", "argparse"}
    assert heavy & set(ast.literal_eval(end.out.decode())) == set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["SCRIPT", "-m", "--help"]),
        (["-m"], ["MODULE"]),
        (["--sums", "program.py"], ["--sums", "--help"]),
        (["--mode", "quick", "program.py"], ["--mode", "quick", "exact", "fast"]),
        (["--mode"], ["--mode", "--help"]),
        (["--n-jobs", "two", "program.py"], ["--n-jobs", "two", "-1"]),
        (["--n-jobs", "0", "program.py"], ["--n-jobs", "0"]),
    ],
)
def test_wrong_options_are_refused_before_the_program_runs(ours, arguments, words):
    (ours.folder / "program.py").write_text("print('ran')\n")
    end = ours(*arguments)
    assert (end.status, end.out) == (2, b"")
    text = end.err.decode()
    assert text.startswith("backends run: ")
    assert text.count("\n") == 1
    for word in words:
        assert word in text


def test_wrong_setting_is_refused(ours):
    (ours.folder / "program.py").write_text("print('ran')\n")
    (ours.folder / "backends.toml").write_text("n_jobs = 'many'\n")
    end = ours("program.py")
    assert (end.status, end.out) == (2, b"")
    assert b"backends.toml" in end.err


def test_program_runs_without_acceleration_and_says_so(ours):
    (ours.folder / "program.py").write_text("print('ran')\nraise SystemExit(3)\n")
    end = ours("program.py", launcher=REFUSING)
    assert (end.status, end.out.split()) == (3, [b"ran"])
    text = "backends run: no engine here; install a compiler; running without acceleration\n"
    assert end.err.decode() == text


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["--mode", "fast", "--help", "program.py"]]
)
def test_help_names_every_option(run_command, arguments):
    done = run_command("run", *arguments)
    assert done.returncode == 0
    for option in run.OPTIONS:
        assert re.search(rf"(\n  |, ){option}[ ,]", done.stdout)
    assert done.stdout == run.HELP


def test_command_is_listed(run_command):
    assert "Run a program, unmodified" in run_command("--help").stdout


# --stats


@pytest.mark.parametrize(
    ("program", "status"),
    [("", 0), ("raise ValueError('x')", 1), ("raise SystemExit('text')", 1)],
)
def test_stats_come_last_however_the_program_ends(ours, program, status):
    body = (
        "import atexit, sys, numpy as np\nnp.sin(np.ones(7))\n"
        "atexit.register(sys.stderr.write, 'at exit')\natexit.register(np.cos, np.ones(5))\n"
    )
    (ours.folder / "program.py").write_text(body + program)
    end = ours("--stats", "program.py")
    assert end.status == status
    text = end.err.decode()
    table = text[text.index("at exit") :]
    assert "function" in table
    assert {line.split()[0]: line.split()[1:3] for line in table.splitlines()[1:3]} == {
        "numpy.sin": ["1", "7"],
        "numpy.cos": ["1", "5"],
    }
    assert text.endswith(table)


@posix
def test_stats_are_of_the_program_and_not_of_its_forks(ours):
    (ours.folder / "program.py").write_text("import os\nif os.fork():\n    os.wait()\n")
    assert ours("--stats", "program.py").err.count(b"backends:") == 1


def test_stats_go_to_the_real_stderr_if_there_is_one(ours):
    program = "import io, sys\nsys.stderr = io.StringIO()\n"
    (ours.folder / "program.py").write_text(program)
    assert ours("--stats", "program.py").err
    (ours.folder / "program.py").write_text("import sys\nsys.stderr.close()\nsys.exit(3)\n")
    end = ours("--stats", "program.py")
    assert (end.status, end.err) == (3, b"")


COUNTS = [
    Count("numpy.add", 1200, 36_000, 0, {"few elements": 1198, "reduction": 2}, 0.001),
    Count("scipy.special.ndtri", 3, 30_000_000, 2, {"overlap": 1}, 1.25),
    Count("numpy.sin", 1, 10, 1, {}, 0.02),
]


def table(counted):
    return counts.table(counted, mode="fast", threads=2, seconds=2.542)


def test_table_has_most_time_first_a_total_and_every_reason():
    lines = table(COUNTS).splitlines()
    assert [line.split()[0] for line in lines] == [
        *("function", "scipy.special.ndtri", "numpy.sin", "numpy.add", "total", "backends:"),
    ]
    numbers = "scipy.special.ndtri 3 30,000,000 2 1.2500"
    assert " ".join(lines[1].split()) == f"{numbers} overlap: 1"
    assert lines[3].endswith("few elements: 1,198; reduction: 2")
    assert lines[4].split()[1:5] == ["1,204", "30,036,010", "3", "1.2710"]
    assert lines[4].endswith("few elements: 1,198; reduction: 2; overlap: 1")
    assert all(line == line.rstrip() for line in lines)
    assert "mode fast, at most 2 threads; the program took 2.54 seconds" in lines[5]


def test_table_adds_up_what_took_little_and_never_ran_parallel():
    few = [Count(f"numpy.f{i}", 10, 20, 0, {"too little work": 10}, 0.001) for i in range(3)]
    lines = table([*COUNTS, *few]).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["scipy.special.ndtri", "numpy.sin", "4"]
    assert lines[3].startswith("4 others ")
    assert lines[3].split()[2:4] == ["1,230", "36,060"]
    assert lines[3].endswith("few elements: 1,198; too little work: 30; reduction: 2")


def test_table_is_aligned():
    lines = table(COUNTS).splitlines()
    for cell in ("1,200", "3", "1,204"):
        rows = lines[1:-1]
        ends = {line.index(cell, 19) + len(cell) for line in rows if f" {cell} " in line[:30]}
        assert ends == {lines[0].index("calls") + len("calls")}


def test_table_says_why_nothing_ran_parallel():
    last = table(COUNTS[:1]).splitlines()[-1]
    assert "nothing ran parallel" in last
    assert "few elements" in last
    assert "nothing ran" not in table(COUNTS)


def test_table_without_calls_says_so():
    assert "no function" in table([])


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "OMP_THREAD_LIMIT"])
def test_stats_tell_limits_of_the_environment(ours, monkeypatch, variable):
    program = "import numpy as np\nfor i in range(5):\n    np.sin(np.ones(1_000_000))\n"
    (ours.folder / "program.py").write_text(program)
    monkeypatch.setenv(variable, "1")
    end = ours("--stats", "program.py")
    sines = next(line for line in end.err.decode().splitlines() if line.startswith("numpy.sin"))
    assert sines.endswith("one thread allowed: 5")
