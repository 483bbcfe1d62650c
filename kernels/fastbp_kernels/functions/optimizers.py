"""The registry of optimisers: how a step changes a flat parameter vector and the state beside it.

An optimiser's code is its place in ``OPTIMIZERS``. The scalars of a step come from one place for both ways of training,
as numbers of the parameters' dtype in the order of its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.cache import kernel
from fastbp_kernels.compiler.elementwise import elementwise2_scaled, emit_loops
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.pointers import Array, pointer
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.switch import emit_switch
from fastbp_kernels.compiler.vectors import INT64, Vectors, vectors_of
from fastbp_kernels.functions import tile_formulas


class Optimizer(NamedTuple):
    """A row of the registry.

    Attributes
    ----------
    name : str
        That of its class in ``fastbp.optim``.
    state : tuple of str
        The vectors beside the parameters, all zeros at first.
    scalars : tuple of str
        What is the same for all parameters in a step.
    update : callable
        ``update(v, scalars, parameter, grad, *state)`` emits vectors and returns parameter and state after the step.
    """

    name: str
    state: tuple[str, ...]
    scalars: tuple[str, ...]
    update: Callable[..., Sequence[ir.Value]]


def _sgd(v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value) -> Sequence[ir.Value]:
    (lr,) = scalars
    return (tile_formulas.sgd(v, lr, parameter, grad),)


def _adam(
    v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, exp_avg: ir.Value, exp_avg_sq: ir.Value
) -> Sequence[ir.Value]:
    """Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, in the order of ``torch.optim.Adam``."""
    b = v.builder
    new1, keep2, new2, step_size, root_correction, eps, decay = scalars
    decayed = v.fma(decay, parameter, grad)
    grad = b.select(b.fcmp_ordered("==", decay, v.constant(0.0)), grad, decayed)  # 0 * infinity would be NaN
    exp_avg = v.fma(new1, b.fsub(grad, exp_avg), exp_avg)
    exp_avg_sq = v.fma(b.fmul(new2, grad), grad, b.fmul(keep2, exp_avg_sq))
    denominator = b.fadd(b.fdiv(v.sqrt(exp_avg_sq), root_correction), eps)
    parameter = v.fma(b.fneg(step_size), b.fdiv(exp_avg, denominator), parameter)
    return parameter, exp_avg, exp_avg_sq


OPTIMIZERS = (
    Optimizer("SGD", (), ("lr",), _sgd),
    Optimizer(
        "Adam",
        ("exp_avg", "exp_avg_sq"),
        ("1 - beta1", "beta2", "1 - beta2", "step size", "root of bias correction 2", "eps", "weight decay"),
        _adam,
    ),
)
OPTIMIZER_CODES = {row.name: code for code, row in enumerate(OPTIMIZERS)}
SGD = OPTIMIZER_CODES["SGD"]

_sgd_loop = elementwise2_scaled(tile_formulas.sgd)


@intrinsic
def update(
    typing_context: Context, optimizer: types.Integer, count: types.Integer, scalars: types.CPointer,
    parameter: types.CPointer, grad: types.CPointer, state: types.CPointer, state_row: types.Integer,
) -> Definition:  # fmt: skip
    """Step ``count`` parameters; the n-th vector of their state begins at ``state[n * state_row]``."""
    signature = types.void(types.intp, types.intp, parameter, parameter, parameter, parameter, types.intp)
    return signature, _UPDATE.call(parameter)


def _arguments(element: ir.Type) -> list[ir.Type]:
    return [INT64, INT64, *[element.as_pointer()] * 4, INT64]


def _emit_update(function: ir.Function, element: ir.Type) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    code, count, scalars, parameter, grad, state, state_row = function.args
    v = vectors_of(builder, element)

    def case(row: Optimizer) -> None:
        values = [v.splat(builder.load(builder.gep(scalars, [INT64(n)]))) for n in range(len(row.scalars))]
        states = [builder.gep(state, [builder.mul(INT64(n), state_row)]) for n in range(len(row.state))]
        inputs, outs = [parameter, grad, *states], [parameter, *states]
        emit_loops(v, lambda v, *vectors: row.update(v, values, *vectors), count, inputs, outs)

    emit_switch(builder, code, OPTIMIZERS, case)
    builder.ret_void()


_UPDATE = NativeFunction("update", _arguments, _emit_update)


@kernel
def step_parameters(optimizer: int, scalars: Array, parameter: Array, grad: Array, state: Array) -> None:
    """Do one step.

    Parameters
    ----------
    optimizer : int
        Its code.
    scalars : vector, read
        In the order of the optimiser's row.
    parameter : vector, read and written
    grad : vector of the same size, read
    state : array of shape (vectors, the parameters' size), read and written
    """
    update(
        optimizer, parameter.size, pointer(scalars), pointer(parameter), pointer(grad), pointer(state), parameter.size
    )


@public_kernel(parameter=written(), grad=read())
def sgd_step(parameter: Array, grad: Array, lr: float) -> None:
    """Subtract ``lr * grad`` from ``parameter``, with one rounding where the CPU has fused multiply-add.

    Parameters
    ----------
    parameter : array of any shape, read and written
    grad : array of that shape and dtype, read
    lr : scalar of that dtype
    """
    _sgd_loop(parameter.size, lr, pointer(parameter), pointer(grad), pointer(parameter))
