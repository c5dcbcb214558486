"""Backend ``ray``: jobs on a Ray cluster, or on one that is started here.

Ray has no kernels here: its workers take jobs, through the backend that Ray itself offers joblib.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

from backends.backend import Backend, Support
from backends.errors import BackendUnavailableError, UnsupportedKernelError
from backends.kernel import Kernel

__all__ = ["RayBackend"]

#: Seconds to wait until a scheduler takes a call.
PATIENCE = 3.0


class RayBackend(Backend):
    """Independent jobs on Ray.

    Parameters
    ----------
    n_jobs : int
        Jobs at once. One at a time run in the caller's process: Ray's backend for joblib says so.
    scheduler : str, optional
        Address of a cluster; "local" starts one here. None: the one that the program has joined,
        or that the environment variable ``RAY_ADDRESS`` names, or one here.
    """

    name = "ray"
    takes_scheduler: ClassVar[bool] = True

    def __init__(self, n_jobs: int = -1, scheduler: str | None = None) -> None:
        super().__init__(n_jobs)
        self.scheduler = scheduler
        self._began = False

    @classmethod
    def unavailable(cls) -> str | None:
        """Tell that Ray is not installed."""
        if importlib.util.find_spec("ray") is None:
            return 'Ray is not installed: pip install "array-backends[ray]"'
        return None

    def supports(self, kernel: Kernel) -> Support:
        """Tell that there are no kernels."""
        return "ray runs jobs (backends.map), not kernels"

    def run(self, kernel: Kernel, *arrays: Any, out: Any = None) -> Any:
        """Refuse; see :meth:`backends.backend.Backend.run`."""
        raise UnsupportedKernelError(f"{kernel.name}: {self.supports(kernel)}")

    @contextmanager
    def jobs(self) -> Iterator[dict[str, Any]]:
        """Lend Ray's workers to joblib; see :meth:`backends.backend.Backend.jobs`."""
        self._join()
        from ray.util.joblib.ray_backend import RayBackend as OfRay

        class Jobs(OfRay):  # type: ignore[misc] # Ray has no types
            # Ray calls back for each result, which is all that joblib needs; what it is derived
            # from, `multiprocessing`, does so, too, but cannot be ended in the middle.
            supports_return_generator = True

        yield {"backend": Jobs(), "n_jobs": self.n_jobs}

    def worker_memory(self) -> int:
        """Give the bytes that Ray counts on the smallest machine, for tasks and its own store."""
        import ray

        self._join()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return min(
            int(node.get("memory", 0) + node.get("object_store_memory", 0)) for node in nodes
        )

    def close(self) -> None:
        """Leave the cluster, or end it, if it was joined or begun here."""
        if self._began:
            import ray

            ray.shutdown()
            self._began = False

    def _join(self) -> None:
        """Join the cluster, or begin one."""
        import ray

        address = self.scheduler or os.environ.get("RAY_ADDRESS") or "local"
        if ray.is_initialized():
            joined = ray.get_runtime_context().gcs_address
            if self.scheduler not in (None, "local", joined):
                raise BackendUnavailableError(
                    f"ray: the program has joined the cluster at {joined!r}, not "
                    f"scheduler={address!r}: call ray.shutdown() first"
                )
            return
        local: dict[str, Any] = {"num_cpus": self.n_jobs, "include_dashboard": False}
        try:
            _knock(address)
            ray.init(address=address, **(local if address == "local" else {}))
        except (OSError, RuntimeError, ValueError) as error:
            raise BackendUnavailableError(
                f"ray: no cluster at scheduler={address!r} ({error}): start one there with "
                '`ray start --head`, or give scheduler="local"'
            ) from error
        self._began = True


def _knock(address: str) -> None:
    """Look whether somebody listens: Ray itself tries for minutes, and then ends the program."""
    place = urlsplit(f"//{address.removeprefix('ray://')}")
    if place.port is not None:
        socket.create_connection((str(place.hostname), place.port), PATIENCE).close()
