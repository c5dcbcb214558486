"""The cupy backend on a GPU: ``make test-gpu`` runs this where there is one."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends import registry
from backends.engines.cupy import CupyBackend
from backends.testing import BackendConformance

pytestmark = pytest.mark.gpu


def test_cupy_is_there(request):
    reason = registry.reasons()["cupy"]
    if reason is not None and "cupy" in request.config.getoption("--require").split(","):
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)


if registry.reasons()["cupy"] is None:

    class TestOnGpu(BackendConformance):
        exact = False
        reports_errors = False

        @classmethod
        def make_backend(cls):
            return CupyBackend()

    def test_memory_that_is_not_there_is_refused_and_the_next_call_works():
        with pytest.raises(MemoryError, match="are free now"):
            CupyBackend().run(backends.add, np.ones((2**21, 1)), np.ones((1, 2**21)))
        assert CupyBackend().run(backends.sqrt, 4.0) == 2.0
