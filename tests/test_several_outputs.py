"""Models of a user that return several arrays, or numbers alone: what takes them, and what says that it cannot."""

import numpy
import pytest
from helpers import draw

import fastbp
from fastbp import nn, optim

X, TARGET = draw((7, 4), numpy.float32), draw((7, 3), numpy.float32, 1)


class TwoOutputs(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(4, 3, rng=0)

    def forward(self, x):
        output = self.layer(x)
        return output, output + 1


class NumbersAlone(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(4, 3, rng=0)

    def forward(self, x):
        return numpy.asarray(self.layer(x))


def train(model):
    opt = optim.SGD(model.parameters(), lr=0.1)
    return fastbp.train_model(model, X, TARGET, None, None, nn.MSELoss(), opt, 1, 3)


ASKED = {
    "train_model": train,
    "compute_accuracy": lambda model: fastbp.compute_accuracy(model, X, numpy.zeros(7, int)),
    "jacobian": lambda model: fastbp.jacobian(model, X),
}


@pytest.mark.parametrize("owner", ASKED)
def test_a_model_that_returns_several_arrays_is_refused_where_one_is_needed(owner):
    with pytest.raises(TypeError, match=f"{owner} takes models that return one array, got tuple from TwoOutputs"):
        ASKED[owner](TwoOutputs())


def test_a_model_that_returns_several_arrays_predicts_and_is_summed_up():
    model = TwoOutputs()
    numpy.testing.assert_array_equal(model.predict(X)[1], model.predict(X)[0] + 1)
    assert fastbp.summary(model, X).parameters == 15


def test_where_numbers_alone_come_out_nothing_is_derived_in_silence():
    with pytest.raises(RuntimeError, match="jacobian goes back through the outputs of NumbersAlone, and got numbers"):
        fastbp.jacobian(NumbersAlone(), X)
    with pytest.raises(RuntimeError, match="a training goes back through the outputs of NumbersAlone"):
        train(NumbersAlone())
    with pytest.raises(TypeError, match="grad begins at tensors, got ndarray"):
        fastbp.grad(NumbersAlone()(X), fastbp.tensor(X, requires_grad=True))
