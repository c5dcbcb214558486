"""What the package needs, said where it is missing: at the first import, and when it is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import backends
from backends import supported

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"python": (3, 10, 13)}, "needs Python 3.11 or newer; this is 3.10.13"),
        ({"numpy": "1.26.4"}, r"needs NumPy 2\.1 or newer; this is 1\.26\.4\. Run: .* -m pip"),
        ({"numpy": "2.0.2"}, "needs NumPy 2.1"),
        ({"largest": 2**31 - 1}, "needs a 64-bit Python, and this one has 32 bits"),
    ],
    ids=["Python", "NumPy 1", "NumPy 2.0", "32 bits"],
)
def test_what_is_missing_is_said_with_the_remedy(given, said):
    with pytest.raises(ImportError, match=said):
        supported.check(**given)


@pytest.mark.parametrize("numpy", ["2.1.0", "2.10.0rc1", "2.5.0.dev0+git20260101.abc", "3.0.0"])
def test_what_is_new_enough_is_taken(numpy):
    supported.check(python=(3, 15, 0), numpy=numpy)


def test_an_old_numpy_is_said_at_the_first_import_and_by_the_command(tmp_path):
    # A NumPy that has a version and no more: nothing else of it is asked for before.
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("__version__ = '1.26.4'\n")
    home = Path(backends.__file__).parents[1]
    for script in ("import backends", "from backends.cli import main; main()"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{home}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(
            "ImportError: array-backends needs NumPy 2.1 or newer; this is 1.26.4"
        )
        assert last.endswith('-m pip install "numpy>=2.1" "scipy>=1.14"')


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_32_bit_python_is_refused_when_it_is_built(tmp_path):
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *calcsize*) echo 32;; *) exec "{sys.executable}" "$@";; esac\n'
    )
    python.chmod(0o755)
    native = tmp_path / "native.ini"
    native.write_text(f"[binaries]\npython = '{python}'\n")
    for name in ("meson.build", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    # Without a compiler, which is quicker, and must not hide it.
    done = subprocess.run(
        [sys.executable, "-m", "mesonbuild.mesonmain", "setup", "build", "--native-file", native],
        cwd=tmp_path,
        env={**os.environ, "CC": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "needs a 64-bit Python, and this one has 32 bits." in done.stdout


@pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="asks make")
@pytest.mark.parametrize(
    ("arguments", "stand_in", "said"),
    [
        (
            "-c*",
            "exec '{python}' -c 'import sys; sys.version_info = (3, 10, 13); "
            'sys.version = "3.10.13 (main)"; exec(sys.argv[1])\' "$2"',
            "array-backends needs Python 3.11 or newer; this is 3.10.13. "
            "Name one with: make PYTHON=python3.12",
        ),
        ("*venv*", "exit 1", "no venv module: on Debian and Ubuntu, apt install python3-venv"),
    ],
    ids=["old", "no venv"],
)
def test_make_says_what_python_lacks(tmp_path, arguments, stand_in, said):
    program = tmp_path / "python"
    meant = stand_in.replace("{python}", sys.executable)
    program.write_text(f'#!/bin/sh\ncase "$*" in {arguments}) {meant};; esac\n')
    program.chmod(0o755)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        ["make", f"PYTHON={program}", ".venv/tools"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stdout + done.stderr
