"""What engines of other libraries share, on a library that is NumPy behind another name."""

from __future__ import annotations

import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest

import backends
from backends import kernels, registry
from backends.engines import foreign, lending
from backends.engines.foreign import ForeignBackend
from backends.testing import BackendConformance


class Plain(ForeignBackend):
    """Calls the reference, and notes what it was given."""

    name, library, extra = "plain", "numpy", "plain"
    functions: ClassVar = dict.fromkeys(kernels.every())

    def compute(self, kernel, operands, target):
        self.given = operands
        with np.errstate(all="ignore"):
            result = kernel.reference(*operands, out=target)
        return tuple(map(np.asarray, result if isinstance(result, tuple) else (result,)))


class TestPlain(BackendConformance):
    exact = False
    reports_errors = False

    @classmethod
    def make_backend(cls):
        return Plain()


def test_what_the_library_can_read_is_not_copied():
    backend = Plain()
    x = np.arange(10.0)
    for view in (x, x[::2], x.reshape(2, 5).T, np.broadcast_to(x, (3, 10))):
        backend.run(backends.sin, view)
        (given,) = backend.given
        assert np.shares_memory(given, x)
        assert given.strides == view.strides


def test_what_it_cannot_read_is_copied_to_what_it_can():
    backend = Plain()
    unaligned = np.frombuffer(b"\0" * 81, np.uint8)[1:].view(float)
    for x in (np.arange(10.0)[::-1], np.arange(10), np.arange(10, dtype=">f8"), unaligned):
        backend.run(backends.sin, x)
        (given,) = backend.given
        assert given.dtype == np.float64
        assert given.dtype.isnative
        assert given.flags.aligned
        assert min(given.strides) > 0


def test_out_is_written_directly_where_it_can_be():
    backend = Plain()
    x = np.arange(10.0)
    for out, direct in (
        (np.empty(10), True),
        (x, True),
        (np.empty(20)[::2], False),
        (np.empty(10, np.complex128), False),
        (np.empty((3, 10)), False),
    ):
        seen = []
        backend.compute = lambda kernel, operands, target, seen=seen: (
            seen.append(target) or Plain.compute(backend, kernel, operands, target)
        )
        expected = np.sin(x)
        assert backend.run(backends.sin, x, out=out) is out
        assert (seen[0] is out) == direct
        assert np.array_equal(np.broadcast_to(expected, out.shape), out)
        x = np.arange(10.0)


def test_a_dtype_that_it_lacks_is_refused_with_those_it_has():
    with pytest.raises(backends.UnsupportedKernelError, match=r"int64.*'plain'.*float32, float64"):
        Plain().run(backends.add, np.arange(3), np.arange(3))
    with pytest.raises(backends.UnsupportedKernelError, match=r"erf: .* complex128"):
        Plain().run(backends.erf, np.ones(3, complex))


def test_a_kernel_that_it_lacks_is_refused_also_when_run_directly():
    class Less(Plain):
        functions: ClassVar = {}
        refused: ClassVar = {("sin", "fdFD"): "it has three digits"}

    with pytest.raises(backends.UnsupportedKernelError, match="cos: numpy has no cos"):
        Less().run(backends.cos, 1.0)
    with pytest.raises(backends.UnsupportedKernelError, match="sin: it has three digits"):
        Less().run(backends.sin, 1.0)


def test_a_read_only_array_is_lent_as_one_that_is_not_and_lives_as_long():
    x = np.arange(4.0)
    x.flags.writeable = False
    lent = lending.writeable(x)
    assert lent.flags.writeable
    assert np.shares_memory(lent, x)
    address = lent.ctypes.data
    del x
    assert lent.ctypes.data == address
    assert lent.tolist() == [0.0, 1.0, 2.0, 3.0]


# Libraries that are not there, or not whole


@pytest.fixture
def half_installed(tmp_path, monkeypatch):
    def install(body):
        (tmp_path / "half.py").write_text(body, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "half", raising=False)
        foreign._seconds.pop("half", None)

    return install


class Half(Plain):
    library, extra = "half", "half"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ImportError('libcublas.so.12: cannot open shared object file')", "libcublas"),
        ("raise RuntimeError('\\n\\nmodule compiled against ABI version 0x1000009')", "ABI"),
        ("import sys; print('A traceback', file=sys.stderr); raise AttributeError", "no message"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_half_installed_library_gives_its_reason_in_one_line(half_installed, capsys, body, told):
    half_installed(body)
    reason = Half.unavailable()
    assert told in reason
    assert "\n" not in reason
    assert "pip install --force-reinstall half" in reason
    assert capsys.readouterr() == ("", "")


def test_a_library_that_is_not_there_gives_the_install_command():
    assert Half.unavailable() == 'half is not installed: pip install "array-backends[half]"'


def test_an_empty_folder_of_that_name_is_no_library(tmp_path, monkeypatch):
    (tmp_path / "half").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    reason = Half.unavailable()
    assert "is a folder without half in it" in reason
    assert str(tmp_path / "half") in reason


def test_imports_at_once_leave_stderr_and_warnings_as_they_were(half_installed):
    half_installed("import time; time.sleep(0.2)")
    before = sys.stderr, list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: foreign.load("half"), range(4)))
    assert (sys.stderr, list(warnings.filters)) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("survives", [False, True])
def test_a_forked_child_is_told_before_it_hangs(run_python, survives):
    output = run_python(
        "import os, sys, backends\n"
        "from backends.engines.foreign import ForeignBackend\n"
        "class Plain(ForeignBackend):\n"
        f"    name, library, functions, survives_fork = 'x', 'numpy', {{'sin': 1}}, {survives}\n"
        "    def compute(self, kernel, operands, target):\n"
        "        return kernel.reference(*operands)[...],\n"
        "Plain(1).run(backends.sin, [1.0])\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        Plain(1).run(backends.sin, [1.0])\n"
        "        print('done', flush=True)\n"
        "    except backends.BackendUnavailableError as error:\n"
        "        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    assert ("done" in output) == survives
    assert ("before this process was forked" in output) != survives


def test_the_time_of_the_import_is_known(half_installed):
    half_installed("import time; time.sleep(0.1); __version__ = '1'")
    assert Half.unavailable() is None
    assert 0.1 <= Half().import_seconds < 10


def test_the_list_shows_reasons_and_never_a_traceback(run_python, tmp_path):
    for name in ("torch", "jax", "numexpr", "numba"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('undefined symbol: _ZN1')\n")
    output = run_python(
        "import sys; sys.argv = ['backends', 'list']; from backends.cli import main; main()",
        COLUMNS="250",
    )
    assert output.count("undefined symbol: _ZN1") == 4
    assert "Traceback" not in output


# Arrays of other libraries


def foreign_array(module, name):
    return type(name, (), {"__module__": module, "__array__": lambda *_, **__: np.ones(3)})()


@pytest.mark.parametrize("backend", ["numpy", "threads", "joblib", "openmp"])
@pytest.mark.parametrize(
    ("module", "name", "convert"),
    [
        ("cupy", "ndarray", r"cupy\.asnumpy\(x2\)"),
        ("torch", "Tensor", r"x2\.numpy\(force=True\)"),
        ("jaxlib._jax", "ArrayImpl", r"numpy\.asarray\(x2\)"),
    ],
)
def test_a_cpu_backend_refuses_arrays_of_other_libraries_and_says_what_converts(
    backend, module, name, convert
):
    x = foreign_array(module, name)
    shown = "jax.Array" if module.startswith("jaxlib") else rf"{module}\.{name}"
    with pytest.raises(TypeError, match=f"x2 is a {shown}; backend '{backend}' .*{convert}"):
        registry.get(backend, 1).run(backends.matmul, np.ones((3, 3)), x)


def test_an_out_of_another_library_is_refused_too():
    x = foreign_array("cupy", "ndarray")
    with pytest.raises(TypeError, match=r"sin: argument out is a cupy\.ndarray"):
        registry.get("threads", 1).run(backends.sin, np.ones(3), out=x)


def test_threads_of_numba_have_no_name_before_they_are_chosen(monkeypatch):
    from backends.engines import numba

    class Fresh:
        """numba in which nothing was compiled."""

        @staticmethod
        def threading_layer():
            raise ValueError("Threading layer is not initialized.")

    monkeypatch.setattr(numba, "load", lambda name: Fresh)
    assert numba._layer() is None
