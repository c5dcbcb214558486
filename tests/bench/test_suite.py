from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from backends import UnknownNameError, UnsupportedKernelError, elementwise, kernels, registry
from backends.backend import Backend
from backends.bench import suite
from backends.bench.suite import Case, SizeError, measure, plan
from backends.engines.processes import JoblibBackend

SIN = Case(kernels.find("sin"), "elements", 1000, "float64")

# Two jobs are wanted here, on one core too.
pytestmark = pytest.mark.filterwarnings("ignore:n_jobs=:UserWarning")


class Serial(Backend):
    """What a plug-in is at its simplest; tests break it in one place each."""

    name = "plugin"

    def run(self, kernel, *arrays, out=None):
        return kernel.reference(*arrays, out=out)


def result_of(row, backend, *, resident=False):
    (found,) = [r for r in row.results if (r.backend, r.resident) == (backend, resident)]
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


# plan


def test_nothing_named_means_every_kernel_at_its_default_size():
    cases, skipped = plan([], [], ["float64"])
    assert {case.kernel.name for case in cases} == set(kernels.every())
    assert all(case.size == case.kernel.size for case in cases)
    assert skipped == []


def test_a_kernel_is_planned_in_all_its_cases_sizes_and_dtypes():
    cases, skipped = plan(["det", "sin"], [100, 200], ["float64", "float32"])
    assert skipped == []
    assert [(c.kernel.name, c.case, c.size, c.dtype) for c in cases] == [
        ("det", case, size, dtype)
        for dtype in ("float64", "float32")
        for size in (100, 200)
        for case in kernels.find("det").cases
    ] + [
        ("sin", "elements", size, dtype) for dtype in ("float64", "float32") for size in (100, 200)
    ]


def test_an_unknown_kernel_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"'gamaln'; did you mean 'gammaln'"):
        plan(["sin", "gamaln"], [], ["float64"])


def test_a_dtype_that_a_kernel_lacks_is_skipped_with_the_reason():
    cases, skipped = plan(["hypot", "sin"], [100], ["complex128"])
    assert [case.kernel.name for case in cases] == ["sin"]
    assert skipped == ["hypot has no complex128: float32, float64"]


@pytest.mark.parametrize(
    ("kernel", "meaning"), [("sin", "number of elements"), ("svd", "order of the matrices")]
)
@pytest.mark.parametrize("size", [10**13, 10**40, 10**300], ids=["1e13", "1e40", "1e300"])
def test_a_size_beyond_memory_is_refused_with_what_size_means(kernel, meaning, size):
    with pytest.raises(SizeError, match=meaning) as caught:
        plan([kernel], [size], ["float64"])
    assert kernel in str(caught.value)
    assert "GB" in str(caught.value)


@pytest.mark.parametrize("name", sorted(kernels.every()))
def test_the_memory_asked_for_holds_inputs_and_result(monkeypatch, name):
    kernel = kernels.find(name)
    for dtype in kernel.dtypes:
        for case in kernel.cases:
            arrays = kernel.inputs(case, 40, dtype)
            least = int(kernel.bytes_moved(kernel.reference(*arrays), *arrays))
            for factor, fits in ((1, False), (20, True)):
                memory = SimpleNamespace(available=factor * least - 1)
                monkeypatch.setattr(suite.psutil, "virtual_memory", lambda memory=memory: memory)
                if fits:
                    plan([name], [40], [dtype])
                else:
                    with pytest.raises(SizeError):
                        plan([name], [40], [dtype])


# measure


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
    paired = np.log(np.divide(base.seconds, other.seconds))
    assert other.speedup == pytest.approx(np.exp(np.median(paired)))
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
    assert [(r.backend, r.resident) for r in row.results] == [
        ("numpy", False),
        ("joblib", False),
        ("joblib", True),
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
    call, compute = result_of(row, "plugin"), result_of(row, "plugin", resident=True)
    assert call.first > 0.2 > call.median
    assert compute.first is None
    assert call.transfer_in > 0
    assert call.transfer_out > 0
    assert (compute.transfer_in, compute.transfer_out) == (None, None)


def test_where_nothing_is_moved_there_is_no_resident_result():
    row = measure(SIN, [Serial()], seconds=0.0)
    assert not any(r.resident for r in row.results)
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
