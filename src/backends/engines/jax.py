"""Backend ``jax``: functions that XLA compiles once a shape, on the CPU or on a GPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, reduce
from typing import Any, ClassVar

import numpy as np

from backends.backend import count_jobs
from backends.engines.foreign import Array, ForeignBackend, load
from backends.engines.lending import numpy_over
from backends.errors import BackendUnavailableError
from backends.kernel import Kernel

__all__ = ["JaxBackend"]

#: Which result tells that a matrix is not what it must be, NumPy's words for it, and whether NumPy
#: says so of NaN, too.
BROKEN = {
    "inv": (0, "Singular matrix", False),
    "solve": (0, "Singular matrix", False),
    "cholesky": (0, "Matrix is not positive definite", False),
    "svd": (1, "SVD did not converge", True),
    "eigh": (0, "Eigenvalues did not converge", True),
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
    convert = "jax.numpy.asarray({})"
    takes_device = True
    functions: ClassVar[dict[str, Any]] = {
        **{
            name: f"numpy.{name}"
            for name in (
                *("add", "subtract", "multiply", "divide", "power", "hypot", "sqrt", "exp", "log"),
                *("sin", "cos", "tan", "tanh", "negative", "matmul"),
            )
        },
        **{
            name: f"numpy.linalg.{name}"
            for name in ("inv", "solve", "svd", "det", "cholesky", "eigh")
        },
        **{
            name: f"scipy.special.{name}"
            for name in (
                *("erf", "erfc", "erfinv", "ndtr", "log_ndtr", "ndtri", "gammaln", "gamma"),
                "expit",
            )
        },
        "norm_isf": "scipy.special.ndtri",
    }
    refused: ClassVar[dict[tuple[str, str], str]] = {
        ("log_ndtr", "fdFD"): "jax.scipy.special.log_ndtr is not within the kernel's tolerance",
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
        results = tuple(map(_lent, result if isinstance(result, tuple) else (result,)))
        # Compiled functions cannot raise: where NumPy would, JAX gives NaN or infinity.
        if kernel.name in BROKEN:
            number, told, nan_too = BROKEN[kernel.name]
            if not np.isfinite(results[number]).all() and (
                nan_too or all(np.isfinite(x).all() for x in operands)
            ):
                raise np.linalg.LinAlgError(told)
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
            raise TypeError(f"{kernel.name}: argument out: JAX's arrays cannot be written: omit it")
        return load("jax").block_until_ready(self._function(kernel)(*arrays))

    def asarray(self, x: Any) -> Any:
        """Put `x` on the device; where memory is aligned to 64 bytes a CPU needs no copy."""
        if self.owns(x):
            return x
        jax = load("jax")
        with jax.enable_x64(True):
            return jax.block_until_ready(jax.device_put(np.asarray(x), self.device))

    def to_numpy(self, x: Any) -> Array:
        """Bring `x` to ordinary memory; read-only, as JAX's arrays are."""
        return np.asarray(_home(x) if self.owns(x) else x)

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
            elif kernel.name in ("cholesky", "eigh"):  # NumPy reads the lower triangle only
                self._compiled[kernel.name] = jax.jit(partial(function, symmetrize_input=False))
            else:
                self._compiled[kernel.name] = jax.jit(function)
        return self._compiled[kernel.name]


def _home(x: Any) -> Any:
    """Give an array of JAX's in the CPU's memory, complete."""
    jax = load("jax")
    if x.device.platform != "cpu":  # uncounted: GPU
        # numpy.asarray alone would keep its copy with `x`, and give it again instead of moving.
        x = jax.device_put(x, jax.devices("cpu")[0])
    return jax.block_until_ready(x)


def _lent(x: Any) -> Array:
    """Give a result that nobody else has as an array that may be written; a CPU copies nothing."""
    x = _home(x)
    return numpy_over(x, x.unsafe_buffer_pointer(), x.shape, np.dtype(x.dtype))


_lock = threading.Lock()
#: Threads that XLA was started with; None before it was.
_threads: int | None = None


def _start(n_jobs: int, device: int | str | None) -> Any:
    global _threads
    jax = load("jax")
    with _lock:
        if _threads is None:
            # Started by somebody else, it has a thread for each core.
            threads = count_jobs(-1) if _runs_already() else n_jobs
            # XLA reads it when it makes its pool of threads, and never again.
            before = os.environ.get("NPROC")
            os.environ["NPROC"] = str(n_jobs)
            try:
                default = jax.devices()[0]
                _threads = threads
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
            f"backend 'jax': device = {device}, but JAX {jax.__version__} sees "
            f"{0 if default.platform == 'cpu' else len(found)} GPU(s) here; "
            'device = "cpu" is always there'
        )
    if found[number].platform == "cpu" and _threads != n_jobs:
        raise BackendUnavailableError(
            f"backend 'jax': n_jobs = {n_jobs}, but JAX's threads are made once a process, and "
            f"there are {_threads}: pass n_jobs={_threads}, or start Python again"
        )
    return found[number]


def _runs_already() -> bool:
    # JAX says so in a private module only.
    bridge = load("jax._src.xla_bridge")
    return bool(getattr(bridge, "backends_are_initialized", bool)())
