"""Dropout whose decisions are a function of a counter, so that nobody needs to keep them.

Whether a number is kept depends on a seed, the number of forwards before, and its row and feature: threads, blocks of
rows and the backward pass find the same decisions. The function is the output of SplitMix64 (Steele, Lea and Flood,
"Fast Splittable Pseudorandom Number Generators", 2014), of which a state is a start plus a multiple of a constant.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.intrinsics import Context, Definition, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.vectors import INT64, vectors_of
from fastbp_kernels.layers.call import LayerCall, grad_rows
from fastbp_kernels.layers.residual import copy_rows
from fastbp_kernels.layers.table import INTEGERS, OUT, X_ROW, Y_ROW

DECISIONS = 1 << 32  # a number is dropped where 32 random bits are below a threshold: its probability times this

_STEP = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


@intrinsic
def dropout_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, x: types.CPointer, x_row: types.Integer,
    seed: types.Integer, forwards: types.Integer, first_row: types.Integer, threshold: types.Integer,
    scale: types.Float, kept: types.Float, dropped: types.Float, out: types.CPointer, out_row: types.Integer,
) -> Definition:  # fmt: skip
    """Write ``x * scale + kept`` where a number is kept, and ``x * 0 + dropped`` elsewhere; ``out`` may be ``x``.

    ``first_row`` is the number of the first row in the mini-batch.
    """
    i = types.intp
    return types.void(i, i, x, i, i, i, i, i, x.dtype, x.dtype, x.dtype, x, i), _DROPOUT.call(x)


def _arguments(element: ir.Type) -> list[ir.Type]:
    p = element.as_pointer()
    return [INT64, INT64, p, INT64, INT64, INT64, INT64, INT64, element, element, element, p, INT64]


def _emit(function: ir.Function, element: ir.Type) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows, features, x, x_row, seed, forwards, first_row, threshold, scale, kept, dropped, out, out_row = function.args
    v = vectors_of(builder, element)
    wide = ir.VectorType(INT64, v.lanes)
    lanes = ir.Constant(wide, [(lane + 1) * _STEP % 2**64 for lane in range(v.lanes)])
    start = _mixed(builder, builder.add(seed, _mixed(builder, builder.mul(forwards, INT64(_STEP)))))
    limit, scales, keeps, drops = (v.splat(value) for value in (threshold, scale, kept, dropped))
    zero = v.constant(0.0)
    with cgutils.for_range(builder, rows) as loop:
        x_now = builder.gep(x, [builder.mul(loop.index, x_row)])
        out_now = builder.gep(out, [builder.mul(loop.index, out_row)])
        before = builder.mul(builder.add(first_row, loop.index), features)
        with cgutils.for_range_slice(builder, INT64(0), features, INT64(v.lanes), inc=True) as (index, _):
            mask = v.first_lanes(builder.sub(features, index))
            state = builder.add(start, builder.mul(builder.add(before, index), INT64(_STEP)))
            bits = builder.lshr(_mixed(builder, builder.add(v.splat(state), lanes)), ir.Constant(wide, [32] * v.lanes))
            keep = builder.icmp_unsigned(">=", bits, limit)
            value = builder.fmul(v.masked_load(builder.gep(x_now, [index]), mask), builder.select(keep, scales, zero))
            value = builder.fadd(value, builder.select(keep, keeps, drops))
            v.masked_store(value, builder.gep(out_now, [index]), mask)
    builder.ret_void()


def _mixed(builder: ir.IRBuilder, state: ir.Value) -> ir.Value:
    """Emit the output of SplitMix64 for a state, or a vector of states."""

    def constant(value: int) -> ir.Constant:
        lanes = getattr(state.type, "count", None)
        return ir.Constant(state.type, value if lanes is None else [value] * lanes)

    for bits, factor in _MIX:
        state = builder.xor(state, builder.lshr(state, constant(bits)))
        state = builder.mul(state, constant(factor))
    return state


_DROPOUT = NativeFunction("dropout", _arguments, _emit)


@public_kernel(input=read("(n, i)"), output=written("(n, i)"))
def dropout_forward(
    input: Array, seed: int, forwards: int, threshold: int, scale: float, kept: float, dropped: float, output: Array
) -> None:
    """Write ``input * scale + kept`` where a number is kept, and ``input * 0 + dropped`` elsewhere.

    With ``kept`` and ``dropped`` at 0 this is the backward pass too, from the gradient of the output to that of the
    input.

    Parameters
    ----------
    input : array of shape (n, i), read
    seed, forwards : int
        Which decisions are taken: the same for the same pair.
    threshold : int
        The probability of dropping a number times ``DECISIONS``.
    scale, kept, dropped : scalar of the arrays' dtype
    output : array of shape (n, i), written; may be ``input``
    """
    n, i = input.shape
    dropout_rows(n, i, pointer(input), i, seed, forwards, 0, threshold, scale, kept, dropped, pointer(output), i)


# Its integers: the seed of its decisions; mini-batches that it has had before the call; the number below which 32
# random bits drop a number.
_SEED, _FORWARDS, _THRESHOLD = range(INTEGERS, INTEGERS + 3)


def layer_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Drop numbers of the call's rows, or copy them where nothing is trained."""
    if call.steps < 0:
        copy_rows(layers, layer, call, x, x_row, y)
        return
    s = call.scalars
    dropout_rows(
        call.rows, layers[layer, OUT], x, x_row, layers[layer, _SEED], layers[layer, _FORWARDS] + call.steps,
        call.before + call.first_row, layers[layer, _THRESHOLD], s[0], s[1], s[2], y, layers[layer, Y_ROW],
    )  # fmt: skip


def layer_backward(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Write the gradient of the inputs of the call's rows."""
    dropout_rows(
        call.rows, layers[layer, OUT], grad_rows(layers, layer, call), layers[layer, Y_ROW], layers[layer, _SEED],
        layers[layer, _FORWARDS] + call.steps, call.before + call.first_row, layers[layer, _THRESHOLD],
        call.scalars[0], 0.0, 0.0, grad_x, layers[layer, X_ROW],
    )  # fmt: skip
