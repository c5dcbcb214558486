from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import asv.benchmark
import pytest
from asv.config import Config
from asv_runner.discovery import disc_benchmarks

import backends
from backends import catalogue, kernels, registry
from backends.engines.serial import NumpyBackend
from backends.errors import BackendUnavailableError

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "benchmarks" / "suite"
PROFILES = ("quick", "regular", "full")
FAMILIES = {"linear algebra": "linalg", "elementwise": "elementwise"}
FAMILIES["special functions"] = "special"


@pytest.fixture
def load(monkeypatch):
    """Give the suite's modules, imported anew for a profile."""
    monkeypatch.syspath_prepend(str(SUITE.parent))

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "suite"]:
            del sys.modules[name]

    def load(profile):
        forget()
        monkeypatch.setenv("BACKENDS_ASV_PROFILE", profile)
        return import_module("suite.common")

    yield load
    forget()


@pytest.fixture
def quick(load):
    """Give the module of elementwise benchmarks, in the profile that asks for the least."""
    load("quick")
    return import_module("suite.elementwise")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_kernel_is_a_benchmark_with_the_same_parameters_everywhere(load, profile):
    common = load(profile)
    found = {each.name: each for each in disc_benchmarks(str(SUITE))}
    for kernel in kernels.every().values():
        each = found.pop(f"{FAMILIES[kernel.family]}.track_{kernel.name}")
        assert each.param_names == ["backend", "dtype", "size"]
        chosen = common.PROFILES[profile]
        sizes = chosen.orders if kernel.blas else chosen.sizes
        assert each._params[0] == list(chosen.backends)
        assert each._params[2] == list(sizes)
        assert each.unit == "seconds"
        assert each.version == common.VERSION
        assert each.rounds == chosen.rounds
    assert found
    for each in found.values():
        assert each.name.startswith("package.")
        assert each.version == common.VERSION


def test_what_is_in_one_profile_is_in_the_larger_ones(load):
    common = load("full")
    quick, regular, full = (common.PROFILES[name] for name in PROFILES)
    for smaller, larger in ((quick, regular), (regular, full)):
        for name in ("backends", "dtypes", "sizes", "orders"):
            assert set(getattr(smaller, name)) <= set(getattr(larger, name)), name
        assert smaller.complex_too <= larger.complex_too


def test_the_list_of_backends_has_all_that_are_built_in(load):
    names = {label.removesuffix(" (fast)") for label in load("full").BACKENDS}
    assert names == set(catalogue.BUILT_IN) - {"auto", "ray"}  # ray has no kernels


def test_a_profile_that_does_not_exist_is_refused_with_those_that_do(load):
    with pytest.raises(ValueError, match="quick, regular, full"):
        load("fast")


def test_a_kernel_is_timed_and_every_sample_is_kept(quick):
    setup, track = quick.track_sin.setup, quick.track_sin
    setup("numpy", "float64", 1000)
    found = track("numpy", "float64", 1000)
    assert found["number"] >= 1
    assert 6 <= len(found["samples"]) <= 20
    assert all(seconds > 0 for seconds in found["samples"])
    track.teardown("numpy", "float64", 1000)


@pytest.mark.parametrize(
    ("backend", "dtype", "size", "reason"),
    [
        ("numpy", "complex64", 1000, "has no complex64"),
        ("threads", "float64", 10, "in one piece"),
        ("openmp (fast)", "float64", 1000, "the same as openmp|cannot run here"),
    ],
)
def test_what_there_is_not_is_skipped_with_its_reason(quick, backend, dtype, size, reason):
    with pytest.raises(NotImplementedError, match=reason):
        quick.track_power.setup(backend, dtype, size)


def test_a_backend_that_cannot_run_is_skipped_with_its_reason(quick, monkeypatch):
    def refuse(name, **_):
        raise BackendUnavailableError(f"backend {name!r} cannot run here: no GPU")

    monkeypatch.setattr(registry, "get", refuse)
    with pytest.raises(NotImplementedError, match="no GPU"):
        quick.track_sin.setup("cupy", "float64", 1000)


def test_a_wrong_result_is_a_failure_and_no_time(quick, monkeypatch):
    class Wrong(NumpyBackend):
        name = "wrong"

        def run(self, kernel, *arrays, out=None):
            return super().run(kernel, *arrays, out=out) * 1.001

        def divides(self, kernel, *arrays):
            return True

    monkeypatch.setattr(registry, "get", lambda name, **_: Wrong())
    with pytest.raises(ArithmeticError, match="wrong by"):
        quick.track_sin.setup("wrong", "float64", 1000)


def test_memory_counts_the_children_of_this_process(load):
    load("quick")
    package = import_module("suite.package")
    this = package.psutil.Process()
    before = package._held_by(this)
    script = "x = bytearray(b'1') * 100_000_000; print('there', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline().strip() == b"there"
        assert package._held_by(this) - before > 100_000_000
        child.communicate(b"\n")


def test_memory_sees_the_result_of_a_call(load):
    load("quick")
    package = import_module("suite.package")
    benchmark = package.Memory()
    benchmark.setup("numpy")
    # 64 MB of results, and what else the process does.
    assert 0.9 < benchmark.track_peak("numpy") / (8 * package.MANY) < 1.5


@pytest.mark.parametrize("name", ["numpy", "threads"])
def test_a_small_call_is_timed_where_it_was_asked_for(load, name):
    load("quick")
    benchmark = import_module("suite.package").Dispatch()
    call = f"backends.add on {name}"
    before = backends.get_config().backend
    benchmark.setup(call)
    try:
        assert backends.get_config().backend == (name, "config_context")
        assert benchmark.call().tolist() == [2.0] * 8
        assert min(benchmark.track_call(call)["samples"]) > 0
    finally:
        benchmark.teardown(call)
    assert backends.get_config().backend == before


@pytest.mark.parametrize(
    ("name", "parameter"), [("Dispatch", "backends.add on numpy"), ("Memory", "numpy")]
)
def test_a_commit_without_the_kernel_is_skipped_with_its_reason(load, name, parameter, monkeypatch):
    load("quick")
    package = import_module("suite.package")
    monkeypatch.setattr(kernels, "every", dict)
    with pytest.raises(NotImplementedError, match=r"this commit has no (add|sin)"):
        getattr(package, name)().setup(parameter)


def test_threads_are_counted(load):
    load("quick")
    benchmark = import_module("suite.package").Threads()
    benchmark.setup("n_jobs")
    assert benchmark.track_count("n_jobs") == backends.get("threads").n_jobs


def test_a_blas_that_tells_nothing_of_its_threads_is_skipped_with_its_reason(load, monkeypatch):
    load("quick")
    monkeypatch.setattr("threadpoolctl.threadpool_info", list)
    with pytest.raises(NotImplementedError, match="nothing of the blas"):
        import_module("suite.package").Threads().setup("blas")


def run(benchmark, out):
    """Run a benchmark as asv does, in a process of its own, and give what it notes."""
    command = [sys.executable, asv.benchmark.__file__, "run", str(SUITE), benchmark]
    done = subprocess.run(
        [*command, "{}", "None", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # not a warning that the variable is no setting of the package
    return json.loads(out.read_bytes())


def test_a_benchmark_runs_as_asv_runs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKENDS_ASV_PROFILE", "quick")
    found = run("elementwise.track_add-0", tmp_path / "out.json")
    assert set(found) == {"samples", "number"}


@pytest.mark.parametrize("module", FAMILIES.values())
def test_a_kernel_of_another_commit_is_skipped_and_has_not_failed(module, tmp_path, monkeypatch):
    monkeypatch.setenv("BACKENDS_ASV_PROFILE", "quick")
    assert math.isnan(run(f"{module}.track_of_tomorrow-3", tmp_path / "out.json"))


def test_a_kernel_of_another_commit_says_why(quick):
    with pytest.raises(NotImplementedError, match="this commit has no of_tomorrow"):
        quick.track_of_tomorrow.setup(0)
    assert not hasattr(quick, "setup")  # asv asks modules for it


def test_asv_reads_its_settings():
    settings = Config.load(str(ROOT / "asv.conf.json"))
    assert (ROOT / settings.benchmark_dir).resolve() == SUITE
    assert settings.launch_method == "spawn"
    # Existing environments put their path into the results.
    assert settings.environment_type == "virtualenv"
