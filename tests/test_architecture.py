"""Who imports whom, how long a module is, and that what the documentation shows is true."""

from __future__ import annotations

import ast
import doctest
from importlib import import_module
from pathlib import Path

import pytest

import backends
from backends import catalogue, kernels

HOME = Path(backends.__file__).parent
FILES = {
    ".".join(["backends", *path.relative_to(HOME).with_suffix("").parts]).removesuffix(
        ".__init__"
    ): path
    for path in sorted(HOME.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

#: What each module may import, also within functions and for type checkers; ``x.*`` stands for
#: the modules of a folder. A new module belongs in here before it is written.
BENCH = {
    "caches",
    "measurements",
    "position",
    "profile",
    "machine",
    "kernel",
    "errors",
    "backend",
    "blas",
    "kernels",
    "registry",
    "config",
}
ENGINE = {
    *("arguments", "backend", "blas", "budget", "caches", "cores", "errors", "kernel", "machine"),
    *("jobs.held", "workers"),
}
MAY_IMPORT = {
    "errors": set(),
    "supported": set(),
    "accuracy": set(),
    "blas": {"budget"},
    "caches": set(),
    "collector": set(),
    "cores": {"errors"},
    "budget": {"cores"},
    "workers": set(),
    "catalogue": set(),
    "kernel": set(),
    "declare": {"accuracy", "kernel"},
    "kernels": {"kernel", "errors", "kernels.*"},
    "kernels.*": {"declare", "kernel", "accuracy", "errors"},
    "arguments": {"kernel"},
    "backend": {"arguments", "blas", "budget", "cores", "errors", "kernel"},
    "sources": {"catalogue", "files", "kernels", "errors", "profile"},
    "config": {"sources", "kernel"},
    "position": {"kernel"},
    "files": set(),
    "ram": set(),
    "measurements": {"files"},
    "profile": {
        *("catalogue", "errors", "files", "kernels", "machine", "measurements", "position"),
    },
    "lookup": {"backend", "kernel", "position", "registry"},
    "auto": {"backend", "errors", "kernel", "lookup", "position", "profile", "registry"},
    "explanation": {
        "auto",
        "measurements",
        "config",
        "kernel",
        "kernels",
        "position",
        "profile",
        "registry",
    },
    "accelerate": {"accelerate.*", "backend", "budget", "config", "errors", "sources"},
    "accelerate.threads": {"backend", "blas", "budget", "config", "cores"},
    "accelerate.memory": {"config", "ram", "sources"},
    "accelerate.ufuncs": {"caches", "files", "position", "profile"},
    "registry": {"config", "sources", "catalogue", "backend", "errors", "kernel"},
    "jobs": {"backend", "config", "registry", "jobs.*"},
    "jobs.checkpoint": {"jobs.packing"},
    "jobs.held": set(),
    "jobs.rounds": {"jobs", "jobs.held"},
    "jobs.job": {"blas", "budget", "cores", "workers", "jobs.*"},
    "jobs.packing": set(),
    "jobs.progress": set(),
    "jobs.room": {"jobs.slots", "ram"},
    "jobs.run": {"backend", "cores", "errors", "jobs.*"},
    "jobs.slots": set(),
    "jobs.stream": set(),
    "engines": set(),
    "engines.extension": {"budget", "engines.floating"},
    "engines.floating": {"errors"},
    "engines.tracing": {"kernel"},
    "engines.pool": {"budget", "engines.chunked"},
    "engines.shared": set(),
    "engines.parcels": set(),
    "engines.ranks": {"budget", "engines.parcels"},
    "engines.own_ranks": {"errors", "engines.parcels", "engines.ranks"},
    "engines.broker": {"engines.own_ranks", "engines.parcels", "engines.ranks"},
    "engines.mpi_jobs": {"engines.parcels", "engines.ranks"},
    "engines.mpi": {
        *ENGINE,
        *(f"engines.{name}" for name in ("chunked", "mpi_jobs", "mpi_pieces")),
        *(f"engines.{name}" for name in ("own_ranks", "parcels", "ranks")),
        "ram",
    },
    "engines.mpi_pieces": {"budget", "engines.chunked", "engines.ranks", "jobs.held"},
    "engines.foreign": ENGINE,
    "engines.lending": set(),
    "engines.blockwise": {"arguments", "errors", "kernel", "engines.foreign"},
    "engines.cluster": {"errors", "engines.foreign"},
    "engines.dask": {
        *ENGINE,
        *("engines.blockwise", "engines.chunked", "engines.cluster", "engines.foreign"),
        *("engines.dask_jobs", "engines.dask_pieces", "ram"),
    },
    "engines.dask_jobs": {"engines.cluster", "engines.dask_pieces", "errors"},
    "engines.dask_pieces": {
        *("budget", "errors", "engines.chunked", "engines.cluster", "engines.foreign"),
        "jobs.held",
    },
    "engines.*": {
        *ENGINE,
        "engines.foreign",
        "engines.lending",
        "engines.chunked",
        "engines.shared",
        "engines.extension",
        "engines.floating",
        "engines.pool",
        "engines.pieces",
        "engines.tasks",
        "engines.tracing",
    },
    "engines.tasks": {"budget", "kernel", "engines.chunked", "engines.shared"},
    "engines.pieces": {"jobs.held"},
    "accelerate.imports": set(),
    "accelerate.normal": set(),
    "bench": set(),
    "bench.timer": {"collector"},
    "bench.digits": {"kernel"},
    "bench.costs": {"bench.record"},
    "bench.heading": {"machine", "bench.record"},
    "bench.verdict": {"bench.record"},
    "bench.conditions": {"bench.record"},
    "bench.fingerprint": {*BENCH, "bench.*", "cores", "files"},
    "bench.processor": set(),
    "bench.record": {"files", "machine"},
    "bench.report": {"bench.record", "bench.costs", "bench.heading", "bench.verdict"},
    "bench.*": {*BENCH, "machine", "bench.*"},
    "history": set(),
    "history.data": set(),
    "history.asv": {"collector", "history.data", "history.asv_file"},
    "history.asv_file": {"history.data"},
    "history.side": set(),
    "history.ratios": {"history.data", "bench.record"},
    "history.saved": {"history.data", "bench.record"},
    "history.drawing": {"files", "history.*"},
    "history.rooflines": {"errors", "history.*", "kernels"},
    "history.*": {"history.*"},
    "testing": {"testing.*"},
    "testing.*": {"backend", "kernel", "kernels", "blas", "errors", "testing.base"},
    "listing": {"backend", "catalogue", "config", "errors", "kernel", "kernels", "registry"},
    "machine": {"blas", "cores"},
    "cli": {"cli.run", "cli.app"},
    "cli.app": {"cli.*"},
    "cli.run": {"accelerate", "accelerate.threads", "cli.counts", "errors"},
    "cli.counts": {"accelerate", "accelerate.ufuncs"},
    "cli.history": {
        *("bench.fingerprint", "bench.record", "cli.common", "errors", "files"),
        *("history.*", "sources"),
    },
    "cli.*": {
        *BENCH,
        "explanation",
        "listing",
        "catalogue",
        "declare",
        "bench.*",
        "cli.check",
        "cli.common",
        "cli.bench",
        "collector",
        "files",
        "history.*",
    },
    "": {
        "supported",
        "jobs",
        "jobs.slots",
        "accelerate",
        "accelerate.memory",
        "explanation",
        "backend",
        "config",
        "declare",
        "errors",
        "jobs.rounds",
        "kernel",
        "kernels",
        "registry",
        "kernels.*",
    },
}
MODULES = pytest.mark.parametrize("module", FILES)


def short(module):
    return module.removeprefix("backends").removeprefix(".")


def imports(module):
    """Modules of this package that `module` imports anywhere, and the other top-level names."""
    ours, others = set(), set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute, so that they can be searched"
            names = [
                inner if (inner := f"{node.module}.{alias.name}") in FILES else node.module
                for alias in node.names
            ]
        else:
            continue
        for name in names:
            (ours if name in FILES else others).add(name)
    return ours, {name.partition(".")[0] for name in others}


def rule(name):
    folder = name.rpartition(".")[0]
    return name if name in MAY_IMPORT or not folder else f"{folder}.*"


@MODULES
def test_imports_go_downward_only(module):
    name = short(module)
    assert rule(name) in MAY_IMPORT, f"say in MAY_IMPORT where {module} belongs"
    allowed = MAY_IMPORT[rule(name)]
    found = {short(other) for other in imports(module)[0]} - {name}
    wrong = {x for x in found if x not in allowed and f"{x.rpartition('.')[0]}.*" not in allowed}
    assert wrong == set()


def test_no_module_imports_itself_through_others():
    below = {module: imports(module)[0] - {module} for module in FILES}
    done, left = set(), set(FILES)
    while left:
        ready = {module for module in left if below[module] <= done}
        assert ready, f"a circle among {sorted(left)}"
        done |= ready
        left -= ready


@MODULES
def test_engines_are_known_by_name_only(module):
    found = {name for name in imports(module)[0] if name.startswith("backends.engines.")}
    if not module.startswith("backends.engines."):
        assert found == set()


def test_catalogue_names_engines_that_exist():
    for name, place in catalogue.BUILT_IN.items():
        module, _, attribute = place.partition(":")
        assert module in FILES
        assert getattr(import_module(module), attribute).name == name


@MODULES
def test_nothing_imports_the_command_line(module):
    inside = module.startswith("backends.cli")
    assert inside or not any(name.startswith("backends.cli") for name in imports(module)[0])


@MODULES
def test_rich_and_typer_stay_in_the_command_line_and_the_report(module):
    found = imports(module)[1] & {"rich", "typer"}
    assert (
        not found
        or module.startswith("backends.cli")
        or module
        in (
            "backends.listing",
            "backends.jobs.progress",
            *(f"backends.bench.{name}" for name in ("report", "heading", "verdict", "costs")),
        )
    )


@MODULES
def test_test_tools_stay_in_the_conformance_suite(module):
    suite = module.startswith("backends.testing")
    assert suite or not imports(module)[1] & {"pytest", "hypothesis"}


def lines_of_code(module):
    """Count the lines without docstrings: what a kernel documents is not what it does."""
    lines = FILES[module].read_text(encoding="utf-8").splitlines()
    documented = set()
    for node in ast.walk(TREES[module]):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines) - len(documented)


@MODULES
def test_module_is_short(module):
    assert lines_of_code(module) <= 300


@MODULES
def test_a_long_module_says_why(module):
    text = FILES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300 or "\n# Over 300 lines: " in text


@MODULES
def test_module_says_what_it_is_and_what_it_offers(module):
    assert ast.get_docstring(TREES[module])
    if module.endswith("__main__") or module in ("backends", "backends.engines", "backends.bench"):
        return
    offered = import_module(module).__all__
    assert all(hasattr(import_module(module), name) for name in offered)


def examples():
    for module in FILES:
        if ">>>" in FILES[module].read_text(encoding="utf-8"):
            for test in doctest.DocTestFinder().find(import_module(module)):
                # Those of kernels are run by test_kernels.py.
                if test.examples and test.name.rpartition(".")[2] not in kernels.every():
                    yield pytest.param(test, id=test.name)


@pytest.mark.parametrize("test", list(examples()))
@pytest.mark.filterwarnings("ignore:n_jobs=2 is more than:UserWarning")  # a machine of one core
def test_examples_hold(test):
    output = []
    outcome = doctest.DocTestRunner(verbose=False).run(test, out=output.append)
    assert outcome.failed == 0, "".join(output)
