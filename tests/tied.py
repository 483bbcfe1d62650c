"""Networks of which several layers have one parameter, and which names those are."""

import numpy

import fastbp
from fastbp import nn, optim


def squares(count, dtype, features=4):
    """Layers with weights of one shape, each with values of its own, biases included."""
    rng = numpy.random.default_rng(3)
    return [nn.Linear(features, features, rng=rng, dtype=dtype) for _ in range(count)]


def weights(dtype):
    one, two = squares(2, dtype)
    two.weight = one.weight
    return nn.Sequential(one, nn.Tanh(), two)


def biases(dtype):
    model = nn.Sequential(nn.Linear(4, 6, rng=1, dtype=dtype), nn.ReLU(), nn.Linear(6, 6, rng=2, dtype=dtype))
    model[2].bias = model[0].bias  # behind the flat vector
    return nn.Sequential(model, nn.Linear(6, 4, rng=3, dtype=dtype))


def several(dtype):
    one, two, three, four = squares(4, dtype)
    three.weight, three.bias = one.weight, one.bias
    four.weight = two.weight
    return nn.Sequential(one, nn.Tanh(), two, three, nn.Sigmoid(), four)


def thrice_and_nested(dtype):
    one, two, three = squares(3, dtype)
    last = nn.Linear(4, 4, bias=False, rng=8, dtype=dtype)
    model = nn.Sequential(nn.Sequential(one, nn.Tanh()), nn.Sequential(two, nn.Sequential(nn.ReLU(), three)), last)
    two.weight = three.weight = last.weight = one.weight
    three.bias = two.bias
    return model


# A model of 4 inputs and 4 outputs, and its groups of names.
TIED = {
    "weights": (weights, [["0.weight", "2.weight"]]),
    "biases": (biases, [["0.0.bias", "0.2.bias"]]),
    "several groups": (several, [["0.weight", "3.weight"], ["0.bias", "3.bias"], ["2.weight", "5.weight"]]),
    "nested": (
        thrice_and_nested,
        [["0.0.weight", "1.0.weight", "1.1.1.weight", "2.weight"], ["1.0.bias", "1.1.1.bias"]],
    ),
}


def at(module, name):
    """The parameter of a dotted name."""
    *path, last = name.split(".")
    for step in path:
        module = module[int(step)]
    return getattr(module, last)


def ties(model):
    """The groups of names that are one parameter, found by identity alone."""
    groups = {}
    for name in model.state_dict():
        groups.setdefault(id(at(model, name)), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def train_on(model, data, opt, history, epochs=3, rng=None):
    fastbp.train_model(model, *data, nn.MSELoss(), opt, epochs, 7, shuffle=True, rng=rng, history=history)
    assert history.fallback_reason == "two of its layers share a parameter"


def step(model, x):
    """One step of training, after which two models with one set of values differ if their ties do."""
    opt = optim.SGD(model.parameters(), lr=0.1)
    model.zero_grad()
    model.backward(model(x))
    opt.step()
    return {name: value.tobytes() for name, value in model.state_dict().items()}
