"""A training module by module that is stopped in the middle of a mini-batch goes on as if that had not begun."""

import numpy
import pytest
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim

X = numpy.linspace(-1, 1, 120, dtype="f4").reshape(30, 4)


class Stop(Exception):
    """What a user's code raises."""


class StoppingLoss(nn.MSELoss):
    """Raises at its calls of these numbers, where a forward has just been."""

    def __init__(self, stops=()):
        super().__init__()
        self.calls, self.stops = 0, set(stops)

    def forward(self, input, target):
        self.calls += 1
        if self.calls in self.stops:
            self.stops.remove(self.calls)
            raise Stop
        return super().forward(input, target)


def train(layer, stops):
    model = nn.Sequential(nn.Linear(4, 5, rng=0), layer(), nn.Linear(5, 2, rng=1))
    criterion, opt, history = StoppingLoss(stops), optim.SGD(model.parameters(), lr=0.1), fastbp.History()
    data = X, X[:, :2].copy(), X, X[:, 1:3].copy()
    while history.epochs < 3:
        try:
            fastbp.train_model(model, *data, criterion, opt, 3, 10, history=history, progress=False)
        except Stop:
            continue
    assert history.backend == "modules"
    assert not criterion.stops
    return model, history


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.BatchNorm1d(5),
        lambda: nn.BatchNorm1d(5, momentum=None),
        lambda: nn.Dropout(0.5, rng=2),
        lambda: nn.Residual(nn.Dropout(0.5, rng=2), nn.BatchNorm1d(5)),
    ],
    ids=["running statistics", "mean of all statistics", "dropout", "within another module"],
)  # fmt: skip
def test_a_training_goes_on_with_the_same_bits(layer):
    expected, _ = whole = train(layer, ())
    model, _ = stopped = train(layer, (1, 3, 4, 9))
    assert_same_bits(outcome(*stopped), outcome(*whole))
    for name, value in model.state_dict().items():
        numpy.testing.assert_array_equal(value, expected.state_dict()[name], err_msg=name)
