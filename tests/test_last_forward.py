"""A backward belongs to one forward: what PyTorch users write, done right or refused, never with another's numbers."""

import copy
import gc
import weakref

import numpy
import pytest
import torch
from helpers import assert_close, assert_unchanged, draw, mlp, snapshot, tensor, twin

import fastbp
from fastbp import nn, optim

F32 = numpy.float32
S, S2, TARGET = draw((6, 4), F32), draw((6, 4), F32, 1), draw((6, 3), F32, 2)
ANOTHER = r"backward takes the gradient for its last output, got that for another output; .*predict"
EITHER = r"you hold the output of an earlier one that no backward has followed: .*predict"
TWICE = r"backward a second time; .*retain_graph=True"
CHANGED = r"backward needs the parameters of the last forward, .*call forward again"


class OwnReLU(nn.ReLU):
    """A module that the compiled calls do not know."""


MODELS = {
    "in one call": lambda: mlp(4, 5, 3),
    "module by module": lambda: nn.Sequential(nn.Linear(4, 5, rng=0), OwnReLU(), nn.Linear(5, 3, rng=1)),
    "one layer": lambda: nn.Linear(4, 3, rng=0),
    "activation last": lambda: nn.Sequential(nn.Linear(4, 3, rng=0), nn.Tanh()),
    "own activation last": lambda: nn.Sequential(nn.Linear(4, 3, rng=0), OwnReLU()),
    "a model in a model": lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 3, rng=0), OwnReLU()), mlp(3, 2, 3)),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def refused(model, grad_output, match):
    before = snapshot(model)
    for call in (model.backward, model.backward_parameters):
        with pytest.raises(RuntimeError, match=match):
            call(grad_output)
    assert_unchanged(model, before)


def test_an_output_keeps_its_numbers_while_the_model_is_called_again(model):
    q = model(S)
    expected = model.predict(S)
    model(S2).argmax()
    numpy.testing.assert_array_equal(q, expected)


def test_a_gradient_of_a_loss_for_an_earlier_output_is_refused(model):
    criterion = nn.MSELoss()
    q = model(S)
    target = q.copy()
    target[:, 0] = model(S2).max(axis=1)
    criterion(q, target)
    grad = criterion.backward()
    refused(model, grad, ANOTHER)
    q = model(S)
    criterion(q, target)
    model.backward(criterion.backward())


def test_a_gradient_by_hand_while_an_earlier_output_waits_is_refused(model):
    q = model(S)
    best = model(S2).max()
    refused(model, q - best, EITHER)
    del q
    model(S)
    model.backward(TARGET)


def test_an_output_that_had_its_backward_or_other_parameters_is_in_nobodys_way(model):
    opt = optim.SGD(model.parameters(), lr=0.1)
    kept = [model(S)]
    model.backward(TARGET)
    kept.append(model(S))
    model.backward(TARGET)
    kept.append(model(S))
    opt.step()
    kept.append(model(S))
    model.backward(TARGET)


def test_predictions_are_in_nobodys_way(model):
    kept = [model.predict(S2), model(S), model.predict(S2)]
    model.backward(kept[1] - kept[0])


def test_two_critics_on_one_loss_object_are_told_apart():
    criterion, one, two = nn.MSELoss(), mlp(4, 3, 1), mlp(4, 3, 1, seed=1)
    target = draw((6, 1), F32)
    criterion(one(S), target)
    criterion(two(S), target)
    grad = criterion.backward()
    refused(one, grad, ANOTHER)
    two.backward(grad)
    for critic in (one, two):
        criterion(critic(S), target)
        critic.backward(criterion.backward())


def test_the_gradient_of_an_input_is_for_the_model_that_made_this_input():
    actor, critic = mlp(4, 5, 3), mlp(3, 5, 1)
    critic(actor(S))
    grad_action = critic.backward(numpy.ones((6, 1), F32))
    actor(S2)
    refused(actor, grad_action, ANOTHER)
    critic(actor(S))
    actor.backward(critic.backward(numpy.ones((6, 1), F32)))


def test_a_second_backward_is_refused_as_in_torch_unless_the_first_retains(model):
    model(S)
    model.backward(TARGET)
    refused(model, TARGET, TWICE)
    model.zero_grad()
    model(S)
    first = model.backward(TARGET, retain_graph=True).copy()
    numpy.testing.assert_array_equal(model.backward(TARGET), first)
    refused(model, TARGET, TWICE)


def test_torch_refuses_a_second_backward_as_well_and_adds_up_if_the_first_retains():
    model = mlp(4, 5, 3)
    other = twin(model)
    model(S)
    model.backward(TARGET, retain_graph=True)
    model.backward(TARGET)
    output = other(tensor(S))
    output.backward(tensor(TARGET), retain_graph=True)
    output.backward(tensor(TARGET))
    with pytest.raises(RuntimeError, match="second time"):
        output.backward(tensor(TARGET))
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("change", ["step", "load_state_dict", "double"])
def test_a_backward_after_the_parameters_changed_is_refused(model, change):
    model(S)
    if change == "step":
        optim.SGD(model.parameters(), lr=0.1).step()
    elif change == "double":
        model.double().float()
    else:
        model.load_state_dict(model.state_dict())
    refused(model, TARGET, CHANGED)
    model(S)
    model.backward(TARGET)


@pytest.mark.parametrize("own", [False, True], ids=["known", "with a module of its own"])
@pytest.mark.parametrize("place", [0, 2])
def test_a_backward_after_a_layer_got_another_weight_is_refused(own, place):
    model = nn.Sequential(nn.Linear(4, 4, rng=0), OwnReLU() if own else nn.ReLU(), nn.Linear(4, 4, rng=1))
    grad_output, bias = draw((6, 4), F32), nn.Parameter(numpy.ones(4, F32))
    for name, other in (("weight", model[2 - place].weight), ("bias", bias), ("bias", None)):
        model(S)
        setattr(model[place], name, other)
        refused(model, grad_output, r"backward needs a forward before it")
        model(S)
        model.backward(grad_output)


@pytest.mark.parametrize("last", [nn.ReLU, nn.Dropout], ids=["known", "with a module that has modes"])
def test_a_copy_between_two_forwards_hides_neither_of_their_outputs(last):
    model = nn.Sequential(nn.Linear(4, 4, rng=0), last())
    held = model(S)
    copy.deepcopy(model)
    model(S)
    refused(model, draw((6, 4), F32), EITHER)
    assert held.shape == (6, 4)


def test_a_backward_after_a_step_is_refused_in_torch_too():
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    output = model(tensor(S))
    output.backward(tensor(TARGET), retain_graph=True)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.backward(tensor(TARGET))


def test_a_gradient_may_be_changed_in_place_or_come_as_a_copy(model):
    criterion, other = nn.MSELoss(), mlp(4, 5, 3)
    other.load_state_dict(other.state_dict())
    criterion(model(S), TARGET)
    grad = criterion.backward()
    grad *= 2
    expected = 2 * (model.predict(S) - TARGET) * 2 / F32(TARGET.size)
    assert_close(grad, torch.from_numpy(expected))
    model.backward(grad)
    criterion(model(S), TARGET)
    model.backward(criterion.backward().copy())


def test_steps_of_a_loop_allocate_no_array(model):
    """Each output, gradient and loss gradient lies where the last but one lay."""
    criterion, opt, seen = nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(8):
        output = model(S)
        loss = criterion(output, TARGET)
        grad = criterion.backward()
        grad_input = model.backward(grad)
        opt.step()
        seen.append(tuple(array.ctypes.data for array in (output, grad, grad_input)))
    assert loss > 0
    assert len(set(seen[2:])) == 2
    assert seen[2] == seen[4] == seen[6]


def test_a_kept_output_of_another_shape_is_in_nobodys_way(model):
    kept = model(draw((9, 4), F32))
    prediction = model(S)
    model.backward(prediction - TARGET)
    assert len(kept) == 9


def test_an_activation_of_a_users_module_is_released_by_a_step():
    class Net(nn.Module):
        def __init__(self):
            self.fc, self.act = nn.Linear(4, 3), nn.Tanh()

        def forward(self, x):
            return self.act(self.fc(x))

        def backward(self, g):
            return self.fc.backward(self.act.backward(g))

    model = Net()
    kept = model(S)
    optim.SGD(model.parameters(), lr=0.1).step()
    model.backward(model(S) - TARGET)
    assert kept.shape == (6, 3)


def test_a_training_that_is_refused_is_in_nobodys_way(model):
    opt = optim.SGD(model.parameters(), lr=0.1)
    model(S)
    with pytest.raises(ValueError, match="train_target"):
        fastbp.train_model(model, S, TARGET[:, :2].copy(), None, None, nn.MSELoss(), opt, 1, 2)
    if "OwnReLU" not in repr(model):
        model.backward(TARGET)


def test_a_network_that_is_laid_out_anew_lets_go_of_its_last_input_at_once():
    model, inputs = mlp(4, 5, 3), draw((6, 4), F32, 7)
    given = weakref.ref(inputs)
    model(inputs)
    del inputs
    assert given() is not None
    gc.disable()
    try:
        model[0].bias = None
        model(S)
        assert given() is None
    finally:
        gc.enable()
