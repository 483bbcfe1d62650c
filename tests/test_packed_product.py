"""Products with packed rows of A: the bits of those that read A where it lies, and memory that is used again."""

import resource
import threading

import numpy
import pytest
from helpers import draw
from memory import assert_survives
from numba import njit
from products import in_place, multiply, packed

import fastbp_kernels
from fastbp_kernels.compiler import memory_pool
from fastbp_kernels.compiler.cache_sizes import CacheSizes
from fastbp_kernels.compiler.memory_pool import borrow_block, return_block
from fastbp_kernels.linalg import blocking, tile
from fastbp_kernels.linalg.blocking import K_BLOCK, PACKED_TILE_ROWS, PACKED_WIDTH, PANEL_SIZE, SIZES, BlockSizes
from fastbp_kernels.linalg.product import ROOMY_ROWS, ROWS, TRANSPOSED

KINDS = pytest.mark.parametrize("kind", [ROWS, ROOMY_ROWS, TRANSPOSED], ids=["rows", "roomy rows", "transposed"])
PACKED_ROWS, PACKED_PANELS = SIZES.packed_tiles * PACKED_TILE_ROWS, blocking.packed_panels.py_func(SIZES.packed_tiles)
LARGE = 512  # rows, columns and steps of what is packed
A_LIES = pytest.mark.parametrize("a_transposed", [False, True], ids=["rows of A in runs", "steps of A in runs"])


def assert_same_bits(m, columns, k, dtype, kind, a_transposed, epilogue=tile.STORE, has_bias=True):
    a, b = draw((m, k), dtype, seed=m), draw((k, columns), dtype, seed=columns)
    bias = draw(columns, dtype, seed=3) if has_bias else None
    c, outputs = draw((m, columns), dtype, seed=4), numpy.tanh(draw((m, columns), dtype, seed=5))
    expected, actual = (
        multiply(a, b, kind, bias, c, epilogue, outputs, a_transposed=a_transposed, lr=0.1, call=call).copy()
        for call in (in_place, packed)
    )
    numpy.testing.assert_array_equal(actual, expected)


@KINDS
@A_LIES
def test_packing_changes_no_bit_whatever_the_shape(kind, a_transposed, dtype):
    for m in (1, 2, 5, 6, 7, 11, 13, 64, 131):
        for columns, k in ((1, 5), (3, 1), (17, 20), (33, 129), (64, K_BLOCK), (18, K_BLOCK + 1), (70, 600)):
            assert_same_bits(m, columns, k, dtype, kind, a_transposed, has_bias=bool(m % 2))


@A_LIES
@pytest.mark.parametrize(
    "epilogue",
    [tile.ADD, tile.VALUE, tile.DERIVATIVE, tile.ADD | tile.DERIVATIVE, tile.FUSED_SGD],
    ids=["add", "value", "derivative", "add and derivative", "fused sgd"],
)
def test_packing_changes_no_bit_of_an_epilogue(epilogue, a_transposed, dtype):
    for k in (K_BLOCK,) if epilogue == tile.FUSED_SGD else (100, K_BLOCK, 2 * K_BLOCK + 3):
        assert_same_bits(71, 45, k, dtype, ROWS, a_transposed, epilogue)


@A_LIES
def test_packing_changes_no_bit_beyond_the_first_block_of_rows(a_transposed, dtype):
    for m in (PACKED_ROWS, PACKED_ROWS + 1, 2 * PACKED_ROWS + 5):
        assert_same_bits(m, 20, K_BLOCK + 1, dtype, TRANSPOSED, a_transposed)


def test_nan_and_infinity_reach_only_what_they_belong_to(dtype):
    for value in (numpy.nan, numpy.inf):
        a, b, c = draw((131, 70), dtype), draw((70, 37), dtype, seed=1), numpy.zeros((131, 37), dtype)
        a[5, 7] = value
        b[11, 30] = value
        hit = numpy.zeros(c.shape, bool)
        hit[5], hit[:, 30] = True, True
        for a_transposed in (False, True):
            actual = multiply(a, b, ROWS, None, c, tile.STORE, c, a_transposed=a_transposed, call=packed)
            numpy.testing.assert_array_equal(~numpy.isfinite(actual), hit)


def test_packing_changes_no_bit_beyond_the_first_columns_that_are_packed(dtype):
    wide = PACKED_PANELS * tile.widths(numpy.dtype(dtype).itemsize)[0]
    for kind, columns in ((ROWS, wide + 3), (TRANSPOSED, wide + 1), (ROOMY_ROWS, wide + 70)):
        assert_same_bits(PACKED_ROWS + 1, columns, 5, dtype, kind, a_transposed=kind == ROWS)


CACHES = [CacheSizes(32 << 10, second, 1 << 25) for second in (1 << 12, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 26)]


@pytest.mark.parametrize("caches", CACHES, ids=lambda caches: f"{caches.second >> 10} KiB")
def test_a_block_of_memory_holds_what_is_packed(caches):
    tiles = blocking.block_sizes(caches).packed_tiles
    panels = blocking.packed_panels.py_func(tiles)
    rows, columns = tiles * PACKED_WIDTH * K_BLOCK * 8, panels * PANEL_SIZE * 4
    assert rows + columns <= memory_pool.BLOCK_BYTES
    assert columns >= rows > 0


@pytest.fixture
def sizes():
    """Set the sizes of blocks."""

    def use(sizes):
        blocking.in_use[:] = sizes

    yield use
    use(SIZES)


@KINDS
@A_LIES
def test_sizes_of_blocks_change_no_bit(kind, a_transposed, dtype, sizes):
    for m, columns, k in ((131, 70, 600), (700, 33, K_BLOCK + 1), (300, 300, 300)):
        a, b, c = draw((m, k), dtype), draw((k, columns), dtype, seed=1), numpy.zeros((m, columns), dtype)
        products = []
        for each in (SIZES, BlockSizes(7, 1), BlockSizes(100, 3), BlockSizes(512, 128)):
            sizes(each)
            for call in (in_place, packed):
                found = multiply(a, b, kind, None, c, tile.STORE, c, a_transposed=a_transposed, call=call)
                products.append(found.copy())
        for other in products[1:]:
            numpy.testing.assert_array_equal(other, products[0])


def test_kernels_take_the_sizes_in_use(sizes):
    """A product that reads runs is packed where its rows are more than go through in place at once."""
    for rows in (100, 512):
        sizes(BlockSizes(rows, 86))
        assert not pays(rows, 2 * LARGE, LARGE, True)
        assert pays(rows + 1, 2 * LARGE, LARGE, True)


@njit
def pays(m, columns, k, reads_runs):
    return blocking.pays_packing(m, columns, k, reads_runs)


def test_only_large_products_are_packed():
    for reads_runs in (False, True):
        assert pays(LARGE + 1, LARGE, LARGE, reads_runs)
        for small in ((10, LARGE, LARGE), (LARGE, 10, LARGE), (LARGE, LARGE, 10), (64, 64, 64)):
            assert not pays(*small, reads_runs)


@njit
def borrow():
    return borrow_block()


@njit
def give_back(block):
    return_block(block)


def test_blocks_are_apart_and_used_again():
    blocks = [borrow() for _ in range(3)]
    gaps = numpy.diff(sorted(blocks))
    assert 0 not in blocks
    assert min(gaps) >= memory_pool.BLOCK_BYTES
    for block in blocks:
        give_back(block)
    again = [borrow() for _ in range(3)]
    for block in again:
        give_back(block)
    assert sorted(again) == sorted(blocks)


def test_more_blocks_than_slots_are_freed_when_they_come_back():
    blocks = [borrow() for _ in range(memory_pool.SLOTS + 2)]
    assert len(set(blocks)) == len(blocks)
    for block in blocks:
        give_back(block)
    again = [borrow() for _ in range(memory_pool.SLOTS)]
    assert set(again) <= set(blocks)
    for block in again:
        give_back(block)


def large_gradient(dtype=numpy.float32):
    o = i = n = LARGE
    g, x = draw((n, o), dtype), draw((n, i), dtype, seed=1)
    weight, bias = numpy.zeros((o, i), dtype), numpy.zeros(o, dtype)
    fastbp_kernels.linear_backward_parameters(g, x, weight, bias)
    return weight


def test_threads_compute_large_products_side_by_side(dtype):
    expected, results = large_gradient(dtype), []
    threads = [threading.Thread(target=lambda: results.append(large_gradient(dtype))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        numpy.testing.assert_array_equal(result, expected)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_computes_large_products():
    expected = large_gradient()
    assert_survives(lambda: numpy.testing.assert_array_equal(large_gradient(), expected))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_where_no_memory_is_left_to_pack_rows_they_are_read_where_they_lie():
    expected = large_gradient()
    o = i = n = LARGE
    g, x = draw((n, o), numpy.float32), draw((n, i), numpy.float32, seed=1)
    weight, bias = numpy.zeros((o, i), numpy.float32), numpy.zeros(o, numpy.float32)

    def in_no_memory():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
        while borrow():
            pass
        fastbp_kernels.linear_backward_parameters(g, x, weight, bias)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        numpy.testing.assert_array_equal(weight, expected)

    assert_survives(in_no_memory)
