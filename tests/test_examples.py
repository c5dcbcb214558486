"""The programs in examples/ give their answers, and the same text under ``backends run``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
RUN = ["-c", "from backends.cli import main; main()", "run", "--mode"]
#: What makes each small, and yet large enough that its loops are cut.
SMALL = {
    "covariance": ["--files", "4"],
    "heat": ["--size", "500", "--steps", "10"],
    "heat_mpi": ["--size", "500", "--steps", "20"],
    "image_filter": ["--size", "400"],
    "k_means": ["--points", "50000", "--rounds", "3"],
    "k_means_rounds": ["--points", "50000", "--rounds", "3"],
    "option_pricer": ["--paths", "100000", "--steps", "4"],
    "pulsar_survey": ["--beam", "0", "3"],
    "page": ["--size", "300000", "--repeats", "2"],
}


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plain():
    """Give what `python` prints, run once an example."""
    texts = {}

    def output(name: str) -> str:
        if name not in texts:
            texts[name] = run(str(EXAMPLES / f"{name}.py"), *SMALL[name])
        return texts[name]

    return output


def test_every_example_is_tested():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_an_example_checks_its_answer(name, plain):
    assert plain(name).endswith(": yes\n")


@pytest.mark.parametrize("name", SMALL)
def test_in_mode_exact_the_text_is_the_same(name, plain):
    assert run(*RUN, "exact", str(EXAMPLES / f"{name}.py"), *SMALL[name]) == plain(name)


@pytest.mark.parametrize("name", SMALL)
def test_in_mode_fast_the_answer_is_right_as_well(name):
    text = run(*RUN, "fast", str(EXAMPLES / f"{name}.py"), *SMALL[name])
    assert text.endswith(": yes\n")


def test_an_example_that_is_wrong_says_so(tmp_path):
    file = tmp_path / "page.py"
    text = (EXAMPLES / "page.py").read_text(encoding="utf-8")
    file.write_text(text.replace("numpy.sin(B)", "1.01 * B"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, file, *SMALL["page"]], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 1
    assert done.stdout.endswith(": NO\n")
