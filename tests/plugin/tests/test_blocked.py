from backends_blocked import BlockedBackend

import backends
from backends.testing import BackendConformance


class TestBlocked(BackendConformance):
    @classmethod
    def make_backend(cls):
        backend = BlockedBackend(2)
        backend.min_work = 1
        return backend


def test_it_is_found_by_name():
    assert "blocked" in backends.available()
    with backends.config_context(backend="blocked", n_jobs=2):
        assert backends.sqrt([4.0]) == [2.0]
