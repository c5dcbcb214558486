"""Other libraries keep the contract where they are installed: ``make test-peers`` installs them."""

from __future__ import annotations

import numpy as np
import pytest

from backends import registry
from backends.testing import BackendConformance

PEERS = ("torch", "jax", "numexpr", "numba", "mkl")


@pytest.mark.parametrize("name", PEERS)
def test_is_there(name, request):
    reason = registry.reasons()[name]
    if reason is not None and name in request.config.getoption("--require").split(","):
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)


class Peer(BackendConformance):
    exact = False
    reports_errors = False
    flushes_subnormals = False
    name = ""

    @classmethod
    def make_backend(cls):
        return registry.get(cls.name, 2)

    def differs(self, kernel, arrays, expected):
        info = np.finfo(expected.dtype)
        operands = np.broadcast_arrays(*(np.asarray(x, expected.dtype) for x in arrays), expected)
        sizes = np.abs(operands)
        if expected.dtype.kind == "c":
            # Infinities, zeros and overflow on the way: each library's complex numbers differ.
            # NumPy's own are no better a guide there (C leaves it open).
            middle = (sizes < info.max**0.02) & (sizes > info.tiny**0.1)
            return ~middle.all(axis=0)
        known = np.zeros(expected.shape, bool)
        if self.flushes_subnormals:
            known |= ((sizes < info.tiny) & (sizes > 0)).any(axis=0)
        x = operands[0]
        if kernel.name == "gammaln":
            # SciPy gives infinity for subnormal numbers, which is wrong, and -inf for -inf.
            known |= (np.abs(x) < info.tiny) | (x == -np.inf)
        if kernel.name == "j0":
            # NaN in SciPy for infinity, and 0, the limit, in MKL, whose error grows with x.
            known |= np.isinf(x) | (np.abs(x) > 100)
        if kernel.name == "gamma" and self.name == "jax":
            known |= np.abs(x) > 30  # the exponential of gammaln, and its error times that
        return known


for peer in PEERS:
    if registry.reasons()[peer] is None:
        attributes = {"name": peer, "flushes_subnormals": peer == "jax"}
        globals()[f"Test{peer.title()}"] = type(f"Test{peer.title()}", (Peer,), attributes)
