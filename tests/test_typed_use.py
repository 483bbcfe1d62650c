"""What type checkers are shown as a user's code runs as well."""

import numpy
import typed_use
from helpers import draw

from fastbp import nn

X, Y = draw((20, 4), numpy.float32), draw((20, 2), numpy.float32, seed=1)


def test_the_code_that_type_checkers_go_over_runs(tmp_path):
    model = typed_use.build()
    assert typed_use.train(model, X, Y).epochs == 2
    assert typed_use.loop(model, X, Y) > 0
    typed_use.leave(nn.Sequential(nn.Linear(4, 2, rng=0)), tmp_path)
    assert typed_use.many(X, Y).shape == (20, 2)
