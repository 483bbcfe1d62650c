"""What the outputs of a network become at the end: probabilities, or expected counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastbp.validation.arrays import Array
from fastbp_kernels import exp_forward, sigmoid_forward, softmax_forward, tanh_forward


def _identity(outputs: Array, out: Array) -> None:
    """Leave the outputs as they are."""


def _relu(outputs: Array, out: Array) -> None:
    np.maximum(outputs, 0, out=out)


_KERNELS: dict[str, Callable[[Array, Array], None]] = {
    "identity": _identity,
    "softmax": softmax_forward,
    "logistic": sigmoid_forward,
    "exp": exp_forward,
    "tanh": tanh_forward,
    "relu": _relu,
}


def apply_output(name: str, outputs: Array) -> Array:
    """Write the function ``name`` of ``outputs`` (n, o) in their place, and return them.

    Parameters
    ----------
    name : str
        What scikit-learn's ``out_activation_`` may be: "identity", "logistic", "softmax", "exp", "tanh" or "relu".
    outputs : ndarray of shape (n, o)
        C-contiguous, of float32 or float64.

    Raises
    ------
    KeyError
        For another name, as in scikit-learn.
    """
    _KERNELS[name](outputs, outputs)
    return outputs
