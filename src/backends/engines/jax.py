"""Backend ``jax``: functions that XLA compiles once a shape, on the CPU or on a GPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from backends.engines.foreign import Array, ForeignBackend, load, numpy_over
from backends.errors import BackendUnavailableError
from backends.kernel import Kernel

__all__ = ["JaxBackend"]

#: NumPy's words where a matrix is not what it must be.
SINGULAR = {
    "inv": "Singular matrix",
    "solve": "Singular matrix",
    "cholesky": "Matrix is not positive definite",
}


class JaxBackend(ForeignBackend):
    """JAX with 64-bit types kept, on `n_jobs` threads or on a GPU.

    XLA's threads are made once a process: the first call decides how many there are.

    Parameters
    ----------
    n_jobs : int
        Threads, with joblib's meaning.
    device : int or "cpu", optional
        Number of the GPU, or the CPU; JAX's own choice if left out.

    Examples
    --------
    >>> import backends
    >>> if "jax" in backends.available():
    ...     assert backends.sqrt([1.0, 4.0], backend="jax").tolist() == [1.0, 2.0]
    """

    name = library = extra = "jax"
    takes_device = True
    functions: ClassVar[dict[str, Any]] = {
        **{
            name: f"numpy.{name}"
            for name in (
                *("add", "subtract", "multiply", "divide", "power", "hypot", "sqrt", "exp", "log"),
                *("sin", "cos", "tanh", "matmul"),
            )
        },
        **{
            name: f"numpy.linalg.{name}"
            for name in ("inv", "solve", "svd", "det", "cholesky", "eigh")
        },
        **{
            name: f"scipy.special.{name}"
            for name in ("erf", "erfc", "ndtr", "ndtri", "gammaln", "gamma", "expit")
        },
        "norm_isf": "scipy.special.ndtri",
    }

    def __init__(self, n_jobs: int = -1, device: int | str | None = None) -> None:
        super().__init__(n_jobs)
        self._wanted = device
        self._device: Any = None
        self._compiled: dict[str, Callable[..., Any]] = {}

    @property
    def device(self) -> Any:
        """JAX's device; asked for first when something is computed, since that starts threads.

        Raises
        ------
        BackendUnavailableError
            There is no such device, or JAX already runs on another number of threads.
        """
        if self._device is None:
            self._device = _start(self.n_jobs, self._wanted)
        return self._device

    def compute(
        self, kernel: Kernel, operands: tuple[Array, ...], target: Array | None
    ) -> tuple[Array, ...]:
        """Compute by the compiled function; see :meth:`ForeignBackend.compute`."""
        result = self._function(kernel)(*operands)
        results = tuple(map(self.to_numpy, result if isinstance(result, tuple) else (result,)))
        # Compiled functions cannot raise: where NumPy would, JAX gives NaN or infinity.
        broken = kernel.name in SINGULAR and not np.isfinite(results[0]).all()
        if broken and all(np.isfinite(x).all() for x in operands):
            raise np.linalg.LinAlgError(SINGULAR[kernel.name])
        return results

    def owns(self, x: Any) -> bool:
        """Tell whether `x` is one of JAX's arrays."""
        return isinstance(x, load("jax").Array)

    def compute_own(self, kernel: Kernel, arrays: tuple[Any, ...], out: Any) -> Any:
        """Compute on JAX's arrays where they are.

        Raises
        ------
        TypeError
            `out` is given: JAX's arrays cannot be written.
        """
        if out is not None:
            raise TypeError(
                f"{kernel.name}: argument out: JAX's arrays cannot be written; leave it"
            )
        return load("jax").block_until_ready(self._function(kernel)(*arrays))

    def asarray(self, x: Any) -> Any:
        """Put `x` on the device; where memory is aligned to 64 bytes a CPU needs no copy."""
        if self.owns(x):
            return x
        jax = load("jax")
        with jax.enable_x64(True):
            return jax.block_until_ready(jax.device_put(np.asarray(x), self.device))

    def to_numpy(self, x: Any) -> Array:
        """Give a result as an array that may be written; on a CPU nothing is copied."""
        if not self.owns(x):
            return np.asarray(x)
        load("jax").block_until_ready(x)
        if self.device.platform != "cpu":
            return np.array(x)
        return numpy_over(x, x.unsafe_buffer_pointer(), x.shape, np.dtype(x.dtype))

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Start JAX on `n_jobs` threads, and keep to the device and to 64-bit types for a block."""
        jax = load("jax")
        with jax.default_device(self.device), jax.enable_x64(True):
            yield

    def _function(self, kernel: Kernel) -> Callable[..., Any]:
        if kernel.name not in self._compiled:
            jax = load("jax")
            for module in ("jax.numpy", "jax.scipy.special"):
                load(module)
            function = reduce(getattr, self.functions[kernel.name].split("."), jax)
            if kernel.name == "norm_isf":
                self._compiled[kernel.name] = jax.jit(lambda q: -function(q))
            else:
                self._compiled[kernel.name] = jax.jit(function)
        return self._compiled[kernel.name]


_lock = threading.Lock()
#: Threads that XLA was started with; None before it was, 0 where somebody else started it.
_threads: int | None = None


def _start(n_jobs: int, device: int | str | None) -> Any:
    global _threads
    jax = load("jax")
    with _lock:
        if _threads is None:
            _threads = 0 if _runs_already() else n_jobs
            # XLA reads it when it makes its pool of threads, and never again.
            before = os.environ.get("NPROC")
            os.environ["NPROC"] = str(n_jobs)
            try:
                default = jax.devices()[0]
            finally:
                if before is None:
                    del os.environ["NPROC"]
                else:
                    os.environ["NPROC"] = before
        else:
            default = jax.devices()[0]
    found = jax.devices("cpu" if device == "cpu" else default.platform)
    number = device if isinstance(device, int) else 0
    if number >= len(found) or (isinstance(device, int) and default.platform == "cpu"):
        raise BackendUnavailableError(
            f"backend 'jax': device = {device}, but JAX {jax.__version__} sees no such GPU here: "
            f'{found}; device = "cpu" is always there'
        )
    if found[number].platform == "cpu" and _threads not in (0, n_jobs):
        raise BackendUnavailableError(
            f"backend 'jax': n_jobs = {n_jobs}, but JAX's threads are made once a process, and "
            f"there are {_threads}: start Python again for another number"
        )
    return found[number]


def _runs_already() -> bool:
    # JAX says so in a private module only.
    bridge = load("jax._src.xla_bridge")
    return bool(getattr(bridge, "backends_are_initialized", bool)())
