"""Ray: jobs for real on a cluster of one machine, where Ray is installed; what it refuses."""

import os
import time

import numpy as np
import pytest

import backends
from backends import BackendUnavailableError, JobsFailedError, UnsupportedKernelError
from backends.engines.ray import RayBackend

needs_ray = pytest.mark.skipif(
    RayBackend.unavailable() is not None, reason=str(RayBackend.unavailable())
)
pytestmark = pytest.mark.filterwarnings("ignore:n_jobs=. is more than:UserWarning")


@pytest.fixture(scope="module")
def cluster():
    engine = backends.get("ray", n_jobs=2)
    yield engine
    engine.close()


def test_is_there(request):
    if RayBackend.unavailable() is not None:
        required = "ray" in request.config.getoption("--require").split(",")
        (pytest.fail if required else pytest.skip)(RayBackend.unavailable())


def test_missing_library_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert RayBackend.unavailable() == 'Ray is not installed: pip install "array-backends[ray]"'


def test_kernels_are_refused():
    engine = RayBackend(1)
    assert "not kernels" in engine.supports(backends.sin)
    with pytest.raises(UnsupportedKernelError, match=r"sin: ray runs jobs \(backends.map\)"):
        engine.run(backends.sin, np.zeros(3))


@needs_ray
def test_jobs_run_in_other_processes_and_come_in_order(cluster):
    def job(x):
        time.sleep(0.01)
        return x * x, os.getpid()

    found = list(backends.map(job, range(40), backend="ray", n_jobs=2))
    assert [square for square, _ in found] == [x * x for x in range(40)]
    assert os.getpid() not in {process for _, process in found}


@needs_ray
def test_checkpoint_and_failures_are_as_everywhere(cluster, tmp_path):
    def job(x):
        return 1 // x

    given = {"backend": "ray", "n_jobs": 2, "checkpoint": tmp_path / "kept", "ordered": False}
    for _ in range(2):
        found = {}
        with pytest.raises(JobsFailedError, match="ZeroDivisionError") as e:
            found.update(backends.map(job, [1, 0, 2], **given))
        assert found == {0: 1, 2: 0}
        assert e.value.failures[0].item == 0


@needs_ray
def test_cluster_that_is_not_there_is_told(cluster):
    import ray

    with backends.get("ray", n_jobs=2).jobs():  # joined, whatever ran before
        engine = RayBackend(1, scheduler="127.0.0.1:1")
        with pytest.raises(BackendUnavailableError, match="has joined the cluster"), engine.jobs():
            pass
    ray.shutdown()
    with pytest.raises(BackendUnavailableError, match="no cluster at scheduler"), engine.jobs():
        pass
