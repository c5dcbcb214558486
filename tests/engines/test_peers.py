"""Other libraries keep the contract where they are installed: ``make test-peers`` installs them."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

import backends
from backends import registry
from backends.engines.cupy import _driver
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
        with backends.config_context(device="cpu"):
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
        if kernel.name in ("ndtr", "erfc"):
            # SciPy gives 0 where the result is subnormal: ndtr(-38) is 2.9e-316.
            known |= (np.abs(expected) < info.tiny) & (np.abs(x) < 40)
        if kernel.name == "j0":
            # NaN in SciPy for infinity, and 0, the limit, in MKL, whose error grows with x.
            known |= np.isinf(x) | (np.abs(x) > 100)
        if kernel.name == "gamma" and self.name == "jax":
            known |= np.abs(x) > 30  # the exponential of gammaln, and its error times that
        return known


class OnGpu(Peer):
    @classmethod
    def make_backend(cls):
        with backends.config_context(device=0):
            return registry.get(cls.name, 2)


def finds_gpu(name):
    """Ask the library, on machines that have a driver; JAX would start its threads elsewhere."""
    if _driver() is None:
        return False
    library = import_module(name)
    return library.cuda.is_available() if name == "torch" else library.default_backend() == "gpu"


for peer in PEERS:
    if registry.reasons()[peer] is not None:
        continue
    attributes = {"name": peer, "flushes_subnormals": peer == "jax"}
    globals()[f"Test{peer.title()}"] = type(f"Test{peer.title()}", (Peer,), attributes)
    if peer in ("torch", "jax") and finds_gpu(peer):
        on_gpu = pytest.mark.gpu(type(f"Test{peer.title()}OnGpu", (OnGpu,), attributes))
        globals()[on_gpu.__name__] = on_gpu


def needs(name):
    reason = registry.reasons()[name]
    return pytest.param(name, marks=pytest.mark.skipif(reason is not None, reason=str(reason)))


COUNTS = {
    "torch": ("torch", "get_num_threads", "set_num_threads"),
    "numexpr": ("numexpr", "get_num_threads", "set_num_threads"),
    "numba": ("numba", "get_num_threads", "set_num_threads"),
}


@pytest.mark.parametrize("name", [needs(name) for name in COUNTS])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_n_jobs_holds_during_a_call_and_the_old_count_afterwards(name, n_jobs, monkeypatch):
    module, get, set_ = COUNTS[name]
    library = import_module(module)
    backend = registry.get(name, n_jobs)
    seen = []
    compute = backend.compute
    monkeypatch.setattr(
        backend, "compute", lambda *a: (seen.append(getattr(library, get)()), compute(*a))[1]
    )
    most = library.config.NUMBA_NUM_THREADS if name == "numba" else 2
    before = getattr(library, get)()
    try:
        for outside in {1, most}:
            getattr(library, set_)(outside)
            backend.run(backends.sin, np.ones(5))
            with pytest.raises(ZeroDivisionError), backend.limited():
                raise ZeroDivisionError
            assert getattr(library, get)() == outside
        # Where PyTorch has the same OpenMP library as our engine, its old count is OpenMP's limit,
        # which every engine keeps.
        assert max(seen) == min(n_jobs, most)
        assert name == "torch" or set(seen) == {min(n_jobs, most)}
    finally:
        getattr(library, set_)(before)


@pytest.mark.parametrize("name", [needs("mkl")])
def test_mkl_keeps_to_n_jobs_and_forgets_it(name):
    from backends.engines.mkl import _library

    library = _library()[0]
    with registry.get(name, 1).limited():
        assert library.MKL_Get_Max_Threads() == 1
    assert library.MKL_Set_Num_Threads_Local(0) == 0


@pytest.mark.parametrize("name", [needs("jax")])
def test_jax_starts_as_many_threads_as_n_jobs_and_refuses_another_number(name, run_python):
    output = run_python(
        "import os, numpy, backends\n"
        "backends.get('jax', 1).run(backends.sin, numpy.ones(5))\n"
        "print('NPROC' in os.environ)\n"
        "comm = [open(f'/proc/self/task/{t}/comm').read() for t in os.listdir('/proc/self/task')]\n"
        "print(sum('XLAEigen' in c for c in comm))\n"
        "try:\n"
        "    backends.get('jax', 2).run(backends.sin, numpy.ones(5))\n"
        "except backends.BackendUnavailableError as error:\n"
        "    print(error)\n"
    )
    before, threads, *refusal = output.splitlines()
    assert before == "False"
    assert threads == "1"
    assert "n_jobs = 2, but JAX's threads are made once a process" in refusal[0]


@pytest.mark.parametrize("name", [needs("torch"), needs("jax")])
def test_arrays_of_the_library_stay_there(name):
    backend = registry.get(name, 2)
    x = import_module(name).asarray([1.0, 4.0]) if name == "torch" else backend.asarray([1.0, 4.0])
    result = backend.run(backends.sqrt, x)
    assert type(result) is type(x)
    assert backend.to_numpy(result).tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match=r"x2 is a numpy\.ndarray, x1 a (torch\.Tensor|jax\.Array)"):
        backend.run(backends.add, x, np.ones(2))
    for other in ("numpy", "threads"):
        with pytest.raises(TypeError, match=rf"backend '{other}' computes on numpy\.ndarray"):
            registry.get(other, 1).run(backends.add, np.ones(2), x)


@pytest.mark.parametrize("name", [needs("jax")])
def test_a_result_may_be_written_without_harm_to_what_comes_after(name):
    backend = registry.get(name, 2)
    x = np.full(1000, 4.0)
    first = backend.run(backends.sqrt, x)
    first[:] = 7
    assert np.all(x == 4.0)
    assert np.all(backend.run(backends.sqrt, x) == 2.0)
    assert np.all(first == 7)


@pytest.mark.parametrize("name", [needs("jax")])
def test_arrays_of_jaxs_that_are_brought_home_stay_unchangeable(name):
    backend = registry.get(name, 2)
    assert not backend.to_numpy(backend.asarray(np.ones(3))).flags.writeable


@pytest.mark.parametrize("name", [needs("jax")])
def test_where_jax_was_started_by_others_it_has_all_cores(name, run_python):
    output = run_python(
        "import jax, backends\n"
        "jax.devices()\n"
        "print(backends.get('jax').run(backends.sqrt, 4.0))\n"
        "try:\n"
        "    engine = backends.get('jax', backends.get('threads').n_jobs + 1)\n"
        "    engine.run(backends.sqrt, 4.0)\n"
        "except backends.BackendUnavailableError as error:\n"
        "    print(error)\n",
        PYTHONWARNINGS="ignore",
    )
    result, refusal = output.splitlines()
    assert result == "2.0"
    assert "threads are made once a process" in refusal


@pytest.mark.parametrize("name", [needs("torch")])
def test_tensors_with_numbers_and_gradients(name):
    import torch

    backend = registry.get(name, 2)
    x = torch.tensor([3.0, 0.5], dtype=torch.float64, requires_grad=True)
    assert backend.run(backends.hypot, x, 4.0)[0].item() == 5.0
    backend.run(backends.norm_isf, x[1:]).sum().backward()
    assert x.grad[1].item() == pytest.approx(-np.sqrt(2 * np.pi))
    with pytest.raises(TypeError, match=r"add takes 2 array\(s\) \(x1, x2\), not 1"):
        backend.run(backends.add, x)


@pytest.mark.parametrize("name", [needs("mkl")])
def test_an_mkl_with_parts_missing_is_said_to_be_so(name, monkeypatch):
    from backends.engines import mkl

    real = mkl.os.path.exists
    mkl._library.cache_clear()
    monkeypatch.setattr(mkl.os.path, "exists", lambda p: "mkl_core" not in str(p) and real(p))
    assert "its mkl_core is missing" in mkl.MklBackend.unavailable()
    monkeypatch.undo()
    mkl._library.cache_clear()
    assert mkl.MklBackend.unavailable() is None


@pytest.mark.parametrize("name", [needs("mkl")])
def test_one_matrix_for_a_stack_is_not_copied_for_each(name):
    from backends.engines.mkl import _factor

    b = np.ones((1, 50, 50))
    assert np.shares_memory(_factor(b, (400,))[0], b)
    assert _factor(b, (400,))[3] == 0
    a = np.ones((400, 2, 50))
    backend = registry.get(name, 2)
    assert np.array_equal(backend.run(backends.matmul, a, b), np.matmul(a, b))


@pytest.mark.parametrize("name", [needs("torch"), needs("jax")])
def test_a_gpu_that_is_not_there_is_refused(name):
    with backends.config_context(device=99), pytest.raises(backends.BackendUnavailableError) as e:
        registry.get(name, 2).run(backends.sqrt, np.ones(2))
    assert 'device = "cpu" is always there' in str(e.value)
    with backends.config_context(device="cpu"):
        assert registry.get(name, 2).run(backends.sqrt, 4.0) == 2.0


needs_torch, needs_jax, needs_mkl = (
    pytest.mark.skipif(registry.reasons()[name] is not None, reason=f"{name} cannot run here")
    for name in ("torch", "jax", "mkl")
)


@needs_torch
def test_tensors_are_written_where_asked():
    import torch

    engine = registry.get("torch", 1)
    x, out = torch.linspace(0, 1, 5), torch.empty(5)
    assert engine.asarray(x) is x
    assert engine.run(backends.sin, x, out=out) is out
    assert torch.equal(out, torch.sin(x))
    a = torch.eye(3) * 2
    pair = (torch.empty(3), torch.empty(3, 3))
    engine.run(backends.eigh, a, out=pair)
    assert torch.equal(pair[0], torch.full((3,), 2.0))


@needs_jax
def test_arrays_of_jaxs_cannot_be_written_to():
    engine = registry.get("jax", 2)
    x = engine.asarray(np.ones(3))
    with pytest.raises(TypeError, match="argument out: JAX's arrays cannot be written"):
        engine.run(backends.sin, x, out=x)


@needs_jax
def test_the_environment_is_as_it_was_when_jax_has_started(run_python):
    out = run_python(
        "import os, numpy as np, backends\n"
        "backends.sin(np.ones(3), backend='jax', n_jobs=1)\n"
        "print(os.environ['NPROC'])",
        NPROC="7",
    )
    assert out.split()[-1] == "7"


@needs_mkl
def test_the_time_of_loading_mkl_is_known():
    assert registry.get("mkl", 1).import_seconds > 0
