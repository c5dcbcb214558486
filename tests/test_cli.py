from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from backends import config, kernels, listing, registry
from backends.bench import record

COMMAND = [sys.executable, "-c", "from backends.cli import main; main()"]
#: What makes rich and typer believe in a terminal, or in one of another size.
TERMINAL = ("COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE")
QUICK = ["--size", "1000", "--time", "0.1"]


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Give the environment of a user who has measured nothing yet."""
    return {
        **{name: value for name, value in os.environ.items() if name not in TERMINAL},
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONUTF8": "1",
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }


@pytest.fixture
def process(environment):
    """Run the command as a user does: in a process of its own, without a terminal."""

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env={**environment, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def here(environment, monkeypatch, run_command):
    """Run the command in this process, as this user."""
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.setenv("COLUMNS", "80")
    return run_command


@pytest.fixture
def plugin(tmp_path, environment):
    """Install a backend, as ``pip`` would, that is the given Python; give the changed path."""

    def install(**modules: str) -> str:
        site = tmp_path / "site"
        info = site / "others-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
        points = ["[array_backends]"]
        for name, source in modules.items():
            header = "from backends import Backend\n"
            (site / f"{name}_plugin.py").write_text(header + source)
            points.append(f"{name} = {name}_plugin:Engine")
        (info / "entry_points.txt").write_text("\n".join(points) + "\n")
        return os.pathsep.join([str(site), environment["PYTHONPATH"]])

    return install


def engine(name: str, body: str) -> str:
    return f"class Engine(Backend):\n    name = {name!r}\n" + "\n".join(
        f"    {line}" for line in body.splitlines()
    )


RIGHT = "def run(self, kernel, *arrays, out=None):\n    return kernel.reference(*arrays, out=out)\n"
WRONG = "def run(self, kernel, *arrays, out=None):\n    return kernel.reference(*arrays) + 1\n"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def refused(done, *words: str) -> None:
    """Make sure that the request was refused: status 2, one line that has all `words`."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr


# list


def test_list_shows_every_kernel_and_every_backend(here):
    done = here("list")
    assert done.returncode == 0
    words = done.stdout.split()
    for name in [*kernels.every(), "numpy", "threads", "joblib", "openmp"]:
        assert name in words


def test_list_says_what_is_chosen_and_where_that_was_said(here, tmp_path):
    (tmp_path / "backends.toml").write_text('backend = "threads"\n')
    # A path may be wrapped anywhere.
    assert f"'threads'(from{tmp_path}" in "".join(here("list").stdout.split())


def test_list_says_why_a_backend_cannot_run(process, plugin):
    reason = "no such card; install one"
    body = f"@classmethod\ndef unavailable(cls):\n    return {reason!r}\n"
    done = process("list", PYTHONPATH=plugin(card=engine("card", body + RIGHT)))
    assert done.returncode == 0, done.stderr
    assert f"no: {reason}" in done.stdout


@pytest.mark.parametrize(
    "source",
    [
        "import there_is_no_such_module",
        "Engine = 1",
        "raise SystemError('half installed')",
        engine("broken", "@classmethod\ndef unavailable(cls):\n    raise OSError('no licence')\n"),
        engine(
            "broken", "def __init__(self, n_jobs=-1):\n    raise OSError('no licence')\n" + RIGHT
        ),
        engine("broken", "def supports(self, kernel):\n    raise OSError('no licence')\n" + RIGHT),
    ],
    ids=["import", "no class", "raises", "unavailable", "constructor", "supports"],
)
def test_a_broken_plugin_hides_nothing_else(process, plugin, source):
    path = plugin(broken=source, fine=engine("fine", RIGHT))
    done = process("list", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    for name in [*kernels.every(), "joblib", "broken", "fine"]:
        assert name in words
    done = process("bench", "sin", *QUICK, "--json", PYTHONPATH=path)
    assert "Traceback" not in done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    statuses = {result["backend"]: result["status"] for result in row["results"]}
    assert (statuses["numpy"], statuses["fine"]) == ("ok", "ok")


# bench and report


def test_bench_saves_what_it_prints_and_report_prints_it_again(process, tmp_path):
    target = tmp_path / "f.json"
    done = process("bench", "sin", "--size", "1000", "--time", "0.2", "--output", str(target))
    assert done.returncode == 0, done.stderr
    assert f"saved: {target}" in done.stderr
    saved = record.read(target)
    assert saved.complete
    assert [row.kernel for row in saved.rows] == ["sin"]
    again = process("report", str(target))
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == done.stdout
    assert "sin" in again.stdout
    assert files(tmp_path) == [target]


def test_what_is_no_terminal_gets_no_escape_codes_and_lines_of_at_most_eighty(process):
    done = process("bench", "sin", "matmul", "--size", "64", "--time", "0.1")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_without_output_the_newest_results_are_kept_and_reported(here, tmp_path):
    first = here("bench", "sin", *QUICK)
    second = here("bench", "cos", *QUICK)
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(files(tmp_path)) == 2
    assert here("report").stdout == second.stdout


def test_sizes_dtypes_and_backends_are_repeated_or_with_commas(here):
    some = ["--size", "100,200", "--size", "3e2", "--dtype", "float32,float64"]
    done = here("bench", "sin", "cos", *some, "-b", "threads,joblib", "--time", "0.1", "--json")
    measured = json.loads(done.stdout)
    assert [(r["kernel"], r["dtype"], r["size"]) for r in measured["rows"]] == [
        (kernel, dtype, size)
        for kernel in ("sin", "cos")
        for dtype in ("float32", "float64")
        for size in (100, 200, 300)
    ]
    backends = [[x["backend"] for x in r["results"]] for r in measured["rows"]]
    assert backends == [["numpy", "threads", "joblib"]] * 12


def test_json_is_all_that_stdout_gets_and_what_the_file_holds(process, tmp_path):
    target = tmp_path / "f.json"
    done = process("bench", "sin", *QUICK, "--json", "--output", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout == target.read_text()

    def not_json(constant):
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(done.stdout, parse_constant=not_json)["schema"] == record.SCHEMA


@pytest.mark.parametrize("budget", ["inf", "1e999"])
def test_results_of_a_bench_without_time_limit_can_be_read_again(here, tmp_path, budget):
    target = tmp_path / "f.json"
    done = here("bench", "sin", "--size", "10", "-b", "numpy", "-t", budget, "-o", str(target))
    if done.returncode == 0:
        assert here("report", str(target)).stdout == done.stdout
    else:
        assert done.returncode == 2
        assert "--time" in done.stderr
        assert not target.exists()


def test_other_ways_are_timed_on_request_only(here, tmp_path):
    def ways(*arguments):
        done = here("bench", "sin", *QUICK, "-b", "threads", "--json", *arguments)
        (row,) = json.loads(done.stdout)["rows"]
        return [result["way"] for result in row["results"] if result["backend"] == "numpy"]

    assert ways() == ["call"]
    assert ways("--out") == ["call", "out"]
    assert ways("--cold") == ["call", "cold"]
    assert ways("--cold", "--out") == ["call", "out", "cold"]


def test_a_bench_says_what_the_machine_did_and_can_do(here):
    done = here("bench", "sin", *QUICK, "-b", "openmp", "--json")
    measured = json.loads(done.stdout)
    assert measured["conditions"]["cores"] >= 1
    assert measured["ceilings"]["n_jobs"] == measured["n_jobs"]
    (row,) = measured["rows"]
    assert row["noise"] >= 0
    assert all(result["ceiling"] > 0 for result in row["results"] if result["status"] == "ok")


def test_what_only_chooses_among_the_others_is_timed_when_named(here):
    def timed(*arguments):
        done = here("bench", "sin", *QUICK, "--json", *arguments)
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)["rows"]
        return {result["backend"] for result in row["results"]}

    assert "auto" not in timed()
    assert "auto" not in timed("--backend", "all")
    assert {"auto", "threads"} <= timed("--backend", "all,auto")
    assert {"auto", "numpy"} <= timed("--backend", "auto") <= {"numpy", "auto", "auto (fast)"}


def test_a_dtype_that_a_kernel_lacks_is_said_to_be_skipped(here):
    done = here("bench", "hypot", "sin", "--dtype", "complex128", *QUICK)
    assert done.returncode == 0
    assert "hypot has no complex128" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sinn"], ["'sinn'", "did you mean 'sin'"]),
        (["sin", "--backend", "thread"], ["'thread'", "did you mean 'threads'"]),
        (["sin", "--backend", "all,thread"], ["'thread'", "did you mean 'threads'"]),
        (["sin", "--dtype", "float46"], ["'float46'", "did you mean 'float64'"]),
        (["sin", "--size", "banana"], ["--size", "'banana'"]),
        (["sin", "--size", "0"], ["--size", "'0'"]),
        (["sin", "--size", "-5"], ["--size", "'-5'"]),
        (["sin", "--size", "1.5"], ["--size", "'1.5'"]),
        (["sin", "--size", "nan"], ["--size", "'nan'"]),
        (["sin", "--size", "inf"], ["--size", "'inf'"]),
        (["sin", "--size", "1e3,x"], ["--size", "'x'"]),
        (["sin", "--size", "1e15"], ["sin", "number of elements", "GB"]),
        (["svd", "--size", "1e9"], ["svd", "order of the matrices", "GB"]),
        (["svd", "--size", "1e300"], ["svd", "order of the matrices", "GB"]),
        (["sin", "--n-jobs", "0"], ["n_jobs=0", "-1"]),
        (["sin", "--n-jobs", "100000"], ["n_jobs=100000", "-1"]),
        (["sin", "--n-jobs", "0", "--backend", "numpy"], ["n_jobs=0", "-1"]),
    ],
    ids=" ".join,
)
def test_what_has_no_meaning_is_refused_and_nothing_is_written(here, tmp_path, arguments, words):
    target = tmp_path / "f.json"
    refused(here("bench", *arguments, "--time", "0.1", "--output", str(target)), *words)
    assert here("bench", *arguments, "--time", "0.1").returncode == 2
    assert files(tmp_path) == []


@pytest.mark.parametrize("arguments", [["--n-jobs", "two"], ["--time", "-1"], ["--time", "nan"]])
def test_options_that_are_no_numbers_are_refused(process, tmp_path, arguments):
    done = process("bench", "sin", *arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr
    assert files(tmp_path) == []


# files


@pytest.mark.parametrize("end", [0, 1, 500, -3])
def test_report_of_a_file_that_was_cut_short_names_it_and_leaves_it(here, tmp_path, end):
    target = tmp_path / "f.json"
    here("bench", "sin", *QUICK, "--output", str(target))
    cut = target.read_bytes()[:end]
    target.write_bytes(cut)
    refused(here("report", str(target)), str(target), "cut short")
    assert target.read_bytes() == cut


def test_report_of_no_file_says_what_to_do(here, tmp_path):
    refused(here("report", str(tmp_path / "none.json")), "none.json")
    refused(here("report"), "backends bench")
    assert files(tmp_path) == []


@pytest.fixture
def unmeasured(monkeypatch):
    """Make it an error to measure anything."""

    def measure(*arguments, **keywords):
        raise AssertionError("it was measured")

    monkeypatch.setattr("backends.bench.suite.measure", measure)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("content", ["my thesis\n", "", "{}", '{"schema": 1}'])
def test_a_file_of_something_else_is_not_replaced(here, tmp_path, content):
    target = tmp_path / "thesis.txt"
    target.write_text(content)
    refused(here("bench", "sin", *QUICK, "--output", str(target)), str(target))
    assert target.read_text() == content
    assert files(tmp_path) == [target]


@pytest.mark.usefixtures("unmeasured")
def test_an_output_that_cannot_be_written_is_refused_before_measuring(here, tmp_path):
    refused(here("bench", "sin", "--output", str(tmp_path)), "folder")
    refused(here("bench", "sin", "--output", str(tmp_path / "none" / "f.json")), "none")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")
def test_an_output_that_is_no_regular_file_is_refused(environment, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = subprocess.run(
        [*COMMAND, "bench", "sin", *QUICK, "--output", str(tmp_path / "pipe")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    refused(done, "pipe")


def test_a_disk_that_fills_up_meanwhile_costs_the_file_but_not_the_table(
    here, tmp_path, monkeypatch
):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    done = here("bench", "sin", *QUICK, "--output", str(tmp_path / "f.json"))
    refused(done, "No space left on device", "f.json")
    assert "Elementwise, float64" in done.stdout
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("backend = ", []),
        ('bakend = "threads"\n', ["'bakend'", "'backend'"]),
        ('backend = "thread"\n', ["backend = 'thread'", "'threads'"]),
        ('n_jobs = "two"\n', ["n_jobs", "'two'"]),
        ("n_jobs = 0\n", ["n_jobs = 0"]),
        ("n_jobs = 100000\n", ["n_jobs", "100000"]),
        ('[kernels]\nsinn = "threads"\n', ["kernels", "'sinn'", "'sin'"]),
        ('[kernels]\nsin = "thread"\n', ["kernels.sin", "'thread'", "'threads'"]),
    ],
)
@pytest.mark.parametrize("command", [["list"], ["bench", "sin", *QUICK]], ids=["list", "bench"])
def test_a_wrong_settings_file_is_named_with_its_key(here, tmp_path, command, content, words):
    (tmp_path / "backends.toml").write_text(content)
    refused(here(*command), str(tmp_path / "backends.toml"), *words)
    assert files(tmp_path) == [tmp_path / "backends.toml"]


@pytest.mark.parametrize("value", ["two", "0", "100000"])
def test_a_wrong_environment_variable_is_named(here, monkeypatch, value):
    monkeypatch.setenv("BACKENDS_N_JOBS", value)
    refused(here("bench", "sin", *QUICK), "BACKENDS_N_JOBS", value)


# results that are wrong, and Ctrl-C


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (WRONG, "INVALID", "differs from the reference"),
        ("def run(self, *_, **__):\n    raise OSError('no licence')\n", "FAILED", "no licence"),
        (
            "def divides(self, *_):\n    raise OSError('no licence')\n" + RIGHT,
            "FAILED",
            "no licence",
        ),
    ],
    ids=["invalid", "failed", "failed early"],
)
def test_a_wrong_backend_is_shown_as_such_and_gives_status_1(
    process, plugin, tmp_path, body, status, reason
):
    target = tmp_path / "f.json"
    path = plugin(other=engine("other", body))
    done = process("bench", "sin", *QUICK, "-b", "other", "-o", str(target), PYTHONPATH=path)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("sin"))
    assert status in line
    assert f"{status}: other sin" in done.stdout
    assert reason in done.stdout
    (row,) = record.read(target).rows
    assert [result.status for result in row.results] == ["ok", status.lower()]
    assert row.results[1].speedup is None
    assert process("report", str(target)).stdout == done.stdout


WAITING = """
def run(self, kernel, *arrays, out=None):
    if kernel.name == "exp":
        import pathlib, time
        pathlib.Path("waiting").touch()
        time.sleep(600)
    return kernel.reference(*arrays, out=out)
"""


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C reaches a process group in another way")
@pytest.mark.parametrize(
    ("backends", "size", "names"),
    [
        ("slow", "1000", ["sin", "cos", "exp", "log"]),
        # Its worker processes are interrupted too, as by a terminal, and must not be heard.
        ("threads,joblib,slow", "1e6", ["sin", "cos", "exp", "log"]),
        ("slow", "1000", ["exp"]),
    ],
    ids=["in the third row", "with workers", "before the first row"],
)
def test_ctrl_c_keeps_what_was_measured(environment, plugin, tmp_path, backends, size, names):
    target = tmp_path / "f.json"
    environment["PYTHONPATH"] = plugin(slow=engine("slow", WAITING))
    running = subprocess.Popen(
        [*COMMAND, "bench", *names, "-s", size, "-t", "0.1", "-b", backends, "-o", str(target)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not (tmp_path / "waiting").exists():
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert running.returncode == 130, stderr
    assert "Traceback" not in stderr
    if names[0] == "exp":
        assert stderr == "backends: interrupted before anything was measured\n"
        assert not target.exists()
        return
    assert stderr.split() == ["saved:", str(target)]
    saved = record.read(target)
    assert not saved.complete
    assert [row.kernel for row in saved.rows] == names[: names.index("exp")]
    assert "Interrupted" in stdout
    assert all(name in stdout for name in names[: names.index("exp")])


# output that is not a modern terminal


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no such signals")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_closed_terminal_keeps_what_was_measured(environment, plugin, tmp_path, number):
    target = tmp_path / "f.json"
    environment["PYTHONPATH"] = plugin(slow=engine("slow", WAITING))
    running = subprocess.Popen(
        [
            *COMMAND,
            "bench",
            "sin",
            "exp",
            "-s",
            "1e6",
            "-t",
            "0.1",
            "-b",
            "joblib,slow",
            "-o",
            target,
        ],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "waiting").exists():
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.02)
    running.send_signal(getattr(signal, number))
    stderr = running.communicate(timeout=60)[1]
    assert running.returncode == 130, stderr
    assert [row.kernel for row in record.read(target).rows] == ["sin"]


@pytest.mark.parametrize(
    "arguments", [["list"], ["bench", "sin", *QUICK], ["bench", "--help"], ["--help"]]
)
def test_an_ascii_only_output_gets_ascii(process, arguments):
    done = process(*arguments, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize("command", [[], ["list"], ["bench"], ["report"]], ids=" ".join)
def test_help_is_there_and_shows_examples(process, command):
    done = process(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    assert "Example" in words
    assert " ".join(["backends", *command]) in words.split("Example")[1]
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["lst"], ["--colour"], ["bench", "--colour"]])
def test_what_is_no_command_or_option_is_refused(process, arguments):
    done = process(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr
    assert "Traceback" not in done.stderr


# what a list shows


def test_the_list_shows_reasons_to_the_letter_and_the_device(monkeypatch):
    reasons = {**registry.reasons(), "torch": 'absent: pip install "array-backends[torch]"'}
    monkeypatch.setattr(registry, "reasons", lambda: reasons)
    file = io.StringIO()
    with config.config_context(device="cpu", kernels={"j0": "torch"}):
        listing.show(Console(file=file, width=200))
    text = file.getvalue()
    assert 'torch    no: absent: pip install "array-backends[torch]"' in text
    assert "device 'cpu' (from config_context)" in text
    assert "note: backend 'torch' cannot run here" in text


def test_a_bench_of_nothing_or_of_who_is_not_there_is_refused(run_command):
    done = run_command("bench", "gammaln", "--dtype", "complex128")
    assert done.returncode == 2
    assert "there is nothing to measure: " in done.stderr
    done = run_command("bench", "sin", "--backend", "cupy")
    assert done.returncode == 2
    assert "backend 'cupy' cannot run here" in done.stderr
