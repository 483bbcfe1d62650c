"""Jacobians: the derivatives of all outputs of a network with respect to all inputs of a row."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastbp.autograd import Tensor, enable_grad, grad, tensor
from fastbp.engine.plan import Plan, plan_of
from fastbp.nn.module import Module
from fastbp.runtime.model_lock import read
from fastbp.runtime.threads import whole_or_shared
from fastbp.validation.arrays import Array, aligned_zeros, require_floats
from fastbp.validation.outputs import require_one_output
from fastbp_kernels.network.chain import chain_backward, chain_forward
from fastbp_kernels.parallel.barrier import SYNC_SIZE

_BLOCK_ROWS = 512  # that pass through the network together, so that memory does not grow with the rows


def jacobian(model: Module, inputs: Array) -> Array:
    """Return the Jacobian of a model's outputs for each row of inputs.

    It is that of ``model.predict``, which drops nothing. Rows are taken to be independent of each other. Gradients of
    the parameters stay as they are. A model of ``Linear`` layers and activations runs in the compiled engine, and may
    be asked by any number of threads; any other module by module, in one forward and a backward for each output.

    Parameters
    ----------
    model : Module
    inputs : ndarray of shape (n, in_features)
        In the model's dtype.

    Returns
    -------
    ndarray of shape (n, out_features, in_features)
        ``[row, o, i]`` is the derivative of output ``o`` with respect to input ``i``, as
        ``torch.func.vmap(torch.func.jacrev(model))(inputs)``.

    Raises
    ------
    TypeError, ValueError
        For inputs that are not of that shape or dtype, and models whose outputs are not of shape (n, out_features).
    """
    if not isinstance(model, Module):
        raise TypeError(f"jacobian takes a fastbp.nn.Module, got {type(model).__name__}")
    require_floats(inputs, "jacobian")
    if inputs.ndim != 2:
        remedy = "; pass inputs[None] for one row" if inputs.ndim == 1 else ""
        raise ValueError(f"jacobian takes inputs of shape (n, in_features), got {inputs.shape}{remedy}")
    plan = plan_of(model)
    if isinstance(plan, Plan) and plan.is_linear and not plan.own_methods:
        return _by_the_engine(plan, inputs)
    return _by_modules(model, inputs)


def _by_the_engine(plan: Plan, inputs: Array) -> Array:
    rows = plan.first._checked(inputs)

    def compute() -> Array:
        result = np.empty((len(rows), plan.out_features, rows.shape[1]), plan.dtype)
        for start in range(0, len(rows), _BLOCK_ROWS):
            _fill_block(plan, rows[start : start + _BLOCK_ROWS], result[start : start + _BLOCK_ROWS])
        return result

    return read(plan.lock, compute)


def _fill_block(plan: Plan, rows: Array, result: Array) -> None:
    """Write the Jacobian of some rows by one forward and a backward for each output."""
    n = len(rows)
    layers, size = plan.layout(n, padded=False)
    memory, unused = aligned_zeros(size, plan.dtype), np.zeros_like(plan.grad)  # gradients of the parameters
    output, grad_input = np.empty((n, plan.out_features), plan.dtype), np.empty_like(rows)
    forward = whole_or_shared(plan.flop * n, partial(chain_forward, 0, 1), chain_forward)
    backward = whole_or_shared(4 * plan.parameter.size * n, partial(chain_backward, 0, 1), chain_backward)
    forward(layers, plan.parameter, plan.scalars, memory, rows, output)
    sync = np.zeros(SYNC_SIZE, np.int64)
    for column in range(plan.out_features):
        backward(
            sync, layers, plan.parameter, plan.scalars, unused, memory, rows, output, _one_hot(output, column),
            grad_input, True,
        )  # fmt: skip
        result[:, column] = grad_input


def _by_modules(model: Module, inputs: Array) -> Array:
    in_training = [module for module in model.modules() if module.training]
    passes = [(vars(module), module._last_pass) for module in model.modules()]
    start = tensor(inputs, requires_grad=True)
    try:
        model.eval()
        with enable_grad():
            output = model(start)
    finally:
        for module in in_training:
            module.training = True
        for attributes, last_pass in passes:
            attributes["_last_pass"] = last_pass
    require_one_output("jacobian", model, output)
    if not isinstance(output, Tensor) or not output.requires_grad:
        raise RuntimeError(
            f"jacobian goes back through the outputs of {type(model).__name__}, and got numbers that do not tell how "
            "they were computed; leave numpy.asarray, numpy.array and detach out of its forward"
        )
    if output.ndim != 2 or len(output) != len(inputs):
        raise ValueError(f"jacobian takes a model with outputs of shape (n, out_features), got {output.shape}")
    result = np.empty((len(inputs), output.shape[1], inputs.shape[1]), inputs.dtype)
    for column in range(output.shape[1]):
        (result[:, column],) = grad(output, start, _one_hot(output, column), retain_graph=True)
    return result


def _one_hot(output: Array, column: int) -> Array:
    """Return the gradient of one column of outputs."""
    grad_output = np.zeros(output.shape, output.dtype)
    grad_output[:, column] = 1
    return grad_output
