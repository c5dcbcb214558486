"""A backend says what it is, and is good company to threads, BLAS and the caller's data."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from backends import blas, kernels
from backends.backend import Backend
from backends.testing.base import BackendTests

__all__ = ["CompanyTests"]


class CompanyTests(BackendTests):
    """What happens around a call."""

    def test_is_available_and_named(self, backend: Backend) -> None:
        assert isinstance(backend, Backend)
        assert type(backend).unavailable() is None
        assert backend.name == type(backend).name
        assert backend.n_jobs >= 1

    def test_supports_gives_true_or_a_reason(self, backend: Backend) -> None:
        for kernel in kernels.every().values():
            answer = backend.supports(kernel)
            assert answer is True or (isinstance(answer, str) and answer)

    def test_some_kernel_is_supported(self, backend: Backend) -> None:
        assert any(backend.supports(kernel) is True for kernel in kernels.every().values())

    def test_can_be_used_after_close(self, backend: Backend) -> None:
        kernel = self.some(backend)
        arrays = kernel.inputs(next(iter(kernel.cases)), 64, "float64")
        backend.run(kernel, *arrays)
        backend.close()
        backend.close()
        self.compare(kernel, backend.run(kernel, *arrays), kernel.reference(*arrays), *arrays)

    def test_leaves_blas_threads_as_they_were(self, backend: Backend) -> None:
        library = blas.library()
        kernel = self.get(backend, "matmul")
        if library is None:  # uncounted: macOS
            pytest.skip("this NumPy's BLAS has no thread count to look at")
        before = library.get()
        backend.run(kernel, *kernel.inputs("matrix", 100, "float64"))
        backend.run(kernel, *kernel.inputs("stack", 100, "float64"))
        assert library.get() == before

    def test_many_threads_may_call_at_once(self, backend: Backend) -> None:
        kernel = self.some(backend)
        case = next(iter(kernel.cases))
        inputs = [kernel.inputs(case, 200, "float64", seed) for seed in range(16)]
        barrier = threading.Barrier(8)

        def call(seed: int) -> Any:
            if seed < 8:
                barrier.wait(60)
            return [backend.run(kernel, *inputs[seed]) for _ in range(5)][-1]

        with ThreadPoolExecutor(8) as pool:
            for arrays, result in zip(inputs, pool.map(call, range(16)), strict=True):
                self.compare(kernel, result, kernel.reference(*arrays), *arrays)

    def test_data_goes_there_and_back(self, backend: Backend) -> None:
        kernel = self.some(backend)
        arrays = kernel.inputs(next(iter(kernel.cases)), 200, "float64")
        placed = [backend.asarray(x) for x in arrays]
        for x, p in zip(arrays, placed, strict=True):
            assert np.array_equal(backend.to_numpy(p), x)
            assert backend.asarray(p) is p
        result = backend.to_numpy(backend.run(kernel, *placed))
        self.compare(kernel, result, kernel.reference(*arrays), *arrays)
