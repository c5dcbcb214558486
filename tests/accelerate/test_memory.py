"""The pool of memory for arrays: what is reused, what is given back, and that no value suffers."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import os
import queue
import shutil
import signal
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import ConfigError, set_config
from backends.accelerate import memory
from backends.engines import openmp

pytestmark = pytest.mark.skipif(
    isinstance(openmp.load(), str), reason=f"no engine: {openmp.load()}"
)

MIB = 2**20
#: Bytes from which blocks are the pool's.
LEAST = 128 * 1024
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def handler(array=None):
    name = np._core.multiarray.get_handler_name
    return name() if array is None else name(array)


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture
def pool():
    """Install with 64 MiB, count from here, and leave nothing behind."""
    assert memory.install(64 * MIB) is None
    assert memory.trim() == 0
    before = memory.info()

    def counts():
        now = memory.info()
        return now.reused - before.reused, now.fresh - before.fresh

    yield counts
    memory.uninstall()
    assert memory.info().kept == 0


# --- reuse ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [LEAST, LEAST + 1, 3 * MIB, 64 * MIB])
def test_a_freed_block_is_the_next_arrays(pool, size):
    first = np.empty(size, np.uint8)
    where = address(first)
    del first
    second = np.empty(size, np.uint8)
    assert address(second) == where
    assert pool() == (1, 1)


def test_a_sum_in_a_loop_needs_two_blocks(pool):
    b = np.ones(10**6)
    for _ in range(10):
        a = b + b
        assert a[-1] == 2.0
    assert pool() == (8, 3)  # b, and two that take turns as a


def test_a_block_serves_sizes_of_an_eighth_less(pool):
    for size in (8 * MIB, 8 * MIB - 1, 7 * MIB + MIB // 2 + 1):
        np.empty(size, np.uint8)
    assert pool() == (2, 1)
    np.empty(7 * MIB, np.uint8)
    assert pool() == (2, 2)


@pytest.mark.parametrize("size", range(LEAST, 4 * LEAST, 9973))
def test_what_is_kept_is_at_most_an_eighth_too_large(pool, size):
    np.empty(size, np.uint8)
    assert size <= memory.info().kept <= size * 9 / 8


def test_small_blocks_and_those_above_the_cap_are_numpys(pool):
    np.empty(LEAST - 1, np.uint8)
    np.empty(64 * MIB + 1, np.uint8)
    assert pool() == (0, 0)
    assert memory.info().kept == 0


@given(sizes=st.lists(st.integers(LEAST, 5 * MIB), min_size=1, max_size=10))
def test_blocks_in_use_do_not_overlap_and_begin_at_cache_lines(sizes):
    memory.install(16 * MIB)
    try:
        arrays = [np.empty(size, np.uint8) for size in sizes]
        del arrays[::2]
        arrays += [np.empty(size, np.uint8) for size in sizes]
        spans = sorted((address(a), address(a) + a.nbytes) for a in arrays)
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
        assert all(begin % 64 == 0 for begin, _ in spans)
    finally:
        del arrays
        memory.uninstall()


@pytest.mark.parametrize("shape", [(0, 10**6), (10**6, 0), (3, 0, 10**6), (0,), ()])
def test_arrays_without_elements_are_freed(pool, shape):
    # NumPy frees some of them by another size than it asked for.
    for make in (np.empty, np.zeros):
        for _ in range(3):
            make(shape)
    assert np.ones(10**6).sum() == 1e6


# --- zeros ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [LEAST, 5 * MIB - 3])
def test_zeros_are_zero_where_a_block_was_used_before(pool, size):
    np.empty(size, np.uint8).fill(255)
    zeros = np.zeros(size, np.uint8)
    assert pool() == (1, 1)
    assert not zeros.any()


@linux
def test_fresh_zeros_touch_no_memory(pool):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    zeros = np.zeros(60 * MIB, np.uint8)
    assert pool() == (0, 1)
    assert resident() - before < 20 * MIB
    assert not zeros.any()


def test_zeros_of_too_many_bytes_are_refused_as_before(pool):
    with pytest.raises(MemoryError):
        np.zeros(2**62 // 8)


# --- resizing -------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(1, 4 * MIB) | st.integers(1, 2000), min_size=2, max_size=8))
def test_resize_keeps_what_fits_and_adds_zeros(sizes):
    memory.install(8 * MIB)
    try:
        array = np.arange(sizes[0], dtype=np.uint32)
        expected = array.copy()
        for size in sizes[1:]:
            array.resize(size, refcheck=False)
            kept = min(size, expected.size)
            expected = np.concatenate([expected[:kept], np.zeros(size - kept, np.uint32)])
            np.testing.assert_array_equal(array, expected)
            array += 1
            expected += 1
    finally:
        del array
        memory.uninstall()


def test_an_array_that_shrinks_gives_its_block_back(pool):
    array = np.arange(MIB, dtype=np.uint8)
    assert memory.trim() == 0
    array.resize(1000, refcheck=False)
    assert memory.info().kept == MIB
    assert (array == np.arange(1000, dtype=np.uint8)).all()


def test_arrays_that_numpy_grows_are_right(pool):
    np.testing.assert_array_equal(
        np.fromiter((i for i in range(300_000)), np.int64), np.arange(300_000)
    )


def test_an_array_resized_above_the_cap_leaves_the_others(pool):
    where = address(np.empty(5 * MIB, np.uint8))
    array = np.ones(MIB)
    array.resize(20 * MIB, refcheck=False)
    assert array[:MIB].all()
    assert not array[MIB:].any()
    del array
    assert address(np.empty(5 * MIB, np.uint8)) == where


# --- the cap --------------------------------------------------------------------------------


def test_no_more_is_kept_than_the_cap(pool):
    arrays = [np.empty(MIB * size, np.uint8) for size in range(1, 20)]
    while arrays:
        arrays.pop()
        assert memory.info().kept <= 64 * MIB
    assert memory.info().kept > 32 * MIB


def test_what_was_freed_longest_ago_goes_first(pool):
    arrays = [np.empty(size * MIB, np.uint8) for size in (20, 24, 16, 10)]
    where = [address(array) for array in arrays]
    for index in range(4):  # 70 MiB: the first of 20 has to go
        arrays[index] = None
    assert memory.info().kept == 50 * MIB
    arrays = [np.empty(size * MIB, np.uint8) for size in (24, 16, 10)]
    assert [address(array) for array in arrays] == where[1:]


def test_a_lower_cap_holds_at_once_and_a_higher_one_too(pool):
    arrays = [np.empty(10 * MIB, np.uint8) for _ in range(3)]
    del arrays
    assert memory.info().kept == 30 * MIB
    memory.install(15 * MIB)
    assert memory.info()[:2] == (10 * MIB, 15 * MIB)
    memory.install(100 * MIB)
    np.empty(90 * MIB, np.uint8)
    assert memory.info().kept == 96 * MIB


def test_with_a_cap_of_nothing_nothing_is_kept(pool):
    memory.install(0)
    np.empty(MIB, np.uint8)
    assert pool() == (0, 0)


def test_trim_gives_all_back_and_says_how_much(pool):
    arrays = [np.empty(4 * MIB, np.uint8) for _ in range(3)]
    del arrays
    assert memory.trim() == 12 * MIB
    assert memory.info().kept == 0
    assert memory.trim() == 0


@linux
def test_trim_gives_memory_back_to_the_system(pool):
    def mapped():
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")

    np.ones(50 * MIB, np.uint8)
    before = mapped()
    given_back = memory.trim()
    assert given_back >= 50 * MIB
    assert before - mapped() > 0.9 * given_back


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "1 GiB"])
def test_a_cap_that_is_no_number_of_bytes_is_refused(wrong):
    with pytest.raises(ConfigError, match="pool_bytes must be a number of bytes"):
        memory.install(wrong)
    assert handler() == "default_allocator"


def test_the_cap_comes_from_the_configuration():
    set_config(pool_bytes=3 * MIB)
    try:
        memory.install()
        assert memory.info().cap == 3 * MIB
        memory.install(2 * MIB)
        assert memory.info().cap == 2 * MIB
        set_config(pool_bytes=2**80)
        memory.install()
        assert memory.info().cap == sys.maxsize
    finally:
        memory.uninstall()


@pytest.mark.parametrize(("available", "cap"), [(2**31, 2**29), (2**40, 2**30), (4000, 1000)])
def test_by_default_a_quarter_of_memory_is_kept_and_at_most_1_gib(monkeypatch, available, cap):
    monkeypatch.setattr(memory, "of_process", lambda: available)
    try:
        memory.install()
        assert memory.info().cap == cap
    finally:
        memory.uninstall()


@linux
def test_a_limit_of_the_process_is_respected(run_python):
    # A quarter of the address space is kept, and what is kept is never what is missing.
    out = run_python(
        """
import resource
import numpy as np
from backends.accelerate import memory

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + 400 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
assert memory.install() is None
assert memory.info().cap == min(limit // 4, 2**30), memory.info()
memory.install(300 * 2**20)
arrays = [np.ones(30 * 2**20, np.uint8) for _ in range(9)]
del arrays
kept = memory.info().kept
assert kept > 200 * 2**20, kept
large = np.ones(330 * 2**20, np.uint8)  # above the cap: NumPy's, where the pool has it all
assert memory.info().kept == 0
del large
arrays = [np.ones(30 * 2**20, np.uint8) for _ in range(9)]
del arrays
large = np.ones(250 * 2**20, np.uint8)  # of the pool's sizes
del large
try:
    np.ones(500 * 2**20, np.uint8)
except MemoryError:
    print("refused")
"""
    )
    assert out == "refused\n"


# --- install and uninstall ------------------------------------------------------------------


def test_uninstall_gives_all_back_and_leaves_numpys_handler():
    assert handler() == "default_allocator"
    assert memory.install(MIB) is None
    assert memory.install(MIB) is None
    assert handler() == "backends_pool"
    np.empty(MIB, np.uint8)
    memory.uninstall()
    assert handler() == "default_allocator"
    assert memory.info()[:2] == (0, 0)
    memory.uninstall()
    assert handler() == "default_allocator"


def test_arrays_outlive_the_pool(pool):
    first = np.arange(MIB)
    memory.uninstall()
    second = np.arange(MIB)
    assert (handler(first), handler(second)) == ("backends_pool", "default_allocator")
    memory.install(64 * MIB)
    third = np.arange(MIB)
    memory.uninstall()
    assert (first == second).all()
    assert (first == third).all()
    del first  # freed with nothing installed: nothing is kept
    assert memory.info().kept == 0
    memory.install(64 * MIB)
    del second  # NumPy's, freed with the pool installed
    assert memory.info().kept == 0
    del third
    assert memory.info().kept == 8 * MIB


def test_contexts_that_still_have_the_pool_get_plain_memory_from_it(pool):
    context = contextvars.copy_context()
    memory.uninstall()
    before = memory.info()
    array = context.run(np.ones, MIB)
    assert handler(array) == "backends_pool"
    del array
    assert memory.info() == before


def test_errstate_stays_what_it_is():
    context = contextvars.copy_context()

    def inside():
        with np.errstate(all="ignore", over="raise"):
            before = np.geterr()
            memory.install(MIB)
            assert np.geterr() == before
        after = np.geterr()
        memory.uninstall()
        return after

    assert context.run(inside) == np.geterr()


@pytest.fixture
def others_handler(tmp_path):
    """Give a function that installs a handler of somebody else in the current context."""
    import ctypes

    get, new = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_New
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    table = get(np._core._multiarray_umath._ARRAY_API, None)
    functions = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))
    # The places of PyDataMem_SetHandler and of the default handler in NumPy's table.
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(functions[304])
    default = ctypes.cast(functions[306], ctypes.POINTER(ctypes.py_object))[0]
    size = 128 + 5 * ctypes.sizeof(ctypes.c_void_p)
    copy = ctypes.create_string_buffer(ctypes.string_at(get(default, b"mem_handler"), size), size)
    copy[:8] = b"another\0"
    name = ctypes.create_string_buffer(b"mem_handler")
    capsule = new(ctypes.addressof(copy), ctypes.cast(name, ctypes.c_char_p), None)
    alive = (copy, name, capsule)

    def install():
        set_handler(alive[2])
        assert handler() == "another"

    yield install
    gc.collect()


def test_a_handler_of_others_is_left_alone(others_handler):
    def inside():
        others_handler()
        reason = memory.install(MIB)
        assert "another library's handler" in reason
        assert "'another'" in reason
        assert handler() == "another"
        memory.uninstall()
        assert handler() == "another"

    contextvars.copy_context().run(inside)
    assert memory.info().cap == 0


def test_a_handler_of_others_is_not_adopted(pool, others_handler):
    def inside():
        others_handler()
        openmp.load().memory_adopt()
        return handler()

    assert contextvars.copy_context().run(inside) == "another"


# --- threads and tasks ----------------------------------------------------------------------


def in_thread(function):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(contextvars.Context().run, function).result()


def test_a_new_thread_adopts_the_pool_when_told(pool):
    def inside():
        before = handler()
        openmp.load().memory_adopt()
        openmp.load().memory_adopt()
        return before, handler(np.ones(MIB))

    assert in_thread(inside) == ("default_allocator", "backends_pool")
    memory.uninstall()
    assert in_thread(inside) == ("default_allocator", "default_allocator")


def test_a_task_has_the_pool_of_its_parent(pool):
    async def task():
        return handler()

    assert asyncio.run(task()) == "backends_pool"


def test_threads_make_arrays_and_free_those_of_others(pool):
    handed = queue.SimpleQueue()
    problems = []

    def work(seed):
        openmp.load().memory_adopt()
        rng = np.random.default_rng(seed)
        for step in range(150):
            size = int(rng.integers(LEAST // 8, 3 * LEAST))
            value = seed * 1000 + step
            make = np.zeros if step % 2 else np.empty
            array = make(size, np.int64)
            if step % 2 and array.any():
                problems.append("zeros are not zero")
            array.fill(value)
            handed.put((value, array))
            if handed.qsize() > 20:
                value, array = handed.get()
                if not (array == value).all():
                    problems.append("an array changed in another thread's hands")
            del array
            if step % 50 == 49:
                memory.trim()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while not handed.empty():
        value, array = handed.get()
        assert (array == value).all()
    assert problems == []
    reused, fresh = pool()
    assert reused + fresh >= 8 * 150
    assert reused > fresh


def test_install_and_uninstall_while_others_compute():
    stop = threading.Event()
    problems = []

    def work():
        array = np.arange(MIB // 8)
        while not stop.is_set():
            openmp.load().memory_adopt()
            if (array + 1)[-1] != MIB // 8:
                problems.append("a wrong sum")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            memory.install(4 * MIB)
            memory.uninstall()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert memory.info().kept == 0
    assert handler() == "default_allocator"


# --- fork -----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own(pool):
    alive = np.full(MIB, 7)
    np.empty(MIB, np.uint8).fill(3)
    stop = threading.Event()

    def busy():  # so that the mutex is often taken when the process forks
        openmp.load().memory_adopt()
        while not stop.is_set():
            np.empty(LEAST, np.uint8)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    signal.alarm(20)
                    array = np.zeros(MIB, np.uint8)
                    right = not array.any() and (alive == 7).all()
                    array.fill(9)
                    del array
                    right = right and memory.info().kept >= MIB and memory.trim() >= MIB
                    status = 0 if right else 2
                finally:
                    os._exit(status)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        stop.set()
        thread.join()
    assert (np.empty(MIB, np.uint8) == 3).all()
    assert (alive == 7).all()


# --- NumPy's own ----------------------------------------------------------------------------


def test_tracemalloc_sees_arrays_and_not_what_is_kept(pool):
    domain = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    np.empty(3 * MIB, np.uint8)
    tracemalloc.start()
    try:
        arrays = [np.empty(3 * MIB, np.uint8), np.zeros(2 * MIB, np.uint8)]
        arrays[1].resize(4 * MIB, refcheck=False)
        taken = tracemalloc.take_snapshot().filter_traces([domain])
        assert sum(trace.size for trace in taken.traces) == 7 * MIB
        del arrays
        taken = tracemalloc.take_snapshot().filter_traces([domain])
        assert sum(trace.size for trace in taken.traces) == 0
    finally:
        tracemalloc.stop()


@linux
def test_huge_pages_are_asked_for_where_numpy_does(pool):
    def flags(array):
        text = Path("/proc/self/smaps").read_text()
        inside = False
        for line in text.splitlines():
            head = line.split(" ", 1)[0]
            if "-" in head and not head.endswith(":"):
                begin, end = (int(part, 16) for part in head.split("-"))
                inside = begin <= address(array) + array.nbytes // 2 < end
            elif inside and line.startswith("VmFlags:"):
                return line.split()[1:]
        raise AssertionError("the array is in no mapping")

    outside = contextvars.Context()  # with NumPy's handler
    large = 40 * MIB  # of the system for both
    theirs, ours = outside.run(np.empty, large, np.uint8), np.empty(large, np.uint8)
    assert (handler(theirs), handler(ours)) == ("default_allocator", "backends_pool")
    assert ("hg" in flags(ours)) == ("hg" in flags(theirs))
    assert "hg" not in flags(np.empty(2 * MIB, np.uint8))


def test_numpys_own_tests_of_handlers_pass(run_python, tmp_path):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if not all(shutil.which(tool, path=path) for tool in ("meson", "ninja", "cc")):
        pytest.skip("NumPy's tests compile an extension")
    tests = find_spec("numpy._core.tests.test_mem_policy").origin
    out = run_python(
        f"""
import sys
import pytest
import numpy as np
from backends.accelerate import memory

class Install:
    def pytest_configure(self, config):
        config.addinivalue_line("markers", "thread_unsafe: as in NumPy's own configuration")

    def pytest_runtest_setup(self):
        assert memory.install(2**26) is None
        assert np._core.multiarray.get_handler_name() == "backends_pool"

options = ["-q", "-p", "no:cacheprovider", "-c", {os.devnull!r}, "--rootdir", {str(tmp_path)!r}]
sys.exit(pytest.main([{tests!r}, *options], plugins=[Install()]))
""",
        PATH=path,
    )
    assert " passed" in out


# --- everything at once ---------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["empty", "zeros", "free", "resize", "add", "copy", "trim", "switch"]),
        st.integers(0, 7),
        st.integers(1, 80_000) | st.integers(1, 50),
        st.integers(-5, 5),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(STEPS)
def test_random_use_gives_numpys_values(steps):
    """Eight places with an array each, and a copy as bytes that the pool knows nothing of."""
    memory.install(2 * MIB)
    arrays, copies = {}, {}

    def put(place, array):
        arrays[place], copies[place] = array, array.tobytes()

    installed = True
    try:
        for action, place, size, value in steps:
            other = arrays.get((place + 1) % 8)
            if action == "empty":
                put(place, np.full(size, value, np.float64))
            elif action == "zeros":
                zeros = np.zeros(size)
                assert not zeros.any()
                put(place, zeros)
            elif action == "free":
                arrays.pop(place, None)
                copies.pop(place, None)
            elif action == "resize" and place in arrays:
                old = copies[place]
                arrays[place].resize(size, refcheck=False)
                copies[place] = (old + bytes(8 * size))[: 8 * size]
            elif action == "add" and other is not None:
                put(place, other + value)
                assert arrays[place][-1] == other[-1] + value
            elif action == "copy" and other is not None:
                put(place, other.copy())
            elif action == "trim":
                memory.trim()
            elif action == "switch":
                memory.uninstall() if installed else memory.install(2 * MIB)
                installed = not installed
            assert memory.info().kept <= 2 * MIB
            for each, array in arrays.items():
                assert array.tobytes() == copies[each]
    finally:
        arrays.clear()
        memory.uninstall()
    assert memory.info().kept == 0
