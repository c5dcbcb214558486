from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from asv.commands import make_argparser
from typer.main import get_command

from backends.cli.app import app

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
#: The inputs that we use, as the action.yml of that version of the action has them.
INPUTS = {
    "actions/checkout@v4": {"ref", "fetch-depth", "persist-credentials"},
    "actions/deploy-pages@v4": set(),
    "actions/download-artifact@v4": {"name", "path", "pattern", "merge-multiple"},
    "actions/setup-python@v5": {"python-version"},
    "actions/upload-artifact@v4": {"name", "path", "if-no-files-found"},
    "actions/upload-pages-artifact@v3": {"path"},
    "pypa/cibuildwheel@v3.2.1": {"package-dir", "output-dir"},
    "pypa/gh-action-pypi-publish@v1.13.0": set(),
}
#: What may write, and what.
WRITING = {
    ("asv", "comment"): {"pull-requests": "write"},
    ("history", "keep"): {"contents": "write"},
    ("history", "publish"): {"pages": "write", "id-token": "write"},
    ("wheels", "publish"): {"id-token": "write"},
}


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


JOBS = {(path.stem, name): job for path in WORKFLOWS for name, job in read(path)["jobs"].items()}


def lines(job):
    """Give the lines that a job's steps run."""
    runs = [step["run"] for step in job["steps"] if "run" in step]
    return [line.strip() for run in runs for line in run.splitlines()]


def commands(program):
    """Give the lines with a program's arguments, in the workflows and in the Makefile."""
    every = [line for job in JOBS.values() for line in lines(job)]
    every += MAKEFILE.replace("$(ARGS)", "").replace("$(BIN)/", "").replace("$$", "$").splitlines()
    # At a line's start, or within $(...).
    found = [re.findall(rf"(?:^\s*@?|\$\(){program} ([^|>;)]+)", line) for line in every]
    return [arguments.strip(" \\") for each in found for arguments in each]


@pytest.mark.parametrize("arguments", commands("asv"))
def test_asv_takes_the_arguments_that_it_is_given(arguments):
    parser, _ = make_argparser()
    assert parser.parse_args(shlex.split(arguments)).func


@pytest.mark.parametrize("arguments", commands("backends"))
def test_our_command_takes_the_arguments_that_it_is_given(arguments):
    name, *rest = shlex.split(arguments)
    get_command(app).commands[name].make_context(name, rest)


def test_the_commands_are_found():
    assert {each.split()[0] for each in commands("asv")} == {
        *("compare", "continuous", "publish", "run"),
    }
    assert len(commands("asv")) == 5
    assert {each.split()[0] for each in commands("backends")} == {
        *("bench", "check", "machine", "report"),
    }
    assert len(commands("backends")) == 6


@pytest.mark.parametrize("job", JOBS, ids="-".join)
def test_what_a_workflow_makes_there_is(job):
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
    used = {word for line in lines(JOBS[job]) for word in re.findall(r"^make ([a-z-]+)", line)}
    assert used <= targets


@pytest.mark.parametrize("job", JOBS, ids="-".join)
def test_an_action_has_the_inputs_that_it_is_given(job):
    for step in JOBS[job]["steps"]:
        if "uses" in step:
            assert set(step.get("with", {})) <= INPUTS[step["uses"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_reads(path):
    content = read(path)
    assert content["permissions"] == {"contents": "read"}
    # Which has the rights of the repository, and the code of a stranger.
    assert "pull_request_target" not in content[True]  # YAML's "on"


@pytest.mark.parametrize("job", JOBS, ids="-".join)
def test_a_job_that_may_write_runs_none_of_our_code(job):
    assert JOBS[job].get("permissions") == WRITING.get(job)
    if job in WRITING:
        assert not re.search(r"\b(pip|python|make|backends|asv) ", "\n".join(lines(JOBS[job])))
        assert not any("setup-python" in step.get("uses", "") for step in JOBS[job]["steps"])


@pytest.mark.parametrize(
    "job", [("asv", "measure"), ("history", "measure"), ("wheels", "sdist")], ids="-".join
)
def test_what_is_measured_or_built_finds_no_token(job):
    steps = JOBS[job]["steps"]
    checkout = next(step for step in steps if step.get("uses", "").startswith("actions/checkout"))
    assert checkout["with"]["persist-credentials"] is False
    assert "token" not in json.dumps(steps)


def test_what_a_job_needs_is_what_the_other_gives():
    for (workflow, _), job in JOBS.items():
        for needed, output in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", json.dumps(job)):
            other = JOBS[workflow, needed]
            assert job["needs"] == needed
            step = re.search(r"steps\.(\w+)\.outputs", other["outputs"][output])[1]
            assert step in [each.get("id") for each in other["steps"]]


def test_only_a_tag_is_published_and_only_when_everything_was_built():
    publish = JOBS["wheels", "publish"]
    assert publish["if"] == "github.event_name == 'push' && github.ref_type == 'tag'"
    assert read(ROOT / ".github" / "workflows" / "wheels.yml")[True]["push"] == {"tags": ["v*"]}
    assert {*publish["needs"], "publish"} == {job for name, job in JOBS if name == "wheels"}
    # Where people say who may let it happen.
    assert publish["environment"]


def test_a_job_with_an_identity_is_in_an_environment():
    for job in JOBS.values():
        if "id-token" in job.get("permissions", {}):
            assert job["environment"]


def test_what_is_published_is_all_that_was_built():
    def uses(job, action):
        return [
            each["with"]
            for each in JOBS["wheels", job]["steps"]
            if each.get("uses", "").startswith(action)
        ]

    (taken,) = uses("publish", "actions/download-artifact")
    assert taken["merge-multiple"] is True
    (sdist,) = uses("sdist", "actions/upload-artifact")
    (wheels,) = uses("wheels", "actions/upload-artifact")
    for given in (sdist, wheels):
        assert fnmatch(given["name"], taken["pattern"])
        assert given["if-no-files-found"] == "error"
    assert sdist["name"] != wheels["name"]
    assert "matrix.os" in wheels["name"]  # or one would take another's place
    # The wheels are made of the very sdist that is published.
    assert uses("wheels", "actions/download-artifact")[0]["name"] == sdist["name"]
    assert not uses("wheels", "actions/checkout")


def test_the_version_of_an_sdist_comes_from_tags_that_are_there():
    checkout = JOBS["wheels", "sdist"]["steps"][0]
    assert checkout["uses"].startswith("actions/checkout")
    assert checkout["with"]["fetch-depth"] == 0


# The steps themselves, where their tools are: git, GNU's cp and xargs.
gnu = pytest.mark.skipif(sys.platform != "linux", reason="the workflows run on Linux")


def step(job, name):
    """Give the script of a step."""
    return next(each["run"] for each in JOBS[job]["steps"] if each.get("name") == name)


def bash(script, folder, *, status=0, **environment):
    """Run a script as the workflows do, and give what it printed."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def tree(folder):
    """Give the files of results by name, with what is in them."""
    files = (path for path in (folder / "results").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.fixture
def night(tmp_path, monkeypatch):
    """Give a function that does the git part of one night: other nights, results, keep."""
    for key in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(key, os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@a")
    bash("git init --quiet --bare --initial-branch main origin", tmp_path)
    bash("git clone --quiet origin main", tmp_path)

    def commit(files):
        """Commit to main."""
        write(tmp_path / "main", files)
        bash("git add . && git commit --quiet -m x", tmp_path / "main")
        bash("git push --quiet origin HEAD:main", tmp_path / "main")

    count = iter(range(100))

    def night(files, *, before_keep=lambda: None, status=0):
        """Give what was there before, and what the page is made of."""
        measure, keep = (tmp_path / f"{name}{next(count)}" for name in ("measure", "keep"))
        bash(f"git clone --quiet --branch main origin {measure.name}", tmp_path)
        bash(step(("history", "measure"), "What other nights measured"), measure)
        before = tree(measure)
        write(measure, files)
        bash(step(("history", "measure"), "What main does not have"), measure)
        bash(f"git clone --quiet --branch main origin {keep.name}", tmp_path)
        (measure / "nights").rename(keep / "nights")
        before_keep()
        bash(step(("history", "keep"), "Keep"), keep, status=status)
        return before, tree(measure)

    def kept():
        """Give what is on the branch."""
        names = bash("git ls-tree -r --name-only asv-results", tmp_path / "origin").split()
        return {name: bash(f"git show asv-results:{name}", tmp_path / "origin") for name in names}

    night.commit, night.kept, night.home = commit, kept, tmp_path
    return night


@gnu
def test_nights_add_up_and_main_goes_before_them(night):
    results = {"results/benchmarks.json": "1", "results/here/a.json": "a"}
    night.commit({"pyproject.toml": "x", **results})
    before, shown = night({"results/benchmarks.json": "2", "results/there/a.json": "a1"})
    assert before == results
    assert shown == {**results, "results/benchmarks.json": "2", "results/there/a.json": "a1"}
    # Only what main does not have: what is deleted there does not come back.
    assert night.kept() == {"results/benchmarks.json": "2", "results/there/a.json": "a1"}

    night.commit({"results/there/a.json": "main's own", "results/benchmarks.json": "3"})
    before, shown = night({"results/there/b.json": "b1"})
    assert before["results/there/a.json"] == "main's own"
    assert before["results/benchmarks.json"] == "3"
    assert shown["results/there/b.json"] == "b1"
    assert night.kept() == {
        "results/benchmarks.json": "3",
        "results/there/a.json": "a1",
        "results/there/b.json": "b1",
    }
    assert bash("git rev-list --count asv-results", night.home / "origin") == "2\n"


@gnu
def test_a_night_with_nothing_new_is_no_failure(night):
    night.commit({"pyproject.toml": "x", "results/benchmarks.json": "1"})
    for _ in range(2):
        night({"results/there/a.json": "a"})
    assert bash("git rev-list --count asv-results", night.home / "origin") == "1\n"


@gnu
def test_nothing_is_lost_where_the_branch_was_not_seen(night):
    night.commit({"pyproject.toml": "x", "results/benchmarks.json": "1"})
    night({"results/there/a.json": "a"})
    kept = night.kept()
    origin = night.home / "origin"
    bash("git branch --quiet away asv-results && git branch --quiet -D asv-results", origin)
    night(
        {"results/there/b.json": "b"},
        before_keep=lambda: bash("git branch --quiet asv-results away", origin),
        status=1,
    )
    assert night.kept() == kept


@gnu
@pytest.mark.parametrize(("status", "ends"), [(0, 0), (1, 1), (2, 0)])
def test_benchmarks_that_failed_do_not_keep_the_others_from_being_kept(tmp_path, status, ends):
    script = f"backends() {{ echo name; }}; asv() {{ return {status}; }}\n"
    output = tmp_path / "output"
    script += step(("history", "measure"), "Measure")
    bash(script, tmp_path, status=ends, GITHUB_OUTPUT=str(output))
    assert not output.exists() if ends else output.read_text() == f"status={status}\n"
    after = JOBS["history", "measure"]["steps"][-1]
    assert after["if"] == "steps.asv.outputs.status == '2'"
    bash(after["run"], tmp_path, status=1)


@gnu
@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_verdict_is_in_the_table_and_ends_the_job(tmp_path, status):
    script = f"backends() {{ echo 'sin is slower'; echo 'note: x' >&2; return {status}; }}\n"
    script += "asv() { echo '| a table |'; }; git() { echo 1234abcd; }\n"
    script += step(("asv", "measure"), "The verdict and the table")
    bash(script, tmp_path, status=status, BEGAN="a" * 40, MACHINE="m", BACKENDS_ASV_PROFILE="quick")
    table = (tmp_path / "table.md").read_text()
    assert "    sin is slower\n    note: x\n" in table
    assert f"exit status {status}" in table
    assert "| a table |" in table


@gnu
@pytest.mark.parametrize(("built", "status"), [("0.3.0", 0), ("0.3.0.dev2+g1234", 1)])
def test_a_tag_whose_version_is_another_is_not_published(tmp_path, built, status):
    write(tmp_path, {f"dist/array_backends-{built}.tar.gz": ""})
    tag = step(("wheels", "sdist"), "A tag's version is its name")
    said = bash(tag, tmp_path, status=status, GITHUB_REF_NAME="v0.3.0")
    assert (built in said) == (status == 1)


@gnu
def test_wheels_are_made_of_what_is_in_the_sdist(tmp_path):
    write(tmp_path, {"array_backends-0.3.0/pyproject.toml": "x", "dist/README": ""})
    bash(
        "tar -czf dist/array_backends-0.3.0.tar.gz array_backends-0.3.0 && rm dist/README", tmp_path
    )
    bash(step(("wheels", "wheels"), "Unpack"), tmp_path)
    assert (tmp_path / "package" / "pyproject.toml").read_text() == "x"


@gnu
def test_a_branch_that_does_not_build_is_said(tmp_path):
    script = "python() { return 1; }; git() { echo 1234abcd; }\n"
    bash(script + step(("asv", "measure"), "Build this branch"), tmp_path, status=1)
    assert "1234abcd does not build" in (tmp_path / "table.md").read_text()


@gnu
@pytest.mark.parametrize(("known", "method"), [("", "POST"), ("11\n12\n", "PATCH")])
def test_the_comment_that_is_replaced_is_its_own(tmp_path, known, method):
    comment = next(each for each in JOBS["asv", "comment"]["steps"] if "env" in each)
    (tmp_path / "table.md").write_text("a table\n")
    script = 'gh() { echo "$@" >> asked; case "$*" in *--paginate*) printf "$KNOWN";; esac; }\n'
    marker = comment["env"]["MARKER"]
    given = {"COMMENTS": "repos/o/r/issues", "NUMBER": "7", "MARKER": marker, "KNOWN": known}
    bash(script + comment["run"], tmp_path, **given)
    look, do = (tmp_path / "asked").read_text().splitlines()
    assert "startswith(env.MARKER)" in look
    assert f"--method {method}" in do
    assert ("repos/o/r/issues/comments/12 " if known else "repos/o/r/issues/7/comments ") in do
    assert (tmp_path / "comment.md").read_text() == f"{marker}\na table\n"


@gnu
@pytest.mark.parametrize(
    ("there", "user", "installs", "said", "required"),
    [
        (True, 0, False, "", True),
        (False, 1000, False, "", False),
        (False, 0, True, "", True),
        (False, 0, False, "Chromium could not be installed", False),
    ],
    ids=["there", "no root", "installed", "not to be had"],
)
def test_ci_needs_a_browser_where_there_is_one(tmp_path, there, user, installs, said, required):
    programs = {
        "python3": f"test -e {tmp_path}/browser",
        "id": f"echo {user}",
        "make": 'echo "make $*"',
        "apt-get": f"touch {tmp_path}/browser" if installs else "exit 100",
        "gcc": "",
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    if there:
        (tmp_path / "browser").touch()
    path = f"{tmp_path}:{os.environ['PATH']}"
    out = bash("unset PYTHON; .ci/run", ROOT, PATH=path).splitlines()
    made = [
        "make lint",
        f"make test REQUIRE={'browser' if required else ''}",
        "make test-peers",
        "make test-clusters",
        "make wheel",
        "make docs",
    ]
    assert [said in line for line in out[: -len(made)]] == [True] * bool(said)
    assert out[-len(made) :] == made


def test_coverage_runs_the_same_tests_as_where_nothing_is_counted():
    recipe = re.search(r"^coverage:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)[1]
    assert re.search(r"\$\(MAKE\) test test-peers test-clusters .*COVER=1", recipe)
    for target in ("test", "test-peers", "test-clusters"):
        run = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)[1]
        assert "$(PYTEST) " in run
