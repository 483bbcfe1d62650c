"""Every row of the three registries: a class, a twin in torch, an oracle, the same bits both ways, torch's course."""

from itertools import cycle, pairwise

import numpy
import oracles
import pytest
import torch
from helpers import draw, mlp
from length import WHOLE
from optimizers import OPTIONS, optimizer
from same_bits import assert_same_bits, outcome

import fastbp
import fastbp_kernels
from fastbp import nn, optim
from fastbp.nn.activations import activation_classes, activation_of_row
from fastbp_kernels import cross_entropy_forward, cross_entropy_forward_backward
from fastbp_kernels.functions.activations import ACTIVATION_CODES, ACTIVATIONS
from fastbp_kernels.functions.losses.kernels import LOSSES
from fastbp_kernels.functions.optimizers import OPTIMIZERS
from fastbp_kernels.layers.table import ACTIVATION_SCALARS, OPERATION_SCALARS

NAMES = [*(kind.__name__ for kind in activation_classes()), "GELU:tanh"]


def activation(name, library=nn):
    if library is nn:
        return activation_of_row(name)
    kind, _, form = name.partition(":")
    return getattr(library, kind)(**({"approximate": form} if form else getattr(nn, kind).example))


def network(name, dtype, last=True):
    widths = (5, 33, 16, 3)
    layers = [nn.Linear(i, o, rng=i, dtype=dtype) for i, o in pairwise(widths)]
    modules = [part for layer in layers for part in (layer, activation(name))]
    return nn.Sequential(*modules) if last else nn.Sequential(*modules[:-1])


def target_of(loss, dtype, n=23):
    if loss == "CrossEntropyLoss":
        return numpy.arange(n) ** 2 % 3
    return draw((n, 3), dtype, seed=8)


@pytest.mark.parametrize(
    ("rows", "library"), [(ACTIVATIONS, nn), (LOSSES, nn), (OPTIMIZERS, optim)], ids=["activations", "losses", "optims"]
)
def test_a_row_has_a_class_of_its_name_here_and_in_torch_where_it_says_so(rows, library):
    twin = torch.optim if library is optim else torch.nn
    for row in rows:
        name = row.name.partition(":")[0]
        assert name in library.__all__
        assert hasattr(twin, name) == getattr(row, "in_torch", True)


def test_every_row_of_an_activation_is_one_of_the_names():
    rows = {activation(name).row for name in NAMES}
    assert rows == {row.name for row in ACTIVATIONS if row.name != "Identity"}


@pytest.mark.parametrize("row", ACTIVATIONS, ids=lambda row: row.name)
def test_a_row_takes_no_more_numbers_than_there_is_room_for(row):
    assert len(row.scalars) <= OPERATION_SCALARS - ACTIVATION_SCALARS
    assert row.saves == "input" or row.derivative_in_tile or row.name == "Identity"
    assert not (row.scalars and (row.value_in_tile or row.derivative_in_tile))


@pytest.mark.parametrize("name", NAMES)
def test_an_activation_and_its_derivative_are_the_oracles(name, dtype):
    x = numpy.concatenate([draw(300, dtype) * dtype(3), numpy.linspace(-30, 30, 41, dtype=dtype)])
    module, grad = activation(name), draw(341, dtype, seed=3)
    output, grad_input = module(x), module.backward(grad)
    eps = numpy.finfo(dtype).eps
    expected, slope = oracles.activation(name, x.astype("f8")), oracles.activation_derivative(name, x.astype("f8"))
    numpy.testing.assert_allclose(output, expected, rtol=4 * eps, atol=4 * eps)
    numpy.testing.assert_allclose(grad_input, grad * slope, rtol=16 * eps, atol=16 * eps)
    numpy.testing.assert_array_equal(module.predict(x), output)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_is_torchs(name, dtype):
    x = numpy.array([numpy.nan, numpy.inf, -numpy.inf, 1e10, -1e10, 0.0, -0.0], dtype)
    x = numpy.repeat(x, 16)  # torch computes the last few numbers of an array in another way
    ours, theirs = activation(name), activation(name, torch.nn)
    inputs = torch.tensor(x, dtype=torch.float64, requires_grad=True)  # of float32, its vectors give NaN for infinity
    theirs(inputs).sum().backward()
    numpy.testing.assert_allclose(ours(x), theirs(inputs).detach().numpy().astype(dtype))
    atol = numpy.finfo(dtype).eps  # torch takes softsign's derivative as a difference of two numbers
    numpy.testing.assert_allclose(ours.backward(numpy.ones_like(x)), inputs.grad.numpy(), atol=atol)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_cross_entropy_is_the_oracles_and_torchs(reduction, dtype):
    logits, classes = draw((37, 5), dtype) * dtype(20), numpy.arange(37) % 5
    criterion = nn.CrossEntropyLoss(reduction=reduction)
    loss, grad = criterion(logits, classes), criterion.backward()
    inputs = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.CrossEntropyLoss(reduction=reduction)(inputs, torch.tensor(classes))
    theirs.backward()
    expected = oracles.cross_entropy(logits, classes, reduction)
    tolerance = 8 * numpy.finfo(dtype).eps
    numpy.testing.assert_allclose(loss, expected[0], rtol=tolerance)
    numpy.testing.assert_allclose(loss, theirs.item(), rtol=tolerance)
    numpy.testing.assert_allclose(grad, expected[1], rtol=0, atol=tolerance)
    numpy.testing.assert_allclose(grad, inputs.grad.numpy(), rtol=0, atol=tolerance)
    assert criterion.evaluate(logits, classes) == loss


def test_the_kernels_cross_entropy_is_torchs(dtype):
    logits, classes, weight = draw((37, 5), dtype) * dtype(20), numpy.arange(37) % 6 - 1, draw(5, dtype) ** 2
    inputs = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.CrossEntropyLoss(torch.tensor(weight), reduction="sum", ignore_index=-1)(
        inputs, torch.tensor(classes)
    )
    theirs.backward()
    grad, tolerance = numpy.empty_like(logits), 16 * numpy.finfo(dtype).eps
    loss = cross_entropy_forward_backward(logits, classes, weight, dtype(0.5), grad)
    assert cross_entropy_forward(logits, classes, weight) == loss
    numpy.testing.assert_allclose(loss, theirs.item(), rtol=tolerance)
    numpy.testing.assert_allclose(grad, inputs.grad.numpy() / 2, rtol=0, atol=tolerance)


@pytest.mark.parametrize("values", [numpy.nan, numpy.inf, -numpy.inf, 1e30])
def test_a_cross_entropy_of_logits_that_are_not_finite_is_torchs(values, dtype):
    logits = draw((4, 3), dtype)
    logits[1, 2] = values
    for classes in ([0, 1, 2, 0], [0, 2, 2, 0]):
        expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(classes)).item()
        numpy.testing.assert_allclose(nn.CrossEntropyLoss()(logits, numpy.array(classes)), expected, rtol=1e-6)


def test_a_gradient_of_the_cross_entropy_is_that_of_finite_differences():
    logits, classes, step = draw((3, 4), numpy.float64), numpy.array([2, 0, 3]), 1e-6
    criterion = nn.CrossEntropyLoss()
    criterion(logits, classes)
    grad = criterion.backward()
    for place in numpy.ndindex(logits.shape):
        ends = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[place] += sign * step
            ends.append(criterion.evaluate(moved, classes))
        assert abs((ends[0] - ends[1]) / (2 * step) - grad[place]) < 1e-8


@pytest.mark.parametrize("options", [{}, {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}], ids=["", "options"])
def test_adam_is_the_oracles(options):
    layer, grads = nn.Linear(3, 2, rng=0, dtype=numpy.float64), draw((7, 2, 3), numpy.float64, seed=5)
    before, opt = layer.weight.data.copy(), optim.Adam(layer.parameters(), lr=0.1, **options)
    for grad in grads:
        layer.weight.grad = grad
        opt.step()
    settings = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, **options}
    for place in numpy.ndindex(2, 3):
        expected = oracles.adam(before[place], grads[(slice(None), *place)], **settings)
        numpy.testing.assert_allclose(layer.weight.data[place], expected, rtol=1e-13)


# All other losses in test_losses_in_engine.
WAYS = [(name, loss, "Adam") for name, loss in zip(NAMES, cycle(["MSELoss", "CrossEntropyLoss"]))]
WAYS += [("Tanh", "MSELoss", row.name) for row in OPTIMIZERS if row.name != "Adam"]
# Whether an activation is last, whether rows are shuffled, mini-batch size, threads: each pair of two is there.
DIVISIONS = [
    (True, True, 7, 1), (True, False, 23, 2), (False, True, 23, 1), (False, False, 7, 2), (True, True, 7, 2),
    (False, False, 23, 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "loss", "opt"), WAYS)
def test_the_engine_gives_the_bits_of_the_modules(name, loss, opt, dtype):
    x, target = draw((23, 5), dtype), target_of(loss, dtype)
    criterion = getattr(nn, loss)
    own = type("Own", (criterion,), {})
    for last, shuffle, size, threads in DIVISIONS:
        fastbp.set_num_threads(threads)
        ends = []
        for kind in (criterion, own):
            model = network(name, dtype, last)
            history = fastbp.train_model(
                model, x, target, x, target, kind(), optimizer(opt, model.parameters(), 0.01), 3, size,
                shuffle=shuffle, rng=4 if shuffle else None,
            )  # fmt: skip
            ends.append(outcome(model, history))
            assert history.backend == ("engine" if kind is criterion else "modules")
        assert_same_bits(*ends)


@pytest.mark.parametrize(
    ("name", "loss", "opt"),
    [("GELU", "CrossEntropyLoss", "Adam"), ("GELU:tanh", "MSELoss", "Adam"), ("Tanh", "CrossEntropyLoss", "SGD")],
)
def test_thousands_of_steps_follow_torch(name, loss, opt):
    """5,000 for three that came first, and in short 1,000 for all but one."""
    epochs = 1250 if WHOLE or name == "GELU" else 250
    x, target = draw((40, 5), numpy.float64), target_of(loss, numpy.float64, 40)
    model = network(name, numpy.float64, last=False)
    twin = fastbp.to_torch(model)
    theirs = getattr(torch.optim, opt)(twin.parameters(), lr=0.0005)
    inputs, targets = torch.tensor(x), torch.tensor(target)
    criterion = getattr(torch.nn, loss)()
    losses = []
    for step in range(4 * epochs):
        rows = slice(step % 4 * 10, step % 4 * 10 + 10)
        theirs.zero_grad()
        value = criterion(twin(inputs[rows]), targets[rows])
        value.backward()
        theirs.step()
        losses.append(value.item())
    ours = getattr(optim, opt)(model.parameters(), lr=0.0005)
    history = fastbp.train_model(model, x, target, None, None, getattr(nn, loss)(), ours, epochs, 10)
    assert history.backend == "engine"
    expected = numpy.reshape(losses, (epochs, 4)).sum(axis=1)
    numpy.testing.assert_allclose(history["train_loss"], expected, rtol=0, atol=1e-9)
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        numpy.testing.assert_allclose(parameter.data, expected.detach().numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("row", [row.name for row in OPTIMIZERS])
def test_a_thousand_steps_of_every_optimiser_follow_torch(row):
    x, target = draw((40, 5), numpy.float64), draw((40, 3), numpy.float64, seed=8)
    model = mlp(5, 17, 3, activation="Tanh", dtype=numpy.float64)
    twin = fastbp.to_torch(model)
    # Uphill the loss grows beyond all bounds, and so do differences.
    lr = 1e-5 if OPTIONS[row].get("maximize") else 1e-3
    theirs = optimizer(row, twin.parameters(), lr, torch.optim)
    inputs, targets = torch.tensor(x), torch.tensor(target)
    for step in range(1000):
        rows = slice(step % 4 * 10, step % 4 * 10 + 10)
        theirs.zero_grad()
        torch.nn.functional.mse_loss(twin(inputs[rows]), targets[rows]).backward()
        theirs.step()
    ours = optimizer(row, model.parameters(), lr)
    fastbp.train_model(model, x, target, None, None, nn.MSELoss(), ours, 250, 10)
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        numpy.testing.assert_allclose(parameter.data, expected.detach().numpy(), rtol=0, atol=1e-9)
    states = ours.state_dict()["state"], theirs.state_dict()["state"]
    for number, own in states[1].items():
        assert {name for name, value in own.items() if value is not None} == set(states[0].get(number, {}))
        for name, value in states[0].get(number, {}).items():
            numpy.testing.assert_allclose(value, own[name].numpy(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("row", [row.name for row in OPTIMIZERS if row.state])
def test_the_state_of_a_parameter_without_gradient_fades_to_no_subnormal_number(row):
    """Of those, 20 in a network of 1,400 parameters doubled the time of a step."""
    module, dtype = nn.Linear(20, 1, bias=False), numpy.float32
    module.weight.data[...] = 1
    parameter, twin = module.weight, fastbp.to_torch(module).weight
    ours, theirs = optimizer(row, [parameter], 1e-3), optimizer(row, [twin], 1e-3, torch.optim)
    for step in range(400):
        parameter.grad = (step == 0) * numpy.logspace(-36, -20, 20, dtype=dtype)[None]
        twin.grad = torch.tensor(parameter.grad)
        ours.step()
        theirs.step()
    numpy.testing.assert_allclose(parameter.data, twin.detach().numpy(), rtol=2000 * numpy.finfo(dtype).eps)
    for name, values in ours.state_dict()["state"][0].items():
        assert not numpy.any((values != 0) & (numpy.abs(values) < numpy.finfo(dtype).tiny)), name


@pytest.mark.parametrize("row", [row.name for row in OPTIMIZERS])
def test_the_state_of_every_optimiser_goes_to_torch_and_back(row, tmp_path):
    def steps(model, opt, other, theirs):
        for step in range(3):
            for index, (mine, their) in enumerate(zip(model.parameters(), other.parameters(), strict=True)):
                mine.grad = draw(mine.shape, numpy.float64, seed=10 * step + index)
                their.grad = torch.tensor(mine.grad)
            opt.step()
            theirs.step()
        for mine, their in zip(model.parameters(), other.parameters(), strict=True):
            numpy.testing.assert_allclose(mine.data, their.detach().numpy(), rtol=0, atol=1e-10)  # NAdam's product is
        # of float32 in torch, and of float64 once it was loaded

    model = network("Tanh", numpy.float64)
    other = fastbp.to_torch(model)
    opt, theirs = optimizer(row, model.parameters(), 0.01), optimizer(row, other.parameters(), 0.01, torch.optim)
    steps(model, opt, other, theirs)
    fresh = getattr(optim, type(opt).__name__)(model.parameters())
    fresh.load_state_dict(theirs.state_dict())
    back = type(theirs)(other.parameters())
    state = opt.state_dict()
    back.load_state_dict(
        {
            "state": {n: {k: torch.as_tensor(v) for k, v in own.items()} for n, own in state["state"].items()},
            "param_groups": state["param_groups"],
        }
    )
    fastbp.save(tmp_path / "c", model, fresh)
    model, fresh, _ = fastbp.load(tmp_path / "c")
    steps(model, fresh, other, back)


@pytest.mark.parametrize("name", NAMES)
def test_the_public_kernels_compute_every_activation(name, dtype):
    module, x, grad = activation(name), draw((7, 9), dtype), draw((7, 9), dtype, seed=3)
    code, scalars = ACTIVATION_CODES[module.row], numpy.array(module.scalars, dtype)
    output, grad_input = numpy.empty_like(x), numpy.empty_like(x)
    fastbp_kernels.activation_forward(code, x, scalars, output)
    saved = x if ACTIVATIONS[code].saves == "input" else output
    fastbp_kernels.activation_backward(code, grad, saved, scalars, grad_input)
    numpy.testing.assert_array_equal(output, module(x))
    numpy.testing.assert_array_equal(grad_input, module.backward(grad))
