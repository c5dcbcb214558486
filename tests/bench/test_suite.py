from __future__ import annotations

import time

import numpy as np
import pytest
from msgspec.structs import replace

from backends import UnsupportedKernelError, config, elementwise, kernels, machine, registry
from backends.backend import Backend
from backends.bench import ceilings, suite
from backends.bench.cases import Case
from backends.bench.record import Ceilings, Level, Rates
from backends.bench.suite import measure
from backends.engines.processes import JoblibBackend

SIN = Case(kernels.find("sin"), "elements", 1000, "float64")

# Two jobs are wanted here, on one core too.
pytestmark = pytest.mark.filterwarnings("ignore:n_jobs=:UserWarning")


class Serial(Backend):
    """What a plug-in is at its simplest; tests break it in one place each."""

    name = "plugin"

    def run(self, kernel, *arrays, out=None):
        return kernel.reference(*arrays, out=out)


def result_of(row, backend, way="call"):
    (found,) = [r for r in row.results if (r.backend, r.way) == (backend, way)]
    return found


def speeds(result):
    return [
        result.median,
        result.speedup,
        result.low,
        result.high,
        result.flops_per_second,
        result.bytes_per_second,
    ]


@pytest.mark.parametrize(
    ("name", "case", "size", "dtype", "shape"),
    [
        ("sin", "elements", 1000, "float64", "1000"),
        ("add", "elements", 1000, "complex128", "1000"),
        ("matmul", "matrix", 24, "float32", "24x24"),
        ("det", "stack", 24, "float64", "9x8x8"),
    ],
)
def test_a_row_says_what_was_computed_and_rates_follow_from_the_median(
    name, case, size, dtype, shape
):
    kernel = kernels.find(name)
    row = measure(Case(kernel, case, size, dtype), [Serial()], seconds=0.0)
    assert (row.kernel, row.family, row.case, row.size) == (name, kernel.family, case, size)
    assert (row.dtype, row.shape) == (dtype, shape)
    assert [r.backend for r in row.results] == ["numpy", "plugin"]
    arrays = kernel.inputs(case, size, dtype)
    moved = kernel.bytes_moved(kernel.reference(*arrays), *arrays)
    for result in row.results:
        assert (result.status, result.reason) == ("ok", "")
        assert len(result.seconds) >= 5
        assert result.median == np.median(result.seconds)
        assert result.flops_per_second == kernel.flops(*arrays) / result.median
        assert result.bytes_per_second == moved / result.median
        assert result.low <= result.speedup <= result.high


def test_the_baseline_is_as_fast_as_itself_and_has_no_verdict():
    row = measure(SIN, [Serial()], seconds=0.0)
    base, other = row.results
    assert (base.speedup, base.low, base.high, base.verdict) == (1.0, 1.0, 1.0, "")
    # The baseline's second run, which counts too, is not in the row: an order of magnitude it is.
    assert other.speedup == pytest.approx(base.median / other.median, rel=1.0)
    assert other.verdict in ("faster", "slower", "same", "unclear")


def wrong_by_one(result):
    return result + 1


def nearly_right(result):
    return result * (1 + 1e-12)


def too_short(result):
    return result[:-1]


def other_dtype(result):
    return result.astype("float32")


def not_a_number(result):
    return np.where(np.arange(result.size) == 7, np.nan, result)


def nothing(result):
    return None


@pytest.mark.parametrize(
    "spoil", [wrong_by_one, nearly_right, too_short, other_dtype, not_a_number, nothing]
)
def test_a_wrong_result_is_invalid_and_has_no_speed(spoil):
    class Wrong(Serial):
        def run(self, kernel, *arrays, out=None):
            return spoil(kernel.reference(*arrays))

    row = measure(SIN, [Wrong()], seconds=0.0)
    found = result_of(row, "plugin")
    assert found.status == "invalid"
    assert found.reason.startswith(
        ("differs from the reference by", "has shape", "has dtype", "has NaN")
    )
    assert found.seconds == []
    assert speeds(found) == [None] * 6
    assert found.verdict == ""
    assert result_of(row, "numpy").status == "ok"


def test_a_wrong_matrix_in_a_tuple_is_invalid():
    class Wrong(Serial):
        def run(self, kernel, *arrays, out=None):
            u, s, vh = kernel.reference(*arrays)
            return u, s[::-1], vh

    row = measure(Case(kernels.find("svd"), "matrix", 8, "float64"), [Wrong()], seconds=0.0)
    assert result_of(row, "plugin").status == "invalid"


def test_it_is_a_timed_result_that_is_checked():
    class RightAtFirst(Serial):
        calls = 0

        def run(self, kernel, *arrays, out=None):
            self.calls += 1
            return kernel.reference(*arrays) + (self.calls > 2)

    row = measure(SIN, [RightAtFirst()], seconds=0.0)
    assert result_of(row, "plugin").status == "invalid"


def test_a_backend_that_raises_has_failed_with_its_reason_and_others_go_on():
    class Failing(Serial):
        def run(self, kernel, *arrays, out=None):
            raise OSError("the licence server is down")

    class Other(Serial):
        name = "other"

    row = measure(SIN, [Failing(), Other()], seconds=0.0)
    found = result_of(row, "plugin")
    assert (found.status, found.reason) == ("failed", "OSError: the licence server is down")
    assert speeds(found) == [None] * 6
    assert result_of(row, "other").status == "ok"


@pytest.mark.parametrize("method", ["supports", "divides", "asarray"])
def test_a_backend_that_raises_before_it_is_timed_has_failed_too(method):
    class Failing(Serial):
        pass

    def fail(*_):
        raise OSError("the licence server is down")

    setattr(Failing, method, fail)
    row = measure(SIN, [Failing()], seconds=0.0)
    failed = [r for r in row.results if r.status == "failed"]
    assert [r.reason for r in failed] == ["OSError: the licence server is down"]
    assert result_of(row, "numpy").status == "ok"


def test_a_backend_that_overwrites_its_arguments_harms_none_but_itself():
    class Overwriting(Serial):
        def run(self, kernel, *arrays, out=None):
            return kernel.reference(*arrays, out=arrays[0])

    class Other(Serial):
        name = "other"

    row = measure(SIN, [Overwriting(), Other()], seconds=0.0)
    assert result_of(row, "plugin").status in ("invalid", "failed")
    assert result_of(row, "numpy").status == "ok"
    assert result_of(row, "other").status == "ok"


def test_a_baseline_that_differs_from_call_to_call_is_invalid_and_gives_no_speedup():
    calls = []

    @elementwise(domain=(0.0, 1.0), flops=1)
    def drifting(x, /, *, out=None):
        """Add the number of calls before this one."""
        calls.append(1)
        return np.add(x, len(calls) - 1, out=out)

    class Steady(Serial):
        def run(self, kernel, *arrays, out=None):
            return np.add(arrays[0], 0)

    row = measure(Case(drifting, "elements", 100, "float64"), [Steady()], seconds=0.1)
    assert result_of(row, "numpy").status == "invalid"
    assert result_of(row, "plugin").status == "ok"
    assert result_of(row, "plugin").speedup is None


def test_ctrl_c_while_measuring_is_not_swallowed():
    class Interrupted(Serial):
        def run(self, kernel, *arrays, out=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(SIN, [Interrupted()], seconds=0.0)


def test_a_kernel_that_a_backend_lacks_is_refused_with_its_reason():
    class Picky(Serial):
        def supports(self, kernel):
            return "plugin has the linear algebra only"

        def run(self, kernel, *arrays, out=None):
            raise AssertionError("it has no such kernel")

    found = result_of(measure(SIN, [Picky()], seconds=0.0), "plugin")
    assert (found.status, found.reason) == ("refused", "plugin has the linear algebra only")
    assert speeds(found) == [None] * 6


@pytest.mark.parametrize(
    ("backend", "n_jobs", "why"),
    [
        ("threads", 1, "one job"),
        ("openmp", 1, "one job"),
        ("threads", 2, "too little work"),
        ("joblib", 2, "too little work"),
    ],
)
def test_what_would_run_in_one_piece_is_not_timed_and_says_why(backend, n_jobs, why):
    engine = registry.get(backend, n_jobs)
    case = Case(kernels.find("matmul"), "matrix", 8, "float64")
    found = result_of(measure(case, [engine], seconds=0.0), backend)
    assert found.status == "one piece"
    assert why in found.reason
    assert speeds(found) == [None] * 6


@pytest.fixture
def joblib(monkeypatch):
    monkeypatch.setattr(JoblibBackend, "min_work", 1.0)
    with JoblibBackend(2) as engine:
        yield engine


def test_what_moves_arrays_is_timed_as_a_call_and_in_parts(joblib):
    row = measure(SIN, [joblib], seconds=0.0)
    assert [(r.backend, r.way) for r in row.results] == [
        ("numpy", "call"),
        ("joblib", "call"),
        ("joblib", "resident"),
    ]
    assert [r.status for r in row.results] == ["ok"] * 3
    call = result_of(row, "joblib")
    assert call.transfer_in > 0
    assert call.transfer_out is None  # results are ordinary arrays, in shared memory


class Elsewhere(Serial):
    """Keeps arrays in lists, as a GPU's library keeps them in its own memory."""

    def run(self, kernel, *arrays, out=None):
        placed = [x for x in arrays if isinstance(x, list)]
        result = kernel.reference(*map(np.asarray, arrays), out=out)
        return result.tolist() if placed else result

    def asarray(self, x):
        return np.asarray(x).tolist()


def test_the_parts_of_a_call_are_all_measured_and_its_first_call_apart():
    calls = []

    class Compiling(Elsewhere):
        def run(self, kernel, *arrays, out=None):
            if not calls:
                time.sleep(0.2)
            calls.append(1)
            return super().run(kernel, *arrays, out=out)

    row = measure(SIN, [Compiling()], seconds=0.0)
    call, compute = result_of(row, "plugin"), result_of(row, "plugin", "resident")
    assert call.first > 0.2 > call.median
    assert compute.first is None
    assert call.transfer_in > 0
    assert call.transfer_out > 0
    assert (compute.transfer_in, compute.transfer_out) == (None, None)


def test_where_nothing_is_moved_there_is_no_resident_result():
    row = measure(SIN, [Serial()], seconds=0.0)
    assert all(r.way == "call" for r in row.results)
    assert result_of(row, "plugin").transfer_in is None


def test_wrong_digits_are_counted_for_every_backend():
    class Sloppy(Serial):
        def run(self, kernel, *arrays, out=None):
            return kernel.reference(*arrays) * (1 + 2**-52)

    row = measure(SIN, [Sloppy()], seconds=0.0)
    assert 0 < result_of(row, "numpy").error < 1
    assert 1 < result_of(row, "plugin").error < 3


def test_a_dtype_that_a_backend_lacks_is_refused_with_its_reason():
    class Double(Serial):
        def run(self, kernel, *arrays, out=None):
            raise UnsupportedKernelError("sin: only float64")

    found = result_of(measure(SIN, [Double()], seconds=0.0), "plugin")
    assert (found.status, found.reason) == ("refused", "only float64")


def test_the_same_bits_are_judged_once(monkeypatch):
    judged = []
    original = suite.digits.largest_error

    def judge(sample, result):
        judged.append(original(sample, result))
        return judged[-1]

    class Sloppy(Serial):
        name = "sloppy"

        def run(self, kernel, *arrays, out=None):
            return kernel.reference(*arrays) * (1 + 2**-52)

    monkeypatch.setattr(suite.digits, "largest_error", judge)
    row = measure(SIN, [Serial(), Sloppy()], seconds=0.0)
    assert [r.error for r in row.results] == [judged[0], judged[0], judged[1]] or [
        r.error for r in row.results
    ] == [judged[1], judged[1], judged[0]]
    assert len(judged) == 2


@pytest.mark.parametrize("name", ["sin", "det", "svd", "matmul"])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_every_kind_of_result_can_be_the_same_or_another(name, dtype):
    class Wrong(Serial):
        name = "wrong"

        def run(self, kernel, *arrays, out=None):
            result = kernel.reference(*arrays)
            return tuple(x * 2 for x in result) if isinstance(result, tuple) else result * 2

    kernel = kernels.find(name)
    for case in kernel.cases:
        row = measure(Case(kernel, case, 16, dtype), [Serial(), Wrong()], seconds=0.0)
        assert result_of(row, "plugin").status == "ok"
        assert result_of(row, "wrong").status == "invalid"


# other ways than a plain call


def test_only_plain_calls_are_timed_where_nothing_else_is_asked_for():
    row = measure(SIN, [Serial()], seconds=0.0)
    assert [(r.backend, r.way) for r in row.results] == [("numpy", "call"), ("plugin", "call")]


def test_every_backend_is_timed_into_a_given_array_and_with_cold_caches(joblib):
    row = measure(SIN, [Serial(), joblib], seconds=0.0, ways=["out", "cold"])
    assert [(r.backend, r.way) for r in row.results] == [
        *(("numpy", way) for way in ("call", "out", "cold")),
        *(("plugin", way) for way in ("call", "out", "cold")),
        *(("joblib", way) for way in ("call", "resident", "out", "cold")),
    ]
    for result in row.results:
        assert (result.status, result.reason) == ("ok", "")
        assert result.low <= result.speedup <= result.high
    assert (row.results[0].speedup, row.results[0].verdict) == (1.0, "")
    assert result_of(row, "numpy", "out").verdict != ""


def test_the_given_array_is_a_backends_own_and_gets_the_result():
    given = {}

    class Writing(Serial):
        def run(self, kernel, *arrays, out=None):
            if out is not None:
                given[id(out)] = out
            return super().run(kernel, *arrays, out=out)

    class Another(Writing):
        name = "another"

    row = measure(SIN, [Writing(), Another()], seconds=0.0, ways=["out"])
    assert len(given) == 2
    (x,) = SIN.kernel.inputs("elements", SIN.size, SIN.dtype)
    for out in given.values():
        np.testing.assert_array_equal(out, np.sin(x))
    assert result_of(row, "another", "out").status == "ok"


def test_a_result_of_several_arrays_has_as_many_given():
    case = Case(kernels.find("svd"), "matrix", 8, "float64")
    row = measure(case, [Serial()], seconds=0.0, ways=["out"])
    assert result_of(row, "plugin", "out").status == "ok"


def test_an_array_that_was_not_written_is_an_invalid_result():
    class Forgetting(Serial):
        def run(self, kernel, *arrays, out=None):
            return kernel.reference(*arrays) if out is None else out

    row = measure(SIN, [Forgetting()], seconds=0.0, ways=["out"])
    assert result_of(row, "plugin").status == "ok"
    assert result_of(row, "plugin", "out").status == "invalid"


def test_a_backend_without_out_fails_there_and_nowhere_else():
    class Allocating(Serial):
        def run(self, kernel, *arrays, out=None):
            if out is not None:
                raise NotImplementedError("no out")
            return kernel.reference(*arrays)

    row = measure(SIN, [Allocating()], seconds=0.0, ways=["out"])
    assert result_of(row, "plugin").status == "ok"
    failed = result_of(row, "plugin", "out")
    assert (failed.status, failed.reason) == ("failed", "NotImplementedError: no out")


def test_caches_are_emptied_before_each_cold_call_and_no_other(monkeypatch):
    happened = []

    def walker(n_jobs):
        return lambda: happened.append("walk")

    class Told(Serial):
        def run(self, kernel, *arrays, out=None):
            happened.append("call")
            return super().run(kernel, *arrays, out=out)

    monkeypatch.setattr(suite.calls, "_walker", walker)
    row = measure(SIN, [Told()], seconds=0.0, ways=["cold"])
    walked = [i for i, what in enumerate(happened) if what == "walk"]
    # The baseline's walks are among them: its own calls are not told.
    followed = sum(happened[i + 1 : i + 2] == ["call"] for i in walked)
    assert followed >= len(result_of(row, "plugin", "cold").seconds)
    assert len(walked) >= 2 * len(result_of(row, "numpy", "cold").seconds)


def test_the_walk_is_over_more_than_the_caches_hold(monkeypatch):
    seen = []
    monkeypatch.setattr(ceilings, "largest_cache", lambda: 8000)
    monkeypatch.setattr(suite.calls.np, "sum", lambda part: seen.append(part.nbytes))
    suite.calls._walker(2)()
    assert len(seen) == 2
    assert sum(seen) >= 16000


# noise, and what the machine can do at most

SLOW, FAST = Rates(1.0, 1.0), Rates(1e30, 1e30)


def bounded(rates):
    return Ceilings(2, [], [Level("memory", None, rates)], {"float64": Rates(1e40, 1e40)})


def test_a_row_has_its_noise_and_its_drift():
    row = measure(SIN, [Serial()], seconds=0.0)
    assert row.noise >= 0.0
    assert row.drift > -1.0


def test_every_timed_result_is_placed_below_its_ceiling():
    row = measure(SIN, [Serial()], seconds=0.0, ceilings=bounded(FAST), ways=["out"])
    for result in row.results:
        assert 0 < result.ceiling < 1e-9
        assert (result.bound, result.above) == ("memory", False)


def test_what_is_above_its_ceiling_is_marked():
    row = measure(SIN, [Serial()], seconds=0.0, ceilings=bounded(SLOW))
    for result in row.results:
        assert result.ceiling > 1
        assert result.above


def test_without_ceilings_and_without_a_time_nothing_is_placed():
    assert measure(SIN, [Serial()], seconds=0.0).results[0].ceiling is None

    class Failing(Serial):
        def run(self, kernel, *arrays, out=None):
            raise OSError("no licence")

    row = measure(SIN, [Failing()], seconds=0.0, ceilings=bounded(FAST))
    assert result_of(row, "plugin").ceiling is None


@pytest.mark.parametrize(("device", "placed"), [(None, False), (0, False), ("cpu", True)])
def test_what_runs_on_a_gpu_is_not_held_against_the_cores(monkeypatch, device, placed):
    class Card(Serial):
        takes_device = True

    found = replace(machine.describe(), gpu="NVIDIA H100")
    monkeypatch.setattr(suite.machine, "describe", lambda: found)
    with config.config_context(device=device):
        row = measure(SIN, [Card()], seconds=0.0, ceilings=bounded(FAST))
    assert (result_of(row, "plugin").ceiling is not None) is placed
    assert result_of(row, "numpy").ceiling is not None


def test_without_the_baseline_a_row_says_why():
    @elementwise(domain=(0.0, 1.0), flops=1)
    def broken(x, /, *, out=None):
        """Fail."""
        raise ZeroDivisionError("for want of a value")

    case = Case(broken, "elements", 10, "float64")
    row = measure(case, [Serial()], seconds=0.0)
    assert [each.status for each in row.results] == ["failed"]
    assert "for want of a value" in row.results[0].reason


def test_a_matrix_that_does_not_divide_is_not_timed():
    from backends.bench import calls

    class Never(Backend):
        name = "never"

        def run(self, kernel, *arrays, out=None):
            raise AssertionError("not asked to")

        def divides(self, kernel, *arrays):
            return False

    for kernel, size, why in (("svd", 8, "does not divide"), ("sin", 10, "too little work")):
        found = kernels.find(kernel)
        case = Case(found, next(iter(found.cases)), size, "float64")
        arrays = found.inputs(case.case, size, "float64")
        assert why in calls._reason_not_to_time(Never(2), case, arrays).reason


def test_caches_that_cannot_be_read_count_once(monkeypatch):
    def refuse(self, *_):
        raise PermissionError(self)

    monkeypatch.setattr(ceilings.Path, "read_text", refuse)
    assert ceilings.largest_cache() == (ceilings.cache_bytes(3) or ceilings.THIRD)


def test_caches_of_other_systems_are_asked_of_sysconf(monkeypatch):
    from backends import caches

    def refuse(*_):
        raise OSError

    monkeypatch.setattr(caches, "_read", refuse)
    monkeypatch.setattr(caches.os, "sysconf", lambda name: {"SC_LEVEL1_DCACHE_SIZE": 7}[name])
    assert caches.cache_bytes.__wrapped__(1) == 7
    monkeypatch.setattr(caches.os, "sysconf", refuse)
    assert caches.cache_bytes.__wrapped__(2) == 0
