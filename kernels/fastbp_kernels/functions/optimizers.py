"""The registry of optimisers: how a step changes a flat parameter vector and the state beside it.

An optimiser's code is its place in ``OPTIMIZERS``. The scalars of a step come from one place for both ways of training,
as numbers of the parameters' dtype in the order of its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.decorators import inlined_kernel, kernel
from fastbp_kernels.compiler.elementwise import elementwise2_scaled, emit_loops
from fastbp_kernels.compiler.intrinsics import Context, Definition, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, pointer_at, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.switch import emit_switch
from fastbp_kernels.compiler.vectors import INT64, vectors_of
from fastbp_kernels.functions import optimizer_formulas as formulas
from fastbp_kernels.functions import tile_formulas


class Optimizer(NamedTuple):
    """A row of the registry.

    Attributes
    ----------
    name : str
        That of its class in ``fastbp.optim``; behind a colon, which of its options the row is for.
    state : tuple of str
        The vectors beside the parameters, all zeros at first.
    scalars : tuple of str
        What is the same for all parameters in a step.
    update : callable
        ``update(v, scalars, parameter, grad, *state)`` emits vectors and returns parameter and state after the step.
    in_torch : bool
        Whether ``torch.optim`` has a class of that name.
    """

    name: str
    state: tuple[str, ...]
    scalars: tuple[str, ...]
    update: Callable[..., Sequence[ir.Value]]
    in_torch: bool = True


_ADAM = (
    "1 - beta1", "beta2", "1 - beta2", "step size", "root of bias correction 2", "eps", "sign", "weight decay", "kept",
    "is amsgrad",
)  # fmt: skip
_MOMENTS = ("exp_avg", "exp_avg_sq")
_RMSPROP = ("lr", "alpha", "1 - alpha", "eps", "momentum", "is centered", "sign", "weight decay")


def _rmsprop(name: str, *, is_centered: bool, has_momentum: bool) -> Optimizer:
    state = ("square_avg", *["momentum_buffer"] * has_momentum, *["grad_avg"] * is_centered)
    formula = formulas.rmsprop(is_centered=is_centered, has_momentum=has_momentum)
    return Optimizer(name, state, _RMSPROP, formula)


OPTIMIZERS = (
    Optimizer("SGD", (), ("lr",), formulas.sgd),
    Optimizer("SGD:decay", (), ("lr", "sign", "weight decay"), formulas.sgd_decay),
    Optimizer(
        "SGD:momentum",
        ("momentum_buffer",),
        ("lr", "sign", "weight decay", "momentum", "1 - dampening", "is nesterov", "is first step"),
        formulas.sgd_momentum,
    ),
    Optimizer("Adam", _MOMENTS, _ADAM, formulas.adam),
    Optimizer("Adam:amsgrad", (*_MOMENTS, "max_exp_avg_sq"), _ADAM, formulas.adam),
    Optimizer("AdamW", _MOMENTS, _ADAM, formulas.adam),
    Optimizer("AdamW:amsgrad", (*_MOMENTS, "max_exp_avg_sq"), _ADAM, formulas.adam),
    Optimizer(
        "NAdam",
        _MOMENTS,
        (
            "1 - beta1", "beta2", "1 - beta2", "bias correction 2", "step of the gradient", "step of the average",
            "eps", "sign", "weight decay", "kept",
        ),
        formulas.nadam,
    ),
    Optimizer(
        "RAdam",
        _MOMENTS,
        ("1 - beta1", "beta2", "1 - beta2", "step size", "is rectified", "eps", "sign", "weight decay", "kept"),
        formulas.radam,
    ),
    Optimizer(
        "Adamax",
        ("exp_avg", "exp_inf"),
        ("1 - beta1", "beta2", "step size", "eps", "sign", "weight decay"),
        formulas.adamax,
    ),
    _rmsprop("RMSprop", is_centered=False, has_momentum=False),
    _rmsprop("RMSprop:momentum", is_centered=False, has_momentum=True),
    _rmsprop("RMSprop:centered", is_centered=True, has_momentum=False),
    _rmsprop("RMSprop:centered,momentum", is_centered=True, has_momentum=True),
    Optimizer("Adagrad", ("sum",), ("step size", "initial sum", "eps", "sign", "weight decay"), formulas.adagrad),
    Optimizer(
        "Adadelta",
        ("square_avg", "acc_delta"),
        ("lr", "rho", "1 - rho", "eps", "sign", "weight decay"),
        formulas.adadelta,
    ),
    Optimizer(
        "Rprop",
        ("prev", "step_size"),
        ("eta minus", "eta plus", "least step", "largest step", "lr", "is first step", "sign"),
        formulas.rprop,
    ),
    Optimizer(
        "Lion",
        ("exp_avg",),
        ("lr", "beta1", "1 - beta1", "beta2", "1 - beta2", "sign", "kept"),
        formulas.lion,
        in_torch=False,
    ),
)  # fmt: skip
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


@inlined_kernel
def update_spans(
    optimizer: int, scalars: Array, spans: Array, first: int, stop: int, parameter: Pointer, grad: Pointer,
    state: Pointer, size: int,
) -> None:  # fmt: skip
    """Step those of the parameters from ``first`` to ``stop`` that are in a span, each with its row of scalars.

    ``size`` is that of a vector of the state. What a span begins with makes no difference to a bit.
    """
    for span in range(spans.shape[0]):
        begin, end = max(first, spans[span, 0]), min(stop, spans[span, 1])
        if begin < end:
            own, place = pointer(scalars[spans[span, 2]]), spans[span, 3] + begin - spans[span, 0]
            update(
                optimizer, end - begin, own, shift(parameter, begin), shift(grad, begin), shift(state, place), size
            )  # fmt: skip


@kernel
def step_runs(optimizer: int, step: int, scalars: Array, runs: Array, state: Array) -> None:
    """Do one step of parameters that lie in runs, wherever in memory.

    Parameters
    ----------
    optimizer : int
        Its code.
    step : int
        Which of the steps that there are ``scalars`` for.
    scalars : array of shape (steps, rows, scalars), read
        Each row in the order of the optimiser's row.
    runs : array of int64, shape (runs, 5), read
        For each run the addresses of its first parameter and of that one's gradient, the number of parameters, their
        row of scalars, and where their part of the state begins.
    state : array of shape (vectors, any), read and written
        Of the parameters' dtype.
    """
    start, size = pointer(state), state.shape[1]
    for run in range(runs.shape[0]):
        own = pointer(scalars[step, runs[run, 3]])
        p, g = pointer_at(start, runs[run, 0]), pointer_at(start, runs[run, 1])
        update(optimizer, runs[run, 2], own, p, g, shift(start, runs[run, 4]), size)


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
