"""The kernels of the registry of layers, by the code of a row."""

from __future__ import annotations

from fastbp_kernels.compiler.late_kernel import late_switch
from fastbp_kernels.layers.call import backward_arguments, forward_arguments, gradients_arguments
from fastbp_kernels.layers.registry import LAYERS

layer_forward = late_switch("layer_forward", forward_arguments, [row.forward for row in LAYERS])
layer_backward = late_switch("layer_backward", backward_arguments, [row.backward for row in LAYERS])
layer_parameter_gradients = late_switch("layer_gradients", gradients_arguments, [row.gradients for row in LAYERS])
