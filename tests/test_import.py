from __future__ import annotations

import ast
import importlib.metadata
import re

import pytest

import backends
from backends import kernels

# What costs more to import than NumPy, is optional, or is needed by few calls.
# fmt: off
LATE = [
    "scipy", "rich", "typer", "click", "joblib", "loky", "cupy", "dask", "msgspec",
    "threadpoolctl", "psutil", "platformdirs", "numpy.random", "dataclasses", "tomllib",
    "importlib.metadata", "difflib", "multiprocessing", "concurrent.futures", "hypothesis",
    "pytest", "backends.cli", "backends.bench", "backends.engines", "backends.kernels.special",
    "backends.testing", "backends.profile", "backends.auto", "backends.explanation",
    "backends.machine",
]
# fmt: on

MODULES = "print(sorted(sys.modules))"


def modules_after(run_python, statement):
    return set(ast.literal_eval(run_python(f"import sys\n{statement}\n{MODULES}\n")))


def test_import_brings_in_nothing_heavy(run_python):
    added = modules_after(run_python, "import backends") - modules_after(run_python, "import numpy")
    heavy = {name for name in added for late in LATE if f"{name}.".startswith(f"{late}.")}
    assert heavy == set()
    assert "backends.registry" in added


def test_call_on_numpy_brings_in_no_other_engine(run_python):
    after = modules_after(run_python, "import backends; backends.sqrt([1.0])")
    assert "backends.engines.serial" in after
    assert not {"rich", "typer", "backends.engines.threads", "backends.engines.processes"} & after
    # Who never tuned pays nothing for the profile that is not there.
    assert not {"msgspec", "joblib", "backends.profile", "backends.auto"} & after


def test_settings_are_not_read_by_importing(run_python):
    assert "ok" in run_python("import backends; print('ok')", BACKENDS_N_JOBS="abc")


def test_star_gives_every_kernel_and_no_module(run_python):
    out = run_python("from backends import *\nprint(sorted(dir()))")
    names = set(ast.literal_eval(out))
    assert set(kernels.every()) <= names
    assert {"config_context", "get", "Backend", "ConfigError", "elementwise"} <= names
    assert not {"config", "registry", "kernels", "annotations", "TYPE_CHECKING", "Any"} & names


def test_all_names_exist_once():
    assert len(set(backends.__all__)) == len(backends.__all__)
    for name in backends.__all__:
        assert getattr(backends, name) is not None


def test_dir_has_kernels_and_version():
    assert {"matmul", "norm_isf", "get", "kernels", "__version__"} <= set(dir(backends))
    assert dir(backends) == sorted(set(dir(backends)))


@pytest.mark.parametrize("name", list(kernels.every()))
def test_kernel_is_an_attribute_of_the_package(name):
    assert getattr(backends, name) is kernels.find(name)


def test_version_is_that_of_the_distribution():
    assert backends.__version__ == importlib.metadata.version("array-backends")
    assert re.match(r"\d+\.\d+", backends.__version__)


@pytest.mark.parametrize("name", ["sine", "_private", "__wrapped__"])
def test_unknown_attribute_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module 'backends' has no attribute '{name}'"):
        getattr(backends, name)
    assert not hasattr(backends, name)
