"""Compiled kernels of backpropagation: functions over arrays, callable from Python and from numba code.

Letters: ``n`` samples, ``i`` inputs of a layer, ``o`` outputs. Kernels write into arrays that they are handed and
allocate nothing. Arrays are C-contiguous and of one dtype, float32 or float64. Others, a wrong number of dimensions and
a read-only array where a kernel writes raise TypeError before anything is compiled; where compiled code calls, numba
shows the same sentence in its TypingError. A running kernel checks nothing: that lengths fit each other as documented
is up to the caller.
"""

from fastbp_kernels.functions.activations import (
    activation_backward,
    activation_forward,
    exp_forward,
    gelu_backward,
    gelu_forward,
    gelu_tanh_backward,
    gelu_tanh_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from fastbp_kernels.functions.losses.kernels import (
    cross_entropy_forward,
    cross_entropy_forward_backward,
    mse_forward,
    mse_forward_backward,
)
from fastbp_kernels.functions.optimizers import sgd_step
from fastbp_kernels.layers.batch_norm import batch_norm_backward, batch_norm_forward
from fastbp_kernels.layers.dropout import dropout_forward
from fastbp_kernels.layers.embedding import embedding_backward, embedding_forward
from fastbp_kernels.layers.glu import glu_backward, glu_forward
from fastbp_kernels.layers.layer_norm import layer_norm_backward, layer_norm_backward_parameters, layer_norm_forward
from fastbp_kernels.layers.prelu import prelu_backward, prelu_backward_parameters, prelu_forward
from fastbp_kernels.layers.rms_norm import rms_norm_backward, rms_norm_forward
from fastbp_kernels.layers.softmax import (
    log_softmax_backward,
    log_softmax_forward,
    softmax_backward,
    softmax_forward,
)
from fastbp_kernels.linalg.linear import (
    linear_backward,
    linear_backward_input,
    linear_backward_input_share,
    linear_backward_parameters,
    linear_backward_parameters_share,
    linear_backward_share,
    linear_forward,
    linear_forward_share,
)

__all__ = [
    "activation_backward",
    "activation_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "cross_entropy_forward",
    "cross_entropy_forward_backward",
    "dropout_forward",
    "embedding_backward",
    "embedding_forward",
    "exp_forward",
    "gelu_backward",
    "gelu_forward",
    "gelu_tanh_backward",
    "gelu_tanh_forward",
    "glu_backward",
    "glu_forward",
    "layer_norm_backward",
    "layer_norm_backward_parameters",
    "layer_norm_forward",
    "linear_backward",
    "linear_backward_input",
    "linear_backward_input_share",
    "linear_backward_parameters",
    "linear_backward_parameters_share",
    "linear_backward_share",
    "linear_forward",
    "linear_forward_share",
    "log_softmax_backward",
    "log_softmax_forward",
    "mse_forward",
    "mse_forward_backward",
    "prelu_backward",
    "prelu_backward_parameters",
    "prelu_forward",
    "relu_backward",
    "relu_forward",
    "rms_norm_backward",
    "rms_norm_forward",
    "sgd_step",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
]
