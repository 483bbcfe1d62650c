"""Kinds of models that are drawn: the library's own, those with methods of users', and how an oracle reads them."""

from __future__ import annotations

import numpy
from calls import tame

from fastbp import nn

# Where the derivative of an activation jumps.
KINKS = {
    "ReLU": (0,), "LeakyReLU": (0,), "SELU": (0,), "ReLU6": (0, 6), "Hardtanh": (-1, 1), "Hardsigmoid": (-3, 3),
    "Hardswish": (-3, 3), "Hardshrink": (-0.5, 0.5), "Softshrink": (-0.5, 0.5), "Threshold": (0.1,),
}  # fmt: skip


def twice(array):
    """Two times an array, also beyond what its dtype holds."""
    with numpy.errstate(all="ignore"):
        return array * array.dtype.type(2)


class Doubling:
    """What a user mixes into a class so that it computes twice as much."""

    def forward(self, input):
        return twice(super().forward(input))

    def backward(self, grad_output, **options):
        return super().backward(twice(grad_output), **options)


class OwnLinear(Doubling, nn.Linear):
    pass


class OwnTanh(Doubling, nn.Tanh):
    pass


class OwnSequential(Doubling, nn.Sequential):
    pass


class Twice:
    """A method set on one object, that computes twice as much as that of its class. It can be copied and pickled."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self, array, **options):
        method = getattr(type(self.module), self.name)
        if self.name == "backward":
            return method(self.module, twice(array), **options)
        return twice(method(self.module, array, **options))


OVERRIDES = {"forward": ("forward", "backward"), "predict": ("predict",)}  # set and taken back together


def leaves(module):
    """The modules that compute, in order; one that is the model itself too."""
    if isinstance(module, nn.Sequential | nn.Residual):
        inner = [leaf for child in module for leaf in leaves(child)]
        return inner + [module] * isinstance(module, nn.Residual)  # which remembers a forward too
    return [] if isinstance(module, nn.Identity) else [module]


def linears(module):
    return [leaf for leaf in leaves(module) if isinstance(leaf, nn.Linear)]


def in_features(model):
    return linears(model)[0].in_features


def out_features(model):
    width = 0
    for leaf in leaves(model):
        width = leaf.out_features if isinstance(leaf, nn.Linear) else width // 2 if isinstance(leaf, nn.GLU) else width
    return width


def dtypes(model):
    return {parameter.dtype for parameter in model.parameters()}


def dtype_of(model):
    return next(model.parameters()).dtype


def is_own(module):
    """Whether this very module has methods of its user's."""
    return isinstance(module, Doubling) or bool({"forward", "predict"} & vars(module).keys())


def has_own(model):
    """Whether this or a module in it has methods of its user's."""
    return any(is_own(module) for module in model.modules())


def may_train(model):
    """Whether no module with a backward of its user's is called twice in a pass, and numbers are ordinary ones."""
    own = [leaf for leaf in leaves(model) if is_own(leaf)]
    return len(set(own)) == len(own) and is_tame(model)


def predicts_otherwise(model):
    return any("predict" in vars(module) for module in model.modules())


def is_known(model):
    """Whether :mod:`oracles` can compute it, which know each activation with the settings that it begins with."""
    return all(
        isinstance(leaf, nn.Linear) or getattr(leaf, "row", None) == type(leaf).__name__.removeprefix("Own")
        for leaf in leaves(model)
    )


def is_tame(model):
    """Whether training it is a matter of ordinary numbers, as it is not behind a negative variance that was loaded."""
    variances = [array for name, array in model.named_buffers() if name.endswith("running_var")]
    arrays = [parameter.data for parameter in model.parameters()] + [array for _, array in model.named_buffers()]
    return tame(*arrays) and all((variance >= 0).all() for variance in variances)


def takes_batches(model):
    """Whether a forward takes statistics of its mini-batch, which must have more than one row."""
    return any(isinstance(module, nn.BatchNorm1d) and module.takes_batch for module in model.modules())


def has_modes(model):
    """Whether a forward in training is no prediction."""
    return any(isinstance(module, nn.BatchNorm1d | nn.Dropout) and module.training for module in model.modules())


def forward_one_by_one(module, x):
    """Return what the modules within compute, each called by itself; nothing in it may have methods of its user's."""
    if isinstance(module, nn.Sequential | nn.Residual):
        output = x
        for child in module:
            output = forward_one_by_one(child, output)
        return x + output if isinstance(module, nn.Residual) else output
    return module(x)


def shares(model):
    """Whether two places of the model have one parameter."""
    return len({*model.parameters()}) < len(model.state_dict())


def network(module):
    """The model as :mod:`oracles` writes it; twice as much is a layer of its own."""
    return [layer for layer, _ in _layers(module, in_features(module))]


def owners(module):
    """For each pair of weight and bias in ``network`` the layer that has them, None for one that doubles."""
    return [leaf for layer, leaf in _layers(module, in_features(module)) if not isinstance(layer, str)]


def _layers(module, width):
    """Pairs of an oracle's layer and the Linear that it is."""
    if isinstance(module, nn.Sequential):
        made = []
        for child in module:
            made += _layers(child, _width(made, width))
    elif isinstance(module, nn.Linear):
        bias = None if module.bias is None else module.bias.data.astype("f8")
        made = [((module.weight.data.astype("f8"), bias), module)]
    elif isinstance(module, nn.Identity):
        made = []
    else:
        made = [(module.row, None)]
    if isinstance(module, Doubling) or "forward" in vars(module):
        made.append(((2 * numpy.eye(_width(made, width)), None), None))
    return made


def _width(made, width):
    """The number of features behind some layers, or before them where none has weights."""
    return next((len(layer[0]) for layer, _ in reversed(made) if not isinstance(layer, str)), width)
