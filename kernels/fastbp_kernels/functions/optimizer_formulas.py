"""The steps of the optimisers, on vectors, in the order of operations of ``torch.optim``.

Except for two things: a division by what is the same for all parameters is a product, and two divisions by the same
number are one.

Each takes ``(v, scalars, parameter, grad, *state)`` and returns parameter and state after the step. "sign" is -1 where
the objective is maximised, "kept" what a decoupled weight decay leaves of a parameter, and a flag is 0 or 1.

Where a gradient stays 0, as behind a rectifier that never opens again, averages of it fade to subnormal numbers, with
which CPUs take a hundred times as long, and stay there. So an average (``_average``) fades to 0, and one of squares
(``_average_of_squares``), by whose root something may be divided, to a small number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from fastbp_kernels.compiler.intrinsics import Values
from fastbp_kernels.compiler.vectors import Vectors
from fastbp_kernels.functions import tile_formulas
from fastbp_kernels.functions.elementary import at_least

Formula = Callable[..., Sequence[ir.Value]]

_FADED = {4: 2.0**-120, 8: 2.0**-1010}  # times a usual factor of an average they are not subnormal yet


def sgd(v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value) -> Sequence[ir.Value]:
    (lr,) = scalars
    return (tile_formulas.sgd(v, lr, parameter, grad),)


def sgd_decay(v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value) -> Sequence[ir.Value]:
    lr, sign, decay = scalars
    return (tile_formulas.sgd(v, lr, parameter, _decayed(v, sign, decay, parameter, grad)),)


def sgd_momentum(
    v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, momentum_buffer: ir.Value
) -> Sequence[ir.Value]:
    """Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013."""
    b = v.builder
    lr, sign, decay, momentum, new, is_nesterov, is_first = scalars
    grad = _decayed(v, sign, decay, parameter, grad)
    moved = _average(v, v.fma(new, grad, b.fmul(momentum, momentum_buffer)))
    moved = b.select(_is_set(v, is_first), grad, moved)
    step = b.select(_is_set(v, is_nesterov), v.fma(momentum, moved, grad), moved)
    has_momentum = _is_set(v, momentum)  # another group may have it, and this one not
    return (
        tile_formulas.sgd(v, lr, parameter, b.select(has_momentum, step, grad)),
        b.select(has_momentum, moved, momentum_buffer),
    )


def adam(
    v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, exp_avg: ir.Value, exp_avg_sq: ir.Value,
    max_exp_avg_sq: ir.Value | None = None,
) -> Sequence[ir.Value]:  # fmt: skip
    """Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015; with a third vector amsgrad.

    Decoupled weight decay is Loshchilov and Hutter, 2019; amsgrad Reddi et al., "On the Convergence of Adam", 2018.
    """
    b = v.builder
    new1, keep2, new2, step_size, root_correction, eps, sign, decay, kept, is_amsgrad = scalars
    grad = _decayed(v, sign, decay, parameter, grad)
    parameter = b.fmul(parameter, kept)
    exp_avg = _average(v, v.fma(new1, b.fsub(grad, exp_avg), exp_avg))
    exp_avg_sq = _average_of_squares(v, v.fma(b.fmul(new2, grad), grad, b.fmul(keep2, exp_avg_sq)))
    state, square = [exp_avg, exp_avg_sq], exp_avg_sq
    if max_exp_avg_sq is not None:
        largest = v.larger(max_exp_avg_sq, exp_avg_sq)  # NaN comes by exp_avg_sq, which stays NaN
        state.append(largest)
        square = b.select(_is_set(v, is_amsgrad), largest, exp_avg_sq)
    denominator = v.fma(v.sqrt(square), b.fdiv(v.constant(1.0), root_correction), eps)
    parameter = v.fma(b.fneg(step_size), b.fdiv(exp_avg, denominator), parameter)
    return parameter, *state


def nadam(
    v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, exp_avg: ir.Value, exp_avg_sq: ir.Value
) -> Sequence[ir.Value]:
    """Dozat, "Incorporating Nesterov Momentum into Adam", 2016."""
    b = v.builder
    new1, keep2, new2, correction2, grad_step, avg_step, eps, sign, decay, kept = scalars
    grad = _decayed(v, sign, decay, parameter, grad)
    parameter = b.fmul(parameter, kept)
    exp_avg = _average(v, v.fma(new1, b.fsub(grad, exp_avg), exp_avg))
    exp_avg_sq = _average_of_squares(v, v.fma(b.fmul(new2, grad), grad, b.fmul(keep2, exp_avg_sq)))
    denominator = b.fadd(v.sqrt(b.fmul(exp_avg_sq, b.fdiv(v.constant(1.0), correction2))), eps)
    step = v.fma(grad_step, grad, b.fmul(avg_step, exp_avg))
    return b.fsub(parameter, b.fdiv(step, denominator)), exp_avg, exp_avg_sq


def radam(
    v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, exp_avg: ir.Value, exp_avg_sq: ir.Value
) -> Sequence[ir.Value]:
    """Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020."""
    b = v.builder
    new1, keep2, new2, step_size, is_rectified, eps, sign, decay, kept = scalars
    grad = _decayed(v, sign, decay, parameter, grad)
    parameter = b.fmul(parameter, kept)
    exp_avg = _average(v, v.fma(new1, b.fsub(grad, exp_avg), exp_avg))
    exp_avg_sq = _average_of_squares(v, v.fma(b.fmul(new2, grad), grad, b.fmul(keep2, exp_avg_sq)))
    denominator = b.select(_is_set(v, is_rectified), b.fadd(v.sqrt(exp_avg_sq), eps), v.constant(1.0))
    parameter = v.fma(b.fneg(step_size), b.fdiv(exp_avg, denominator), parameter)
    return parameter, exp_avg, exp_avg_sq


def adamax(
    v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, exp_avg: ir.Value, exp_inf: ir.Value
) -> Sequence[ir.Value]:
    """Kingma and Ba, 2015, section 7.1."""
    b = v.builder
    new1, keep2, step_size, eps, sign, decay = scalars
    grad = _decayed(v, sign, decay, parameter, grad)
    exp_avg = _average(v, v.fma(new1, b.fsub(grad, exp_avg), exp_avg))
    exp_inf = _maximum(v, b.fmul(exp_inf, keep2), b.fadd(v.absolute(grad), eps))
    parameter = v.fma(b.fneg(step_size), b.fdiv(exp_avg, exp_inf), parameter)
    return parameter, exp_avg, exp_inf


def rmsprop(*, is_centered: bool, has_momentum: bool) -> Formula:
    """Return the formula with the vectors that it needs: square_avg, momentum_buffer, grad_avg in this order.

    Tieleman and Hinton, 2012; centered as in Graves, "Generating Sequences With Recurrent Neural Networks", 2013.
    """

    def formula(
        v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, square_avg: ir.Value, *others: ir.Value
    ) -> Sequence[ir.Value]:
        b = v.builder
        lr, keep, new, eps, momentum, centers, sign, decay = scalars
        grad = _decayed(v, sign, decay, parameter, grad)
        square_avg = _average_of_squares(v, v.fma(b.fmul(new, grad), grad, b.fmul(keep, square_avg)))
        state, square = [square_avg], square_avg
        if is_centered:
            grad_avg = others[-1]
            grad_avg = _average(v, v.fma(new, b.fsub(grad, grad_avg), grad_avg))
            square = b.select(_is_set(v, centers), v.fma(b.fneg(grad_avg), grad_avg, square_avg), square_avg)
            state.append(grad_avg)
        step = b.fdiv(grad, b.fadd(v.sqrt(square), eps))
        if has_momentum:
            step = _average(v, b.fadd(b.fmul(momentum, others[0]), step))
            state.insert(1, step)
        return v.fma(b.fneg(lr), step, parameter), *state

    return formula


def adagrad(v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, total: ir.Value) -> Sequence[ir.Value]:
    """Duchi et al., "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", 2011."""
    b = v.builder
    step_size, initial, eps, sign, decay = scalars
    grad = _decayed(v, sign, decay, parameter, grad)
    total = v.fma(grad, grad, b.fadd(total, initial))
    parameter = v.fma(b.fneg(step_size), b.fdiv(grad, b.fadd(v.sqrt(total), eps)), parameter)
    return parameter, total


def adadelta(
    v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, square_avg: ir.Value, acc_delta: ir.Value
) -> Sequence[ir.Value]:
    """Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012."""
    b = v.builder
    lr, keep, new, eps, sign, decay = scalars
    grad = _decayed(v, sign, decay, parameter, grad)
    square_avg = _average_of_squares(v, v.fma(b.fmul(new, grad), grad, b.fmul(keep, square_avg)))
    ratio = b.fdiv(v.sqrt(b.fadd(acc_delta, eps)), v.sqrt(b.fadd(square_avg, eps)))
    delta = b.fmul(ratio, grad)
    acc_delta = _average_of_squares(v, v.fma(b.fmul(new, delta), delta, b.fmul(keep, acc_delta)))
    return v.fma(b.fneg(lr), delta, parameter), square_avg, acc_delta


def rprop(
    v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, prev: ir.Value, step_size: ir.Value
) -> Sequence[ir.Value]:
    """Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning", 1993."""
    b, zero, one = v.builder, v.constant(0.0), v.constant(1.0)
    eta_minus, eta_plus, least, most, initial, is_first, sign = scalars
    grad = b.fmul(grad, sign)
    product = b.fmul(grad, prev)
    turns = b.fcmp_ordered("<", product, zero)
    factor = b.select(b.fcmp_ordered("==", product, zero), one, product)  # NaN stays
    factor = b.select(turns, eta_minus, b.select(b.fcmp_ordered(">", product, zero), eta_plus, factor))
    step_size = b.fmul(b.select(_is_set(v, is_first), initial, step_size), factor)
    step_size = b.select(b.fcmp_ordered("<", step_size, least), least, step_size)
    step_size = b.select(b.fcmp_ordered(">", step_size, most), most, step_size)
    grad = b.select(turns, zero, grad)
    direction = b.select(b.fcmp_ordered("<", grad, zero), v.constant(-1.0), zero)
    direction = b.select(b.fcmp_ordered(">", grad, zero), one, direction)
    return v.fma(b.fneg(direction), step_size, parameter), grad, step_size


def lion(v: Vectors, scalars: Values, parameter: ir.Value, grad: ir.Value, exp_avg: ir.Value) -> Sequence[ir.Value]:
    """Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2."""
    b = v.builder
    lr, keep1, new1, keep2, new2, sign, kept = scalars
    grad = b.fmul(grad, sign)
    direction = _sign(v, v.fma(keep1, exp_avg, b.fmul(new1, grad)))
    exp_avg = v.fma(keep2, exp_avg, b.fmul(new2, grad))
    least = b.fmul(_sign(v, exp_avg), v.constant(_FADED[v.bytes]))  # a step is as long as ever, however small that is
    exp_avg = b.select(b.fcmp_ordered("<", v.absolute(exp_avg), v.constant(_FADED[v.bytes])), least, exp_avg)
    return v.fma(b.fneg(lr), direction, b.fmul(parameter, kept)), exp_avg


def _sign(v: Vectors, x: ir.Value) -> ir.Value:
    """Return 1 or -1, and what is neither above nor below 0 as it is: 0 or NaN."""
    b, zero = v.builder, v.constant(0.0)
    negative = b.select(b.fcmp_ordered("<", x, zero), v.constant(-1.0), x)
    return b.select(b.fcmp_ordered(">", x, zero), v.constant(1.0), negative)


def _decayed(v: Vectors, sign: ir.Value, decay: ir.Value, parameter: ir.Value, grad: ir.Value) -> ir.Value:
    """Return the gradient, turned where the objective is maximised, and ``decay`` times the parameter added."""
    b = v.builder
    grad = b.fmul(grad, sign)
    return b.select(_is_set(v, decay), v.fma(decay, parameter, grad), grad)  # 0 * infinity would be NaN


def _average(v: Vectors, x: ir.Value) -> ir.Value:
    """Return x, or 0 where it has faded."""
    b = v.builder
    return b.select(b.fcmp_ordered("<", v.absolute(x), v.constant(_FADED[v.bytes])), v.constant(0.0), x)


def _average_of_squares(v: Vectors, x: ir.Value) -> ir.Value:
    """Return x, which is 0 or more, and if it is more at the least what has faded."""
    zero = v.constant(0.0)
    return v.builder.select(v.builder.fcmp_unordered("!=", x, zero), at_least(v, x, _FADED[v.bytes]), zero)


def _is_set(v: Vectors, number: ir.Value) -> ir.Value:
    return v.builder.fcmp_unordered("!=", number, v.constant(0.0))


def _maximum(v: Vectors, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return the larger one, or NaN if one is."""
    b = v.builder
    larger = b.select(b.fcmp_ordered(">", x, y), x, y)
    return b.select(b.fcmp_unordered("uno", x, x), x, larger)
