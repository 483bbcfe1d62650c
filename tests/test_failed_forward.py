"""A forward that raises changes nothing, whichever module raises: not what the modules before it count or follow."""

import numpy as np
import pytest

from fastbp import nn

X = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


class Refusing(nn.Module):
    def forward(self, input):
        raise RuntimeError("no")


def counting():
    return nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Dropout(0.5)


def with_another_dtype():
    model = nn.Sequential(*counting(), nn.PReLU())
    model[:3].double()
    model[:3].float()
    model[3:].double()
    return model


CASES = {
    "a part was converted": (with_another_dtype, TypeError),
    "features do not fit": (lambda: nn.Sequential(*counting(), nn.Linear(5, 1)), ValueError),
    "a module of the user's raises": (lambda: nn.Sequential(*counting(), Refusing()), RuntimeError),
    "an inner part is whole": (lambda: nn.Sequential(nn.Sequential(*counting()), nn.Linear(5, 1)), ValueError),
    "a residual block's shapes differ": (lambda: nn.Residual(*counting()), ValueError),
    "a residual block is whole": (
        lambda: nn.Sequential(nn.Residual(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)), nn.Linear(5, 1)),
        ValueError,
    ),
}


def state_of(model):
    counts = [module.forwards for module in model.modules() if isinstance(module, nn.Dropout)]
    return [array.tolist() for _, array in model.named_buffers()], counts


@pytest.mark.parametrize("case", CASES)
def test_a_forward_that_raises_leaves_statistics_and_counts_as_they_were(case):
    build, error = CASES[case]
    model = build()
    before = state_of(model)
    assert all(before)
    for _ in range(2):
        with pytest.raises(error):
            model(X)
        assert state_of(model) == before


def test_a_forward_after_one_that_raised_gives_what_the_first_would_have_given():
    model, twin = nn.Sequential(*counting()), nn.Sequential(*counting())
    for each in (model, twin):
        each[2].seed = 7
    with pytest.raises(ValueError, match="Linear"):
        nn.Sequential(model, nn.Linear(5, 1))(X)
    np.testing.assert_array_equal(model(X), twin(X))
    assert state_of(model) == state_of(twin)
