"""Shared memory is found again, reused, and given back."""

import gc
from pathlib import Path

import numpy as np
import psutil
import pytest

from backends.engines.shared import BLOCK, Attachments, NamedBlock, Pool

FILES = Path("/proc/self/fd")


@pytest.fixture(params=sorted({BLOCK, NamedBlock}, key=str))
def pool(request):
    pool = Pool(request.param)
    yield pool
    pool.trim()


def held(pool):
    """Bytes of memory that the pool holds, leased and idle."""
    gc.collect()
    pool._collect()
    return sum(b.size for b in [*pool._leased.values(), *pool._idle])


@pytest.mark.parametrize(
    "x",
    [
        np.arange(10.0),
        np.arange(24.0).reshape(2, 3, 4).T,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(10)[::-2],
        np.broadcast_to(np.arange(3.0), (4, 3)),
        np.arange(4, dtype=">f8"),
        np.array(5.0),
        np.empty((0, 3)),
        np.array([True, False]),
    ],
    ids=lambda x: f"{x.dtype}{x.shape}{x.strides}",
)
def test_copies_are_equal_and_seen_by_another_mapping(pool, x):
    copy = pool.copy(x)
    assert np.array_equal(copy, x)
    assert copy.dtype == x.dtype
    attachments = Attachments()
    assert np.array_equal(attachments.array(pool.find(copy)), x)
    attachments.keep(frozenset())


def test_broadcast_axes_are_not_expanded(pool):
    pool.copy(np.broadcast_to(np.arange(100.0), (10_000, 100)))
    assert held(pool) < 10_000


def test_what_one_mapping_writes_the_other_sees(pool):
    x = pool.copy(np.zeros(8))
    attachments = Attachments()
    attachments.array(pool.find(x))[3] = 7
    assert x[3] == 7
    attachments.keep(frozenset())


def test_views_are_found_and_ordinary_arrays_are_not(pool):
    x = pool.copy(np.arange(100.0).reshape(10, 10))
    attachments = Attachments()
    for view in (x[2:5, ::-3], x.T, x[4], x[9, 9:]):
        assert np.array_equal(attachments.array(pool.find(view)), view)
    attachments.keep(frozenset())
    assert pool.find(np.zeros(4)) is None
    assert Pool().find(x) is None


def test_a_block_comes_back_only_when_the_last_view_is_gone(pool):
    x = pool.empty((1000,), "f8", (8,))
    address = x.__array_interface__["data"][0]
    view = x[10:20]
    del x
    other = pool.empty((1000,), "f8", (8,))
    assert other.__array_interface__["data"][0] != address
    del view
    again = pool.empty((1000,), "f8", (8,))
    assert again.__array_interface__["data"][0] == address


def test_idle_memory_is_at_most_what_was_used_last(pool):
    big = pool.empty((10**6,), "f8", (8,))
    del big
    assert held(pool) == 8 * 10**6
    small = pool.empty((10,), "f8", (8,))
    assert held(pool) == small.nbytes


def test_trim_gives_idle_blocks_back_and_leaves_those_in_use(pool):
    used, idle = pool.copy(np.arange(5.0)), pool.copy(np.arange(6.0))
    del idle
    pool.trim()
    assert held(pool) == used.nbytes
    assert np.array_equal(used, np.arange(5.0))


def test_a_worker_drops_what_the_owner_has_dropped(pool):
    x, y = pool.copy(np.arange(5.0)), pool.copy(np.arange(50.0))
    attachments = Attachments()
    for array in (x, y):
        attachments.array(pool.find(array))
    gone = pool.find(y).block
    del y, array
    pool.trim()
    attachments.keep(pool.names())
    assert gone not in attachments._mapped
    assert np.array_equal(attachments.array(pool.find(x)), np.arange(5.0))
    attachments.keep(frozenset())


@pytest.mark.skipif(not FILES.exists(), reason="open files are counted in /proc")
def test_arrays_outlive_their_pool_and_take_the_memory_with_them():
    pool = Pool(BLOCK)
    before = len(list(FILES.iterdir()))
    x = pool.copy(np.arange(1000.0))
    del pool
    gc.collect()
    assert x.sum() == 499500
    del x
    assert len(list(FILES.iterdir())) == before


@pytest.mark.skipif(BLOCK is NamedBlock, reason="pages are given up where memory has no name")
def test_pages_of_large_blocks_do_not_count_as_a_workers_own():
    pool, worker = Pool(), Attachments()
    x = pool.copy(np.ones(15_000_000))
    seen = worker.array(pool.find(x))
    before = psutil.Process().memory_info().rss
    assert seen.sum() == 15_000_000
    assert psutil.Process().memory_info().rss > before + 100e6
    worker.rest()
    assert psutil.Process().memory_info().rss < before + 20e6
    assert seen.sum() == 15_000_000


def test_pages_of_small_blocks_stay(pool):
    worker = Attachments()
    x = pool.copy(np.ones(1000))
    seen = worker.array(pool.find(x))
    worker.rest()
    assert seen.sum() == 1000
    del seen
    worker.keep(frozenset())
