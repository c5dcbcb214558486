"""A kernel is one function in one file: written into a copy of the package, it is everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import backends
from backends import kernels
from backends.engines.extension import load

ROOT = Path(__file__).parents[1]
NAME = "i0e"
#: What somebody would write, and nothing else.
KERNEL = '''

@special_function(
    domain=(-20.0, 20.0),
    flops=40,
    tolerance=64.0,
    precise=lambda mp, x: mp.exp(-abs(x)) * mp.besseli(0, x),
)
def i0e(x: Any, /, *, out: Any = None) -> Any:
    r"""Modified Bessel function of the first kind and order 0, times :math:`e^{-|x|}`, elementwise.

    Parameters
    ----------
    x : array_like of real number
        Of any shape.
    out : ndarray of the same shape, optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar
        Of the shape of `x`, floating point.

    Raises
    ------
    TypeError
        `x` is not a real number, or `out` cannot hold the result's dtype.
    ValueError
        `out` has another shape or is read-only.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 10.25.2.

    Examples
    --------
    >>> import backends
    >>> backends.i0e([0.0, 1.0])
    array([1.        , 0.46575961])
    """
    return special.i0e(x, out=out)
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Give the folder in which the package is copied, with one more kernel in one of its files."""
    assert NAME not in kernels.every()
    home = tmp_path_factory.mktemp("home")
    copy = home / "backends"
    shutil.copytree(
        Path(backends.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    file = copy / "kernels" / "special.py"
    text = file.read_text(encoding="utf-8")
    changed = text.replace('    "gammaln",\n', f'    "gammaln",\n    "{NAME}",\n', 1)
    assert changed != text
    file.write_text(changed + KERNEL, encoding="utf-8")
    return home


def run(home, *arguments, status=0, **environment):
    """Run Python with the copy, and give what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env={
            **os.environ,
            "PYTHONPATH": str(home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COVERAGE_PROCESS_CONFIG": "",  # its lines are not the package's
            "XDG_DATA_HOME": str(home / "data"),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def command(home, *arguments):
    return run(home, "-c", "from backends.cli import main; main()", *arguments)


def test_python_has_it_on_every_backend(home):
    engines = ["numpy", "threads", "joblib", *([] if isinstance(load(), str) else ["openmp"])]
    script = f"""
import sys
from pathlib import Path
import numpy as np
from scipy import special
import backends

assert Path(backends.__file__).parent == Path("backends").resolve()
assert "{NAME}" in backends.__all__ and "{NAME}" in dir(backends)
from backends import *
assert {NAME} is backends.{NAME}
x = np.linspace(-20, 20, 300_000)
for name in {engines}:
    with backends.config_context(backend=name, n_jobs=2):
        assert np.array_equal(backends.{NAME}(x), special.{NAME}(x)), name
        assert "Bessel" in backends.{NAME}.__doc__
print("done")
"""
    file = home / "script.py"
    # Workers of joblib import the script: it must not begin its work there again.
    body = "".join(f"    {line}\n" if line else "\n" for line in script.splitlines())
    body = body.replace("    from backends import *\n", "")
    file.write_text(
        f"from backends import *\n\nif __name__ == '__main__':\n{body}", encoding="utf-8"
    )
    assert run(home, file) == "done\n"


def test_the_command_line_has_it(home):
    assert NAME in command(home, "list").split()
    file = home / "bench.json"
    command(
        home, "bench", NAME, "--size", "1e4", "--time", "0.05", "--backend", "numpy",
        "--n-jobs", "2", "--output", str(file),
    )  # fmt: skip
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert {row["kernel"] for row in rows} == {NAME}
    assert NAME in command(home, "explain", NAME, "--size", "1e4")


def test_asv_has_it(home):
    script = """
import sys
from asv_runner.discovery import disc_benchmarks

print([each.name for each in disc_benchmarks(sys.argv[1])])
"""
    file = home / "discover.py"
    file.write_text(script, encoding="utf-8")
    suite = home / "suite"
    shutil.copytree(ROOT / "benchmarks" / "suite", suite)
    found = run(home, file, str(suite), BACKENDS_ASV_PROFILE="quick")
    assert f"special.track_{NAME}" in found


def test_the_conformance_suite_and_the_tests_of_kernels_have_it_and_it_passes(home):
    # The tests of this repository, on the copy: among them the docstring's form and its example.
    (home / "tests").mkdir()
    for name in ("conftest.py", "test_kernels.py"):
        shutil.copy(ROOT / "tests" / name, home / "tests")
    (home / "tests" / "test_numpy.py").write_text(
        "from backends.engines.threads import ThreadsBackend\n"
        "from backends.testing import BackendConformance\n\n\n"
        "class TestThreads(BackendConformance):\n"
        "    @classmethod\n"
        "    def make_backend(cls):\n"
        "        backend = ThreadsBackend(2)\n"
        "        backend.min_work = 1\n"
        "        return backend\n",
        encoding="utf-8",
    )
    shutil.copy(ROOT / "pyproject.toml", home)
    said = run(
        home, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", "-k", NAME, str(home / "tests")
    )
    passed = [line for line in said.splitlines() if line.startswith("PASSED")]
    assert any("test_numpy.py" in line for line in passed), said
    assert any("test_kernels.py" in line for line in passed), said
    assert "FAILED" not in said
