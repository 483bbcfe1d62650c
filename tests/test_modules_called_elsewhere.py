"""A backward notices modules that were called by themselves, in a copy or in another model since its forward."""

import copy

import numpy
import pytest
from helpers import draw, mlp
from test_last_forward import CHANGED, EITHER, F32, S2, TARGET, OwnReLU, S, refused

from fastbp import nn, optim


@pytest.mark.parametrize("rows", [6, 9], ids=["same shape", "another shape"])
@pytest.mark.parametrize("own", [False, True], ids=["known", "with a module of its own"])
@pytest.mark.parametrize("part", [0, 1, 2, "inner"])
def test_a_part_that_is_called_between_forward_and_backward_is_noticed(part, own, rows):
    inner = nn.Sequential(nn.Linear(4, 4, rng=0), OwnReLU() if own else nn.ReLU())
    model = nn.Sequential(inner, nn.Linear(4, 4, rng=2), nn.Tanh())
    model(S)
    module = inner[0] if part == "inner" else model[part]
    module(draw((rows, 4), F32))
    refused(model, draw((6, 4), F32), r"last forward of each module to be its own|takes a gradient of the last output")
    model(S)
    model.backward(draw((6, 4), F32))


@pytest.mark.parametrize("between", [nn.Identity, nn.ReLU])
def test_a_part_that_is_called_since_is_noticed_where_a_method_of_the_users_was_taken_back_too(between):
    model = nn.Sequential(nn.Linear(4, 4, rng=0), between(), nn.Linear(4, 3, rng=2))
    model[0].forward = lambda input: 2 * nn.Linear.forward(model[0], input)
    model(S)
    del model[0].forward
    model[0](draw((2, 4), F32))
    refused(model, TARGET, r"last forward of each module to be its own")
    model(S)
    model.backward(TARGET)


def test_another_model_with_a_shared_layer_is_noticed():
    shared = nn.Linear(4, 4, rng=0)
    one, two = nn.Sequential(shared, nn.Linear(4, 3, rng=1)), nn.Sequential(shared, nn.Linear(4, 3, rng=2))
    one(S)
    two(S)
    refused(one, TARGET, r"last forward of each module to be its own|needs the parameters|needs a forward")
    one(S)
    one.backward(TARGET)


def test_outputs_that_a_copy_or_the_layers_themselves_superseded_are_noticed():
    one = mlp(4, 5, 3)
    kept = one(S)
    copy.copy(one)(S2)
    refused(one, TARGET, EITHER)
    one, h = mlp(4, 5, 3), S2
    kept = one(S)
    for layer in one:
        h = layer(h)
    refused(one, TARGET, EITHER)
    one = mlp(4, 5, 3)
    kept = one(S)
    one.note = nn.Identity()
    del one.note
    one(S2)
    refused(one, TARGET, EITHER)
    encoder, decoder = mlp(4, 3), mlp(3, 3)
    kept = encoder(S)
    decoder(kept)
    last = encoder(S2)
    grad = decoder.backward(TARGET)
    refused(encoder, 0.5 * grad, EITHER)
    assert last.shape == kept.shape


def test_a_step_of_other_parameters_of_one_vector_is_in_nobodys_way():
    """As a GAN is trained once both of its parts were put together, and a head behind features."""
    generator, critic, criterion = mlp(4, 5, 3), mlp(3, 5, 1, seed=1), nn.MSELoss()
    apart = mlp(4, 5, 3), mlp(3, 5, 1, seed=1)
    nn.Sequential(generator, critic)
    gradients = []
    for g, d in ((generator, critic), apart):
        opt = optim.SGD(d.parameters(), lr=0.1)
        fake = g(S)
        criterion(d(fake.copy()), numpy.zeros((6, 1), F32))
        d.backward(criterion.backward())
        opt.step()
        criterion(d(fake), numpy.ones((6, 1), F32))
        g.backward(d.backward(criterion.backward()))
        gradients.append([p.grad.copy() for p in g.parameters()])
    for one, other in zip(*gradients, strict=True):
        numpy.testing.assert_array_equal(one, other)
    whole = nn.Sequential(generator, critic)
    opt = optim.SGD(critic.parameters(), lr=0.1)
    whole(S)
    opt.step()
    refused(whole, numpy.ones((6, 1), F32), CHANGED)
    generator(S)
    for _ in range(20):
        opt.step()
    refused(generator, TARGET, CHANGED)  # of so many changes it is not known any more which they were


def test_an_earlier_output_is_not_forgotten_when_the_modules_are_called_one_by_one():
    model = mlp(4, 5, 3)
    kept = [model(S), model(S2)]
    with pytest.raises(ValueError, match="takes a gradient of the last output's shape"):
        model[0].backward(TARGET)
    refused(model, TARGET, EITHER)
    refused(model[-1], TARGET, EITHER)
    del kept[0]
    model[-1].backward(TARGET)


def test_an_earlier_output_is_seen_where_an_activation_ends_the_chain_and_a_layer_was_called_by_itself():
    model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Linear(4, 3, rng=1), nn.ReLU())
    kept = [model(S), model(S2)]
    with pytest.raises(ValueError, match="takes a gradient of the last output's shape"):
        model[0].backward(TARGET)
    nn.Linear(2, 2)  # its lock is a new one
    refused(model, TARGET, EITHER)
    del kept[0]
    model.backward(TARGET)
