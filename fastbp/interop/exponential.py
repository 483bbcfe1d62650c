"""The exponential of the outputs, by which a regressor of counts predicts them."""

from __future__ import annotations

import numpy as np

from fastbp.nn.module import Module
from fastbp.validation.arrays import Array, plain, require_floats
from fastbp_kernels import exp_forward


class Exponential(Module):
    """``exp(x)``, for predictions only: a training has it in its loss."""

    def forward(self, input: Array) -> Array:
        """Return the exponential of ``input`` in a new array."""
        input = plain(require_floats(input, "Exponential"))
        output = np.empty_like(input)
        exp_forward(input, output)
        return output
