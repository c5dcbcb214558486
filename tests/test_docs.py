"""What the documents show is true: examples run, settings are accepted, commands exist."""

import doctest
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
import typer
from typer.main import get_command

import backends
from backends import catalogue, sources
from backends.cli import run
from backends.cli.app import app
from backends.history.rules import Rule

ROOT = Path(__file__).parent.parent
PAGES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", *PAGES]
MAKE = re.compile(r"^([a-z-]+):", re.M)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
COMMANDS = get_command(app).commands
#: The command, with its data in the folder where it is called and not the user's.
START = """
from pathlib import Path
from backends import files
files.data_folder = lambda name: Path.cwd() / "data" / name
from backends.cli import main
main()
"""
#: Programs that a console of the documents calls, and how here.
PROGRAMS = {
    "backends": [sys.executable, "-c", START],
    "python": [sys.executable],
}


def read(document):
    return (ROOT / document).read_text(encoding="utf-8")


def every_block(text):
    """Give the blocks of a document, each with its language."""
    return re.findall(r"^```(\S*).*?\n(.*?)^```", text, re.M | re.S)


def blocks(document, language):
    return [block for kind, block in every_block(read(document)) if kind == language]


def file_name(block):
    """Give the name of the file that a block shows, which its first line says, or None."""
    found = re.match(r"# (\w+\.(?:py|toml))\n", block)
    return found and found[1]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_examples_run(document):
    # What one block has made, the next may use.
    names: dict[str, object] = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for number, block in enumerate(blocks(document, "python")):
        if file_name(block):
            continue
        assert ">>>" in block, "examples show what they give"
        name = f"{document} {number}"
        test = doctest.DocTestParser().get_doctest(block, names, name, document, 0)
        runner.run(test, clear_globs=False)
        names = test.globs
    assert runner.summarize(verbose=False).failed == 0


def sessions(block):
    """Give the commands of a console, each with what it is to print."""
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d, "console")])
def test_consoles_run(document, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "COLUMNS": "100",
    }
    called, shown = set(), set()
    for kind, block in every_block(read(document)):
        if file_name(block):
            (tmp_path / file_name(block)).write_text(block, encoding="utf-8")
            shown |= {file_name(block)} if kind == "python" else set()
        for command, expected in sessions(block) if kind == "console" else ():
            program, *arguments = shlex.split(command, comments=True)
            called |= {*arguments}
            done = subprocess.run(
                [*PROGRAMS[program], *arguments],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                timeout=200,
                check=False,
            )
            assert done.returncode == 0, command + done.stdout
            right = doctest.OutputChecker().check_output(expected, done.stdout, FLAGS)
            assert right, f"{command}\n{done.stdout}"
    assert shown <= called, "a program that is shown is run"


def test_a_console_is_read():
    block = "$ backends list\nBackends\n...\n$ python x.py\n"
    assert list(sessions(block)) == [("backends list", "Backends\n...\n"), ("python x.py", "")]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings_are_accepted(document):
    for block in blocks(document, "toml"):
        content = tomllib.loads(block)
        settings = content.get("tool", {}).get("backends", content)
        msgspec.convert(settings.pop("check", []), list[Rule])
        sources.make_layer(document, settings)


def spoken(text):
    """Give the commands of a document: lines of its blocks, and what stands in code quotes."""
    for _, block in every_block(text):
        yield from (line.removeprefix("$ ") for line in block.splitlines())
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))


def options_of(script):
    """Give what looks like an option in a script's source."""
    return set(re.findall(r'"(--?[a-z][a-z-]*)"', script.read_text(encoding="utf-8")))


OPTIONS = {
    name: {option for p in command.get_params(typer.Context(command)) for option in p.opts}
    for name, command in COMMANDS.items()
}
OPTIONS["run"] |= set(run.OPTIONS)  # which typer leaves to it
SCRIPTS = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "examples").glob("*.py")]
#: What may stand without its program: an option of ours, or the one of our tests.
KNOWN_OPTIONS = set().union(*OPTIONS.values(), *map(options_of, SCRIPTS), {"--require"})


def wrong(command):
    """Say what a command has that does not exist, or None."""
    program, *arguments = command.split("#")[0].split("|")[0].replace('"', " ").split() or [""]
    used = {re.split("[=,]", each)[0] for each in arguments if re.match("--?[a-zA-Z]", each)}
    if program.endswith("/backends") or program == "backends":
        name = arguments[0] if arguments else ""
        if name.startswith("-") or not re.fullmatch("[a-z]+", name):
            return None
        if name not in COMMANDS:
            return f"backends has no {name}"
        if name == "run":  # what follows the program is the program's
            end = [i for i, each in enumerate(arguments) if each.endswith(".py")]
            used &= {*arguments[: (end or [None])[0]]}
        return used - OPTIONS[name] and f"{name} has no {used - OPTIONS[name]}"
    if program == "make":
        targets = set(MAKE.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
        settings = [i for i, each in enumerate(arguments) if "=" in each] or [None]
        missing = {each for each in arguments[: settings[0]] if each[0] != "-"} - targets
        if arguments[:1] == ["bench"] and not missing:
            return wrong(" ".join(["backends", *arguments]).replace("ARGS=", ""))
        return missing and f"there is no target {missing}"
    if (
        program.startswith("python")
        and arguments
        and re.match("(benchmarks|examples)/", arguments[0])
    ):
        script = ROOT / arguments[0]
        unknown = used - options_of(script) - {"-h", "--help"} if script.exists() else "file"
        return unknown and f"{script.name} has no {unknown}"
    if re.match("--[a-z]", program) and " " not in program:
        name = re.split("[=,]", program)[0]
        return None if name in KNOWN_OPTIONS else f"nothing has {name}"
    return None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_options_exist(document):
    assert {command: wrong(command) for command in spoken(read(document)) if wrong(command)} == {}


@pytest.mark.parametrize(
    "command",
    [
        "backends bunch",
        ".venv/bin/backends bench sin --sized 1e6",
        "backends run --fast script.py --anything",
        "make benches",
        'make bench ARGS="sin --sized 1e6"',
        "python benchmarks/timer.py --nothing",
        "python examples/nothing.py",
        "--nothing",
    ],
)
def test_what_does_not_exist_is_found(command):
    assert wrong(command)


def test_a_command_over_two_lines_is_read():
    text = "see `backends bench\nsin` and\n```sh\n$ make lint\n```\n"
    assert list(spoken(text)) == ["make lint", "backends bench sin"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_names_exist(document):
    text = read(document)
    for name in set(re.findall(r"(?<![\w./-])backends\.([a-z]\w*)", text)) - {"toml"}:
        assert hasattr(backends, name) or find_spec(f"backends.{name}"), name
    source = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("src", "benchmarks", "tests", "Makefile")
        for path in [ROOT / folder, *(ROOT / folder).rglob("*.[pc]*")]
        if path.is_file() and path.suffix in ("", ".py", ".c")
    )
    for name in set(re.findall(r"\bBACKENDS_[A-Z_]+", text)):
        assert re.search(rf"\b{name}\b", source) or name[9:].lower() in sources.KEYS, name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    text = read(document)
    for link in re.findall(r'(?:\]\(|src=")([^)#:"]+)[)"]', text):
        assert (ROOT / document).parent.joinpath(link).exists(), link
    for name in re.findall(r"\b(?:examples|benchmarks)/\w+\.py", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(
        r"^(?:```\{(?:literalinclude|figure)\}|\.\. include::) (\S+)", text, re.M
    ):
        assert (ROOT / document).parent.joinpath(name).exists(), name


def test_every_backend_is_described():
    for name in catalogue.BUILT_IN:
        assert f"`{name}`" in read("docs/choosing.md")
