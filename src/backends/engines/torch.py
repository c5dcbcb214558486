"""Backend ``torch``: PyTorch's functions, on the CPU or on a GPU."""

from __future__ import annotations

import math
import threading
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from backends import budget
from backends.engines.foreign import Array, ForeignBackend, counted, load
from backends.engines.lending import writeable
from backends.errors import BackendUnavailableError
from backends.kernel import Kernel

__all__ = ["TorchBackend"]

SQRT1_2 = math.sqrt(0.5)


class TorchBackend(ForeignBackend):
    """PyTorch on `n_jobs` threads, or on a GPU: the first one if there is one and none is named.

    Parameters
    ----------
    n_jobs : int
        Threads, with joblib's meaning.
    device : int or "cpu", optional
        Number of the GPU, or the CPU.

    Examples
    --------
    >>> import backends
    >>> if "torch" in backends.available():
    ...     assert backends.sqrt([1.0, 4.0], backend="torch").tolist() == [1.0, 2.0]
    """

    name = library = extra = "torch"
    convert = "torch.asarray({})"
    takes_device = True
    functions: ClassVar[dict[str, Any]] = {
        **{
            name: name
            for name in (
                *("add", "subtract", "multiply", "divide", "hypot", "sqrt", "exp", "log", "sin"),
                *("cos", "tan", "tanh", "negative", "matmul"),
            )
        },
        "power": "pow",
        **{f"{name}": f"linalg.{name}" for name in ("inv", "svd", "det", "cholesky", "eigh")},
        "solve": "linalg.solve",
        **{
            name: f"special.{name}"
            for name in ("erf", "erfc", "erfinv", "log_ndtr", "ndtri", "gammaln", "expit")
        },
        "ndtr": "special.erfc",  # torch.special.ndtr has no digits left in the lower tail
        "norm_isf": "special.ndtri",
    }
    refused: ClassVar[dict[tuple[str, str], str]] = {
        ("j0", "fdFD"): "torch.special.bessel_j0 is right to 1e-7 only",
    }

    def __init__(self, n_jobs: int = -1, device: int | str | None = None) -> None:
        super().__init__(n_jobs)
        torch = load("torch")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if device is None:
            device = 0 if count else "cpu"
        if isinstance(device, int) and device >= count:
            raise BackendUnavailableError(
                f"backend 'torch': device = {device}, but PyTorch {torch.__version__} sees "
                f'{count} GPU(s) here; device = "cpu" is always there'
            )
        self.device = torch.device("cpu" if device == "cpu" else f"cuda:{device}")

    def compute(
        self, kernel: Kernel, operands: tuple[Array, ...], target: Array | None
    ) -> tuple[Array, ...]:
        """Compute on tensors over the arrays' memory; see :meth:`ForeignBackend.compute`."""
        torch = load("torch")
        tensors = tuple(torch.from_numpy(writeable(x)) for x in operands)
        if self.device.type != "cpu":  # uncounted: GPU
            result = self._function(kernel, tuple(t.to(self.device) for t in tensors))
            results = result if isinstance(result, tuple) else (result,)
            return tuple(self.to_numpy(t) for t in results)
        if target is not None and self._writes(kernel, operands):
            self._function(kernel, tensors, out=torch.from_numpy(target))
            return (target,)
        result = self._function(kernel, tensors)
        return tuple(t.numpy() for t in (result if isinstance(result, tuple) else (result,)))

    def owns(self, x: Any) -> bool:
        """Tell whether `x` is a tensor."""
        return isinstance(x, load("torch").Tensor)

    def compute_own(self, kernel: Kernel, arrays: tuple[Any, ...], out: Any) -> Any:
        """Compute on tensors where they are, by PyTorch's own rules of promotion."""
        torch = load("torch")
        result = self._function(kernel, tuple(map(torch.as_tensor, arrays)))
        if out is not None:
            for given, computed in zip(
                out if isinstance(out, tuple) else (out,),
                result if isinstance(result, tuple) else (result,),
                strict=True,
            ):
                given.copy_(computed)
            result = out
        for x in arrays:
            if self.owns(x) and x.is_cuda:  # uncounted: GPU
                torch.cuda.synchronize(x.device)
        return result

    def asarray(self, x: Any) -> Any:
        """Put `x` on the device; on the CPU, NumPy's arrays are where PyTorch reads them."""
        if self.owns(x):
            return x.to(self.device)
        array = np.asarray(x)
        if self.device.type != "cpu":  # uncounted: GPU
            torch = load("torch")
            tensor = torch.from_numpy(writeable(np.ascontiguousarray(array))).to(self.device)
            torch.cuda.synchronize(self.device)
            return tensor
        return array

    def to_numpy(self, x: Any) -> Array:
        """Bring a tensor to ordinary memory."""
        return np.asarray(x.numpy(force=True) if self.owns(x) else x)

    def limited(self) -> AbstractContextManager[None]:
        """Hold PyTorch to `n_jobs` threads; only callers for whom it must be changed take turns."""
        torch = load("torch")
        # A thread takes the process's count at its first look, which nobody may be changing then.
        with _turns:
            count = torch.get_num_threads()
        threads = budget.current().threads
        if count == threads or self.device.type != "cpu":
            return nullcontext()
        return counted(_turns, torch.get_num_threads, torch.set_num_threads, threads)

    def _writes(self, kernel: Kernel, operands: tuple[Array, ...]) -> bool:
        if kernel.name == "matmul":  # of a vector it wants another shape of `out`
            return all(x.ndim > 1 for x in operands)
        return not (kernel.blas or kernel.name in ("ndtr", "norm_isf"))

    def _function(self, kernel: Kernel, tensors: tuple[Any, ...], **out: Any) -> Any:
        torch = load("torch")
        function = reduce(getattr, self.functions[kernel.name].split("."), torch)
        try:
            if kernel.name == "solve" and tensors[1].ndim == 1:
                return function(tensors[0], tensors[1][:, None])[..., 0]
            if kernel.name == "ndtr":
                result = function(tensors[0] * -SQRT1_2)
                return result * 0.5 if result.requires_grad else result.mul_(0.5)
            result = function(*tensors, **out)
        except torch.linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(str(error).split(": ", 1)[-1]) from None
        if kernel.name == "norm_isf":
            return -result if result.requires_grad else result.neg_()
        return tuple(result) if isinstance(result, tuple) else result


_turns = threading.RLock()
