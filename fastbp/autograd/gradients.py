"""Gradients of outputs with respect to chosen inputs, without adding to ``grad``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.autograd.backward import run_backward
from fastbp.autograd.functions import unwrap
from fastbp.autograd.tensor import Tensor, root_gradient
from fastbp.validation.arrays import Array


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Array | None, ...]:
    """Return the gradients of the sum of ``outputs`` with respect to each of ``inputs``, as ``torch.autograd.grad``.

    Nothing is added to the ``grad`` of leaves and parameters.

    Parameters
    ----------
    outputs : Tensor or sequence of Tensor
    inputs : Tensor, parameter, or sequence of them
        Leaves, or tensors that the outputs were computed from.
    grad_outputs : array, sequence of (array or None), or None
        The gradient with respect to each output; None stands for 1, for outputs of one element.
    retain_graph : bool
        Whether another backward will go through the same operations.
    allow_unused : bool
        Whether None is returned for an input that the outputs do not depend on; otherwise it raises RuntimeError.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    elif len(outputs) == 1 and not isinstance(grad_outputs, list | tuple):
        grad_outputs = [grad_outputs]
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"grad takes a gradient for each output, got {len(grad_outputs)} for {len(outputs)}")
    is_one = isinstance(inputs, Tensor) or hasattr(inputs, "autograd_leaf")
    targets = [unwrap(input)[1] for input in ([inputs] if is_one else inputs)]
    for position, target in enumerate(targets):
        if target is None:
            raise RuntimeError(f"grad takes inputs that require a gradient, but input {position} does not")
    roots, firsts = zip(*(root_gradient(output, first, "grad") for output, first in zip(outputs, grad_outputs)))
    found = run_backward(roots, firsts, retain_graph, targets)  # type: ignore[arg-type]
    if not allow_unused and any(gradient is None for gradient in found):
        position = next(index for index, gradient in enumerate(found) if gradient is None)
        raise RuntimeError(
            f"grad found no way from the outputs to input {position}; leave it out, or set allow_unused=True"
        )
    return tuple(None if gradient is None else np.array(gradient) for gradient in found)
