from __future__ import annotations

import pickle
import sys
import textwrap

import joblib
import numpy as np
import pytest

import backends
from backends import (
    BackendUnavailableError,
    ConfigError,
    UnknownNameError,
    UnsupportedKernelError,
    catalogue,
    config_context,
    registry,
    set_config,
)

CORES = joblib.cpu_count()
BUILT_IN = list(catalogue.BUILT_IN)
# Apple's Accelerate has no thread count to set: openmp cannot run there.
RUNNING = [name for name in BUILT_IN if registry.reasons()[name] is None]
DIVIDING = [name for name in RUNNING if name != "numpy"]

needs_openmp = pytest.mark.skipif("openmp" not in RUNNING, reason="openmp cannot run here")


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Install distributions as pip would: a module, and metadata with an entry point."""
    home = tmp_path / "site-packages"
    home.mkdir()
    before = set(sys.modules)

    def install(name, source, *, value=None, distribution=None):
        distribution = distribution or f"dist_{name}"
        info = home / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8"
        )
        value = value or f"plugin_{distribution}:Engine"
        (info / "entry_points.txt").write_text(
            f"[array_backends]\n{name} = {value}\n", encoding="utf-8"
        )
        module = home / f"plugin_{distribution}.py"
        module.write_text(textwrap.dedent(source), encoding="utf-8")
        monkeypatch.syspath_prepend(home)  # again each time: import caches are dropped with it
        catalogue._plugins.cache_clear()

    monkeypatch.setattr(registry, "_backends", {})
    yield install
    catalogue._plugins.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]


# Says what it was asked to do, so that a test sees how a call was resolved.
TELLTALE = """
    from backends import Backend

    class Engine(Backend):
        name = "telltale"

        def run(self, kernel, *arrays, out=None):
            return kernel.name, arrays, out, self.n_jobs
"""


HALF = """
    from backends import Backend

    class Engine(Backend):
        name = "{name}"
        made = []

        def __init__(self, n_jobs=-1):
            super().__init__(n_jobs)
            self.made.append(n_jobs)

        def supports(self, kernel):
            {body}

        def run(self, kernel, *arrays, out=None):
            raise AssertionError("must not be reached")
"""


# --- get ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNNING)
def test_get_gives_the_same_object_for_minus_one_and_its_number(name):
    everything = backends.get(name, -1)
    assert backends.get(name, everything.n_jobs) is everything
    assert backends.get(name, -1) is everything
    assert backends.get(name) is everything


@pytest.mark.parametrize("name", RUNNING)
def test_number_asked_for_first_is_kept_for_minus_one(name, monkeypatch):
    monkeypatch.setattr(registry, "_backends", {})
    first = backends.get(name, CORES)
    assert backends.get(name, -1) is first
    assert backends.get(name, CORES) is first


@pytest.mark.parametrize("name", DIVIDING)
def test_n_jobs_means_what_it_means_to_joblib(name):
    assert backends.get(name, -1).n_jobs == CORES
    assert backends.get(name, -CORES).n_jobs == 1
    assert backends.get(name, -CORES - 5).n_jobs == 1
    assert backends.get(name, 1).n_jobs == 1
    assert backends.get(name, np.int64(1)).n_jobs == 1


def test_numpy_is_one_job_whatever_is_configured():
    assert backends.get("numpy", 2).n_jobs == 1
    with config_context(n_jobs=2):
        assert backends.get("numpy").n_jobs == 1


def test_get_takes_n_jobs_from_the_configuration():
    with config_context(n_jobs=1):
        assert backends.get("threads").n_jobs == 1
        assert backends.get("threads", -1).n_jobs == CORES


@pytest.mark.parametrize("name", RUNNING)
def test_zero_jobs_are_refused(name):
    with pytest.raises(ValueError, match=r"n_jobs=0 has no meaning.*-1"):
        backends.get(name, 0)


@pytest.mark.parametrize("name", DIVIDING)
def test_absurd_number_of_jobs_is_refused(name):
    with pytest.raises(ValueError, match=f"n_jobs=1000000 .*at most {16 * CORES}"):
        backends.get(name, 1_000_000)


@pytest.mark.parametrize("n_jobs", [True, 1.0, "1"], ids=repr)
@pytest.mark.parametrize("name", RUNNING)
def test_n_jobs_of_another_type_is_refused(name, n_jobs):
    backends.get(name, 1)  # True and 1.0 are equal to 1, and would be found where it is kept
    with pytest.raises(TypeError, match="n_jobs must be an integer"):
        backends.get(name, n_jobs)


@pytest.mark.parametrize("name", DIVIDING)
def test_more_jobs_than_cores_draw_a_warning(name, monkeypatch):
    monkeypatch.setattr(registry, "_backends", {})
    with pytest.warns(UserWarning, match=f"n_jobs={CORES + 1} is more than the {CORES} core"):
        assert backends.get(name, CORES + 1).n_jobs == CORES + 1


@pytest.mark.parametrize("asked", [lambda x: backends.get(x), lambda x: backends.sin(1, backend=x)])
def test_unknown_backend_suggests_the_nearest(asked):
    with pytest.raises(
        UnknownNameError,
        match=r"^there is no backend 'thread'; did you mean 'threads'\? Valid: .*numpy",
    ):
        asked("thread")


@pytest.mark.parametrize("name", [3, None, ""], ids=repr)
def test_a_name_that_is_no_name_is_refused(name):
    with pytest.raises(UnknownNameError, match=r"Valid: .*numpy"):
        backends.get(name)


def test_unknown_name_error_survives_pickling():
    with pytest.raises(UnknownNameError) as caught:
        backends.get("thread")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (UnknownNameError, str(caught.value))


# --- what is there --------------------------------------------------------------------------


def test_built_in_backends_have_no_reason_or_say_one():
    reasons = registry.reasons()
    assert list(reasons)[: len(BUILT_IN)] == BUILT_IN
    assert reasons["numpy"] is reasons["threads"] is reasons["joblib"] is None
    assert backends.available() == [name for name, reason in reasons.items() if reason is None]


def test_plug_in_is_a_backend_like_any_other(plug_in):
    plug_in("telltale", TELLTALE)
    assert "telltale" in backends.available()
    assert backends.sin(0.5, backend="telltale", n_jobs=1) == ("sin", (0.5,), None, 1)
    set_config(backend="telltale")
    assert backends.add(1, 2, n_jobs=1) == ("add", (1, 2), None, 1)
    assert backends.get("telltale") is backends.get("telltale", -1)


def test_plug_in_is_not_imported_before_it_is_used(plug_in):
    plug_in("broken", "raise SystemExit('imported')")
    assert "broken" in catalogue.names()
    assert backends.sqrt(4.0, backend="numpy") == 2.0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_library", r"ModuleNotFoundError: No module named 'no_such_library'"),
        ("1 / 0", r"ZeroDivisionError: division by zero"),
        ("def broken(:", r"SyntaxError"),
        ("class Other: pass", r"AttributeError: .*Engine"),
        ("class Engine: pass", r"no subclass of backends\.backend\.Backend"),
        ("def Engine(): pass", r"no subclass of backends\.backend\.Backend"),
    ],
)
def test_plug_in_that_cannot_be_imported_gives_its_reason(plug_in, source, reason):
    plug_in("broken", source)
    assert "broken" not in backends.available()
    assert registry.reasons()["broken"] is not None
    with pytest.raises(BackendUnavailableError, match=rf"'broken' cannot run here: .*{reason}"):
        backends.get("broken")
    with pytest.raises(BackendUnavailableError, match=reason):
        backends.sin(1.0, backend="broken")


UNAVAILABLE = """
    from backends import Backend

    class Engine(Backend):
        name = "remote"

        @classmethod
        def unavailable(cls):
            {body}

        def run(self, kernel, *arrays, out=None):
            raise AssertionError("must not be reached")
"""


def test_unavailable_backend_raises_with_its_reason(plug_in):
    plug_in("remote", UNAVAILABLE.format(body='return "no device; pip install device"'))
    assert registry.reasons()["remote"] == "no device; pip install device"
    assert "remote" not in backends.available()
    set_config(backend="remote")
    for ask in (lambda: backends.get("remote"), lambda: backends.sin(1.0)):
        with pytest.raises(BackendUnavailableError, match="'remote' cannot run here: no device"):
            ask()


def test_plug_in_whose_check_fails_hides_no_other(plug_in):
    plug_in("remote", UNAVAILABLE.format(body='raise OSError("driver")'))
    assert "OSError: driver" in registry.reasons()["remote"]
    assert "numpy" in backends.available()


def test_plug_in_whose_check_fails_is_unavailable(plug_in):
    plug_in("remote", UNAVAILABLE.format(body='raise OSError("driver")'))
    with pytest.raises(BackendUnavailableError, match="OSError: driver"):
        backends.get("remote")


def test_failure_of_a_plug_in_is_one_line_to_its_user(run_python, plug_in, tmp_path):
    plug_in("broken", "import no_such_library")
    out = run_python(
        f"""
import sys
sys.path.insert(0, {str(tmp_path / "site-packages")!r})
import backends
from backends import registry
print(registry.reasons()["broken"])
"""
    )
    assert len(out.splitlines()) == 1
    assert "No module named 'no_such_library'" in out


def test_plug_in_with_a_built_in_name_is_left_out_with_a_warning(plug_in):
    plug_in("threads", TELLTALE)
    with pytest.warns(UserWarning, match="'threads' of dist_threads is left out: .* is built in"):
        names = catalogue.names()
    assert names == BUILT_IN
    assert backends.get("threads", 1).run(backends.sqrt, 4.0) == 2.0


def test_who_takes_a_scheduler_is_made_with_it_and_once_for_each(plug_in):
    plug_in(
        "remote",
        """
        from backends import Backend

        class Engine(Backend):
            name = "remote"
            takes_scheduler = True

            def __init__(self, n_jobs=-1, *, scheduler=None):
                super().__init__(n_jobs)
                self.scheduler = scheduler

            def run(self, kernel, *arrays, out=None):
                return self.scheduler
        """,
    )
    here = backends.get("remote", scheduler="local")
    assert here.scheduler == "local"
    assert backends.get("remote", scheduler="local") is here
    assert backends.get("remote").scheduler is None
    with config_context(backend="remote", scheduler="tcp://host:8786"):
        assert backends.sin(0.5) == "tcp://host:8786"
        assert backends.get("remote", scheduler="local") is here
    assert backends.get("threads", 1, scheduler="local") is backends.get("threads", 1)
    for wrong, error in ((3, TypeError), ("host", ValueError)):
        with pytest.raises(error, match='scheduler must be "local", or an address'):
            backends.get("threads", scheduler=wrong)


def test_who_takes_a_device_and_a_mode_is_made_with_them_and_once_for_each(plug_in):
    plug_in(
        "gpu",
        """
        from backends import Backend

        class Engine(Backend):
            name = "gpu"
            takes_device = takes_mode = True
            made = []

            def __init__(self, n_jobs=-1, *, device=None, mode="exact"):
                super().__init__(n_jobs)
                self.asked = (device, mode)
                self.made.append(self.asked)

            def run(self, kernel, *arrays, out=None):
                return self.asked
        """,
    )

    def asked():
        # Without a number of jobs, with the one that the configuration has, and with what it means.
        one, same, again = (backends.get("gpu", n) for n in (None, -1, CORES))
        assert one is same is again
        return one.asked

    assert asked() == (None, "exact")
    assert backends.get("gpu", mode="fast").asked == (None, "fast")
    assert backends.get("gpu", mode="fast") is backends.get("gpu", CORES, mode="fast")
    with config_context(device=1):
        assert asked() == (1, "exact")
        with config_context(mode="fast"):
            assert asked() == (1, "fast")
            assert backends.get("gpu", mode="exact").asked == (1, "exact")
            assert backends.sin(0.5, backend="gpu") == (1, "fast")
    with config_context(device=2):
        assert asked() == (2, "exact")
    made = sys.modules["plugin_dist_gpu"].Engine.made
    for each in ((None, "exact"), (None, "fast"), (1, "exact"), (1, "fast"), (2, "exact")):
        # A second one, made to learn what -1 stands for, is dropped for the first.
        assert 1 <= made.count(each) <= 2, each


def test_who_takes_neither_device_nor_mode_is_one_for_all(plug_in):
    plug_in("telltale", TELLTALE)
    one = backends.get("telltale", 1)
    with config_context(device=1, mode="fast", scheduler="local"):
        assert backends.get("telltale", 1) is one
        assert backends.get("telltale", 1, mode="exact", scheduler="tcp://host:1") is one


def test_a_backend_is_made_once_for_the_same_settings(plug_in):
    plug_in("sines", HALF.format(name="sines", body="return True"))
    for _ in range(3):
        backends.get("sines", 1)
    assert sys.modules["plugin_dist_sines"].Engine.made == [1]


def test_plug_in_that_cannot_be_started_gives_its_reason(plug_in):
    plug_in(
        "remote",
        """
        from backends import Backend

        class Engine(Backend):
            name = "remote"

            def __init__(self, n_jobs=-1):
                raise OSError("no driver")

            def run(self, kernel, *arrays, out=None):
                raise AssertionError("must not be reached")
        """,
    )
    assert "remote" in backends.available()
    wanted = "^backend 'remote' cannot be started: OSError: no driver$"
    with pytest.raises(BackendUnavailableError, match=wanted) as caught:
        backends.get("remote")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_backend_may_give_each_kernel_a_call_of_its_own(plug_in):
    plug_in(
        "telltale",
        TELLTALE
        + """
        def caller(self, kernel):
            return lambda *call: (kernel.name, *call)
""",
    )
    assert backends.sin(0.5, backend="telltale") == ("sin", backends.sin, (0.5,), None)


def test_second_plug_in_of_a_name_is_left_out_with_a_warning(plug_in):
    plug_in("telltale", TELLTALE, distribution="one")
    plug_in("telltale", TELLTALE, distribution="two")
    with pytest.warns(UserWarning, match="'telltale' of (one|two) is left out: .* offered before"):
        names = catalogue.names()
    assert names == [*BUILT_IN, "telltale"]


def test_plug_in_can_be_chosen_in_a_file(plug_in, tmp_path):
    plug_in("telltale", TELLTALE)
    (tmp_path / "backends.toml").write_text(
        'n_jobs = 1\n[kernels]\nsin = "telltale"\n', encoding="utf-8"
    )
    assert backends.sin(0.5) == ("sin", (0.5,), None, 1)
    assert backends.sqrt(4.0) == 2.0


# --- which backend a call runs on -----------------------------------------------------------


def test_arguments_of_a_call_choose_for_that_call(plug_in):
    plug_in("telltale", TELLTALE)
    with config_context(backend="telltale"):
        assert backends.sin(0.5, n_jobs=1) == ("sin", (0.5,), None, 1)
        assert backends.sin(0.5) == ("sin", (0.5,), None, CORES)
        assert backends.sqrt(4.0, backend="numpy") == 2.0
    assert backends.sqrt(4.0) == 2.0


def test_out_reaches_the_backend(plug_in):
    plug_in("telltale", TELLTALE)
    out = np.empty(1)
    assert backends.sin([0.5], out=out, backend="telltale")[2] is out
    with config_context(backend="telltale"):
        assert backends.sin([0.5], out=out)[2] is out


def test_change_of_settings_reaches_the_next_call(plug_in):
    plug_in("telltale", TELLTALE)
    for n_jobs in (1, -1, 1):
        set_config(backend="telltale", n_jobs=n_jobs)
        assert backends.sin(0.5)[3] == (1 if n_jobs == 1 else CORES)
        assert backends.sin(0.5)[3] == (1 if n_jobs == 1 else CORES)
    set_config(backend=None)
    assert backends.sqrt(4.0) == 2.0


def test_choice_is_looked_up_once_for_each_change_of_settings(plug_in):
    plug_in(
        "telltale",
        TELLTALE
        + """
        def supports(self, kernel):
            type(self).asked = getattr(type(self), "asked", 0) + 1
            return True
""",
    )
    set_config(backend="telltale")
    backends.sin(0.5)
    backends.sin(0.5)
    assert backends.get("telltale").asked == 1
    set_config(backend="telltale")
    backends.sin(0.5)
    assert backends.get("telltale").asked == 2


@pytest.mark.parametrize("n_jobs", [0, 1_000_000])
@pytest.mark.parametrize("backend", DIVIDING)
def test_wrong_n_jobs_of_a_call_is_refused(backend, n_jobs):
    with pytest.raises(ValueError, match=f"n_jobs={n_jobs} "):
        backends.matmul(np.eye(2), np.eye(2), backend=backend, n_jobs=n_jobs)


@pytest.mark.parametrize("backend", DIVIDING)
def test_absurd_n_jobs_of_a_file_names_the_file(backend, tmp_path):
    file = tmp_path / "backends.toml"
    file.write_text(f'backend = "{backend}"\nn_jobs = 1000000\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        backends.matmul(np.eye(2), np.eye(2))
    assert str(file) in str(caught.value)
    assert "n_jobs=1000000" in str(caught.value)


def test_absurd_n_jobs_of_the_environment_names_the_variable(monkeypatch):
    monkeypatch.setenv("BACKENDS_N_JOBS", "1000000")
    with pytest.raises(ConfigError, match="BACKENDS_N_JOBS: n_jobs=1000000"):
        backends.get("threads")


@pytest.fixture
def no_engine(monkeypatch):
    """As installed without a compiler: openmp has the linear algebra only."""
    monkeypatch.setattr("backends.engines.openmp.load", lambda: "openmp has no engine here")


@needs_openmp
@pytest.mark.usefixtures("no_engine")
def test_kernel_that_a_backend_does_not_have_is_refused_with_the_remedy():
    with pytest.raises(UnsupportedKernelError, match="from the argument backend") as caught:
        backends.sin(1.0, backend="openmp")
    assert str(caught.value).startswith("sin: openmp ")
    assert '[kernels] sin = "threads"' in str(caught.value)


@needs_openmp
@pytest.mark.usefixtures("no_engine")
def test_refused_kernel_names_the_source_of_the_choice(tmp_path):
    file = tmp_path / "backends.toml"
    file.write_text('backend = "openmp"\n', encoding="utf-8")
    for _ in range(2):  # a refusal must not be remembered as a choice that works
        with pytest.raises(UnsupportedKernelError) as caught:
            backends.sin(1.0)
        assert f"backend 'openmp' (from {file})" in str(caught.value)
    set_config(kernels={"sin": "openmp"})
    with pytest.raises(UnsupportedKernelError, match=r"from set_config, kernels\.sin"):
        backends.sin(1.0)


@needs_openmp
@pytest.mark.usefixtures("no_engine")
def test_remedy_for_a_refused_kernel_works(tmp_path):
    (tmp_path / "backends.toml").write_text(
        'backend = "openmp"\n[kernels]\nsin = "threads"\n', encoding="utf-8"
    )
    assert backends.sin(0.0) == 0.0
    assert backends.matmul([[1.0]], [[2.0]]) == 2.0


def having(message):
    """Give the backends that a refusal lists."""
    return message.partition("Backends that have it: ")[2].partition(" (")[0].split(", ")


def test_refusal_lists_who_has_the_kernel_and_asks_each_with_one_job(plug_in):
    refuses = 'return True if kernel.name == "cos" else "no sines"'
    plug_in("cosines", HALF.format(name="cosines", body=refuses))
    plug_in("failing", HALF.format(name="failing", body="raise OSError('driver')"))
    only = 'return kernel.name == "sin" or "only sines"'
    plug_in("sines", HALF.format(name="sines", body=only))
    with pytest.raises(UnsupportedKernelError, match="sin: no sines") as caught:
        backends.sin(1.0, backend="cosines")
    found = having(str(caught.value))
    assert found[0] == "numpy"
    assert "sines" in found
    assert "threads" in found
    assert not {"cosines", "failing"} & set(found)
    made = sys.modules["plugin_dist_sines"].Engine.made
    assert made == [1]  # more jobs might start workers, only to complete a message


def test_refusal_lists_an_optional_backend_only_where_it_is_in_use(plug_in, monkeypatch):
    # As if they needed libraries that take seconds to import.
    monkeypatch.setattr(catalogue, "OPTIONAL", {*catalogue.OPTIONAL, "threads", "joblib"})
    plug_in("cosines", HALF.format(name="cosines", body='return "no sines"'))
    plug_in("sines", HALF.format(name="sines", body="return True"))
    for used in (set(), {"joblib"}, {"joblib", "threads"}):
        for name in used:
            backends.get(name, 1)
        with pytest.raises(UnsupportedKernelError) as caught:
            backends.sin(1.0, backend="cosines")
        assert {"threads", "joblib"} & set(having(str(caught.value))) == used
        assert "sines" in having(str(caught.value))


def test_remedy_of_a_refusal_is_numpy_where_nobody_else_has_the_kernel(plug_in, monkeypatch):
    plug_in("cosines", HALF.format(name="cosines", body='return "no sines"'))
    monkeypatch.setattr(catalogue, "names", lambda: ["numpy", "cosines"])
    with pytest.raises(UnsupportedKernelError, match=r'sin = "numpy" in .*backend="numpy"$'):
        backends.sin(1.0, backend="cosines")


def test_a_backend_under_test_must_have_float64():
    from backends.backend import Backend
    from backends.testing.base import BackendTests

    class Refusing(Backend):
        name = "refusing"

        def run(self, kernel, *arrays, out=None):
            raise backends.UnsupportedKernelError("not here")

    suite = BackendTests()
    suite.exact = False
    engine = Refusing(1)
    assert suite.run(engine, backends.sin, np.ones(3, "float32")) is None
    with pytest.raises(backends.UnsupportedKernelError):
        suite.run(engine, backends.sin, np.ones(3))
