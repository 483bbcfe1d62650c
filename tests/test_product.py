"""The product under all layers: every height and width of the tile, every kind of B, every epilogue, nothing beside."""

from itertools import product as every

import numpy
import pytest
from helpers import draw
from numba import njit
from products import Strided, assert_near, multiply, padded

from fastbp_kernels import sgd_step
from fastbp_kernels.compiler.pointers import pointer
from fastbp_kernels.functions.activations import ACTIVATION_CODES as CODES
from fastbp_kernels.linalg import tile
from fastbp_kernels.linalg.blocking import IN_PLACE_ROWS, K_BLOCK, PAGE, SIZES, THIN
from fastbp_kernels.linalg.product import ROOMY_ROWS, ROWS, TRANSPOSED, transposed_product


@njit
def call_transposed(m, columns, k, a, a_row, a_kind, b, b_row, b_kind, c, epilogue, lr):
    transposed_product(
        m, columns, k, pointer(a), a_row, a_kind, pointer(b), b_row, b_kind, pointer(c), epilogue, lr
    )  # fmt: skip


WIDTHS = [1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 24, 31, 32, 33, 49, 64, 67]
ROWS_AT_ONCE = SIZES.rows_in_place
HEIGHTS = [*range(1, 12), 21, 79, IN_PLACE_ROWS, IN_PLACE_ROWS + 1]


@pytest.mark.parametrize("b_kind", [ROWS, ROOMY_ROWS, TRANSPOSED], ids=["rows", "roomy rows", "transposed"])
def test_every_tile_and_kind_of_b(b_kind, dtype):
    """Up to where all of B is packed, and from where C is no longer done by rows; A also transposed; bias or none."""
    for m, columns, k in every(HEIGHTS, WIDTHS, (0, 1, 2, 17, THIN, THIN + 1)):
        a, b = draw((m, k), dtype, seed=m), draw((k, columns), dtype, seed=columns)
        bias = draw(columns, dtype, seed=3) if columns % 2 else None
        c = numpy.full((m, columns), 7, dtype)
        actual = multiply(a, b, b_kind, bias, c, tile.STORE, c, a_transposed=bool(m % 2))
        start = numpy.zeros(columns) if bias is None else bias.astype(numpy.float64)
        wide_a, wide_b = a.astype(numpy.float64), b.astype(numpy.float64)
        assert_near(actual, start + wide_a @ wide_b, abs(start) + abs(wide_a) @ abs(wide_b), k)


def in_stretches(a, b, start):
    """The product summed over stretches of k, each in float64."""
    total = start.astype(numpy.float64)
    for first in range(0, a.shape[1], K_BLOCK):
        part = slice(first, first + K_BLOCK)
        total = total + a[:, part].astype(numpy.float64) @ b[part].astype(numpy.float64)
    return total


DERIVATIVES = {
    tile.STORE: lambda x, y: x,
    tile.VALUE + CODES["ReLU"]: lambda x, y: numpy.maximum(x, 0),
    tile.DERIVATIVE + CODES["ReLU"]: lambda x, y: numpy.where(y <= 0, 0, x),
    tile.DERIVATIVE + CODES["Tanh"]: lambda x, y: x * (1 - y**2),
    tile.DERIVATIVE + CODES["Sigmoid"]: lambda x, y: x * y * (1 - y),
}


# Around the tile's stretches of sums and around those of the panels.
DEPTHS = (1, tile.STEPS, tile.STEPS + 1, K_BLOCK - 1, K_BLOCK, K_BLOCK + 1, 2 * K_BLOCK, 2 * K_BLOCK + 1, 700)


@pytest.mark.parametrize("b_kind", [ROWS, ROOMY_ROWS, TRANSPOSED], ids=["rows", "roomy rows", "transposed"])
@pytest.mark.parametrize("adds", [False, True], ids=["", "adding"])
@pytest.mark.parametrize("epilogue", DERIVATIVES)
def test_an_epilogue_applies_once_behind_the_last_stretch_of_k(epilogue, adds, b_kind, dtype):
    for k, (m, columns) in every(DEPTHS, [(13, 37)]):
        a, b, bias = draw((m, k), dtype), draw((k, columns), dtype, seed=1), draw(columns, dtype, seed=2)
        c, outputs = draw((m, columns), dtype, seed=4), numpy.tanh(draw((m, columns), dtype, seed=5))
        outputs[::2, ::3] = 0
        actual = multiply(a, b, b_kind, bias, c, epilogue | (tile.ADD if adds else 0), outputs)
        before = c.astype(numpy.float64) if adds else numpy.zeros(c.shape)
        expected = DERIVATIVES[epilogue](in_stretches(a, b, before + bias), outputs.astype(numpy.float64))
        assert_near(actual, expected, abs(before) + abs(bias) + abs(a).astype(numpy.float64) @ abs(b), k)


@pytest.mark.parametrize("k", [0, 1, tile.STEPS + 1, K_BLOCK])
def test_a_step_against_the_product_is_that_of_sgd_to_the_bit(k, dtype):
    """Also where parameter and gradient are -0: a gradient that is added to zeros is 0."""
    a, b, c = draw((23, k), dtype), draw((k, 37), dtype, seed=1), draw((23, 37), dtype, seed=2)
    a[3], c[3:5] = -0.0, -0.0
    grad = numpy.zeros_like(c) + multiply(a, b, ROOMY_ROWS, None, c, tile.STORE, c)
    expected = c.copy()
    sgd_step(expected.reshape(-1), grad.reshape(-1), dtype(0.1))
    actual = multiply(a, b, ROOMY_ROWS, None, c, tile.FUSED_SGD, c, lr=0.1)
    numpy.testing.assert_array_equal(actual, expected)
    numpy.testing.assert_array_equal(numpy.signbit(actual), numpy.signbit(expected))


@pytest.mark.parametrize("epilogue", [tile.STORE, tile.ADD, tile.FUSED_SGD], ids=["store", "add", "fused sgd"])
@pytest.mark.parametrize("kind", [ROWS, ROOMY_ROWS], ids=["rows", "roomy rows"])
def test_a_product_of_the_transpose_has_the_bits_of_the_product(kind, epilogue, dtype):
    """Narrow and wide B, few and many rows of A, in one block of columns and in several; nothing beside is written."""
    for m, columns, k in every((1, 2, 25, 64, 128, 129, 300), (1, 2, 4, 6, 10, 11, 17), (0, 1, 5, 50, K_BLOCK, 700)):
        if epilogue == tile.FUSED_SGD and k > K_BLOCK:
            continue
        a, b, c = draw((k, m), dtype), draw((k, columns), dtype, seed=1), draw((m, columns), dtype, seed=2)
        left, right = (padded(each) if kind == ROOMY_ROWS else (each.ravel(), each.shape[1]) for each in (a, b))
        out = Strided(c, columns)
        call_transposed(m, columns, k, *left, kind, *right, kind, out.place, epilogue, 0.1)
        out.assert_untouched()
        numpy.testing.assert_array_equal(out.inside, multiply(a.T, b, ROWS, None, c, epilogue, c, lr=0.1))


@pytest.mark.parametrize("k", [K_BLOCK // 2, K_BLOCK // 2 + 1, 300])
def test_blocks_of_rows_beyond_the_first(k, dtype):
    for m in (ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 2 * ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 7):
        a, b, bias = draw((m, k), dtype), draw((k, 18), dtype, seed=1), draw(18, dtype, seed=2)
        c = numpy.full((m, 18), 7, dtype)
        wide_a, wide_b = a.astype(numpy.float64), b.astype(numpy.float64)
        actual = multiply(a, b, TRANSPOSED, bias, c, tile.STORE, c)
        assert_near(actual, bias + wide_a @ wide_b, abs(bias) + abs(wide_a) @ abs(wide_b), k)


@pytest.mark.parametrize("k", [17, K_BLOCK, K_BLOCK + 1, 700])
def test_the_kind_of_b_does_not_change_a_bit(k, dtype):
    a, b, c = draw((21, k), dtype), draw((k, 37), dtype, seed=1), numpy.zeros((21, 37), dtype)
    results = [multiply(a, b, kind, None, c, tile.STORE, c).copy() for kind in (ROWS, ROOMY_ROWS, TRANSPOSED)]
    results.append(multiply(a, b, ROWS, None, c, tile.STORE, c, a_transposed=True).copy())
    for other in results[1:]:
        numpy.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("m", [1, 6, 7, 10, 11, 60, ROWS_AT_ONCE + 1])
def test_rows_that_lie_pages_apart_give_the_same_bits(m, dtype):
    page = PAGE // numpy.dtype(dtype).itemsize
    for k, columns in ((1, 5), (7, 25), (300, 37), (page, 3), (page + 1, 33)):
        a, b, c = draw((m, k), dtype), draw((k, columns), dtype, seed=1), numpy.zeros((m, columns), dtype)
        expected = multiply(a, b, TRANSPOSED, None, c, tile.STORE, c)
        actual = multiply(a, b, TRANSPOSED, None, c, tile.STORE, c, gap=-k % page, b_gap=-k % page)
        numpy.testing.assert_array_equal(actual, expected)


def test_nan_and_infinity_reach_only_what_they_belong_to(dtype):
    for value in (numpy.nan, numpy.inf):
        a, b, c = draw((13, 20), dtype), draw((20, 37), dtype, seed=1), numpy.zeros((13, 37), dtype)
        a[5, 7] = value
        b[11, 30] = value
        hit = numpy.zeros(c.shape, bool)
        hit[5], hit[:, 30] = True, True
        for kind in (ROWS, ROOMY_ROWS, TRANSPOSED):
            numpy.testing.assert_array_equal(~numpy.isfinite(multiply(a, b, kind, None, c, tile.STORE, c)), hit)
