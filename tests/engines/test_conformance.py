"""Every engine of ours keeps the contract, also where it cuts tiny work into many chunks."""

from backends.backend import Backend
from backends.engines import shared
from backends.engines.openmp import OpenmpBackend
from backends.engines.processes import JoblibBackend
from backends.engines.serial import NumpyBackend
from backends.engines.threads import ThreadsBackend
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


class TestOpenmpFastCuttingEverything(BackendConformance):
    exact = False

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
