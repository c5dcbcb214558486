"""What the C code learns of its teams' costs: as it is, but on a clock that goes as it is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src" / "backends" / "_openmp"


@pytest.fixture
def program(tmp_path):
    compiler = shutil.which("gcc")
    if compiler is None or os.name == "nt":
        pytest.skip("compiles a program with GCC")
    made = tmp_path / "team_costs"
    files = [HERE / "team_costs.c", SOURCES / "budget.c"]
    built = subprocess.run(
        [compiler, "-std=c11", "-O1", "-fopenmp", f"-I{SOURCES}", *files, "-o", made, "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "fopenmp" in built.stderr:
        pytest.skip("what is called gcc here has no OpenMP")
    assert built.returncode == 0, built.stderr
    return made


def test_a_cost_that_was_measured_while_disturbed_is_measured_again(program):
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "disturbed: 1",
        "worse: 1 1",
        "short: 1000 1",
        "long: 64 1",
        "asleep: 1",
    ]
