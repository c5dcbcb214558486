"""What the documents show is true: examples run, settings are accepted, commands exist."""

import doctest
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
import typer
from typer.main import get_command

from backends import sources
from backends.cli import run
from backends.cli.app import app
from backends.history.rules import Rule

ROOT = Path(__file__).parent.parent
PAGES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", *PAGES]
MAKE = re.compile(r"^([a-z-]+):", re.M)


def blocks(document, language):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_examples_run(document, tmp_path):
    names: dict[str, object] = {}  # what one block has made, the next may use
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for number, block in enumerate(blocks(document, "python")):
        assert ">>>" in block, "examples show what they give"
        name = f"{document} {number}"
        test = doctest.DocTestParser().get_doctest(block, names, name, document, 0)
        runner.run(test, clear_globs=False)
        names = test.globs
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings_are_accepted(document):
    for block in blocks(document, "toml"):
        content = tomllib.loads(block)
        settings = content.get("tool", {}).get("backends", content)
        msgspec.convert(settings.pop("check", []), list[Rule])
        sources.make_layer(document, settings)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_and_options_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    commands = get_command(app).commands
    targets = set(MAKE.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    used = re.findall(r"(?:^|`|/)backends ((?:bench|list|report|[a-z]+)\b[^`\n]*)", text, re.M)
    for line in used:
        name, *arguments = line.split("#")[0].split()
        if name == "run":  # what follows the program is the program's
            script = [i for i, a in enumerate(arguments) if a.endswith(".py")]
            arguments = arguments[: (script or [None])[0]]
        assert name in commands, line
        context = typer.Context(commands[name])
        known = {option for p in commands[name].get_params(context) for option in p.opts}
        known |= set(run.OPTIONS if name == "run" else ())  # which typer leaves to it
        assert {a for a in arguments if a.startswith("-")} <= known, line
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M):
        assert target in targets, target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / document).parent.joinpath(link).exists(), link
    for name in re.findall(r"\b(?:examples|benchmarks)/\w+\.py", text):
        assert (ROOT / name).exists(), name


def test_readme_lists_every_backend():
    from backends import catalogue

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in catalogue.BUILT_IN:
        assert f"`{name}`" in text
