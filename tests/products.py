"""Products of watched matrices: what lies beside them is NaN, and is so afterwards."""

import numpy
from memory import GUARD
from numba import njit

from fastbp_kernels.compiler.memory_pool import block_memory, borrow_block, return_block
from fastbp_kernels.compiler.pointers import pointer
from fastbp_kernels.linalg.packed_product import packed_product
from fastbp_kernels.linalg.product import ROOMY_ROWS, TRANSPOSED, product, product_in_place

LINE = 64  # bytes


@njit
def whole(m, columns, k, a, a_row, a_k, b, b_row, b_kind, has_bias, bias, c, c_row, epilogue, aux, aux_row, lr):
    product(
        m, columns, k, pointer(a), a_row, a_k, pointer(b), b_row, b_kind, has_bias, pointer(bias),
        pointer(c), c_row, epilogue, pointer(aux), aux_row, lr,
    )  # fmt: skip


@njit
def in_place(m, columns, k, a, a_row, a_k, b, b_row, b_kind, has_bias, bias, c, c_row, epilogue, aux, aux_row, lr):
    product_in_place(
        m, columns, k, pointer(a), a_row, a_k, pointer(b), b_row, b_kind, has_bias, pointer(bias),
        pointer(c), c_row, epilogue, pointer(aux), aux_row, lr,
    )  # fmt: skip


@njit
def packed(m, columns, k, a, a_row, a_k, b, b_row, b_kind, has_bias, bias, c, c_row, epilogue, aux, aux_row, lr):
    block = borrow_block()
    packed_product(
        m, columns, k, pointer(a), a_row, a_k, pointer(b), b_row, b_kind, has_bias, pointer(bias),
        pointer(c), c_row, epilogue, pointer(aux), aux_row, lr, block_memory(pointer(a), block),
    )  # fmt: skip
    return_block(block)


class Strided:
    """A matrix with ``row`` elements from row to row between guards of NaN; what stands in the gaps is NaN as well."""

    def __init__(self, values, row):
        start = GUARD + 1
        self.memory = numpy.full(len(values) * row + 2 * GUARD + 1, numpy.nan, values.dtype)
        self.place = self.memory[start:]
        self.inside = numpy.lib.stride_tricks.as_strided(
            self.place, values.shape, (row * values.itemsize, values.itemsize)
        )
        self.inside[...] = values
        self.row = row

    def assert_untouched(self):
        """Whether all but the matrix is NaN still."""
        kept = self.inside.copy()
        self.inside[...] = numpy.nan
        assert numpy.isnan(self.memory).all()
        self.inside[...] = kept


def padded(values):
    """A matrix whose rows start at cache lines and are filled up with NaN."""
    itemsize = values.itemsize
    row = -(-values.shape[1] * itemsize // LINE) * LINE // itemsize
    memory = numpy.full(len(values) * row + LINE // itemsize, numpy.nan, values.dtype)
    place = memory[-memory.ctypes.data % LINE // itemsize :]
    numpy.lib.stride_tricks.as_strided(place, values.shape, (row * itemsize, itemsize))[...] = values
    return place, row


def multiply(a, b, b_kind, bias, c, epilogue, aux, a_transposed=False, lr=0.0, gap=3, b_gap=5, call=whole):
    """Run the kernel on watched copies, rows of A and B with gaps between, and return what it made of ``c``."""
    (m, k), columns, dtype = a.shape, b.shape[1], a.dtype
    left = Strided(a.T if a_transposed else a, (m if a_transposed else k) + gap)
    a_row, a_k = (1, left.row) if a_transposed else (left.row, 1)
    if b_kind == ROOMY_ROWS:
        right, b_row = padded(b)
    else:
        watched = Strided(b.T if b_kind == TRANSPOSED else b, (k if b_kind == TRANSPOSED else columns) + b_gap)
        right, b_row = watched.place, watched.row
    start = Strided((numpy.zeros((1, columns), dtype) if bias is None else bias[None]), columns)
    out, other = Strided(c, columns + 2), Strided(aux, columns + 7)
    call(
        m, columns, k, left.place, a_row, a_k, right, b_row, b_kind, bias is not None, start.place, out.place, out.row,
        epilogue, other.place, other.row, lr,
    )  # fmt: skip
    out.assert_untouched()
    return out.inside


def assert_near(actual, expected, size, k):
    bound = numpy.finfo(actual.dtype).eps * (4 + k**0.5) * size
    assert (numpy.abs(actual - expected) <= bound).all(), (actual.shape, k)
