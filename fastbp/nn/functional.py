"""Functions with the names and meanings of ``torch.nn.functional``, for a ``forward`` or a loss of one's own.

Each computes what the module or the loss of its name does, with the same kernels, bits and checks, and is recorded.
Functions of NumPy do for the rest: ``numpy.maximum``, ``numpy.where``, ``input @ weight.T``.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.autograd.tensor import Tensor
from fastbp.nn import activations, losses
from fastbp.nn.dropout import AlphaDropout, Dropout
from fastbp.nn.glu import GLU
from fastbp.nn.module import Module
from fastbp.nn.softmax import LogSoftmax, Softmax
from fastbp.validation.arrays import Array, RandomSource
from fastbp.validation.missing import missing

__all__ = [
    "alpha_dropout",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "cross_entropy",
    "dropout",
    "elu",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "mish",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "poisson_nll_loss",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
]

_MOST_MODULES = 64  # of one thread, before those with other settings are built anew


class _OfThread(threading.local):
    """The modules and losses that a thread's calls go to: their buffers are used again."""

    def __init__(self) -> None:
        self.modules: dict[Any, Any] = {}


_of_thread = _OfThread()


def _call(kind: type, inputs: tuple[Any, ...], *settings: Any, **named: Any) -> Tensor:
    """Return what a module or loss with these settings computes, and let only the output refer to the pass."""
    modules = _of_thread.modules
    key = (kind, settings, tuple(map(type, settings)), tuple(named.items()))  # 1 and True are not the same
    try:
        module = modules.get(key)
    except TypeError:  # with an array of weights
        return kind(*settings, **named).forward(*inputs)  # type: ignore[no-any-return]
    if module is None:
        if len(modules) >= _MOST_MODULES:
            modules.clear()
        module = modules[key] = kind(*settings, **named)
    output: Tensor = module.forward(*inputs)
    vars(module)["_last_pass" if isinstance(module, Module) else "_last"] = None
    return output


def relu(input: Array, inplace: bool = False) -> Tensor:
    """Return ``max(x, 0)`` of each number, as ``nn.ReLU``."""
    return _call(activations.ReLU, (input,), inplace)


def relu6(input: Array, inplace: bool = False) -> Tensor:
    """Return ``min(max(x, 0), 6)`` of each number, as ``nn.ReLU6``."""
    return _call(activations.ReLU6, (input,), inplace)


def elu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return ``x`` where it is above 0, else ``alpha * (exp(x) - 1)``, as ``nn.ELU``."""
    return _call(activations.ELU, (input,), alpha, inplace)


def selu(input: Array, inplace: bool = False) -> Tensor:
    """Return the scaled exponential linear unit of each number, as ``nn.SELU``."""
    return _call(activations.SELU, (input,), inplace)


def celu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return the continuously differentiable exponential linear unit of each number, as ``nn.CELU``."""
    return _call(activations.CELU, (input,), alpha, inplace)


def leaky_relu(input: Array, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Return ``x`` where it is above 0, else ``negative_slope * x``, as ``nn.LeakyReLU``."""
    return _call(activations.LeakyReLU, (input,), negative_slope, inplace)


def gelu(input: Array, approximate: str = "none") -> Tensor:
    """Return the Gaussian error linear unit of each number, as ``nn.GELU``."""
    return _call(activations.GELU, (input,), approximate)


def silu(input: Array, inplace: bool = False) -> Tensor:
    """Return ``x * sigmoid(x)`` of each number, as ``nn.SiLU``."""
    return _call(activations.SiLU, (input,), inplace)


def mish(input: Array, inplace: bool = False) -> Tensor:
    """Return ``x * tanh(softplus(x))`` of each number, as ``nn.Mish``."""
    return _call(activations.Mish, (input,), inplace)


def softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return ``log(1 + exp(beta * x)) / beta``, or ``x`` where ``beta * x`` is above ``threshold``: ``nn.Softplus``."""
    return _call(activations.Softplus, (input,), beta, threshold)


def softsign(input: Array) -> Tensor:
    """Return ``x / (1 + |x|)`` of each number, as ``nn.Softsign``."""
    return _call(activations.Softsign, (input,))


def logsigmoid(input: Array) -> Tensor:
    """Return ``log(sigmoid(x))`` of each number, as ``nn.LogSigmoid``."""
    return _call(activations.LogSigmoid, (input,))


def hardtanh(input: Array, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """Return each number, or the nearer of two limits where it is beyond them, as ``nn.Hardtanh``."""
    return _call(activations.Hardtanh, (input,), min_val, max_val, inplace)


def hardsigmoid(input: Array, inplace: bool = False) -> Tensor:
    """Return ``x / 6 + 1 / 2`` of each number, kept within 0 and 1, as ``nn.Hardsigmoid``."""
    return _call(activations.Hardsigmoid, (input,), inplace)


def hardswish(input: Array, inplace: bool = False) -> Tensor:
    """Return ``x * hardsigmoid(x)`` of each number, as ``nn.Hardswish``."""
    return _call(activations.Hardswish, (input,), inplace)


def hardshrink(input: Array, lambd: float = 0.5) -> Tensor:
    """Return each number, or 0 where it is within ``lambd`` of 0, as ``nn.Hardshrink``."""
    return _call(activations.Hardshrink, (input,), lambd)


def softshrink(input: Array, lambd: float = 0.5) -> Tensor:
    """Return each number nearer to 0 by ``lambd``, or 0, as ``nn.Softshrink``."""
    return _call(activations.Softshrink, (input,), lambd)


def tanhshrink(input: Array) -> Tensor:
    """Return ``x - tanh(x)`` of each number, as ``nn.Tanhshrink``."""
    return _call(activations.Tanhshrink, (input,))


def threshold(input: Array, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Return each number above ``threshold``, and ``value`` for the others, as ``nn.Threshold``."""
    return _call(activations.Threshold, (input,), threshold, value, inplace)


def sigmoid(input: Array) -> Tensor:
    """Return ``1 / (1 + exp(-x))`` of each number, as ``nn.Sigmoid``."""
    return _call(activations.Sigmoid, (input,))


def tanh(input: Array) -> Tensor:
    """Return the hyperbolic tangent of each number, as ``nn.Tanh``."""
    return _call(activations.Tanh, (input,))


def glu(input: Array, dim: int = -1) -> Tensor:
    """Return the first half along an axis times the sigmoid of the second, as ``nn.GLU``."""
    return _call(GLU, (input,), dim)


def softmax(input: Array, dim: int | None = None) -> Tensor:
    """Return ``exp(x) / sum(exp(x))`` along an axis, as ``nn.Softmax``."""
    return _call(Softmax, (input,), dim)


def log_softmax(input: Array, dim: int | None = None) -> Tensor:
    """Return ``x - log(sum(exp(x)))`` along an axis, as ``nn.LogSoftmax``."""
    return _call(LogSoftmax, (input,), dim)


def dropout(
    input: Array, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: RandomSource = None
) -> Tensor:
    """Set numbers to zero with probability ``p`` and scale the others, as ``nn.Dropout``; see there for ``rng``."""
    return Dropout(p, inplace, rng=rng).train(training).forward(input)  # type: ignore[return-value]


def alpha_dropout(
    input: Array, p: float = 0.5, training: bool = False, inplace: bool = False, *, rng: RandomSource = None
) -> Tensor:
    """Drop numbers so that mean and variance of what SELU returns stay, as ``nn.AlphaDropout``."""
    return AlphaDropout(p, inplace, rng=rng).train(training).forward(input)  # type: ignore[return-value]


def linear(input: Array, weight: Array, bias: Array | None = None) -> Any:
    """Return ``input @ weight.T + bias``, where each may have a gradient.

    Parameters
    ----------
    input : array of shape (..., in_features)
    weight : array or Parameter of shape (out_features, in_features)
    bias : array or Parameter of shape (out_features,), or None
    """
    output = np.matmul(input, np.transpose(weight))
    return output if bias is None else output + bias


def one_hot(input: npt.ArrayLike, num_classes: int = -1) -> npt.NDArray[np.int64]:
    """Return a 1 at the place of each class index and zeros elsewhere.

    Parameters
    ----------
    input : integers of any shape, from 0 on
    num_classes : int
        How many there are; -1 for one more than the largest index.

    Returns
    -------
    array of int64, of the shape of ``input`` and one more axis of ``num_classes``
    """
    indices = np.asarray(input)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"one_hot takes class indices as integers, got {indices.dtype}")
    if num_classes == -1:
        if not indices.size:
            raise ValueError("one_hot needs num_classes where there are no indices to count them by")
        num_classes = int(indices.max()) + 1
    if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < num_classes:
        raise ValueError(
            f"one_hot takes class indices from 0 to {num_classes - 1}, got {indices.min()} to {indices.max()}"
        )
    ones: npt.NDArray[np.int64] = (indices[..., np.newaxis] == np.arange(num_classes)).astype(np.int64)
    return ones


def mse_loss(input: Array, target: Array, *, reduction: str = "mean") -> Tensor:
    """Return the squared error, as ``nn.MSELoss``."""
    return _call(losses.MSELoss, (input, target), reduction)


def l1_loss(input: Array, target: Array, *, reduction: str = "mean") -> Tensor:
    """Return the absolute error, as ``nn.L1Loss``."""
    return _call(losses.L1Loss, (input, target), reduction)


def smooth_l1_loss(input: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Return the squared error below ``beta`` and the absolute one above it, as ``nn.SmoothL1Loss``."""
    return _call(losses.SmoothL1Loss, (input, target), reduction, beta)


def huber_loss(input: Array, target: Array, *, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Return the squared error below ``delta`` and a linear one above it, as ``nn.HuberLoss``."""
    return _call(losses.HuberLoss, (input, target), reduction, delta)


def cross_entropy(
    input: Array, target: Array, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Return the cross entropy of logits (n, classes) and class indices (n,), as ``nn.CrossEntropyLoss``."""
    return _call(
        losses.CrossEntropyLoss, (input, target), weight, ignore_index=ignore_index, reduction=reduction,
        label_smoothing=label_smoothing,
    )  # fmt: skip


def nll_loss(
    input: Array, target: Array, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Return the negative log likelihood of log-probabilities (n, classes) and indices (n,), as ``nn.NLLLoss``."""
    return _call(losses.NLLLoss, (input, target), weight, ignore_index=ignore_index, reduction=reduction)


def binary_cross_entropy(input: Array, target: Array, weight: Any = None, *, reduction: str = "mean") -> Tensor:
    """Return the cross entropy of probabilities, as ``nn.BCELoss``."""
    return _call(losses.BCELoss, (input, target), weight, reduction=reduction)


def binary_cross_entropy_with_logits(
    input: Array, target: Array, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """Return the cross entropy of logits, as ``nn.BCEWithLogitsLoss``."""
    return _call(losses.BCEWithLogitsLoss, (input, target), weight, reduction=reduction, pos_weight=pos_weight)


def kl_div(input: Array, target: Array, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Return the Kullback-Leibler divergence of log-probabilities from ``target``, as ``nn.KLDivLoss``."""
    return _call(losses.KLDivLoss, (input, target), reduction, log_target)


def gaussian_nll_loss(
    input: Array, target: Array, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Return the negative log likelihood of a Gaussian with mean ``input``, as ``nn.GaussianNLLLoss``."""
    return _call(losses.GaussianNLLLoss, (input, target, var), full=full, eps=eps, reduction=reduction)


def poisson_nll_loss(
    input: Array, target: Array, log_input: bool = True, full: bool = False, *, eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Return the negative log likelihood of a Poisson distribution, as ``nn.PoissonNLLLoss``."""
    return _call(losses.PoissonNLLLoss, (input, target), log_input, full, eps=eps, reduction=reduction)


__getattr__ = missing(
    __name__, __all__, ("avg_pool1d", "conv1d", "conv2d", "cosine_similarity", "embedding", "layer_norm", "max_pool2d",
                        "normalize", "pad", "prelu", "scaled_dot_product_attention", "softmin"),
)  # fmt: skip
