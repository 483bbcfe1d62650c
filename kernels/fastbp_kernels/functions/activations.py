"""The registry of activations, and their kernels.

A network's table names an activation by its place in ``ACTIVATIONS``. Cheap functions run in the tile's epilogue; all
others in one loop over the rows just written, by ``activate`` and ``times_derivative``. ``OWN`` is a function of the
user's: the table has the addresses of its loops (see ``compiler.callbacks``).

Every public kernel takes C-contiguous arrays of one shape and dtype; ``output`` may be ``input``, and ``grad_input``
may be ``grad_output``. ``activation_forward`` and ``activation_backward`` serve all rows; the first rows have kernels
of their own besides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.elementwise import VectorFunction, elementwise1, elementwise2, emit_loops
from fastbp_kernels.compiler.intrinsics import Context, Definition, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.pointers import Array, pointer
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.switch import emit_switch
from fastbp_kernels.compiler.vectors import INT64, vectors_of
from fastbp_kernels.functions import elementary, gelu, piecewise, smooth, tile_formulas


class Activation(NamedTuple):
    """A row of the registry.

    Attributes
    ----------
    name : str
        That of its class in ``fastbp.nn``, with what distinguishes forms of one class behind a colon.
    value : callable
        ``value(v, x, *scalars)`` emits the function of vectors.
    times_derivative : callable
        ``times_derivative(v, grad, saved, *scalars)`` emits ``grad`` times the derivative, from what ``saves`` names.
    saves : "output" or "input"
        Of which the derivative is a function. Only one that the tile applies may be one of the output.
    value_in_tile, derivative_in_tile : bool
        Whether the tile applies them; a derivative there is one of the output, and neither takes scalars.
    flop : int
        Operations of matrix products that take as long as one value.
    scalars : tuple of str
        Numbers that both formulas take, up to ``ACTIVATION_SCALARS`` of them, in every lane.
    """

    name: str
    value: VectorFunction
    times_derivative: VectorFunction
    saves: Literal["output", "input"] = "output"
    value_in_tile: bool = False
    derivative_in_tile: bool = False
    flop: int = 0
    scalars: tuple[str, ...] = ()


ACTIVATIONS = (
    Activation("Identity", lambda v, x: x, lambda v, grad, saved: grad),
    Activation("ReLU", tile_formulas.relu, tile_formulas.times_relu_derivative, "output", True, True),
    Activation("Tanh", elementary.tanh, tile_formulas.times_tanh_derivative, "output", False, True, 50),
    Activation("Sigmoid", elementary.sigmoid, tile_formulas.times_sigmoid_derivative, "output", False, True, 50),
    Activation("GELU", gelu.gelu, gelu.times_gelu_derivative, "input", flop=150),
    Activation("GELU:tanh", gelu.gelu_tanh, gelu.times_gelu_tanh_derivative, "input", flop=75),
    Activation(
        "LeakyReLU", piecewise.leaky_relu, piecewise.times_leaky_relu_derivative, "input", flop=4,
        scalars=("negative_slope",),
    ),
    Activation(
        "ELU", piecewise.elu, piecewise.times_elu_derivative, "input", flop=50, scalars=("scale", "alpha", "rate")
    ),
    Activation(
        "Hardtanh", piecewise.hardtanh, piecewise.times_hardtanh_derivative, "input", flop=4,
        scalars=("min_val", "max_val"),
    ),
    Activation("Hardsigmoid", piecewise.hardsigmoid, piecewise.times_hardsigmoid_derivative, "input", flop=10),
    Activation("Hardswish", piecewise.hardswish, piecewise.times_hardswish_derivative, "input", flop=10),
    Activation("SiLU", smooth.silu, smooth.times_silu_derivative, "input", flop=50),
    Activation("Mish", smooth.mish, smooth.times_mish_derivative, "input", flop=50),
    Activation(
        "Softplus", smooth.softplus, smooth.times_softplus_derivative, "input", flop=100, scalars=("beta", "threshold")
    ),
    Activation("Softsign", smooth.softsign, smooth.times_softsign_derivative, "input", flop=10),
    Activation("LogSigmoid", smooth.log_sigmoid, smooth.times_log_sigmoid_derivative, "input", flop=100),
)  # fmt: skip
ACTIVATION_CODES = {row.name: code for code, row in enumerate(ACTIVATIONS)}
IDENTITY = ACTIVATION_CODES["Identity"]
OWN = len(ACTIVATIONS)  # the code of a function of the user's


@intrinsic
def activate(
    typing_context: Context, activation: types.Integer, count: types.Integer, x: types.CPointer, out: types.CPointer,
    scalars: types.CPointer,
) -> Definition:  # fmt: skip
    """Write the activation of ``count`` numbers of ``x`` to ``out``, which may be ``x``.

    ``scalars`` are those that its row names.
    """
    return types.void(types.intp, types.intp, x, out, scalars), _ACTIVATE.call(x)


@intrinsic
def times_derivative(
    typing_context: Context, activation: types.Integer, count: types.Integer, grad: types.CPointer,
    saved: types.CPointer, out: types.CPointer, scalars: types.CPointer,
) -> Definition:  # fmt: skip
    """Write ``count`` numbers of ``grad`` times the derivative to ``out``, which may be ``grad``.

    ``saved`` are the activation's outputs or inputs, as its row says.
    """
    return types.void(types.intp, types.intp, grad, saved, out, scalars), _TIMES_DERIVATIVE.call(grad)


def _arguments(arrays: int) -> Callable[[ir.Type], list[ir.Type]]:
    return lambda element: [INT64, INT64, *[element.as_pointer()] * arrays]


def _emit(part: str) -> Callable[[ir.Function, ir.Type], None]:
    """Return what emits the loops of one part of all rows: "value" or "times_derivative"."""

    def emit(function: ir.Function, element: ir.Type) -> None:
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        code, count, *inputs, out, scalars = function.args

        def case(row: Activation) -> None:
            v, formula = vectors_of(builder, element), getattr(row, part)
            numbers = [v.splat(builder.load(builder.gep(scalars, [INT64(k)]))) for k in range(len(row.scalars))]
            emit_loops(v, lambda v, *x: (formula(v, *x, *numbers),), count, inputs, [out])

        emit_switch(builder, code, ACTIVATIONS, case)
        builder.ret_void()

    return emit


_ACTIVATE = NativeFunction("activate", _arguments(3), _emit("value"))
_TIMES_DERIVATIVE = NativeFunction("times_derivative", _arguments(4), _emit("times_derivative"))

relu_loop = elementwise1(tile_formulas.relu)
tanh_loop = elementwise1(elementary.tanh)
sigmoid_loop = elementwise1(elementary.sigmoid)
exp_loop = elementwise1(elementary.exp)
gelu_loop = elementwise1(gelu.gelu)
gelu_tanh_loop = elementwise1(gelu.gelu_tanh)
relu_derivative_loop = elementwise2(tile_formulas.times_relu_derivative)
tanh_derivative_loop = elementwise2(tile_formulas.times_tanh_derivative)
sigmoid_derivative_loop = elementwise2(tile_formulas.times_sigmoid_derivative)
gelu_derivative_loop = elementwise2(gelu.times_gelu_derivative)
gelu_tanh_derivative_loop = elementwise2(gelu.times_gelu_tanh_derivative)

forward_kernel = public_kernel(input=read(), output=written())
backward_kernel = public_kernel(grad_output=read(), output=read(), grad_input=written())
input_backward_kernel = public_kernel(grad_output=read(), input=read(), grad_input=written())


@public_kernel(input=read(), scalars=read("(k,)"), output=written())
def activation_forward(activation: int, input: Array, scalars: Array, output: Array) -> None:
    """Write the activation with this code of ``ACTIVATION_CODES`` to ``output``; ``scalars`` are its row's."""
    activate(activation, output.size, pointer(input), pointer(output), pointer(scalars))


@public_kernel(grad_output=read(), saved=read(), scalars=read("(k,)"), grad_input=written())
def activation_backward(activation: int, grad_output: Array, saved: Array, scalars: Array, grad_input: Array) -> None:
    """Write ``grad_output`` times the derivative to ``grad_input``; ``saved`` is input or output, as the row says."""
    times_derivative(
        activation, saved.size, pointer(grad_output), pointer(saved), pointer(grad_input), pointer(scalars)
    )


@forward_kernel
def relu_forward(input: Array, output: Array) -> None:
    """Write max(input, 0) to ``output``; NaN stays NaN."""
    relu_loop(output.size, pointer(input), pointer(output))


@backward_kernel
def relu_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``grad_output`` to ``grad_input`` where ``output`` is not <= 0, and 0 elsewhere."""
    relu_derivative_loop(output.size, pointer(grad_output), pointer(output), pointer(grad_input))


@forward_kernel
def tanh_forward(input: Array, output: Array) -> None:
    """Write tanh(input) to ``output``, at most 2 ULP off."""
    tanh_loop(output.size, pointer(input), pointer(output))


@backward_kernel
def tanh_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``grad_output * (1 - output**2)`` to ``grad_input``."""
    tanh_derivative_loop(output.size, pointer(grad_output), pointer(output), pointer(grad_input))


@forward_kernel
def sigmoid_forward(input: Array, output: Array) -> None:
    """Write 1 / (1 + exp(-input)) to ``output``, at most 2 ULP off."""
    sigmoid_loop(output.size, pointer(input), pointer(output))


@backward_kernel
def sigmoid_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``grad_output * (1 - output) * output`` to ``grad_input``."""
    sigmoid_derivative_loop(output.size, pointer(grad_output), pointer(output), pointer(grad_input))


@forward_kernel
def gelu_forward(input: Array, output: Array) -> None:
    """Write ``input`` times the normal distribution function of ``input`` to ``output``."""
    gelu_loop(output.size, pointer(input), pointer(output))


@input_backward_kernel
def gelu_backward(grad_output: Array, input: Array, grad_input: Array) -> None:
    """Write ``grad_output`` times the derivative of ``gelu_forward`` at ``input`` to ``grad_input``."""
    gelu_derivative_loop(input.size, pointer(grad_output), pointer(input), pointer(grad_input))


@forward_kernel
def gelu_tanh_forward(input: Array, output: Array) -> None:
    """Write GELU in its tanh form to ``output``: input / 2 * (1 + tanh(sqrt(2 / pi) * (input + 0.044715 input**3)))."""
    gelu_tanh_loop(output.size, pointer(input), pointer(output))


@input_backward_kernel
def gelu_tanh_backward(grad_output: Array, input: Array, grad_input: Array) -> None:
    """Write ``grad_output`` times the derivative of ``gelu_tanh_forward`` at ``input`` to ``grad_input``."""
    gelu_tanh_derivative_loop(input.size, pointer(grad_output), pointer(input), pointer(grad_input))


@forward_kernel
def exp_forward(input: Array, output: Array) -> None:
    """Write exp(input) to ``output``, at most 2 ULP off."""
    exp_loop(output.size, pointer(input), pointer(output))
