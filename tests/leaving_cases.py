"""Networks that leave: one for each layer and activation of the library, and some of several."""

from itertools import pairwise

import numpy
from helpers import draw

from fastbp import nn
from fastbp.nn.activations import activation_classes

DTYPES = (numpy.float32, numpy.float64)
SETTINGS = {
    nn.LeakyReLU: [{"negative_slope": 0.3}], nn.ELU: [{"alpha": 0.7}], nn.CELU: [{"alpha": 0.3}],
    nn.Hardtanh: [{"min_val": -0.4, "max_val": 1.7}], nn.Softplus: [{"beta": 2.5, "threshold": 1.5}],
    nn.GELU: [{"approximate": "tanh"}], nn.Hardshrink: [{"lambd": 0.1}], nn.Softshrink: [{"lambd": 0.1}],
    nn.Threshold: [{"threshold": 0.2, "value": 0.0}],
}  # fmt: skip
"""Of activations, besides their defaults."""


def _layers(*sizes, dtype):
    return [nn.Linear(i, o, rng=i, dtype=dtype) for i, o in pairwise(sizes)]


def _activation(kind, settings):
    def build(dtype):
        first, last = _layers(5, 8, 3, dtype=dtype)
        return nn.Sequential(first, kind(**settings), last)

    return build


def _cases():
    for kind in activation_classes():
        for settings in [dict(kind.example), *SETTINGS.get(kind, [])]:
            yield f"{kind.__name__} {settings}" if settings else kind.__name__, _activation(kind, settings), None


def _norm(dtype):
    norm = nn.BatchNorm1d(5, eps=1e-3, dtype=dtype)
    norm(draw((40, 5), dtype, seed=3) * 3 + 1)
    return norm


def _with_numbers(module):
    """Give the parameters numbers that are none of their first ones."""
    for number, parameter in enumerate(module.parameters()):
        parameter.data[...] += draw(parameter.shape, parameter.dtype, seed=number) * 0.3
    return module


def _tied(dtype):
    one, other = nn.Linear(6, 6, rng=1, dtype=dtype), nn.Linear(6, 6, rng=2, dtype=dtype)
    other.weight = one.weight
    return nn.Sequential(one, nn.Tanh(), other)


def _residuals(dtype):
    a, b, c, d = _layers(5, 5, 7, 5, 5, dtype=dtype)
    inner = nn.Residual(nn.Sequential(nn.Residual(nn.Tanh(), a), nn.SiLU()), b, nn.GELU(), c)
    return nn.Sequential(inner, nn.Residual(nn.ReLU()), d)


CASES = {
    "Linear": (lambda dtype: nn.Linear(5, 3, rng=0, dtype=dtype), None),
    "Linear without a bias": (lambda dtype: nn.Sequential(nn.Linear(5, 3, False, rng=0, dtype=dtype), nn.Tanh()), None),
    "LayerNorm": (lambda dtype: _with_numbers(nn.LayerNorm(5, dtype=dtype)), None),
    "LayerNorm without parameters": (
        lambda dtype: nn.Sequential(nn.Linear(5, 4, rng=0, dtype=dtype), nn.LayerNorm(4, elementwise_affine=False)),
        None,
    ),
    "LayerNorm without a bias": (lambda dtype: _with_numbers(nn.LayerNorm(5, bias=False, dtype=dtype)), None),
    "LayerNorm over two axes": (lambda dtype: _with_numbers(nn.LayerNorm((3, 5), dtype=dtype)), (2, 3, 5)),
    "RMSNorm": (lambda dtype: _with_numbers(nn.RMSNorm(5, dtype=dtype)), None),
    "RMSNorm over two axes": (lambda dtype: _with_numbers(nn.RMSNorm((3, 5), 0.1, dtype=dtype)), (2, 3, 5)),
    "RMSNorm without a weight": (lambda dtype: nn.Sequential(
        nn.Linear(5, 4, rng=0, dtype=dtype), nn.RMSNorm(4, elementwise_affine=False)
    ), None),
    "GLU": (lambda dtype: nn.Sequential(nn.Linear(5, 4, rng=0, dtype=dtype), nn.GLU()), None),
    "GLU over an axis between": (lambda dtype: nn.Sequential(nn.PReLU(dtype=dtype), nn.GLU(2)), (3, 4, 5)),
    "BatchNorm1d": (lambda dtype: _with_numbers(_norm(dtype)), None),
    "BatchNorm1d over places": (lambda dtype: _with_numbers(_norm(dtype)), (5, 4)),
    "BatchNorm1d without parameters": (lambda dtype: nn.BatchNorm1d(5, affine=False, dtype=dtype), (5,)),
    "PReLU": (lambda dtype: nn.Sequential(nn.Linear(5, 4, rng=0, dtype=dtype), nn.PReLU(dtype=dtype)), None),
    "PReLU of several": (lambda dtype: _with_numbers(nn.PReLU(5, dtype=dtype)), None),
    "PReLU over places": (lambda dtype: _with_numbers(nn.PReLU(5, dtype=dtype)), (5, 2, 3)),
    "Softmax": (lambda dtype: nn.Sequential(nn.Linear(5, 4, rng=0, dtype=dtype), nn.Softmax()), None),
    "Softmax over an axis between": (lambda dtype: nn.Sequential(nn.PReLU(dtype=dtype), nn.Softmax(2)), (2, 3, 4)),
    "LogSoftmax": (lambda dtype: nn.Sequential(nn.Linear(5, 4, rng=0, dtype=dtype), nn.LogSoftmax(-1)), None),
    "LogSoftmax over the first axis": (lambda dtype: nn.Sequential(nn.PReLU(dtype=dtype), nn.LogSoftmax(1)), (3, 4)),
    "Linear of many axes": (lambda dtype: nn.Sequential(*_layers(5, 4, 3, dtype=dtype)), (2, 5)),
    "Flatten": (lambda dtype: nn.Sequential(nn.Tanh(), nn.Flatten(), nn.Linear(12, 3, rng=0, dtype=dtype)), (3, 4)),
    "Flatten of rows": (lambda dtype: nn.Sequential(nn.Flatten(), nn.Linear(12, 3, rng=0, dtype=dtype)), None),
    "Dropout": (
        lambda dtype: nn.Sequential(
            nn.Linear(5, 4, rng=0, dtype=dtype), nn.Dropout(), nn.AlphaDropout(), nn.Identity(), nn.Flatten()
        ), None,
    ),
    "Embedding": (lambda dtype: nn.Sequential(nn.Embedding(7, 3, rng=0, dtype=dtype), nn.Tanh()), ()),
    "Embedding of several": (
        lambda dtype: nn.Sequential(
            nn.Embedding(7, 3, rng=0, dtype=dtype), nn.Flatten(), nn.Linear(12, 3, rng=0, dtype=dtype)
        ),
        (4,),
    ),
    "Residual": (_residuals, None),
    "layers that share a weight": (_tied, None),
    "Sequential in a Sequential": (
        lambda dtype: nn.Sequential({"body": nn.Sequential(*_layers(5, 4, 3, dtype=dtype)), "end": nn.Sigmoid()}), None,
    ),
    **{name: (build, shape) for name, build, shape in _cases()},
}  # fmt: skip
"""By its name what builds a network of a dtype, and the shape of its samples, where that has to be told."""


def samples(model, shape, dtype):
    """Return samples for a model, numbers at which formulas change their side among them."""
    if any(isinstance(module, nn.Embedding) for module in model.modules()):
        return numpy.random.default_rng(0).integers(0, 7, (20, *shape))
    if shape is None:
        first = next(module for module in model.modules() if hasattr(module, "weight") and module.weight is not None)
        shape = first.weight.shape[-1:]
    numbers = draw((20, *shape), dtype, seed=11) * 2
    numbers[0] = 0
    numbers[1:3] = numpy.reshape([-30, 30], (2, *[1] * len(shape)))
    return numbers
