"""Every engine of ours keeps the contract, also where it cuts tiny work into many chunks."""

from typing import Any

import numpy as np

from backends.backend import Backend
from backends.engines import shared
from backends.engines.openmp import OpenmpBackend
from backends.engines.processes import JoblibBackend
from backends.engines.serial import NumpyBackend
from backends.engines.threads import ThreadsBackend
from backends.kernel import Kernel
from backends.testing import BackendConformance


class TestNumpy(BackendConformance):
    @classmethod
    def make_backend(cls) -> Backend:
        return NumpyBackend()


class TestOpenmp(BackendConformance):
    @classmethod
    def make_backend(cls) -> Backend:
        return OpenmpBackend(2)


class TestOpenmpCuttingEverything(BackendConformance):
    @classmethod
    def make_backend(cls) -> Backend:
        backend = OpenmpBackend(2)
        backend.threshold = backend.min_work = backend.stream_bytes = 1
        return backend


class TestOpenmpFast(BackendConformance):
    exact = False

    @classmethod
    def make_backend(cls) -> Backend:
        return OpenmpBackend(2, mode="fast")

    def differs(self, kernel: Kernel, arrays: tuple[Any, ...], expected: Any) -> Any:
        """Where SciPy's value is no reference: its digits are lost, ours are right.

        ``benchmarks/accuracy.py`` holds ours against exact values there.
        """
        with np.errstate(all="ignore"):
            x = np.abs(np.asarray(arrays[0])).astype(float)
        if kernel.name == "gammaln":  # infinity for subnormal numbers, and just below overflow
            return (x < np.finfo(expected.dtype).tiny) & (x > 0) | (x > 2.5e305)
        if kernel.name == "j0":
            return x > 1e5
        fades = kernel.name in ("expit", "erfc", "ndtr", "log_ndtr")
        return (expected == 0) & fades


class TestOpenmpFastCuttingEverything(TestOpenmpFast):
    @classmethod
    def make_backend(cls) -> Backend:
        backend = OpenmpBackend(2, mode="fast")
        backend.threshold = backend.min_work = backend.stream_bytes = 1
        return backend


class TestThreads(BackendConformance):
    @classmethod
    def make_backend(cls) -> Backend:
        return ThreadsBackend(2)


class TestThreadsCuttingEverything(BackendConformance):
    @classmethod
    def make_backend(cls) -> Backend:
        backend = ThreadsBackend(2)
        backend.n_jobs = 3  # three chunks cut unevenly, whatever the machine
        backend.min_work = 1
        return backend


class TestJoblib(BackendConformance):
    @classmethod
    def make_backend(cls) -> Backend:
        return JoblibBackend(2)


class TestJoblibCuttingEverything(BackendConformance):
    @classmethod
    def make_backend(cls) -> Backend:
        backend = JoblibBackend(2)
        backend.min_work = 1
        return backend


class TestJoblibOnNamedBlocks(BackendConformance):
    """As on systems without memfd_create."""

    @classmethod
    def make_backend(cls) -> Backend:
        backend = JoblibBackend(2, block=shared.NamedBlock)
        backend.min_work = 1
        return backend
