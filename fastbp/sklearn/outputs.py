"""What the outputs of a network become at the end: probabilities, or expected counts."""

from __future__ import annotations

from collections.abc import Callable

from fastbp.validation.arrays import Array
from fastbp_kernels import exp_forward, sigmoid_forward, softmax_forward

_KERNELS: dict[str, Callable[[Array, Array], None]] = {
    "softmax": softmax_forward,
    "logistic": sigmoid_forward,
    "exp": exp_forward,
}


def apply_output(name: str, outputs: Array) -> Array:
    """Write the function ``name`` of ``outputs`` (n, o) in their place, and return them.

    Parameters
    ----------
    name : str
        "identity", "logistic", "softmax" or "exp", as scikit-learn's ``out_activation_`` tells.
    outputs : ndarray of shape (n, o)
        C-contiguous, of float32 or float64.
    """
    if name != "identity":
        _KERNELS[name](outputs, outputs)
    return outputs
