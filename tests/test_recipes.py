"""Whatever is put together at random trains with the same bits in the engine and module by module."""

import numpy
import pytest
from recipes import Recipe


def assert_same(one, other):
    model, history = one
    again, by_modules = other
    for (name, value), (_, expected) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert value.tobytes() == expected.tobytes(), name
    for name in history:
        numpy.testing.assert_array_equal(history[name], by_modules[name], err_msg=name)


@pytest.mark.parametrize("seed", range(60))
def test_engine_and_modules_give_the_same_bits(seed):
    recipe = Recipe(seed)
    one, other = recipe.run(by_modules=False), recipe.run(by_modules=True)
    assert (one[1].backend, other[1].backend) == ("engine", "modules"), one[1].fallback_reason
    assert_same(one, other)


@pytest.mark.parametrize("seed", range(60, 90))
def test_the_number_of_threads_changes_no_bit(seed):
    recipe = Recipe(seed)
    assert_same(recipe.run(by_modules=False), recipe.run(by_modules=False, threads=3))
