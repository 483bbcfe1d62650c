"""What the outputs of a network become at the end: probabilities, or expected counts."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from fastbp.validation.arrays import Array


def apply_output(name: str, outputs: Array) -> Array:
    """Write the function ``name`` of ``outputs`` (n, o) in their place, and return them.

    It is "identity", "logistic", "softmax" or "exp", as scikit-learn's ``out_activation_`` tells.
    """
    if name == "softmax":
        outputs -= outputs.max(axis=1, keepdims=True)
        np.exp(outputs, out=outputs)
        outputs /= outputs.sum(axis=1, keepdims=True)
    elif name == "logistic":
        expit(outputs, out=outputs)
    elif name == "exp":
        np.exp(outputs, out=outputs)
    return outputs
