"""Results are the reference's, in value, type, layout and floating-point warnings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backends.backend import Backend
from backends.testing.base import ELEMENTS, ORDER, BackendTests

__all__ = ["ResultTests"]


class ResultTests(BackendTests):
    """What is computed."""

    def test_agrees_with_the_reference(self, backend: Backend, name: str) -> None:
        kernel = self.get(backend, name)
        for dtype in kernel.dtypes:
            for case in kernel.cases:
                arrays = kernel.inputs(case, ORDER if kernel.blas else ELEMENTS, dtype)
                before = [x.copy() for x in arrays]
                actual = self.run(backend, kernel, *arrays)
                if actual is not None:
                    self.compare(kernel, actual, kernel.reference(*arrays), *arrays)
                assert all(map(np.array_equal, before, arrays)), "an argument was changed"

    def test_fills_out_and_returns_it(self, backend: Backend, name: str) -> None:
        kernel = self.get(backend, name)
        for dtype in kernel.dtypes:
            arrays = kernel.inputs(
                next(iter(kernel.cases)), ORDER if kernel.blas else ELEMENTS, dtype
            )
            expected = kernel.reference(*arrays)
            if not isinstance(expected, tuple):
                out: Any = np.full_like(np.asarray(expected), 7)
                result = self.run(backend, kernel, *arrays, out=out)
                if result is not None:
                    assert result is out
                    self.compare(kernel, out, np.asarray(expected), *arrays)
                continue
            out = tuple(np.full_like(x, 7) for x in expected)
            result = backend.run(kernel, *arrays, out=out)
            assert type(result) is type(expected)
            assert all(r is o for r, o in zip(result, out, strict=True))
            self.compare(kernel, result, expected, *arrays)

    def test_special_values(self, backend: Backend, elementwise: str) -> None:
        kernel = self.get(backend, elementwise)
        for dtype in (np.float32, np.float64):
            info: Any = np.finfo(dtype)
            points = [0.0, 1.0, 0.5, 1e-3, 2.0, 30.0, 171.0, np.inf, np.nan, info.max, info.tiny]
            points += [info.smallest_subnormal, info.tiny / 8, info.eps, np.pi, 1e6]
            x = np.array([*points, *(-p for p in points)], dtype)
            arrays = np.meshgrid(*[x] * len(kernel.parameters), indexing="ij")
            with np.errstate(all="ignore"):
                expected = kernel.reference(*arrays)
                actual = self.run(backend, kernel, *arrays)
                if actual is not None:
                    self.compare(kernel, actual, expected, *arrays)

    def test_floating_point_warnings_are_the_references(
        self, backend: Backend, elementwise: str
    ) -> None:
        kernel = self.get(backend, elementwise)
        # Long enough to be divided, with the trouble in one place only.
        for value in (0.0, -1.0, np.inf, 800.0, 1e300, -1e300, 1e-310):
            x = np.full(ELEMENTS, 0.5)
            x[-3] = value
            arrays = (x,) * len(kernel.parameters)
            expected = _floating_errors(kernel.reference, *arrays) if self.reports_errors else set()
            assert _floating_errors(lambda *a: backend.run(kernel, *a), *arrays) == expected, value

    def test_errstate_raise_is_obeyed(self, backend: Backend) -> None:
        kernel = self.get(backend, "log")
        if not self.reports_errors:
            with np.errstate(divide="raise"):
                assert np.all(backend.run(kernel, np.zeros(ELEMENTS)) == -np.inf)
            return
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError, match="in log"):
            backend.run(kernel, np.zeros(ELEMENTS))
        with np.errstate(divide="ignore"):
            assert np.all(backend.run(kernel, np.zeros(ELEMENTS)) == -np.inf)

    def test_a_floating_point_warning_comes_once(self, backend: Backend) -> None:
        kernel = self.get(backend, "log")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            backend.run(kernel, np.zeros(ELEMENTS))
        once = ["divide by zero encountered in log"] if self.reports_errors else []
        assert [str(w.message) for w in caught] == once


def _floating_errors(call: Callable[..., Any], *arrays: Any) -> set[str]:
    errors: set[str] = set()
    with np.errstate(all="call", call=lambda error, flag: errors.add(error)):
        call(*arrays)
    return errors
