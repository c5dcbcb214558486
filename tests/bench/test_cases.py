from __future__ import annotations

from types import SimpleNamespace

import pytest

from backends import UnknownNameError, kernels
from backends.bench import cases
from backends.bench.cases import SizeError, plan


def test_nothing_named_means_every_kernel_at_its_default_size():
    found, skipped = plan([], [], ["float64"])
    assert {case.kernel.name for case in found} == set(kernels.every())
    assert all(case.size == case.kernel.size for case in found)
    assert skipped == []


def test_a_kernel_is_planned_in_all_its_cases_sizes_and_dtypes():
    found, skipped = plan(["det", "sin"], [100, 200], ["float64", "float32"])
    assert skipped == []
    assert [(c.kernel.name, c.case, c.size, c.dtype) for c in found] == [
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
    found, skipped = plan(["hypot", "sin"], [100], ["complex128"])
    assert [case.kernel.name for case in found] == ["sin"]
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
                monkeypatch.setattr(cases.psutil, "virtual_memory", lambda memory=memory: memory)
                if fits:
                    plan([name], [40], [dtype])
                else:
                    with pytest.raises(SizeError):
                        plan([name], [40], [dtype])
