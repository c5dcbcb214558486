"""Functions are called when modules have been imported, and nobody notices anything else."""

from __future__ import annotations

import copy
import importlib
import importlib.machinery
import importlib.resources
import importlib.util
import inspect
import os
import pickle
import subprocess
import sys
import threading
import types
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from backends.accelerate import imports
from backends.accelerate.imports import forget, when_imported

NAME = "waited_for"


@pytest.fixture(autouse=True)
def meta_path():
    before = list(sys.meta_path)
    yield before
    forget()
    # Imports may move other packages' finders: setuptools' hook of distutils does.
    assert imports._finder not in sys.meta_path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


@pytest.fixture
def module(folder):
    """A file that says when its code runs."""
    path = folder / f"{NAME}.py"
    path.write_text('"""Text."""\nvalue = 1\n\n\ndef twice(x):\n    return 2 * x\n')
    importlib.invalidate_caches()
    return path


@pytest.fixture
def calls():
    return []


def test_called_right_after_the_import(module, calls):
    when_imported(NAME, lambda: calls.append(sys.modules[NAME].value))
    importlib.import_module("colorsys")
    assert calls == []
    importlib.import_module(NAME)
    assert calls == [1]
    importlib.import_module(NAME)
    assert calls == [1]


def test_called_at_once(module, calls):
    importlib.import_module(NAME)
    when_imported(NAME, lambda: calls.append(1))
    assert calls == [1]


def test_called_in_order(module, calls):
    when_imported(NAME, lambda: calls.append(1))
    when_imported(NAME, lambda: calls.append(2))
    importlib.import_module(NAME)
    assert calls == [1, 2]


def test_a_function_may_import_and_wait_for_more(folder, calls):
    (folder / NAME).mkdir()
    (folder / NAME / "__init__.py").write_text("from waited_for import second\n")
    (folder / NAME / "second.py").write_text("")
    (folder / NAME / "third.py").write_text("")
    importlib.invalidate_caches()

    def first():
        package = importlib.import_module(NAME)
        calls.append(package.second.__name__)
        when_imported(f"{NAME}.third", lambda: calls.append("third"))
        importlib.import_module(f"{NAME}.third")

    when_imported(NAME, first)
    when_imported(f"{NAME}.second", lambda: calls.append("second"))
    importlib.import_module(NAME)
    assert calls == ["second", f"{NAME}.second", "third"]


def attributes(module):
    spec = module.__spec__
    loader = {k: v for k, v in vars(spec.loader).items() if not isinstance(v, types.ModuleType)}
    return {
        "spec": {k: v for k, v in vars(spec).items() if k != "loader"},
        "loader": (type(spec.loader), loader),
        "same": module.__loader__ is spec.loader,
        "names": sorted(vars(module)),
    }


def test_the_module_is_as_without(module, meta_path):
    without = attributes(importlib.import_module(NAME))
    del sys.modules[NAME]
    when_imported(NAME, int)
    found = importlib.import_module(NAME)
    assert attributes(found) == without
    assert not any(type(x).__module__ == imports.__name__ for x in vars(found.__loader__).values())
    assert found.__loader__.get_source(NAME) == module.read_text()
    assert inspect.getsource(found.twice).startswith("def twice")
    assert pickle.loads(pickle.dumps(found.twice)) is found.twice
    assert importlib.reload(found) is found
    assert type(found.__loader__) is importlib.machinery.SourceFileLoader


def test_the_code_sees_its_own_loader(folder):
    text = "kind = type(__loader__).__name__\nsame = __spec__.loader is __loader__\n"
    (folder / f"{NAME}.py").write_text(text)
    importlib.invalidate_caches()
    when_imported(NAME, int)
    module = importlib.import_module(NAME)
    assert (module.kind, module.same) == ("SourceFileLoader", True)


def test_a_spec_that_is_only_looked_at(module, calls):
    when_imported(NAME, lambda: calls.append(1))
    loader = importlib.util.find_spec(NAME).loader
    assert loader.get_source(NAME) == module.read_text()
    assert loader.is_package(NAME) is False
    assert loader.get_code(NAME).co_filename == str(module)
    for again in (copy.copy(loader), pickle.loads(pickle.dumps(loader))):
        assert type(again) is importlib.machinery.SourceFileLoader
        assert again.path == str(module)
    with pytest.raises(AttributeError, match="nonsense"):
        loader.nonsense  # noqa: B018
    assert calls == []


def test_a_lazy_module(module, calls):
    when_imported(NAME, lambda: calls.append(1))
    spec = importlib.util.find_spec(NAME)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    found = sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    assert calls == []
    assert found.value == 1
    assert calls == [1]
    assert type(found.__loader__) is importlib.machinery.SourceFileLoader


def test_resources_and_packages(folder, calls):
    (folder / NAME).mkdir()
    (folder / NAME / "__init__.py").write_text("")
    (folder / NAME / "data.txt").write_text("data")
    importlib.invalidate_caches()
    when_imported(NAME, lambda: calls.append(1))
    assert (importlib.resources.files(NAME) / "data.txt").read_text() == "data"
    assert calls == [1]


def test_modules_in_an_archive(folder, calls, monkeypatch):
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr(f"{NAME}/__init__.py", "from waited_for import second\n")
        archive.writestr(f"{NAME}/second.py", "")
    monkeypatch.syspath_prepend(folder / "archive.zip")
    when_imported(NAME, lambda: calls.append(1))
    when_imported(f"{NAME}.second", lambda: calls.append(2))
    found = importlib.import_module(NAME)
    assert calls == [2, 1]
    assert type(found.__loader__).__name__ == "zipimporter"
    assert found.__spec__.loader is found.__loader__


def test_a_loader_that_is_a_class(calls):
    had = sys.modules.pop("__hello__", None)
    try:
        when_imported("__hello__", lambda: calls.append(1))
        importlib.import_module("__hello__")
    finally:
        found = sys.modules.pop("__hello__")
        if had is not None:
            sys.modules["__hello__"] = had
    assert calls == [1]
    assert found.__loader__ is importlib.machinery.FrozenImporter


def test_a_namespace_package_is_noticed_at_the_next_import(folder, calls):
    (folder / NAME / "inner").mkdir(parents=True)
    (folder / NAME / "inner" / "__init__.py").write_text("")
    importlib.invalidate_caches()
    when_imported(NAME, lambda: calls.append(1))
    importlib.import_module(f"{NAME}.inner")
    assert calls == [1]


def test_a_module_put_there_by_hand_is_noticed_at_the_next_import(calls, folder):
    (folder / f"{NAME}_next.py").write_text("")
    importlib.invalidate_caches()
    when_imported(NAME, lambda: calls.append(1))
    sys.modules[NAME] = types.ModuleType(NAME)
    importlib.import_module(f"{NAME}_next")
    del sys.modules[f"{NAME}_next"]
    assert calls == [1]


def test_half_imported(folder, calls):
    """Registered from within the module: too early to call, and noticed afterwards."""
    (folder / f"{NAME}.py").write_text(
        "from backends.accelerate import imports\n"
        "calls = []\n"
        f"imports.when_imported({NAME!r}, lambda: calls.append(1))\n"
        "during = list(calls)\n"
    )
    (folder / f"{NAME}_next.py").write_text("")
    importlib.invalidate_caches()
    found = importlib.import_module(NAME)
    assert found.during == []
    importlib.import_module(f"{NAME}_next")
    del sys.modules[f"{NAME}_next"]
    assert found.calls == [1]


def test_an_import_that_fails(module, calls):
    text = module.read_text()
    module.write_text("raise RuntimeError('not yet')\n")
    when_imported(NAME, lambda: calls.append(1))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not yet"):
            importlib.import_module(NAME)
        assert NAME not in sys.modules
        assert calls == []
    module.write_text(text)
    importlib.invalidate_caches()
    importlib.import_module(NAME)
    assert calls == [1]


def test_a_module_that_is_not_there(calls):
    when_imported(NAME, lambda: calls.append(1))
    with pytest.raises(ModuleNotFoundError, match=NAME):
        importlib.import_module(NAME)
    assert importlib.util.find_spec(NAME) is None
    assert calls == []


def test_a_function_that_fails_does_not_break_the_import(module, calls):
    def fails():
        raise OSError("no luck")

    when_imported(NAME, fails)
    when_imported(NAME, lambda: calls.append(1))
    with pytest.warns(RuntimeWarning, match=f"import of {NAME}: OSError.'no luck'"):
        assert importlib.import_module(NAME).value == 1
    assert calls == [1]


def test_nor_does_it_where_warnings_are_errors(module, capsys):
    when_imported(NAME, lambda: 1 / 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert importlib.import_module(NAME).value == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_interrupt_goes_through(module):
    def stop():
        raise KeyboardInterrupt

    when_imported(NAME, stop)
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module(NAME)


def test_forget(module, calls, meta_path):
    path = sys.meta_path
    when_imported(NAME, lambda: calls.append(1))
    when_imported("another", lambda: calls.append(2))
    assert len(sys.meta_path) == len(meta_path) + 1
    forget()
    forget()
    assert sys.meta_path is path
    assert all(now is then for now, then in zip(path, meta_path, strict=True))
    importlib.import_module(NAME)
    assert calls == []


def test_forget_during_the_import(folder, calls):
    (folder / f"{NAME}.py").write_text("from backends.accelerate import imports as i\ni.forget()\n")
    importlib.invalidate_caches()
    when_imported(NAME, lambda: calls.append(1))
    importlib.import_module(NAME)
    assert calls == []


def test_other_finders(module, calls, monkeypatch):
    """One behind that has a loader of its own, and one in front that finds before us."""

    class Behind:
        def find_spec(self, name, path, target=None):
            if name != NAME:
                return None
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            spec.loader = Loader(spec.loader.name, spec.loader.path)
            return spec

    class Loader(importlib.machinery.SourceFileLoader):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(sys, "meta_path", [Behind(), *sys.meta_path])
        before = list(sys.meta_path)
        when_imported(NAME, lambda: calls.append(1))
        found = importlib.import_module(NAME)
        assert type(found.__loader__) is Loader
        assert calls == [1]
        del sys.modules[NAME]
        when_imported(NAME, lambda: calls.append(2))
        sys.meta_path.insert(0, Behind())
        importlib.import_module(NAME)
        assert calls == [1]
        assert importlib.util.find_spec("no_such_module_at_all") is None  # the next import
        assert calls == [1, 2]
        del sys.meta_path[0]
        forget()
        assert sys.meta_path == before


def test_threads_that_import_at_once(folder, calls):
    (folder / f"{NAME}.py").write_text("import time\ntime.sleep(0.2)\nvalue = 1\n")
    importlib.invalidate_caches()
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        if number == 5:
            when_imported(NAME, lambda: calls.append(number))
        return importlib.import_module(NAME).value

    when_imported(NAME, lambda: calls.append(-1))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [1] * 8
    assert importlib.util.find_spec("no_such_module_at_all") is None  # the next import
    assert sorted(calls) == [-1, 5]


def test_threads_that_wait_and_forget(calls):
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for _ in range(200):
            when_imported(f"{NAME}{number}", int)
            when_imported("sys", lambda: calls.append(number))
            forget()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def run(*words, folder):
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        # Counting lines brings modules in.
        env={**os.environ, "COVERAGE_PROCESS_CONFIG": ""},
    )


def test_python_m(folder):
    (folder / f"{NAME}.py").write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    (folder / "start.py").write_text(
        "import runpy, sys\n"
        "from backends.accelerate.imports import when_imported\n"
        f"when_imported({NAME!r}, lambda: print('called'))\n"
        "sys.argv = ['x', 'a']\n"
        f"runpy.run_module({NAME!r}, run_name='__main__', alter_sys=True)\n"
    )
    done = run("start.py", folder=folder)
    assert (done.stdout, done.stderr) == ("__main__ ['a']\n", "")


def test_scipy_stats_by_every_road(folder):
    program = (
        "import sys\n"
        "from backends.accelerate import imports, normal\n"
        "reasons = []\n"
        "imports.when_imported('scipy.stats', lambda: reasons.append(normal.install()))\n"
        "assert 'scipy' not in sys.modules\n"
        "{}\n"
        "norm = sys.modules['scipy.stats'].norm\n"
        "assert reasons == [None], reasons\n"
        "assert 'isf' in vars(type(norm))\n"
        "normal.uninstall(); imports.forget()\n"
        "assert 'isf' not in vars(type(norm))\n"
    )
    roads = ("import scipy.stats", "from scipy import stats", "import scipy; scipy.stats")
    for road in (*roads, "from scipy.stats import norm", "import scipy.stats._continuous_distns"):
        done = run("-W", "error", "-c", program.format(road), folder=folder)
        assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_weight_is_imported(folder):
    source = inspect.getsource(imports)
    program = f"import sys; exec({source!r}, {{'__name__': 'imports'}}); print(*sys.modules)"
    done = run("-c", program, folder=folder)
    assert done.stderr == ""
    assert not {"inspect", "importlib.util", "importlib.metadata", "numpy"} & {*done.stdout.split()}
