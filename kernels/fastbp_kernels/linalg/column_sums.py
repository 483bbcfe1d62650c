"""Sums over the rows of a matrix: the gradient of a bias."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, full_vectors, intrinsic
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Pointer, shift
from fastbp_kernels.compiler.vectors import INT64, Vectors
from fastbp_kernels.functions.tile_formulas import sgd
from fastbp_kernels.linalg.blocking import K_BLOCK

CHAINS = 16  # rows are summed in so many interleaved chains: short ones err less, and need not wait for each other
# Vectors of a row that are read together, their chains in memory, where rows are so many elements apart: some cache
# lines of a row come as fast as one.
_STRIP, _FAR = 8, 256


@inner_kernel
def add_column_sums(n: int, columns: int, rows: Pointer, row_size: int, out: Pointer) -> None:
    """Add the sum of each column to ``out``.

    Parameters
    ----------
    n, columns : int
    rows : pointer; row_size : int
        Row r starts at ``rows[r * row_size]``.
    out : pointer
        ``columns`` numbers, read and written.
    """
    for first in range(0, n, K_BLOCK):
        _add_block(min(K_BLOCK, n - first), columns, shift(rows, first * row_size), row_size, out)


@intrinsic
def _add_block(
    typing_context: Context, n: types.Integer, columns: types.Integer, rows: types.CPointer, row_size: types.Integer,
    out: types.CPointer,
) -> Definition:  # fmt: skip
    """Add the sum of each column of up to ``K_BLOCK`` rows to ``out``."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        n, columns, rows, row_size, out_start = arguments
        v = full_vectors(context, builder, out)
        _emit_sums(v, n, columns, [rows], row_size, out_start, builder.fadd)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, rows, types.intp, out), codegen


@inner_kernel
def add_column_product_sums(n: int, columns: int, rows: Pointer, factors: Pointer, row_size: int, out: Pointer) -> None:
    """Add the sum of each column of ``rows * factors``, elementwise, to ``out``; see ``add_column_sums``."""
    for first in range(0, n, K_BLOCK):
        count, place = min(K_BLOCK, n - first), first * row_size
        _add_product_block(count, columns, shift(rows, place), shift(factors, place), row_size, out)


@intrinsic
def _add_product_block(
    typing_context: Context, n: types.Integer, columns: types.Integer, rows: types.CPointer, factors: types.CPointer,
    row_size: types.Integer, out: types.CPointer,
) -> Definition:  # fmt: skip
    """Add the sum of each column of the product of up to ``K_BLOCK`` rows to ``out``."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        n, columns, rows, factors, row_size, out_start = arguments
        v = full_vectors(context, builder, out)
        _emit_sums(v, n, columns, [rows, factors], row_size, out_start, builder.fadd)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, rows, rows, types.intp, out), codegen


@intrinsic
def fused_sgd_column_sums(
    typing_context: Context, n: types.Integer, columns: types.Integer, rows: types.CPointer, row_size: types.Integer,
    lr: types.Float, out: types.CPointer,
) -> Definition:  # fmt: skip
    """Step ``out`` against the sum of each column of up to ``K_BLOCK`` rows, as ``update`` would."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        n, columns, rows, row_size, lr_value, out_start = arguments
        v = full_vectors(context, builder, out)
        step = v.splat(lr_value)
        _emit_sums(v, n, columns, [rows], row_size, out_start, lambda old, total: sgd(v, step, old, total))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, rows, types.intp, out.dtype, out), codegen


def _emit_sums(
    v: Vectors, n: ir.Value, columns: ir.Value, factors: Values, row_size: ir.Value, out: ir.Value,
    finish: Callable[[ir.Value, ir.Value], ir.Value],
) -> None:  # fmt: skip
    """Emit the sums of the columns of one matrix, or of the product of two, elementwise.

    What ``finish`` makes of the old numbers and the sums is stored at ``out``.
    """
    builder = v.builder
    chained, strip = builder.and_(n, INT64(-CHAINS)), INT64(_STRIP * v.lanes)
    is_far = builder.icmp_signed(">=", row_size, INT64(_FAR))
    in_strips = builder.select(is_far, builder.and_(columns, builder.neg(strip)), INT64(0))

    def term(row: ir.Value, column: ir.Value, load: Callable[[ir.Value], ir.Value]) -> ir.Value:
        place = builder.add(builder.mul(row, row_size), column)
        first, *second = (load(builder.gep(matrix, [place])) for matrix in factors)
        return builder.fmul(first, second[0]) if second else first

    def add(chain: ir.Value, value: ir.Value) -> None:
        builder.store(builder.fadd(builder.load(chain), value), chain)

    def close(column: ir.Value, chains: Values, mask: ir.Value) -> None:
        sums = [builder.load(chain) for chain in chains]
        while len(sums) > 1:
            sums = [builder.fadd(one, two) for one, two in zip(sums[::2], sums[1::2])]
        place = builder.gep(out, [column])
        v.masked_store(finish(v.masked_load(place, mask), sums[0]), place, mask)

    _emit_strips(v, n, chained, in_strips, term, add, close)
    chains = [cgutils.alloca_once(builder, v.type) for _ in range(CHAINS)]
    with cgutils.for_range_slice(builder, in_strips, columns, INT64(v.lanes), inc=True) as (column, _):
        mask = v.first_lanes(builder.sub(columns, column))
        load = partial(v.masked_load, mask=mask)
        for chain in chains:
            builder.store(v.constant(0.0), chain)
        with cgutils.for_range_slice(builder, INT64(0), chained, INT64(CHAINS), inc=True) as (row, _):
            for number, chain in enumerate(chains):
                add(chain, term(builder.add(row, INT64(number)), column, load))
        with cgutils.for_range_slice(builder, chained, n, INT64(1), inc=True) as (row, _):
            add(chains[0], term(row, column, load))
        close(column, chains, mask)


def _emit_strips(
    v: Vectors, n: ir.Value, chained: ir.Value, columns: ir.Value, term: Callable[..., ir.Value],
    add: Callable[..., None], close: Callable[..., None],
) -> None:  # fmt: skip
    """Emit the sums of the first ``columns``, a multiple of a strip: the same chains, side by side in memory."""
    builder, strip = v.builder, INT64(_STRIP * v.lanes)
    with builder.goto_entry_block():
        memory = builder.alloca(ir.ArrayType(v.type, CHAINS * _STRIP))
    all_lanes = v.first_lanes(INT64(v.lanes))

    def chain(number: ir.Value, vector: ir.Value) -> ir.Value:
        return builder.gep(memory, [INT64(0), builder.add(builder.mul(number, INT64(_STRIP)), vector)])

    with cgutils.for_range_slice(builder, INT64(0), columns, strip, inc=True) as (first, _):
        with cgutils.for_range(builder, INT64(CHAINS * _STRIP)) as each:
            builder.store(v.constant(0.0), chain(INT64(0), each.index))
        with cgutils.for_range(builder, n) as row:
            is_chained = builder.icmp_signed("<", row.index, chained)
            number = builder.select(is_chained, builder.and_(row.index, INT64(CHAINS - 1)), INT64(0))
            for vector in range(_STRIP):
                value = term(row.index, builder.add(first, INT64(vector * v.lanes)), v.load)
                add(chain(number, INT64(vector)), value)
        with cgutils.for_range(builder, INT64(_STRIP)) as vector:
            column = builder.add(first, builder.mul(vector.index, INT64(v.lanes)))
            close(column, [chain(INT64(number), vector.index) for number in range(CHAINS)], all_lanes)
