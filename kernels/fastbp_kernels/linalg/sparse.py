"""Products with sparse rows: of the rows and a weight, and the weight's gradient, with the bits of dense rows.

Sparse rows are compressed: row r has ``values[k]`` in ``columns[k]`` for k from ``starts[r]`` up to ``starts[r + 1]``,
with columns in order. A kernel takes the *numbers* of the rows, int64 in the place of a row's features, so that they
are gathered in another order as dense rows are.

What is not stored is 0 and adds nothing to a sum. Sums begin anew after ``STEPS`` and are added up after ``K_BLOCK``
steps where the tile's and ``product``'s do.
"""

from __future__ import annotations

from typing import Any

from fastbp_kernels.compiler.decorators import inlined_kernel, inner_kernel
from fastbp_kernels.compiler.elementwise import add_loop, copy_loop, elementwise2_scaled, zero_loop
from fastbp_kernels.compiler.intrinsics import fused_multiply_add
from fastbp_kernels.compiler.pointers import Pointer, retyped, shift, stack_memory
from fastbp_kernels.linalg.blocking import K_BLOCK
from fastbp_kernels.linalg.tile import STEPS

assert K_BLOCK == 2 * STEPS  # sums of a block of rows are kept in two vectors

Integers = Any  # a pointer to them

# Outputs whose weights, of the columns that occur among a block's, lie side by side meanwhile: 128 KiB of float64.
_WIDTH = 64
_PANEL = K_BLOCK * _WIDTH
SPARSE_ROWS = 1024  # that go through all columns together: each time the weights come from memory
_BEHIND = 1 << 62

_add_scaled = elementwise2_scaled(lambda v, scalar, x, y: v.fma(scalar, x, y))


@inner_kernel
def sparse_forward(
    values: Pointer, columns: Integers, starts: Integers, numbers: Pointer, number_row: int, rows: int, i: int, o: int,
    weight: Pointer, has_bias: int, bias: Pointer, y: Pointer, y_row: int,
) -> None:  # fmt: skip
    """Write ``rows @ weight.T + bias`` to ``y``.

    Parameters
    ----------
    values, columns, starts : pointers to floats, int32 and int64
    numbers : pointer; number_row : int
        The number of row r is at ``numbers[r * number_row]``.
    rows, i, o : int
        How many rows, their features, and outputs.
    weight : pointer
        (o, i) without gaps.
    has_bias : int; bias : pointer
        Whether the sums start from the ``o`` numbers at ``bias`` or from 0.
    y : pointer; y_row : int
        Row r of the outputs starts at ``y[r * y_row]``.
    """
    panel, sums, later = stack_memory(values, _PANEL), stack_memory(values, _WIDTH), stack_memory(values, _WIDTH)
    packed, places = stack_memory(starts, K_BLOCK), stack_memory(starts, SPARSE_ROWS)
    following = stack_memory(starts, SPARSE_ROWS)  # the next column of each row
    for group in range(0, o, _WIDTH):
        width, own_weight = min(_WIDTH, o - group), shift(weight, group * i)
        for top in range(0, rows, SPARSE_ROWS):
            height = min(SPARSE_ROWS, rows - top)
            out, own_numbers = shift(y, top * y_row + group), shift(numbers, top * number_row)
            for row in range(height):
                number = retyped(shift(own_numbers, row * number_row), starts)[0]
                places[row] = starts[number]
                following[row] = _column(columns, starts[number], starts[number + 1])
                zero_loop(width, shift(out, row * y_row))
            for begin in range(0, i, K_BLOCK):
                for column in range(K_BLOCK):
                    packed[column] = 0
                for row in range(height):
                    column = following[row] - begin
                    if begin and column >= K_BLOCK:
                        continue
                    number = retyped(shift(own_numbers, row * number_row), starts)[0]
                    k, stop, own_out = places[row], starts[number + 1], shift(out, row * y_row)
                    zero_loop(width, sums)
                    if begin == 0 and has_bias:
                        copy_loop(width, shift(bias, group), sums)
                    while column < STEPS:
                        line = _packed(panel, packed, column, width, shift(own_weight, begin), i)
                        _add_scaled(width, values[k], line, sums, sums)
                        k += 1
                        column = _column(columns, k, stop) - begin
                    if column < K_BLOCK:
                        zero_loop(width, later)
                        while column < K_BLOCK:
                            line = _packed(panel, packed, column, width, shift(own_weight, begin), i)
                            _add_scaled(width, values[k], line, later, later)
                            k += 1
                            column = _column(columns, k, stop) - begin
                        add_loop(width, sums, later, sums)
                    add_loop(width, own_out, sums, own_out)
                    places[row], following[row] = k, column + begin


@inlined_kernel
def _packed(panel: Pointer, packed: Integers, column: int, width: int, weight: Pointer, i: int) -> Pointer:
    """Return the weights of a column of the block, side by side."""
    line: Pointer = shift(panel, column * _WIDTH)
    if not packed[column]:
        for output in range(width):
            line[output] = weight[output * i + column]
        packed[column] = 1
    return line


@inlined_kernel
def _column(columns: Integers, k: int, stop: int) -> int:
    """Return the column at ``k``, or one behind all where the row has come to its end."""
    column: int = columns[k] if k < stop else _BEHIND
    return column


@inner_kernel
def add_sparse_weight_gradient(
    values: Pointer, columns: Integers, starts: Integers, numbers: Pointer, number_row: int, rows: int, i: int,
    g: Pointer, g_row: int, first: int, stop: int, grad_weight: Pointer, sums: Pointer,
) -> None:  # fmt: skip
    """Add ``g.T @ rows`` to the outputs from ``first`` up to ``stop`` of ``grad_weight``, in the columns that occur.

    Parameters
    ----------
    values, columns, starts, numbers, number_row, rows, i
        As in ``sparse_forward``.
    g : pointer; g_row : int
        Row r of the outputs' gradient starts at ``g[r * g_row]``.
    first, stop : int
    grad_weight : pointer
        (o, i) without gaps.
    sums : pointer
        ``2 * i`` numbers, written.
    """
    zero_loop(2 * i, sums)
    zero = sums[0]
    later = shift(sums, i)
    for output in range(first, stop):
        grad = shift(grad_weight, output * i)
        for top in range(0, rows, K_BLOCK):
            end, count = min(rows, top + K_BLOCK), 0
            for row in range(top, end):
                number = retyped(shift(numbers, row * number_row), starts)[0]
                factor, own = g[row * g_row + output], sums
                if row - top >= STEPS:
                    own = later
                for k in range(starts[number], starts[number + 1]):
                    column = columns[k]
                    own[column] = fused_multiply_add(factor, values[k], own[column])
                count += starts[number + 1] - starts[number]
            if count > i:
                for column in range(i):
                    grad[column] += sums[column] + later[column]
                zero_loop(2 * i, sums)
                continue
            for row in range(top, end):
                number = retyped(shift(numbers, row * number_row), starts)[0]
                for k in range(starts[number], starts[number + 1]):
                    column = columns[k]
                    grad[column] += sums[column] + later[column]  # 0 where the column has come before
                    sums[column] = later[column] = zero
