from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from asv.commands import make_argparser

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def lines(path):
    """Give the lines that a workflow's steps run."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    return [line.strip() for run in runs for line in run.splitlines()]


ASV = [line for path in WORKFLOWS for line in lines(path) if line.startswith("asv ")]
ASV += [line.replace("$$", "$") for line in re.findall(r"\t\$\(BIN\)/(asv .*)", MAKEFILE)]


def test_asv_is_run_by_two_workflows_and_by_make():
    assert len(ASV) == 5


@pytest.mark.parametrize("line", ASV)
def test_asv_takes_the_arguments_that_it_is_given(line):
    words = shlex.split(line.replace("|| true", "").replace("$(ARGS)", ""))
    parser, _ = make_argparser()
    assert parser.parse_args(words[1:]).func


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_makes_there_is(path):
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
    used = {word for line in lines(path) for word in re.findall(r"^make ([a-z-]+)", line)}
    assert used <= targets


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_write_only_what_it_needs(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["permissions"]["contents"] == ("write" if path.stem == "history" else "read")
