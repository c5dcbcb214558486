from __future__ import annotations

import asyncio
import contextvars
import textwrap
import threading
import tomllib
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

import backends
from backends import ConfigError, config, config_context, get_config, set_config

needs_openmp = pytest.mark.skipif(
    "openmp" not in backends.available(), reason="openmp cannot run here"
)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def in_thread(function):
    """Run where no ``with`` block of this thread reaches."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


# --- which source wins ----------------------------------------------------------------------


def test_defaults_are_numpy_on_all_cores():
    assert get_config().backend == ("numpy", "the default")
    assert get_config().n_jobs == (-1, "the default")
    assert get_config().backend_for("sin") == ("numpy", "the default")


# From weakest to strongest: each is tried on top of all the weaker ones.
SOURCES = ("pyproject.toml", "backends.toml", "environment", "set_config", "config_context")


def choose(source, value, tmp_path, monkeypatch, stack):
    """Set n_jobs = `value` in one source; give the name that it should be remembered by."""
    if source == "pyproject.toml":
        return str(write(tmp_path / source, f"[tool.backends]\nn_jobs = {value}\n"))
    if source == "backends.toml":
        return str(write(tmp_path / source, f"n_jobs = {value}\n"))
    if source == "environment":
        monkeypatch.setenv("BACKENDS_N_JOBS", str(value))
        return "environment variable BACKENDS_N_JOBS"
    if source == "set_config":
        set_config(n_jobs=value)
        return source
    stack.enter_context(config_context(n_jobs=value))
    return source


@pytest.mark.parametrize("strongest", SOURCES)
def test_stronger_source_beats_all_weaker_ones(strongest, tmp_path, monkeypatch):
    present = SOURCES[: SOURCES.index(strongest) + 1]
    with ExitStack() as stack:
        names = [
            choose(source, value, tmp_path, monkeypatch, stack)
            for value, source in enumerate(present, start=2)
        ]
        assert get_config().n_jobs == (len(present) + 1, names[-1])


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_alone_beats_the_default(source, tmp_path, monkeypatch):
    with ExitStack() as stack:
        name = choose(source, 7, tmp_path, monkeypatch, stack)
        assert get_config().n_jobs == (7, name)
        assert str(get_config().n_jobs) == f"7 (from {name})"


@pytest.fixture
def no_engine(monkeypatch):
    """As installed without a compiler: openmp has the linear algebra only."""
    monkeypatch.setattr("backends.engines.openmp.load", lambda: "there is no OpenMP engine here")


@needs_openmp
@pytest.mark.usefixtures("no_engine")
def test_argument_beats_context():
    with config_context(backend="openmp"):
        assert backends.sqrt(4.0, backend="numpy") == 2.0
        with pytest.raises(backends.UnsupportedKernelError, match="config_context"):
            backends.sqrt(4.0)


def test_mode_is_chosen_wherever_settings_come_from(tmp_path):
    file = write(tmp_path / "backends.toml", 'mode = "fast"\n')
    assert get_config().mode == ("fast", str(file))
    set_config(mode="exact")
    assert get_config().mode == ("exact", "set_config")
    with config_context(mode="fast"):
        assert get_config().mode == ("fast", "config_context")
        assert "mode: 'fast' (from config_context)" in repr(get_config())


def test_mode_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("BACKENDS_MODE", "fast")
    assert get_config().mode == ("fast", "environment variable BACKENDS_MODE")


def test_pool_bytes_are_set_for_the_process_wherever_its_settings_come_from(tmp_path, monkeypatch):
    assert get_config().pool_bytes == (None, "the default")
    file = write(tmp_path / "backends.toml", "pool_bytes = 1_000\n")
    config._found = None
    set_config(n_jobs=2)
    assert get_config().pool_bytes == (1000, str(file))
    monkeypatch.setenv("BACKENDS_POOL_BYTES", "2000")
    config._found = None
    set_config(n_jobs=2)
    assert get_config().pool_bytes == (2000, "environment variable BACKENDS_POOL_BYTES")
    set_config(pool_bytes=0)
    assert get_config().pool_bytes == (0, "set_config")
    set_config(pool_bytes=None)
    assert get_config().pool_bytes.value == 2000
    with pytest.raises(TypeError, match="pool_bytes"), config_context(pool_bytes=1):
        pass


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "1000", [1]])
def test_pool_bytes_that_are_no_number_of_bytes_are_refused(wrong):
    expected = ["set_config", "pool_bytes must be a number of bytes", "0 to keep none", repr(wrong)]
    assert_refused(lambda: set_config(pool_bytes=wrong), expected)


@pytest.mark.parametrize("wrong", ["1e9", "1 GiB", "-5"])
def test_pool_bytes_in_the_environment_are_checked(wrong, monkeypatch):
    monkeypatch.setenv("BACKENDS_POOL_BYTES", wrong)
    assert_refused(get_config, ["environment variable BACKENDS_POOL_BYTES", wrong])


def test_an_instruction_set_is_no_setting_and_no_mistake(monkeypatch):
    monkeypatch.setenv("BACKENDS_SIMD", "baseline")
    assert get_config().mode == ("exact", "the default")


def test_context_beats_environment(monkeypatch):
    monkeypatch.setenv("BACKENDS_BACKEND", "joblib")
    with config_context(backend="threads"):
        assert get_config().backend == ("threads", "config_context")
    assert get_config().backend == ("joblib", "environment variable BACKENDS_BACKEND")


def test_sources_are_resolved_key_by_key(tmp_path, monkeypatch):
    file = write(tmp_path / "backends.toml", 'backend = "joblib"\nn_jobs = 2\n')
    monkeypatch.setenv("BACKENDS_N_JOBS", "3")
    with config_context(kernels={"sin": "threads"}):
        assert get_config().backend == ("joblib", str(file))
        assert get_config().n_jobs == (3, "environment variable BACKENDS_N_JOBS")
        assert get_config().backend_for("sin").value == "threads"


def test_the_choice_is_printed_with_its_source(tmp_path):
    file = write(tmp_path / "backends.toml", 'backend = "threads"\n[kernels]\nmatmul = "openmp"\n')
    set_config(n_jobs=2)
    assert repr(get_config()) == (
        f"<config backend: 'threads' (from {file}), n_jobs: 2 (from set_config), "
        f"matmul: 'openmp' (from {file}, kernels.matmul)>"
    )
    set_config(device=3, kernels={"sin": "threads", "cos": "joblib"})
    assert repr(get_config()) == (
        f"<config backend: 'threads' (from {file}), n_jobs: 2 (from set_config), "
        "device: 3 (from set_config), sin: 'threads' (from set_config, kernels.sin), "
        "cos: 'joblib' (from set_config, kernels.cos), "
        f"matmul: 'openmp' (from {file}, kernels.matmul)>"
    )


# --- choices for single kernels -------------------------------------------------------------


def test_kernel_choice_beats_general_choice_of_the_same_source(tmp_path):
    file = write(tmp_path / "backends.toml", 'backend = "threads"\n[kernels]\nmatmul = "openmp"\n')
    assert get_config().backend_for("matmul") == ("openmp", f"{file}, kernels.matmul")
    assert get_config().backend_for("inv") == ("threads", str(file))


def test_general_choice_of_stronger_source_beats_kernel_choice_of_weaker(tmp_path, monkeypatch):
    write(tmp_path / "backends.toml", '[kernels]\nmatmul = "openmp"\n')
    monkeypatch.setenv("BACKENDS_BACKEND", "threads")
    expected = ("threads", "environment variable BACKENDS_BACKEND")
    assert get_config().backend_for("matmul") == expected


def test_kernel_choice_of_stronger_source_leaves_other_kernels_alone():
    set_config(backend="threads")
    with config_context(kernels={"matmul": "openmp"}):
        assert get_config().backend_for("matmul") == ("openmp", "config_context, kernels.matmul")
        assert get_config().backend_for("inv") == ("threads", "set_config")


@needs_openmp
@pytest.mark.usefixtures("no_engine")
def test_kernel_choice_is_what_runs():
    with config_context(kernels={"sin": "openmp"}):
        assert backends.sqrt(4.0) == 2.0
        with pytest.raises(backends.UnsupportedKernelError, match=r"kernels\.sin"):
            backends.sin(1.0)


# --- contexts, threads and tasks ------------------------------------------------------------


def test_inner_context_adds_to_the_outer_one_and_gives_it_back():
    with config_context(backend="threads", n_jobs=2):
        with config_context(n_jobs=3):
            assert get_config().backend.value == "threads"
            assert get_config().n_jobs.value == 3
        assert get_config().n_jobs.value == 2
    assert get_config().n_jobs.source == "the default"


def test_context_ends_when_its_block_raises():
    with pytest.raises(ZeroDivisionError), config_context(backend="threads"):
        _ = 1 / 0
    assert get_config().backend.source == "the default"


def test_set_config_inside_a_context_holds_after_it():
    with config_context(backend="threads"):
        set_config(backend="joblib", n_jobs=2)
        assert get_config().backend == ("threads", "config_context")
        assert get_config().n_jobs == (2, "set_config")
    assert get_config().backend == ("joblib", "set_config")


def test_set_config_reaches_outer_contexts_already_resolved():
    with config_context(backend="threads"):
        assert get_config().n_jobs.value == -1
        with config_context(backend="joblib"):
            set_config(n_jobs=2)
        assert get_config().n_jobs.value == 2


def test_first_context_of_a_process_is_on_top_of_what_was_set_before_it(monkeypatch):
    with monkeypatch.context() as fresh:
        fresh.setattr(config, "_version", 0)
        set_config(n_jobs=2)
        with config_context(backend="threads"):
            assert get_config().n_jobs == (2, "set_config")
            assert get_config().backend == ("threads", "config_context")


def test_context_does_not_reach_other_threads():
    with config_context(backend="threads"):
        assert in_thread(lambda: get_config().backend.source) == "the default"


def test_context_reaches_a_thread_that_runs_in_a_copy_of_it():
    with config_context(backend="threads"):
        copied = contextvars.copy_context()
        assert in_thread(lambda: copied.run(get_config).backend.value) == "threads"


def test_set_config_reaches_other_threads():
    set_config(backend="threads")
    assert in_thread(lambda: get_config().backend) == ("threads", "set_config")
    in_thread(lambda: set_config(backend="joblib"))
    assert get_config().backend == ("joblib", "set_config")


def test_contexts_of_tasks_do_not_mix():
    async def task(n_jobs, turns):
        with config_context(n_jobs=n_jobs):
            for _ in range(turns):
                await asyncio.sleep(0)
                assert get_config().n_jobs.value == n_jobs

    async def together():
        await asyncio.gather(*(task(n, 20) for n in range(1, 6)))

    asyncio.run(together())


def test_concurrent_contexts_see_their_own_and_changes_never_half_made():
    pairs = {("threads", 3), ("joblib", 5)}
    start, stop = threading.Barrier(5), threading.Event()
    set_config(backend="threads", n_jobs=3)

    def read(own):
        start.wait()
        while not stop.is_set():
            settings = get_config()
            assert (settings.backend.value, settings.n_jobs.value) in pairs
            with config_context(n_jobs=own):
                assert get_config().n_jobs == (own, "config_context")
        return True

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, own) for own in range(10, 14)]
        start.wait()
        try:
            for backend, n_jobs in sorted(pairs) * 100:
                set_config(backend=backend, n_jobs=n_jobs)
        finally:
            stop.set()
        assert all(reader.result() for reader in readers)


# --- set_config -----------------------------------------------------------------------------


def test_set_config_keeps_what_it_does_not_name():
    set_config(backend="threads")
    set_config(n_jobs=2)
    assert get_config().backend.value == "threads"


def test_set_config_none_takes_back(monkeypatch):
    monkeypatch.setenv("BACKENDS_BACKEND", "joblib")
    set_config(backend="threads", n_jobs=2, kernels={"sin": "numpy"})
    set_config(backend=None, kernels=None)
    assert get_config().backend.value == "joblib"
    assert get_config().backend_for("sin").value == "joblib"
    assert get_config().n_jobs.value == 2


@pytest.mark.parametrize("wrong", [{"n_jobs": 0}, {"backend": "thread"}, {"njobs": 2}])
def test_set_config_that_fails_changes_nothing(wrong):
    set_config(backend="joblib", n_jobs=2)
    with pytest.raises(ConfigError):
        set_config(**{"backend": "threads", "n_jobs": 3, **wrong})
    assert get_config().backend.value == "joblib"
    assert get_config().n_jobs.value == 2


# --- files ----------------------------------------------------------------------------------


def test_backends_toml_beats_pyproject_in_the_same_folder(tmp_path):
    write(tmp_path / "pyproject.toml", '[tool.backends]\nbackend = "joblib"\nn_jobs = 2\n')
    file = write(tmp_path / "backends.toml", 'backend = "threads"\n')
    assert get_config().backend == ("threads", str(file))
    assert get_config().n_jobs.source == "the default"


@pytest.mark.parametrize("folder", ["a", "a/b/c"])
def test_nearest_file_upward_is_found(folder, tmp_path, monkeypatch):
    write(tmp_path / "backends.toml", "n_jobs = 2\n")
    near = write(tmp_path / "a" / "pyproject.toml", "[tool.backends]\nn_jobs = 3\n")
    here = tmp_path / folder
    here.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(here)
    assert get_config().n_jobs == (3, str(near))


@pytest.mark.parametrize(
    "text",
    [
        '[project]\nname = "other"\n',
        "[tool.ruff]\nline-length = 100\n",
        "this is not TOML",
        "tool = 3\n",
        "",
    ],
)
def test_pyproject_of_another_project_is_passed_over(text, tmp_path, monkeypatch):
    file = write(tmp_path / "backends.toml", "n_jobs = 2\n")
    write(tmp_path / "below" / "pyproject.toml", text)
    monkeypatch.chdir(tmp_path / "below")
    assert get_config().n_jobs == (2, str(file))


def test_pyproject_in_another_encoding_is_passed_over(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b'[project]\nname = "caf\xe9"\n')
    assert get_config().backend.source == "the default"


def test_environment_and_file_are_read_once(tmp_path, monkeypatch):
    file = write(tmp_path / "backends.toml", "n_jobs = 2\n")
    assert get_config().n_jobs.value == 2
    file.write_text("n_jobs = 3\n", encoding="utf-8")
    monkeypatch.setenv("BACKENDS_BACKEND", "threads")
    set_config(kernels={"sin": "numpy"})  # makes the settings be resolved again
    assert get_config().n_jobs.value == 2
    assert get_config().backend.source == "the default"


def test_a_folder_that_was_deleted_holds_no_file(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    try:
        gone.rmdir()
    except OSError:
        pytest.skip("this system keeps the current folder")
    assert get_config().backend.source == "the default"


# --- mistakes -------------------------------------------------------------------------------

MISTAKES = [
    ("njobs = 2", ["'njobs'", "did you mean 'n_jobs'", "backend, device, kernels, mode, n_jobs"]),
    ('n_jobs = "2"', ["n_jobs", "integer", "'2'"]),
    ("n_jobs = 0", ["n_jobs = 0", "-1"]),
    ("n_jobs = true", ["n_jobs", "integer", "True"]),
    ("n_jobs = 1.5", ["n_jobs", "integer", "1.5"]),
    ('backend = "thread"', ["backend = 'thread'", "did you mean 'threads'"]),
    ('backend = ""', ["backend = ''", "numpy"]),
    ("backend = 3", ["backend", "name", "3"]),
    ("kernels = 3", ["kernels", "table", "3"]),
    ('kernels.matmull = "threads"', ["kernels", "'matmull'", "did you mean 'matmul'"]),
    ('kernels.matmul = "thread"', ["kernels.matmul", "did you mean 'threads'"]),
    ("kernels.matmul = 3", ["kernels.matmul", "name", "3"]),
]
mistakes = pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[m[0] for m in MISTAKES])


def assert_refused(action, expected):
    with pytest.raises(ConfigError) as caught:
        action()
    for words in expected:
        assert words in str(caught.value)


@mistakes
def test_mistake_in_backends_toml_names_file_key_and_remedy(text, expected, tmp_path):
    file = write(tmp_path / "backends.toml", text)
    assert_refused(get_config, [str(file), *expected])
    # At every use: a program that catches the first error must not go on with the defaults.
    assert_refused(lambda: backends.sqrt(4.0), [str(file), *expected])


@mistakes
def test_mistake_in_pyproject_names_file_key_and_remedy(text, expected, tmp_path):
    file = write(tmp_path / "pyproject.toml", f"[tool.backends]\n{text}\n")
    assert_refused(get_config, [str(file), *expected])


@mistakes
def test_mistake_in_set_config_names_key_and_remedy(text, expected):
    assert_refused(lambda: set_config(**tomllib.loads(text)), ["set_config", *expected])


@mistakes
def test_mistake_in_config_context_names_key_and_remedy(text, expected):
    settings = tomllib.loads(text)
    if "njobs" in settings:  # a wrong name is Python's own affair here
        expected, kind = ["'njobs'"], TypeError
    else:
        expected, kind = ["config_context", *expected], ConfigError
    with pytest.raises(kind) as caught, config_context(**settings):
        pass
    for words in expected:
        assert words in str(caught.value)
    assert get_config().backend.source == "the default"


@pytest.mark.parametrize("content", [b"backend = ", b'backend = "caf\xe9"', b"n_jobs = 1\nn_jobs"])
def test_unreadable_backends_toml_is_named(content, tmp_path):
    file = tmp_path / "backends.toml"
    file.write_bytes(content)
    assert_refused(get_config, [str(file)])


def test_tool_backends_must_be_a_table(tmp_path):
    file = write(tmp_path / "pyproject.toml", '[tool]\nbackends = "threads"\n')
    assert_refused(get_config, [str(file), "tool.backends", "table"])


def test_mended_file_is_read_again(tmp_path):
    file = write(tmp_path / "backends.toml", "n_jobs = 0\n")
    assert_refused(get_config, ["n_jobs"])
    write(file, "n_jobs = 2\n")
    assert get_config().n_jobs.value == 2


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("BACKENDS_N_JOBS", "abc", ["BACKENDS_N_JOBS", "'abc'", "integer"]),
        ("BACKENDS_N_JOBS", "2.0", ["BACKENDS_N_JOBS", "'2.0'", "integer"]),
        ("BACKENDS_N_JOBS", "0", ["BACKENDS_N_JOBS", "no meaning"]),
        ("BACKENDS_BACKEND", "thread", ["BACKENDS_BACKEND", "did you mean 'threads'"]),
    ],
)
def test_mistake_in_the_environment_names_the_variable(variable, value, expected, monkeypatch):
    monkeypatch.setenv(variable, value)
    assert_refused(get_config, expected)


def test_misspelt_variable_draws_a_warning(monkeypatch):
    monkeypatch.setenv("BACKENDS_NJOBS", "2")
    with pytest.warns(UserWarning, match=r"'BACKENDS_NJOBS'; did you mean 'BACKENDS_N_JOBS'"):
        assert get_config().n_jobs.source == "the default"


@pytest.mark.parametrize("variable", ["BACKENDS_BACKEND", "BACKENDS_N_JOBS"])
def test_empty_variable_sets_nothing(variable, monkeypatch):
    monkeypatch.setenv(variable, "")
    assert get_config().backend.source == "the default"
    assert get_config().n_jobs.source == "the default"


def test_layers_are_strongest_first(tmp_path, monkeypatch):
    write(tmp_path / "backends.toml", "n_jobs = 2\n")
    monkeypatch.setenv("BACKENDS_N_JOBS", "3")
    set_config(n_jobs=4)
    with config_context(n_jobs=5), config_context(n_jobs=6):
        assert [layer.n_jobs for layer in config.current().layers] == [6, 5, 4, 3, 2]


@pytest.mark.parametrize(("value", "device"), [("0", 0), ("3", 3), ("cpu", "cpu")])
def test_the_device_is_chosen_in_the_environment(monkeypatch, value, device):
    monkeypatch.setenv("BACKENDS_DEVICE", value)
    assert get_config().device.value == device
    assert get_config().device.source == "environment variable BACKENDS_DEVICE"


@pytest.mark.parametrize("device", [-1, True, 1.0, "gpu", "cuda:0", []])
def test_what_is_no_device_is_refused(device):
    refusal = pytest.raises(ConfigError, match="config_context: device must be the number of a GPU")
    with refusal, config_context(device=device):
        pass


def test_the_device_in_the_file_is_weaker_than_in_the_program(tmp_path):
    (tmp_path / "backends.toml").write_text("device = 1\n", encoding="utf-8")
    assert get_config().device == (1, str(tmp_path / "backends.toml"))
    set_config(device=2)
    assert get_config().device == (2, "set_config")
    with config_context(device="cpu"):
        assert get_config().device == ("cpu", "config_context")


def test_the_scheduler_is_chosen_wherever_settings_come_from(tmp_path, monkeypatch):
    assert get_config().scheduler == (None, "the default")
    file = write(tmp_path / "backends.toml", 'scheduler = "tcp://host:8786"\n')
    config._found = None
    set_config(n_jobs=2)
    assert get_config().scheduler == ("tcp://host:8786", str(file))
    monkeypatch.setenv("BACKENDS_SCHEDULER", "local")
    config._found = None
    set_config(n_jobs=1)
    assert get_config().scheduler == ("local", "environment variable BACKENDS_SCHEDULER")
    set_config(scheduler="tcp://other:8786")
    with config_context(scheduler="local"):
        assert get_config().scheduler == ("local", "config_context")
        assert "scheduler: 'local' (from config_context)" in repr(get_config())
    assert get_config().scheduler == ("tcp://other:8786", "set_config")


@pytest.mark.parametrize("scheduler", [1, True, "", "host", []])
def test_what_is_no_scheduler_is_refused(scheduler):
    refusal = pytest.raises(ConfigError, match='set_config: scheduler must be "local", or an addr')
    with refusal:
        set_config(scheduler=scheduler)


def test_choose_says_what_python_warned_of(capsys):
    from backends.cli.common import notes

    with notes():
        warnings.warn("said once", stacklevel=1)
        warnings.warn("said once", stacklevel=1)
    assert capsys.readouterr().err == "note: said once\n"
