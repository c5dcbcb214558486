"""The plug-in of tests/plugin is installed into an environment of its own and works there."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from backends.catalogue import GROUP

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment with the plug-in installed, on top of the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt", with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True)
    # What is installed here is seen there, the plug-in only there: nothing is downloaded again.
    here = [p for p in sys.path if p and Path(p).is_dir()]
    (Path(site.stdout.strip()) / "here.pth").write_text("\n".join(here))
    source = folder / "source"
    shutil.copytree(PLUGIN, source)
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, source], check=True)
    return python


def run(python, *arguments, **options):
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, check=False, timeout=240, **options
    )


def test_it_is_not_installed_here():
    import backends

    assert "blocked" not in backends.available()
    assert not (Path(sysconfig.get_path("purelib")) / "backends_blocked").exists()


def test_it_is_one_file_and_one_entry_point():
    (module,) = (PLUGIN / "src").rglob("*.py")
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((name, points),) = project["entry-points"].items()
    assert name == GROUP
    (place,) = points.values()
    package, _, name = place.partition(":")
    assert module.parent.name == package
    assert f"class {name}(" in module.read_text(encoding="utf-8")


def test_a_settings_file_chooses_it_and_explain_says_so(environment, tmp_path):
    (tmp_path / "backends.toml").write_text('backend = "blocked"\n', encoding="utf-8")
    script = "import backends; print(backends.sqrt([4.0]), backends.get_config().backend.value)"
    used = run(environment, "-c", script, cwd=tmp_path)
    assert used.stdout == "[2.] blocked\n", used.stderr
    command = [environment, "-c", "from backends.cli import main; main()"]
    explained = run(*command, "explain", "sin", "--size", "1e6", cwd=tmp_path)
    assert "blocked" in explained.stdout, explained.stderr
    assert "backends.toml" in explained.stdout


def test_it_passes_the_conformance_suite(environment):
    suite = run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=PLUGIN)
    assert suite.returncode == 0, suite.stdout + suite.stderr


def test_the_command_line_lists_and_times_it(environment, tmp_path):
    command = [environment, "-c", "from backends.cli import main; main()"]
    listed = run(*command, "list")
    assert "blocked" in listed.stdout, listed.stderr
    result = tmp_path / "result.json"
    timed = run(
        *command, "bench", "norm_isf", "--backend", "blocked", "--size", "1e5", "--time", "0.2",
        "--n-jobs", "2", "--output", result,
    )  # fmt: skip
    assert timed.returncode == 0, timed.stdout + timed.stderr
    assert "blocked" in timed.stdout
