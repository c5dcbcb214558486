import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from functools import cache

import numpy as np
import pytest
import scipy.special

import backends
from backends import BackendUnavailableError, ConfigError, accelerate, budget
from backends.accelerate import ufuncs
from backends.engines.openmp import load

engine = load()
X = np.random.default_rng(6).uniform(0.01, 0.99, 20_000)


@pytest.fixture(autouse=True)
def nothing_is_installed():
    yield
    accelerate.count(False)
    accelerate.uninstall()


def every():
    return [*ufuncs.find("numpy"), *ufuncs.find("scipy.special")]


def states():
    return {ufunc: engine.state(ufunc) for ufunc in every()}


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_uninstall_leaves_no_byte_changed(mode):
    before = states()
    meta_path, filters = list(sys.meta_path), list(warnings.filters)
    backends.install(mode)
    assert sum(engine.state(ufunc) != before[ufunc] for ufunc in before) > 300
    backends.uninstall()
    assert states() == before
    assert (sys.meta_path, warnings.filters) == (meta_path, filters)
    backends.uninstall()
    assert states() == before


def test_install_twice_is_install_once():
    before = states()
    backends.install()
    once = states()
    backends.install()
    assert states() == once
    backends.install("fast")
    assert states() != once
    backends.install()
    assert states() == once
    backends.uninstall()
    assert states() == before


def test_blocks_go_back_to_what_was_before():
    before = states()
    with backends.install(n_jobs=2):
        outer = states()
        with backends.install("fast", threshold=1):
            assert accelerate.installed() == ("fast", None, 1)
        assert accelerate.installed() == ("exact", 2, 0)
        assert states() == outer
    assert accelerate.installed() is None
    assert states() == before


def test_blocks_that_overlap_leave_nothing_installed():
    before = states()
    first, second = backends.install(n_jobs=2), backends.install(n_jobs=2)
    first.__enter__()
    second.__enter__()
    first.__exit__()
    assert accelerate.installed() == ("exact", 2, 0)
    second.__exit__()
    assert accelerate.installed() is None
    assert states() == before


def test_what_is_refused_leaves_what_is_installed():
    with backends.install(n_jobs=2):
        for wrong in ({"n_jobs": 100_000}, {"threshold": 2**63}):
            with pytest.raises(ConfigError, match="install: "):
                backends.install(**wrong)
        assert accelerate.installed() == ("exact", 2, 0)


def test_installing_again_counts_and_takes_the_new_cap():
    from backends.accelerate import memory

    backends.set_config(pool_bytes=2**20)
    backends.install(n_jobs=2)
    backends.set_config(pool_bytes=2**22)
    accelerate.count(True)
    backends.install(n_jobs=2)
    assert memory.info().cap == 2**22
    np.sin(X)
    assert count_of("numpy.sin").calls == 1


def test_maximum_warns_of_a_third_argument_as_without():
    x, out = np.ones((200, 300))[:, 1:], np.empty((200, 299))

    def told():
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            np.maximum(x, x[0], out)
        return [str(w.message) for w in found]

    plain = told()
    with backends.install(n_jobs=2, threshold=1):
        assert told() == plain


def test_an_exception_in_a_block_ends_the_installation():
    before = states()
    with pytest.raises(KeyError), backends.install():
        raise KeyError
    assert states() == before


def count_of(name):
    (found,) = [x for x in accelerate.counts() if x.function == name]
    return found


def test_large_calls_run_parallel_and_small_ones_do_not():
    accelerate.count(True)
    with backends.install(n_jobs=2, threshold=1000):
        large, small = np.sin(X), np.sin(X[:10])
        found = count_of("numpy.sin")
    assert found[:4] == ("numpy.sin", 2, 20_010, 1)
    assert found.serial == {"too little work": 1}
    assert np.array_equal(large, np.sin(X))
    assert np.array_equal(small, np.sin(X[:10]))


@pytest.mark.parametrize(
    ("call", "name", "reason"),
    [
        (lambda: np.add(X[1:], X[1:], out=X.copy()[:-1]), "numpy.add", None),
        (lambda: np.add(np.arange(9000), 1), "numpy.add", "no floats"),
        (lambda: (y := X.copy(), np.sin(y[1:], out=y[:-1]))[1], "numpy.sin", "arrays overlap"),
        (lambda: (y := X.copy(), np.sin(y, out=y))[1], "numpy.sin", None),
        (lambda: np.add(X, np.float32(1), dtype="f4", casting="same_kind"), "numpy.add",
         "in short pieces"),
        (lambda: X.reshape(100, 200)[1:-1, 1:-1] * 0.25, "numpy.multiply", None),
        (lambda: X.reshape(100, 200)[1:-1, 1:-1] + 1, "numpy.add", None),
        (lambda: np.multiply(X.reshape(100, 200).T, 2, out=(np.empty((200, 100)),)),
         "numpy.multiply", None),
        (lambda: scipy.special.ndtri(X), "scipy.special.ndtri", None),
    ],
)  # fmt: skip
def test_what_became_of_a_call_is_told(call, name, reason):
    expected = call()
    accelerate.count(True)
    with backends.install(n_jobs=2, threshold=10_000):
        result = call()
        found = count_of(name)
    assert np.array_equal(result, expected)
    assert (found.parallel, found.serial) == ((1, {}) if reason is None else (0, {reason: 1}))


def test_configuration_rules_how_many_threads():
    accelerate.count(True)
    with backends.install(n_jobs=2, threshold=1):
        with backends.config_context(n_jobs=1):
            np.sin(X)
        assert count_of("numpy.sin").serial == {"one thread allowed": 1}
        np.sin(X)
        assert count_of("numpy.sin").parallel == 1


def test_errors_of_scipy_special_are_raised_where_they_are_wanted():
    accelerate.count(True)
    bad = np.full(5000, -1.0)
    with backends.install(n_jobs=2, threshold=1):
        assert np.isnan(scipy.special.ndtri(bad)).all()
        with scipy.special.errstate(all="raise"):
            with pytest.raises(scipy.special.SpecialFunctionError):
                scipy.special.ndtri(bad)
            assert np.array_equal(scipy.special.ndtri(X), scipy.special.ndtri(X))
        assert count_of("scipy.special.ndtri").serial == {"scipy.special.errstate in force": 2}


def test_warnings_are_numpys_and_point_at_the_users_line():
    y = np.zeros((100, 200))[1:-1, 1:-1]
    z = np.zeros(20_000)
    with backends.install(n_jobs=2, threshold=1):
        for x in (y, z):
            with pytest.warns(RuntimeWarning, match="^divide by zero encountered in log$") as told:
                np.log(x)
            assert [w.filename for w in told] == [__file__]
            with np.errstate(divide="raise"), pytest.raises(FloatingPointError, match="in log"):
                np.log(x)


def test_fast_mode_has_our_functions_and_exact_mode_has_not():
    exact = scipy.special.ndtri(X)
    with backends.install("fast"):
        fast = scipy.special.ndtri(X)
    with backends.install("exact"):
        again = scipy.special.ndtri(X)
    assert np.array_equal(again, exact)
    assert not np.array_equal(fast, exact)
    np.testing.assert_array_max_ulp(fast, exact, 16)


def test_mode_and_jobs_come_from_the_configuration():
    backends.set_config(mode="fast", n_jobs=2)
    backends.install()
    assert accelerate.installed() == ("fast", None, 0)


def test_fast_loops_go_by_the_names_of_the_ufuncs():
    from backends import kernels
    from backends.engines.tracing import ufunc_of

    steps = {name: ufunc_of(kernel) for name, kernel in kernels.every().items()}
    ours = {
        name: step.ufunc.__name__
        for name, step in steps.items()
        if engine.has_fast(name) and step is not None and not step.negated
    }
    assert len(ours) > 15
    assert all(name == ufunc for name, ufunc in ours.items())
    others = {u.__name__ for u in every() if engine.has_fast(u.__name__)} - set(ours)
    assert others == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "quick"}, "install: mode must be one of exact, fast, not 'quick'"),
        ({"n_jobs": 0}, "install: n_jobs = 0 has no meaning"),
        ({"n_jobs": 1.5}, "install: n_jobs must be an integer"),
        ({"threshold": -1}, "install: threshold must be a number of elements"),
        ({"threshold": True}, "install: threshold must be a number of elements"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_installed(arguments, message):
    before = states()
    with pytest.raises(ConfigError, match=message):
        backends.install(**arguments)
    assert states() == before
    assert accelerate.installed() is None


def test_a_structure_that_is_not_known_is_refused(monkeypatch):
    before = states()

    class Other:
        def describe(self, ufunc):
            sound, *rest = engine.describe(ufunc)
            return (sound, *rest) if ufunc is not np.tanh else (sound, "tan", *rest[1:])

        def __getattr__(self, name):
            return getattr(engine, name)

    monkeypatch.setattr(accelerate, "_engine", Other)
    with pytest.raises(BackendUnavailableError, match="nothing is installed: ufunc tanh of this"):
        backends.install()
    assert states() == before


def test_another_programs_hands_on_a_ufunc_are_noticed():
    before = states()
    engine.divert(np.tanh, lambda ufunc, args, kwargs: None, 1e9)
    try:
        with pytest.raises(BackendUnavailableError, match="ufunc tanh"):
            backends.install()
    finally:
        engine.straighten()
    assert states() == before


def test_a_loop_that_answers_wrongly_is_refused(monkeypatch):
    before = states()
    answers, calls = ufuncs._answers, []

    def lie(ufunc):
        calls.append(ufunc)
        for types, answer in answers(ufunc):
            wrong = ufunc is np.tanh and calls.count(ufunc) == 2
            yield types, answer * 2 if wrong else answer

    monkeypatch.setattr(ufuncs, "_answers", lie)
    with pytest.raises(BackendUnavailableError, match=r"nothing is installed: tanh \(e->e\) gave"):
        backends.install()
    assert states() == before


def test_a_loop_that_numpy_does_not_call_is_refused(monkeypatch):
    before = states()

    class Other:
        def unreached(self, ufunc):
            return [0] if ufunc is np.tanh else engine.unreached(ufunc)

        def __getattr__(self, name):
            return getattr(engine, name)

    monkeypatch.setattr(accelerate, "_engine", Other)
    with pytest.raises(BackendUnavailableError, match=r"loop of tanh .* is never called"):
        backends.install()
    assert states() == before


def test_within_a_parallel_call_it_is_refused():
    with budget.working(), pytest.raises(BackendUnavailableError, match="worker of a parallel"):
        backends.install()
    assert accelerate.installed() is None


def test_threads_may_install_and_compute_at_once():
    expected = np.sin(X)
    before = states()
    wrong = []

    def change(mode):
        for _ in range(5):
            backends.install(mode, 2, threshold=1000)
            backends.uninstall()

    def compute():
        results = (np.sin(X) for _ in range(100))
        wrong.extend(y for y in results if not np.allclose(y, expected, rtol=1e-14))

    threads = [threading.Thread(target=change, args=(mode,)) for mode in ("exact", "fast")]
    threads += [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert states() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_computes_and_may_uninstall_and_install():
    expected = np.sin(X)
    before = states()
    backends.install(n_jobs=2, threshold=1000)
    np.sin(X)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            fine = np.array_equal(np.sin(X), expected)
            backends.uninstall()
            fine = fine and states() == before and np.array_equal(np.sin(X), expected)
            backends.install(n_jobs=2, threshold=1000)
            code = not (fine and np.array_equal(np.sin(X), expected))
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


LATE = """
import sys
import numpy as np
import backends
from backends import accelerate
accelerate.count(True)
backends.install(n_jobs=2, threshold=1)
slow = {"scipy", "joblib", "rich", "typer", "msgspec", "threadpoolctl"}
assert not slow & set(sys.modules), slow & set(sys.modules)
import scipy.special
x = np.linspace(0.1, 0.9, 10_000)
y = scipy.special.ndtri(x)
(found,) = [c for c in accelerate.counts() if c.function == "scipy.special.ndtri"]
assert found.parallel == 1, found
backends.uninstall()
assert np.array_equal(scipy.special.ndtri(x), y)
"""


def test_scipy_that_is_imported_later_is_covered(tmp_path):
    script = tmp_path / "late.py"
    script.write_text(textwrap.dedent(LATE))
    done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_kernels_of_ours_are_not_cut_twice():
    accelerate.count(True)
    expected = np.sin(X)
    with backends.install(n_jobs=2, threshold=1000):
        fresh = engine.ufunc(np.sin, 2, threshold=1000)
        assert np.array_equal(fresh(X), expected)
        assert "numpy.sin" not in {x.function for x in accelerate.counts()}
        assert fresh.types == [t for t in np.sin.types if "O" not in t]


def test_the_profile_says_from_where_on_a_team_pays(monkeypatch, tmp_path):
    from backends import files, profile
    from backends.profile import Choice, Found, Key, Profile

    (tmp_path / "data").mkdir()
    monkeypatch.setattr(files, "data_folder", lambda name: tmp_path / "data")
    choices = {Key("exact", "float64", "contiguous", "sin"): [Choice(15_000, "openmp", 2)]}
    made = Profile(tmp_path, "", {}, choices)
    monkeypatch.setattr(profile, "current", cache(lambda: Found(made)))
    known = []

    class Watched:
        def know(self, *arguments):
            known.append(arguments)
            return engine.know(*arguments)

        def __getattr__(self, name):
            return getattr(engine, name)

    monkeypatch.setattr(accelerate, "_engine", Watched)
    with backends.install(n_jobs=2):
        assert known == [(np.sin, np.dtype("f8").num, 15_000)]
        accelerate.count(True)
    with backends.install(n_jobs=2):
        for _ in range(20):
            np.sin(X)
            np.sin(X[:14_000])
        found = count_of("numpy.sin")
    assert found.calls == 40
    assert found.serial["too little work"] >= 20


class _Subclass(np.ndarray):
    pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.parametrize("kind", [np.ndarray, _Subclass], ids=["array", "subclass"])
def test_what_a_signals_handler_raises_is_raised_once(kind):
    class StopError(Exception):
        pass

    def handler(*_):
        seen.append(1)
        raise StopError

    def compute():
        # No statement between these looks for signals: asking for the number of jobs does.
        return x + x, x * x, x - x, x + x, x * x, x - x, x + x, x * x, x - x

    def until_interrupted(delay):
        count = len(seen)
        signal.setitimer(signal.ITIMER_REAL, delay)
        while len(seen) == count:
            compute()
        time.sleep(0.1)  # the last place where it may be raised

    x = np.ones(1_000_000).view(kind)
    before = signal.signal(signal.SIGALRM, handler)
    seen: list[int] = []
    try:
        with backends.install(n_jobs=2):
            for i in range(5):
                with pytest.raises(StopError):
                    until_interrupted(0.02 + 0.003 * i)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) == 5


class _Answering(np.float64):
    def __array_ufunc__(self, *_, **__):
        return "its own answer"


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    "function",
    [np.add, np.logical_and, scipy.special.xlogy, scipy.special.beta, scipy.special.gammainc],
)
def test_scalars_beside_rows_mean_what_they_mean_to_numpy(function, dtype):
    def answer(scalar):
        try:
            result = function(rows, scalar)
        except OverflowError as error:
            return str(error)
        return result if isinstance(result, str) else (result.dtype, result.tobytes())

    rows = X[:10_000].reshape(100, 100).astype(dtype)[:, 1:]
    scalars = [2, -3, 2**63, 2**70, 2**60 + 2**36 + 1, 2.0, -0.0, np.float32(0.1), np.float64(0.1)]
    scalars += [_Answering(2.0), True, np.int64(3), np.float16(2)]
    plain = [answer(scalar) for scalar in scalars]
    with backends.install(n_jobs=2, threshold=1):
        assert [answer(scalar) for scalar in scalars] == plain


def test_metadata_of_a_dtype_is_kept_as_numpy_keeps_it():
    rows = np.ones((100, 101), np.dtype("f8", metadata={"unit": "m"}))[:, 1:]
    with backends.install(n_jobs=2, threshold=1):
        assert np.add(rows, 1.0).dtype.metadata == {"unit": "m"}


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (np.multiply, (0.1, 0.1)),
        (np.multiply, (2**62, 4)),
        (np.floor_divide, (1, 0)),
        (np.power, (2, -1)),
        (np.exp, (0.1,)),
    ],
)
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f8"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_output_does_not_decide_the_type_of_numbers(function, inputs, dtype):
    def outcome():
        out = np.zeros((60, 120), dtype)[:, ::2]
        try:
            function(*inputs, out)
        except ValueError as error:
            return str(error)
        return out.tobytes()

    expected = outcome()
    with backends.install(n_jobs=2, threshold=1):
        assert outcome() == expected


def test_block_within_an_installation_of_the_same_settings_leaves_it():
    backends.install()
    with backends.install():
        pass
    assert accelerate.installed() is not None
    with backends.install(), backends.install("fast"):
        pass
    assert accelerate.installed().mode == "exact"
    backends.uninstall()
    assert accelerate.installed() is None
    with backends.install():
        backends.install()
    assert accelerate.installed() is not None  # until uninstall(), as asked within


def test_reductions_do_not_ask():
    asked = []
    x = np.ones((50, 5_000))
    with backends.install(n_jobs=2):
        engine.ask_for_jobs(lambda: asked.append(1) or 2)
        total = x.sum(axis=0)
        highest = np.maximum.accumulate(x, axis=0)
        assert not asked
        x += 1.0
        assert asked
    assert np.all(total == 50.0)
    assert np.all(highest == 1.0)


def counted():
    return {x.function: x for x in accelerate.counts() if x.function in ("numpy.sin", "numpy.cos")}


def test_counts_outlive_another_installation():
    accelerate.count(True)
    backends.install()
    np.sin(X)
    with backends.install("fast", 1):
        np.sin(X)
        np.cos(X)
    backends.uninstall()
    np.cos(X)
    assert {name: (x.calls, x.elements) for name, x in counted().items()} == {
        "numpy.sin": (2, 2 * X.size),
        "numpy.cos": (1, X.size),
    }
    accelerate.count(True)
    assert not counted()


def test_calls_that_an_operand_makes_itself_count_once():
    class Wrapped:
        def __array_ufunc__(self, ufunc, method, *inputs, **named):
            return ufunc(X, **named)

    accelerate.count(True)
    backends.install()
    np.sin(Wrapped())
    assert counted()["numpy.sin"].calls == 1


def test_outputs_that_are_named_are_shared_too():
    accelerate.count(True)
    backends.install(n_jobs=2)
    row, out = np.linspace(0.1, 1.0, 1_000), np.empty((2_000, 1_000))
    np.arctan2(row, 0.5, out=out)
    (found,) = [x for x in accelerate.counts() if x.function == "numpy.arctan2"]
    assert found.parallel == 1
    assert np.all(out == np.arctan2(row, 0.5))


def test_flags_of_a_conversion_end_in_the_loop_of_scipy():
    # A signalling NaN becomes quiet when it is made float64, which sets the flag "invalid".
    x = np.full((1, 300), 0x7F800001, "u4").view("f4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scipy.special.betaln(x, -1.5)
        with backends.install(n_jobs=2, threshold=1):
            for _ in range(50):
                scipy.special.betaln(x, -1.5)


@pytest.mark.parametrize("name", ["absolute", "negative", "sign"])
@pytest.mark.parametrize("place", [0, 9_000, 32_999])
def test_flags_of_a_conversion_end_in_a_loop_of_numpy(name, place):
    # These loops clear the status flags: the conversion of a buffer's results is forgotten by the
    # time that the next buffer is done, and so only the last is warned of.
    x = np.ones(33_000)
    x.view(np.uint64)[place] = 0x7FF0000000000001  # a signalling NaN
    out = np.empty(x.shape, np.float32)

    def said() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            getattr(np, name)(x, out=out, casting="unsafe")
        return [str(warning.message) for warning in caught]

    plain = said()
    with backends.install(n_jobs=2, threshold=1):
        assert [said() for _ in range(20)] == [plain] * 20


def test_what_is_installed_says_so():
    assert repr(backends.install("fast", n_jobs=2)).startswith("<installed: mode 'fast', n_jobs 2;")
    assert "n_jobs as configured" in repr(backends.install())


def test_without_the_engine_nothing_is_installed_and_the_reason_told(monkeypatch):
    monkeypatch.setattr("backends.engines.extension.load", lambda: "built without a C compiler")
    with pytest.raises(BackendUnavailableError, match="installed: built without a C compiler"):
        backends.install()


def test_within_an_installation_nothing_is_changed(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(accelerate, "_busy", True)
        with pytest.raises(BackendUnavailableError, match="an installation is under way"):
            backends.install()
    assert accelerate.installed() is None


def test_an_installation_that_fails_leaves_nothing(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("in the middle")

    before = states()
    with monkeypatch.context() as patch:
        patch.setattr(accelerate, "_replace", fail)
        with pytest.raises(ZeroDivisionError):
            backends.install()
    assert states() == before


def test_without_the_global_lock_other_threads_must_not_run(monkeypatch):
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
        with pytest.raises(BackendUnavailableError, match="has no global lock, and other threads"):
            backends.install()
    finally:
        done.set()
        thread.join()


def test_memory_that_another_handler_has_is_said(monkeypatch):
    monkeypatch.setattr(accelerate.memory, "install", lambda: "another handler has it")
    with pytest.warns(UserWarning, match="memory is not kept: another handler has it"):
        backends.install()


def test_what_is_refused_at_an_import_is_said_and_the_program_goes_on():
    def refuse(settings):
        raise ufuncs.RefusedError("its loops are another's")

    accelerate._late("scipy.special", refuse)  # nothing is installed any more
    backends.install()
    with pytest.warns(UserWarning, match="special is as it was: its loops are another's"):
        accelerate._late("scipy.special", refuse)


def test_a_folder_without_a_profile_knows_no_thresholds(tmp_path):
    files_ = tmp_path / "array-backends" / "profiles"
    files_.mkdir(parents=True)
    ufuncs.know_thresholds(None, [np.sin], "exact")  # asks no engine
