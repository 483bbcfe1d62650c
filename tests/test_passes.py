"""An output's backward is right at any time, whatever its modules were called on since: as in torch, or refused."""

import copy

import numpy
import pytest
import torch
from chains import refused
from helpers import assert_close, assert_same_gradients, draw, leaf, mlp, tensor, twin

import fastbp
from fastbp import nn, optim

F32, F64 = numpy.float32, numpy.float64
S, S2, TARGET = draw((6, 4), F32), draw((6, 4), F32, 1), draw((6, 3), F32, 2)
S64, S2_64 = S.astype(F64), S2.astype(F64)
ANOTHER = r"backward takes the gradient for its last output, got that for another output; .*output\.backward"
TWICE = r"backward went through .* a second time, .*retain_graph=True"
CHANGED = r"backward of \w+ needs the parameters of its forward, .*forward again"
NO_FORWARD = r"\.backward needs a forward before it"


class OwnReLU(nn.ReLU):
    """A module that the compiled calls do not know."""


MODELS = {
    "in one call": lambda dtype=F32: mlp(4, 5, 3, dtype=dtype),
    "module by module": lambda dtype=F32: nn.Sequential(
        nn.Linear(4, 5, rng=0, dtype=dtype), OwnReLU(), nn.Linear(5, 3, rng=1, dtype=dtype)
    ),
    "one layer": lambda dtype=F32: nn.Linear(4, 3, rng=0, dtype=dtype),
    "activation last": lambda dtype=F32: nn.Sequential(nn.Linear(4, 3, rng=0, dtype=dtype), nn.Tanh()),
    "own activation last": lambda dtype=F32: nn.Sequential(nn.Linear(4, 3, rng=0, dtype=dtype), OwnReLU()),
    "a model in a model": lambda dtype=F32: nn.Sequential(
        nn.Sequential(nn.Linear(4, 3, rng=0, dtype=dtype), OwnReLU()), mlp(3, 2, 3, dtype=dtype)
    ),
}


@pytest.fixture(params=MODELS)
def build(request):
    return MODELS[request.param]


@pytest.fixture
def model(build):
    return build()


def torchs(model):
    """The same network in torch, where a user's own ReLU is a ReLU."""
    if isinstance(model, nn.Sequential):
        return torch.nn.Sequential(*map(torchs, model))
    return torch.nn.ReLU() if isinstance(model, OwnReLU) else twin(model)


# What is right at any time


def test_an_output_keeps_its_numbers_while_the_model_is_called_again(model):
    q = model(S)
    expected = model.predict(S)
    model(S2).argmax()
    numpy.testing.assert_array_equal(q, expected)


def several_forwards(model, mean):
    one, two = model(S64), model(S2_64)
    return lambda: (mean(two * two), mean(one * one * one))


def the_earlier_alone(model, mean):
    one = model(S64)
    model(S2_64)
    return lambda: (mean(one * one),)


def one_loss_of_two_forwards(model, mean):
    one, two = model(S64), model(S2_64)
    return lambda: (mean((one - two) ** 2),)


@pytest.mark.parametrize("several", [several_forwards, the_earlier_alone, one_loss_of_two_forwards])
def test_several_forwards_before_a_backward_give_torchs_gradients(build, several):
    model = build(F64)
    other = torchs(model)
    for loss in several(model, numpy.mean)():
        loss.backward()

    def of_torch(x):
        return other(torch.from_numpy(x))

    for loss in several(of_torch, torch.mean)():
        loss.backward()
    assert_same_gradients(model, other)


@pytest.mark.parametrize("own", [False, True], ids=["known", "with a module of its own"])
@pytest.mark.parametrize("part", [0, 1, 2, "inner"])
@pytest.mark.parametrize("rows", [6, 9], ids=["same shape", "another shape"])
def test_a_part_that_is_called_between_forward_and_backward_changes_nothing(part, own, rows):
    inner = nn.Sequential(nn.Linear(4, 4, rng=0), OwnReLU() if own else nn.ReLU())
    model = nn.Sequential(inner, nn.Linear(4, 4, rng=2), nn.Tanh())
    other = torchs(model)
    model(S)
    module = inner[0] if part == "inner" else model[part]
    module(draw((rows, 4), F32))
    x = leaf(S)
    other(x).backward(tensor(S2))
    assert_close(model.backward(S2), x.grad)
    assert_same_gradients(model, other)


def test_two_models_with_a_shared_layer_go_back_each_through_its_own_forward():
    shared = nn.Linear(4, 4, rng=0)
    heads = nn.Linear(4, 3, rng=1), nn.Linear(4, 3, rng=2)
    one, two = (nn.Sequential(shared, OwnReLU(), head) for head in heads)
    theirs = twin(shared), *(twin(head) for head in heads)
    first, second = one(S), two(S2)
    (first.sum() + (second * second).sum()).backward()
    relu = torch.nn.functional.relu
    (theirs[1](relu(theirs[0](tensor(S)))).sum() + (theirs[2](relu(theirs[0](tensor(S2)))) ** 2).sum()).backward()
    for mine, other in zip((shared, *heads), theirs, strict=True):
        assert_same_gradients(mine, other)


def test_a_layer_used_twice_in_one_model_is_as_in_torch():
    layer = nn.Linear(4, 4, rng=0, dtype=F64)
    other, theirs, x = twin(layer), leaf(S64), fastbp.tensor(S64, requires_grad=True)
    (layer(numpy.tanh(layer(x)) + x) ** 2).mean().backward()
    (other(torch.tanh(other(theirs)) + theirs) ** 2).mean().backward()
    assert_same_gradients(layer, other)
    assert_close(x.grad, theirs.grad)


def test_predictions_are_in_nobodys_way(model):
    kept = [model.predict(S2), model(S), model.predict(S2)]
    model.backward(numpy.asarray(kept[1]) - kept[0])


def test_a_copy_between_two_forwards_has_no_pass_and_takes_none(model):
    output = model(S)
    for other in (copy.copy(model), copy.deepcopy(model)):
        refused(other, TARGET, NO_FORWARD)
        other(S2)
    expected = model.backward(TARGET, retain_graph=True).copy()
    x = fastbp.tensor(S, requires_grad=True)
    model(x).backward(TARGET)
    numpy.testing.assert_array_equal(x.grad, expected)
    output.backward(TARGET)


def test_a_gan_whose_parts_share_a_vector_trains_as_if_they_did_not():
    generator, critic, criterion = mlp(4, 5, 3), mlp(3, 5, 1, seed=1), nn.MSELoss()
    apart = mlp(4, 5, 3), mlp(3, 5, 1, seed=1)
    nn.Sequential(generator, critic)
    gradients = []
    for g, d in ((generator, critic), apart):
        opt = optim.SGD(d.parameters(), lr=0.1)
        fake = g(S)
        criterion(d(fake.detach()), numpy.zeros((6, 1), F32)).backward()
        opt.step()
        criterion(d(fake), numpy.ones((6, 1), F32)).backward()
        gradients.append([p.grad.copy() for p in g.parameters()])
    for one, other in zip(*gradients, strict=True):
        numpy.testing.assert_array_equal(one, other)
    whole = nn.Sequential(generator, critic)
    whole(S)
    optim.SGD(critic.parameters(), lr=0.1).step()
    refused(whole, numpy.ones((6, 1), F32), CHANGED)


@pytest.mark.parametrize("last", [[], [nn.Tanh]], ids=["a layer", "and an activation"])
def test_no_gradient_is_lost_where_the_parameters_moved_since(last):
    """The weight of a first layer is not read where nobody asks for the gradient of the input."""
    model = nn.Sequential(nn.Linear(4, 3, rng=0), *(kind() for kind in last))
    loss = model(S).sum()
    nn.Sequential(nn.Linear(9, 4), model)
    with pytest.raises(RuntimeError, match="needs the parameters of its forward, and they were changed or moved"):
        loss.backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    model(S).sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


# A gradient made by hand says what it is for


def test_a_gradient_of_a_loss_for_an_earlier_output_is_refused(model):
    criterion = nn.MSELoss()
    q = model(S)
    criterion(q, TARGET)
    model(S2)
    grad = criterion.backward()
    refused(model, grad, ANOTHER)
    q.backward(grad)
    criterion(model(S), TARGET)
    model.backward(criterion.backward())


def test_two_critics_on_one_loss_object_are_told_apart():
    criterion, one, two = nn.MSELoss(), mlp(4, 3, 1), mlp(4, 3, 1, seed=1)
    target = draw((6, 1), F32)
    criterion(one(S), target)
    criterion(two(S), target)
    grad = criterion.backward()
    refused(one, grad, ANOTHER)
    two.backward(grad)


def test_the_gradient_of_an_input_is_for_the_model_that_made_this_input():
    actor, critic = mlp(4, 5, 3), mlp(3, 5, 1)
    critic(actor(S))
    grad_action = critic.backward(numpy.ones((6, 1), F32))
    actor(S2)
    refused(actor, grad_action, ANOTHER)
    critic(actor(S))
    actor.backward(critic.backward(numpy.ones((6, 1), F32)))


@pytest.mark.parametrize("critic", [mlp(3, 5, 1), nn.Sequential(nn.Residual(nn.Linear(3, 3)), nn.Linear(3, 1))])
def test_the_gradient_of_numbers_alone_is_for_whom_the_user_takes_it(critic):
    actor = mlp(4, 5, 3)
    critic(numpy.asarray(actor(S)))
    actor.backward(critic.backward(numpy.ones((6, 1), F32)))


def test_a_plain_gradient_is_for_the_last_pass(model):
    kept = model(S2)
    model(S)
    grad = model.backward(TARGET).copy()
    numpy.testing.assert_array_equal(grad, copied_backward(model, S))
    assert kept.shape == (6, 3)


def copied_backward(model, x):
    other = copy.deepcopy(model)
    other(x)
    return other.backward(TARGET)


def test_a_gradient_may_be_changed_in_place_or_come_as_a_copy(model):
    criterion = nn.MSELoss()
    criterion(model(S), TARGET)
    grad = criterion.backward()
    grad *= 2
    assert_close(grad, torch.from_numpy(2 * (model.predict(S) - TARGET) * 2 / F32(TARGET.size)))
    model.backward(grad)
    criterion(model(S), TARGET)
    model.backward(criterion.backward().copy())


# What is refused, in torch too


def second_backward(library, output, model, loss):
    loss.backward()
    loss.backward()


def second_backward_of_a_part(library, output, model, loss):
    loss.backward()
    (output * output).sum().backward()


def step_in_between(library, output, model, loss):
    (output.sum() + 1).backward(retain_graph=True)
    getattr(library, "optim", optim).SGD(model.parameters(), lr=0.1).step()
    loss.backward()


def no_single_number(library, output, model, loss):
    output.backward()


def under_no_grad(library, output, model, loss):
    with getattr(library, "no_grad", fastbp.no_grad)():
        sum_of = (model(output @ (output.T @ model_input(library)))).sum()
    sum_of.backward()


def model_input(library):
    return tensor(S) if library is torch else S


@pytest.mark.parametrize("case", [
    second_backward, second_backward_of_a_part, step_in_between, no_single_number, under_no_grad,
])  # fmt: skip
def test_what_torch_refuses_is_refused(case):
    model = mlp(4, 5, 3)
    other = torchs(model)
    for library, each in ((torch, other), (fastbp, model)):
        output = each(model_input(library))
        with pytest.raises(RuntimeError):
            case(library, output, each, (output**3).sum())


def test_a_second_backward_is_refused_as_in_torch_unless_the_first_retains(model):
    model(S)
    model.backward(TARGET)
    refused(model, TARGET, TWICE)
    model.zero_grad()
    model(S)
    first = model.backward(TARGET, retain_graph=True).copy()
    numpy.testing.assert_array_equal(model.backward(TARGET), first)
    refused(model, TARGET, TWICE)


@pytest.mark.parametrize("change", ["step", "load_state_dict", "double"])
def test_a_backward_that_reads_parameters_which_changed_is_refused(change):
    model = mlp(4, 5, 3)
    model(S)
    model.backward(TARGET, retain_graph=True)
    if change == "step":
        optim.SGD(model.parameters(), lr=0.1).step()
    elif change == "double":
        model.double().float()
    else:
        model.load_state_dict(model.state_dict())
    refused(model, TARGET, CHANGED)
    model(S)
    model.backward(TARGET)
