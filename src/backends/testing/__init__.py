"""The conformance suite: what every backend must do, as tests to subclass.

A backend's author writes, in a test module of their own package::

    from backends.testing import BackendConformance

    class TestMine(BackendConformance):
        @classmethod
        def make_backend(cls):
            return MyBackend(n_jobs=2)

and pytest runs every test below on it. The extra ``array-backends[testing]`` has what it needs.
"""

from __future__ import annotations

import pytest

# Before they are imported: a failing assert then shows its values, as in a test module.
pytest.register_assert_rewrite(
    *(f"backends.testing.{name}" for name in ("base", "results", "arguments", "company"))
)

from backends.testing.arguments import ArgumentTests
from backends.testing.company import CompanyTests
from backends.testing.results import ResultTests

__all__ = ["BackendConformance"]


class BackendConformance(ResultTests, ArgumentTests, CompanyTests):
    """Tests that hold for any backend; subclass it and supply ``make_backend``.

    Attributes
    ----------
    exact : bool
        Results are compared bit by bit with the reference's. Set it to False for a backend that
        computes in another way: each kernel's own tolerance holds then, and dtypes other than
        float64 may be refused.
    reports_errors : bool
        Division by zero and the like reach the caller as ``numpy.errstate`` says. Set it to False
        for a library that tells nothing of them: then none may ever be reported.
    """
