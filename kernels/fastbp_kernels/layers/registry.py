"""The registry of layers: what a row of a network's table may be, beside the activation behind it.

A layer's code is its place in ``LAYERS``. Its other half, for those that are modules, has the same name in
``fastbp.nn.layers``: the module's class, its twin in PyTorch, how it is written to a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from fastbp_kernels.layers import (
    batch_norm,
    dropout,
    glu,
    layer_norm,
    prelu,
    residual,
    rms_norm,
    softmax,
    sparse_linear,
)
from fastbp_kernels.layers.affine import affine_gradients


class Layer(NamedTuple):
    """A row of the registry.

    Attributes
    ----------
    name : str
        That of its class in ``fastbp.nn``, or of what a residual block needs beside modules.
    forward, backward, gradients : callable or None
        Its kernels, as ``call`` describes them; None for gradients of no parameters, and for ``Linear``, whose products
        are those of ``passes``.
    flop : int
        Operations of matrix products that take as long as one number of its outputs.
    saves : "nothing", "for backward" or "always"
        When it needs memory for rows like its outputs, and for a number for each row or feature.
    scalars : tuple of str
        Its floats beside the table.
    integers : tuple of str
        Its own columns of the table.
    over_rows : bool
        Whether a mini-batch must pass as a whole, for its rows depend on each other.
    counts : bool
        Whether its integers change with each mini-batch.
    takes_activation : bool
        Whether the activation behind it may be computed in its row: its backward does not need its outputs.
    """

    name: str
    forward: Callable[..., None] | None
    backward: Callable[..., None] | None
    gradients: Callable[..., None] | None = None
    flop: int = 0
    saves: Literal["nothing", "for backward", "always"] = "nothing"
    scalars: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()
    over_rows: bool = False
    counts: bool = False
    takes_activation: bool = True


_DROPOUT = Layer(
    "Dropout", dropout.layer_forward, dropout.layer_backward, flop=60, counts=True,
    scalars=("factor of what is kept", "added to what is kept", "added to what is dropped"),
    integers=("seed", "forwards", "threshold"),
)  # fmt: skip
LAYERS = (
    Layer("Linear", None, None),
    Layer("Copy", residual.copy_forward, residual.copy_backward, flop=4),
    Layer("Add", residual.add_forward, residual.copy_backward, flop=6),
    _DROPOUT,
    Layer(
        "LayerNorm", layer_norm.layer_forward, layer_norm.layer_backward, affine_gradients, 60, "always", ("eps",)
    ),
    Layer(
        "BatchNorm1d", batch_norm.layer_forward, batch_norm.layer_backward, affine_gradients, 60, "always",
        ("eps", "momentum"), ("forwards", "mean at", "variance at", "takes batch"), over_rows=True, counts=True,
    ),
    Layer(
        "PReLU", prelu.layer_forward, prelu.layer_backward, prelu.layer_gradients, 8, "for backward",
        ("has a slope for each feature",),
    ),
    Layer(
        "Softmax", softmax.softmax_layer_forward, softmax.softmax_layer_backward, flop=120, takes_activation=False
    ),
    Layer(
        "LogSoftmax", softmax.log_softmax_layer_forward, softmax.log_softmax_layer_backward, flop=120,
        takes_activation=False,
    ),
    Layer("RMSNorm", rms_norm.layer_forward, rms_norm.layer_backward, affine_gradients, 60, "always", ("eps",)),
    Layer("GLU", glu.layer_forward, glu.layer_backward, flop=60),
    Layer(  # in a Linear's place where a network is given sparse rows, which no gradients go back to
        "SparseLinear", sparse_linear.layer_forward, None, sparse_linear.layer_gradients,
        integers=("values at", "columns at", "starts at"),
    ),
)  # fmt: skip
LAYER_CODES = {row.name: code for code, row in enumerate(LAYERS)}
LINEAR, SPARSE_LINEAR = LAYER_CODES["Linear"], LAYER_CODES["SparseLinear"]
