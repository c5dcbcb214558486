"""What the groups of tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from backends import kernels
from backends.backend import Backend
from backends.errors import UnsupportedKernelError
from backends.kernel import Kernel

__all__ = ["ELEMENTS", "ORDER", "BackendTests"]

#: Sizes at which every kernel is compared: elements, and the order of matrices.
ELEMENTS, ORDER = 1001, 24


class BackendTests:
    """What the groups of tests share: the backend, its kernels, and what counts as equal."""

    exact = True
    reports_errors = True

    @classmethod
    def make_backend(cls) -> Backend:
        """Give the backend under test; one that divides even small work finds more."""
        raise NotImplementedError("supply make_backend() in your subclass")

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        """Give each test that asks for ``name`` or ``elementwise`` the backend's own kernels."""
        for argument in {"name", "elementwise"} & set(metafunc.fixturenames):
            with cls.make_backend() as backend:
                names = [
                    name
                    for name, kernel in kernels.every().items()
                    if backend.supports(kernel) is True
                    and (argument == "name" or not any(kernel.core))
                ]
            metafunc.parametrize(argument, names)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Iterator[Backend]:
        """One backend for the whole class, closed at its end."""
        with cls.make_backend() as backend:
            yield backend

    def get(self, backend: Backend, name: str) -> Kernel:
        """Give a kernel, or skip the test with the backend's reason for not having it."""
        kernel = kernels.find(name)
        supported = backend.supports(kernel)
        if supported is not True:
            pytest.skip(f"{backend.name} refuses: {supported}")
        return kernel

    def run(self, backend: Backend, kernel: Kernel, *arrays: Any, **out: Any) -> Any:
        """Run a kernel, or give None where the backend refuses these dtypes and may do so.

        A backend that computes in another way may have less than the reference, but always the
        kernels that it has in float64.
        """
        try:
            return backend.run(kernel, *arrays, **out)
        except UnsupportedKernelError:
            dtypes = {np.asarray(x).dtype for x in arrays}
            if self.exact or dtypes == {np.dtype(np.float64)}:
                raise
            return None

    def differs(self, kernel: Kernel, arrays: tuple[Any, ...], expected: Any) -> Any:
        """Tell at which elements the backend is known to give something else, as a mask.

        For a library whose conventions at the edges are not the reference's: overrule it, with a
        word on each.
        """
        return np.zeros(np.shape(expected), bool)

    def some(self, backend: Backend) -> Kernel:
        """Give a kernel that the backend has."""
        return next(k for k in kernels.every().values() if backend.supports(k) is True)

    def compare(self, kernel: Kernel, actual: Any, expected: Any, *arrays: Any) -> None:
        """Assert that `actual` is what NumPy would have returned."""
        assert type(actual) is type(expected)
        pairs = (
            list(zip(actual, expected, strict=True))
            if isinstance(expected, tuple)
            else [(actual, expected)]
        )
        for a, e in pairs:
            assert type(a) is type(e)
            assert a.dtype == e.dtype
            assert a.shape == e.shape
        if not any(kernel.core) and expected.dtype.kind in "fc":
            known = self.differs(kernel, arrays, expected)
            actual = np.where(known, expected, actual)
        # Blocks of another size may sum products in another order: BLAS is never exact.
        if self.exact and not kernel.blas:
            np.testing.assert_array_equal(actual, expected)
            if expected.dtype.kind in "fc":
                zero = expected == 0
                signs = [np.signbit(x.real[zero]) for x in (actual, expected)]
                np.testing.assert_array_equal(*signs)
        else:
            assert kernel.error(actual, expected, *arrays) <= kernel.tolerance
