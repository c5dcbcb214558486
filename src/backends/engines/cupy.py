"""Backend ``cupy``: the kernels' own bodies on CuPy's arrays, on one GPU.

NumPy hands each call of a body on to CuPy (``__array_ufunc__``, ``__array_function__``): what runs
there is the reference itself. Arrays travel through page-locked memory, and every call waits until
the GPU is done.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from typing import Any, ClassVar

import numpy as np

from backends.backend import Support
from backends.engines.foreign import Array, ForeignBackend, load
from backends.errors import BackendUnavailableError
from backends.kernel import Kernel

__all__ = ["CupyBackend"]


class CupyBackend(ForeignBackend):
    """CuPy on one GPU. NumPy's arrays go there and back; CuPy's stay, and so does the result.

    Parameters
    ----------
    n_jobs : int
        Not used: there is one job, which has all of the GPU.
    device : int, optional
        Number of the GPU; 0 if left out.

    Examples
    --------
    >>> import backends
    >>> if "cupy" in backends.available():
    ...     assert backends.sqrt([1.0, 4.0], backend="cupy").tolist() == [1.0, 2.0]
    """

    name = library = "cupy"
    extra = "cuda12"  # or cuda13, as the driver wants: see unavailable()
    dtypes = "?bBhHiIlLqQefdFD"
    refused: ClassVar[dict[tuple[str, str], str]] = {
        ("power", "?bBhHiIlLqQ"): "CuPy gives 0 where NumPy refuses negative exponents",
    }
    convert = "cupy.asarray({})"
    takes_device = True

    def __init__(self, n_jobs: int = -1, device: int | str | None = None) -> None:
        super().__init__(1)
        self._supported: dict[str, Support] = {}
        self.device = 0 if device is None else device
        self._cupy, self._cupyx = load("cupy"), load("cupyx")
        count = self._cupy.cuda.runtime.getDeviceCount()
        if self.device == "cpu" or int(self.device) >= count:
            raise BackendUnavailableError(
                f"backend 'cupy': device = {device!r}, but it runs on GPUs, and there are {count} "
                f"here: give a number from 0 to {count - 1}"
            )

    @classmethod
    def unavailable(cls) -> str | None:
        """Give the reason where there is no GPU, no driver, or no CuPy that fits it."""
        version = _driver()
        if version is None:
            return (
                "CuPy needs an NVIDIA GPU and its driver, and no driver can be loaded here; where "
                "`nvidia-smi` lists a GPU, make the driver's libcuda visible to this process, and "
                'pip install "array-backends[cuda12]", or cuda13'
            )
        remedy = f'pip install "array-backends[cuda{13 if version >= 13000 else 12}]"'
        if util.find_spec("cupy") is None:
            return f"cupy is not installed: {remedy}"
        reason = super().unavailable()
        if reason is not None:  # uncounted: GPU
            return f"{reason}; for this driver: {remedy}"
        runtime = load("cupy").cuda.runtime
        try:
            count = runtime.getDeviceCount()
        except runtime.CUDARuntimeError as error:
            built = runtime.runtimeGetVersion()
            return (
                f"{error}. CuPy is built for CUDA {_text(built)}, the driver for {_text(version)}: "
                f"update the driver, or pip uninstall this CuPy and {remedy}"
            )
        return None if count else "the NVIDIA driver finds no GPU (see CUDA_VISIBLE_DEVICES)"

    def supports(self, kernel: Kernel) -> Support:
        """Give True, or that CuPy lacks a function: found out by running the body on nothing."""
        if kernel.name not in self._supported:
            self._supported[kernel.name] = self._try(kernel)
        return self._supported[kernel.name]

    def compute(
        self, kernel: Kernel, operands: tuple[Array, ...], target: Array | None
    ) -> tuple[Array, ...]:
        """Send, compute, bring back; see :meth:`ForeignBackend.compute`."""

        def there_and_back() -> tuple[Array, ...]:
            placed = tuple(map(self._send, operands))
            if kernel.name == "solve" and operands[1].ndim > 1:
                placed = self._one_stack(*placed)
            result = kernel.reference(*placed)
            results = result if isinstance(result, tuple) else (result,)
            if target is not None:
                return (results[0].get(out=target),)
            return tuple(map(self.to_numpy, results))

        results: tuple[Array, ...] = self._within_memory(kernel, operands, there_and_back)
        return results

    def owns(self, x: Any) -> bool:
        """Tell whether `x` is one of CuPy's arrays."""
        return isinstance(x, self._cupy.ndarray)

    def compute_own(self, kernel: Kernel, arrays: tuple[Any, ...], out: Any) -> Any:
        """Compute on CuPy's arrays and wait; the result stays on the GPU."""

        def there() -> Any:
            result = kernel.reference(*arrays, out=out)
            self._cupy.cuda.get_current_stream().synchronize()
            return result

        return self._within_memory(kernel, arrays, there)

    def asarray(self, x: Any) -> Any:
        """Put `x` on the GPU."""
        if self.owns(x):
            return x
        with self.limited():
            placed = self._send(np.asarray(x))
            self._cupy.cuda.get_current_stream().synchronize()
        return placed

    def to_numpy(self, x: Any) -> Array:
        """Bring `x` to page-locked memory, which is an ordinary array for NumPy."""
        if not self.owns(x):
            return np.asarray(x)
        with self.limited():
            if not x.size:
                return np.empty(x.shape, x.dtype)
            try:
                # Page-locked memory is the faster destination, and there is no copy after it.
                result: Array = self._cupyx.empty_pinned(x.shape, x.dtype)
            except self._cupy.cuda.runtime.CUDARuntimeError:  # the system will lock no more
                result = np.empty(x.shape, x.dtype)
            return x.get(out=result)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Give the memory that CuPy keeps for reuse back to the GPU and to the system."""
        cupy = self._cupy
        with self.limited():
            cupy.get_default_memory_pool().free_all_blocks()
            cupy.get_default_pinned_memory_pool().free_all_blocks()

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Work on this backend's GPU, and let singular matrices be errors, for a block."""
        with self._cupy.cuda.Device(self.device), self._cupyx.errstate(linalg="raise"):
            yield

    def _send(self, x: Array) -> Any:
        # cupy.asarray copies ordinary memory to a page-locked buffer first, and waits for neither.
        return self._cupy.asarray(x)

    def _one_stack(self, a: Any, b: Any) -> tuple[Any, Any]:
        # CuPy's solve does not broadcast stacks.
        loop = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        broadcast = self._cupy.broadcast_to
        return broadcast(a, (*loop, *a.shape[-2:])), broadcast(b, (*loop, *b.shape[-2:]))

    def _try(self, kernel: Kernel) -> Support:
        cupy = self._cupy
        arrays = [cupy.zeros((0, *(1,) * core)) for core in kernel.core]
        try:
            with self.limited():
                kernel.reference(*arrays)
        except (TypeError, AttributeError, NotImplementedError) as error:
            return f"CuPy {cupy.__version__} has no {kernel.name} ({error})"
        except Exception:  # uncounted: GPU - it is there, and does not like arrays without elements
            return True
        return True

    def _within_memory(self, kernel: Kernel, arrays: tuple[Any, ...], compute: Any) -> Any:
        cupy = self._cupy
        try:
            return compute()
        except cupy.cuda.memory.OutOfMemoryError as error:
            told = str(error)
        # Not in the handler: the error holds the frames, and these the arrays, of what failed.
        cupy.get_default_memory_pool().free_all_blocks()
        free, total = cupy.cuda.Device(self.device).mem_info
        asked = sum(getattr(x, "nbytes", 0) for x in arrays)
        raise MemoryError(
            f"{kernel.name}: GPU {self.device} is out of memory for arguments of {asked:,} bytes "
            f"and what is computed from them ({told.rstrip('.')}); {free:,} of {total:,} bytes are "
            "free now that CuPy's pool is released: give smaller arrays, or another device"
        )


def _driver() -> int | None:
    """Ask the driver itself for the newest CUDA it knows (12040 for 12.4), without CuPy."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        version = ctypes.c_int()  # uncounted: GPU
        known = driver.cuDriverGetVersion(ctypes.byref(version)) == 0  # uncounted: GPU
        return version.value if known else None  # uncounted: GPU
    except (OSError, AttributeError):
        return None


def _text(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
