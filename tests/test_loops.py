"""Loops of one's own, as PyTorch's users write them."""

import numpy
import pytest
from loops import LOOPS, OURS, THEIRS


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_fifty_steps_of_a_loop_of_pytorchs_are_those_of_torch(loop):
    for mine, theirs in zip(loop(OURS), loop(THEIRS), strict=True):
        numpy.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-10)
