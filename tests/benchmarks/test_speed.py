"""Every kernel on every backend, by pytest-benchmark: its table shows relative speeds.

`make bench-tests ARGS="-k sin"`. Each group is one kernel at one size; the factor in parentheses
is how many times slower than the fastest of the group.
"""

from __future__ import annotations

import pytest

from backends import kernels, registry

ELEMENTS, ORDERS = (10_000, 1_000_000), (100, 500)
CASES = [
    pytest.param(kernel, size, id=f"{kernel.name}-{size}")
    for kernel in kernels.every().values()
    for size in (ORDERS if kernel.blas else ELEMENTS)
]
BACKENDS = [
    pytest.param(name, mode, id=name if mode == "exact" else f"{name} ({mode})")
    for name in registry.available()
    for mode in (("exact", "fast") if name == "openmp" else ("exact",))
    if name != "auto"
]


@pytest.fixture(scope="module", autouse=True)
def processes_end_before_python_does():
    yield
    registry.get("joblib").close()


@pytest.mark.parametrize(("kernel", "size"), CASES)
@pytest.mark.parametrize(("name", "mode"), BACKENDS)
def test_kernel(benchmark, kernel, size, name, mode):
    backend = registry.get(name, mode=mode)
    supported = backend.supports(kernel)
    if supported is not True:
        pytest.skip(supported)
    arrays = kernel.inputs(next(iter(kernel.cases)), size, "float64")
    if mode == "fast" and not backend.mode_matters(kernel, *arrays):
        pytest.skip("the same as in mode exact")
    if name != "numpy" and not backend.divides(kernel, *arrays):
        pytest.skip("would run in one piece")
    benchmark.group = f"{kernel.name} {size}"
    benchmark.extra_info.update(kernel=kernel.name, size=size, backend=backend.label)
    result = benchmark(backend.run, kernel, *arrays)
    pieces = result if isinstance(result, tuple) else (result,)
    result = tuple(map(backend.to_numpy, pieces))
    result = result if len(result) > 1 else result[0]
    assert kernel.error(result, kernel.reference(*arrays), *arrays) <= kernel.tolerance
