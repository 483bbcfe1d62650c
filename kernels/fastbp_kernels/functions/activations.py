"""The registry of activations, and their kernels.

A network's table names an activation by its place in ``ACTIVATIONS``. Cheap functions run in the tile's epilogue; all
others in one loop over the rows just written, by ``activate`` and ``times_derivative``. ``OWN`` is a function of the
user's: the table has the addresses of its loops (see ``compiler.callbacks``).

Every public kernel takes C-contiguous arrays of one shape and dtype; ``output`` may be ``input``, and ``grad_input``
may be ``grad_output``. ``activation_forward`` and ``activation_backward`` serve all rows; the first rows have kernels
of their own besides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.elementwise import VectorFunction, elementwise1, elementwise2, emit_loops
from fastbp_kernels.compiler.intrinsics import Context, Definition, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.pointers import Array, pointer
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.switch import emit_switch
from fastbp_kernels.compiler.vectors import INT64, Vectors, vectors_of
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
    value_and_derivative : callable or None
        ``value_and_derivative(v, x, *scalars)`` emits both, where they have their costs in common: the engine then
        computes them in one pass and keeps the derivative instead of the input.
    """

    name: str
    value: VectorFunction
    times_derivative: VectorFunction
    saves: Literal["output", "input"] = "output"
    value_in_tile: bool = False
    derivative_in_tile: bool = False
    flop: int = 0
    scalars: tuple[str, ...] = ()
    value_and_derivative: Callable[..., tuple[ir.Value, ir.Value]] | None = None


def _joint(
    name: str, formula: Callable[..., tuple[ir.Value, ir.Value]], flop: int, scalars: tuple[str, ...] = ()
) -> Activation:
    """Return the row of a ``value_and_derivative``; LLVM drops the half that a loop has no use for."""

    def value(v: Vectors, x: ir.Value, *numbers: ir.Value) -> ir.Value:
        return formula(v, x, *numbers)[0]

    def times_derivative(v: Vectors, grad: ir.Value, x: ir.Value, *numbers: ir.Value) -> ir.Value:
        return v.builder.fmul(grad, formula(v, x, *numbers)[1])

    return Activation(name, value, times_derivative, "input", False, False, flop, scalars, formula)


ACTIVATIONS = (
    Activation("Identity", lambda v, x: x, lambda v, grad, saved: grad),
    Activation("ReLU", tile_formulas.relu, tile_formulas.times_relu_derivative, "output", True, True),
    Activation("Tanh", elementary.tanh, tile_formulas.times_tanh_derivative, "output", False, True, 50),
    Activation("Sigmoid", elementary.sigmoid, tile_formulas.times_sigmoid_derivative, "output", False, True, 50),
    _joint("GELU", gelu.gelu, 150),
    _joint("GELU:tanh", gelu.gelu_tanh, 75),
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
    _joint("SiLU", smooth.silu, 50),
    _joint("Mish", smooth.mish, 50),
    _joint("Softplus", smooth.softplus, 100, ("beta", "threshold")),
    _joint("Softsign", smooth.softsign, 10),
    _joint("LogSigmoid", smooth.log_sigmoid, 100),
    Activation(
        "Hardshrink", piecewise.hardshrink, piecewise.times_shrink_derivative, "input", flop=4, scalars=("lambd",)
    ),
    Activation(
        "Softshrink", piecewise.softshrink, piecewise.times_shrink_derivative, "input", flop=6, scalars=("lambd",)
    ),
    _joint("Tanhshrink", smooth.tanhshrink, 50),
    Activation(
        "Threshold", piecewise.threshold, piecewise.times_threshold_derivative, "input", flop=4,
        scalars=("threshold", "value"),
    ),
)  # fmt: skip
ACTIVATION_CODES = {row.name: code for code, row in enumerate(ACTIVATIONS)}
IDENTITY = ACTIVATION_CODES["Identity"]
OWN = len(ACTIVATIONS)  # the code of a function of the user's
KEEPS_DERIVATIVE = tuple(row.value_and_derivative is not None for row in ACTIVATIONS)


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
def activate_and_differentiate(
    typing_context: Context, activation: types.Integer, count: types.Integer, x: types.CPointer, out: types.CPointer,
    derivative: types.CPointer, scalars: types.CPointer,
) -> Definition:  # fmt: skip
    """Do ``activate`` and write the derivative to ``derivative``, which may be ``x``, for what ``KEEPS_DERIVATIVE``."""
    return types.void(types.intp, types.intp, x, out, derivative, scalars), _ACTIVATE_AND_DIFFERENTIATE.call(x)


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


def _emit(part: str, inputs: int) -> Callable[[ir.Function, ir.Type], None]:
    """Return what emits the loops of one part of all rows that have it: of "value", which takes 1 input, or another."""

    def emit(function: ir.Function, element: ir.Type) -> None:
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        code, count, *arrays, scalars = function.args

        def case(row: Activation) -> None:
            v, formula = vectors_of(builder, element), getattr(row, part)
            if formula is None:
                return
            numbers = [v.splat(builder.load(builder.gep(scalars, [INT64(k)]))) for k in range(len(row.scalars))]

            def outcome(v: Vectors, *x: ir.Value) -> Sequence[ir.Value]:
                result = formula(v, *x, *numbers)
                return result if isinstance(result, tuple) else (result,)

            emit_loops(v, outcome, count, arrays[:inputs], arrays[inputs:])

        emit_switch(builder, code, ACTIVATIONS, case)
        builder.ret_void()

    return emit


_ACTIVATE = NativeFunction("activate", _arguments(3), _emit("value", 1))
_ACTIVATE_AND_DIFFERENTIATE = NativeFunction(
    "activate_and_differentiate", _arguments(4), _emit("value_and_derivative", 1)
)
_TIMES_DERIVATIVE = NativeFunction("times_derivative", _arguments(4), _emit("times_derivative", 2))

_GELU, _GELU_TANH = (ACTIVATIONS[ACTIVATION_CODES[name]] for name in ("GELU", "GELU:tanh"))

relu_loop = elementwise1(tile_formulas.relu)
tanh_loop = elementwise1(elementary.tanh)
sigmoid_loop = elementwise1(elementary.sigmoid)
exp_loop = elementwise1(elementary.exp)
gelu_loop = elementwise1(_GELU.value)
gelu_tanh_loop = elementwise1(_GELU_TANH.value)
relu_derivative_loop = elementwise2(tile_formulas.times_relu_derivative)
tanh_derivative_loop = elementwise2(tile_formulas.times_tanh_derivative)
sigmoid_derivative_loop = elementwise2(tile_formulas.times_sigmoid_derivative)
gelu_derivative_loop = elementwise2(_GELU.times_derivative)
gelu_tanh_derivative_loop = elementwise2(_GELU_TANH.times_derivative)

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
