"""Sums over the rows of a matrix: the gradient of a bias."""

from __future__ import annotations

from collections.abc import Callable
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
    chained = builder.and_(n, INT64(-CHAINS))
    chains = [cgutils.alloca_once(builder, v.type) for _ in range(CHAINS)]
    with cgutils.for_range_slice(builder, INT64(0), columns, INT64(v.lanes), inc=True) as (column, _):
        mask = v.first_lanes(builder.sub(columns, column))

        def add(chain: ir.Value, row: ir.Value) -> None:
            place = builder.add(builder.mul(row, row_size), column)
            first, *second = (v.masked_load(builder.gep(matrix, [place]), mask) for matrix in factors)
            term = builder.fmul(first, second[0]) if second else first
            builder.store(builder.fadd(builder.load(chain), term), chain)

        for chain in chains:
            builder.store(v.constant(0.0), chain)
        with cgutils.for_range_slice(builder, INT64(0), chained, INT64(CHAINS), inc=True) as (row, _):
            for number, chain in enumerate(chains):
                add(chain, builder.add(row, INT64(number)))
        with cgutils.for_range_slice(builder, chained, n, INT64(1), inc=True) as (row, _):
            add(chains[0], row)
        sums = [builder.load(chain) for chain in chains]
        while len(sums) > 1:
            sums = [builder.fadd(one, two) for one, two in zip(sums[::2], sums[1::2])]
        place = builder.gep(out, [column])
        v.masked_store(finish(v.masked_load(place, mask), sums[0]), place, mask)
