"""Every loss in the engine: the bits of the modules, torch's course, accuracies, and targets that are refused."""

from itertools import cycle

import numpy
import pytest
import torch
from helpers import assert_unchanged, draw, mlp, snapshot, tensor
from loss_cases import CASES, OUTPUTS, Case
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim
from fastbp.nn.losses import loss_of_row
from fastbp_kernels.functions.losses.kernels import loss_forward, loss_forward_backward
from fastbp_kernels.functions.losses.registry import LOSSES

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean'")  # torch's advice on KLDivLoss
N, STEPS = 40, 240


def network(case, dtype, hidden=(9,), activation="Tanh"):
    """A network whose outputs are what the loss takes."""
    model = mlp(5, *hidden, OUTPUTS, activation=activation, dtype=dtype, seed=3)
    return nn.Sequential(*model, nn.Sigmoid()) if case.kind in ("probabilities", "rates") else model


def own(criterion):
    """The same loss, of a class that the engine does not know."""
    criterion.__class__ = type("Own", (type(criterion),), {})
    return criterion


def test_the_cases_cover_every_row():
    covered = {criterion.row_for(case.data(numpy.float32)[1]) for case in CASES for criterion in [case.ours()]}
    assert covered == {row.name for row in LOSSES}


def test_a_row_over_elements_has_formulas_and_its_settings_are_attributes():
    for row in LOSSES:
        criterion = loss_of_row(row.name)
        assert (row.over == "elements") == (row.value is not None) == (row.gradient is not None)
        for name in row.scalars:
            assert isinstance(getattr(criterion, name), float | bool)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_engine_gives_the_bits_of_the_modules(case, reduction, dtype):
    x, (_, target) = draw((N, 5), dtype), case.data(dtype, N)
    for shuffle, size, threads in ((False, 9, 1), (True, 9, 2), (True, N, 2)):
        fastbp.set_num_threads(threads)
        ends = []
        for criterion in (case.ours(reduction), own(case.ours(reduction))):
            model = network(case, dtype)
            opt = optim.Adam(model.parameters(), lr=0.01)
            history = fastbp.train_model(
                model, x, target, x, target, criterion, opt, 3, size, shuffle=shuffle, rng=4 if shuffle else None,
                on_nonfinite="ignore",  # a mean of ignored rows alone is NaN
            )  # fmt: skip
            assert history.backend == ("modules" if type(criterion).__name__ == "Own" else "engine")
            ends.append(outcome(model, history))
        assert_same_bits(*ends)


@pytest.mark.parametrize(("case", "hidden"), [*zip(CASES, cycle([(9,), (16, 7)]))], ids=str)
def test_a_long_training_follows_torch(case, hidden):
    x, (_, target) = draw((N, 5), numpy.float64), case.data(numpy.float64, N)
    model = network(case, numpy.float64, hidden, "Tanh" if len(hidden) == 1 else "Sigmoid")
    twin = fastbp.to_torch(model)
    theirs, criterion = torch.optim.Adam(twin.parameters(), lr=0.003), case.theirs()
    inputs, targets, losses = tensor(x), tensor(target), []
    for step in range(STEPS):
        rows = slice(step % 4 * 10, step % 4 * 10 + 10)
        theirs.zero_grad()
        value = criterion(twin(inputs[rows]), targets[rows])
        value.backward()
        theirs.step()
        losses.append(value.item())
    history = fastbp.train_model(
        model, x, target, None, None, case.ours(), optim.Adam(model.parameters(), lr=0.003), STEPS // 4, 10
    )
    assert history.backend == "engine"
    expected = numpy.reshape(losses, (STEPS // 4, 4)).sum(axis=1)
    numpy.testing.assert_allclose(history["train_loss"], expected, rtol=1e-9, atol=1e-9)
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        numpy.testing.assert_allclose(parameter.data, other.detach().numpy(), rtol=0, atol=1e-9)


def test_rows_of_an_ignored_class_do_not_count_in_the_accuracy():
    x, target = draw((N, 5), numpy.float32), numpy.arange(N) % OUTPUTS
    series = []
    for kept in (target != 1, slice(None)):
        for wrap in (lambda criterion: criterion, own):
            model = mlp(5, 9, OUTPUTS)
            criterion = wrap(nn.CrossEntropyLoss(ignore_index=1))
            opt = optim.SGD(model.parameters(), lr=0.0)
            history = fastbp.train_model(model, x, target, x[kept], target[kept], criterion, opt, 1, 7)
            series.append(history["val_accuracy"])
    assert series[0] == series[1] == series[2] == series[3]


def test_a_training_by_several_quantiles_has_no_accuracy(dtype):
    x, target = draw((N, 5), dtype), (numpy.arange(N)[:, None] % 2).astype(dtype)
    ends = []
    for criterion in (nn.QuantileLoss([0.1, 0.5, 0.9]), own(nn.QuantileLoss([0.1, 0.5, 0.9]))):
        model = mlp(5, 9, 3, dtype=dtype)
        opt = optim.SGD(model.parameters(), lr=0.1)
        history = fastbp.train_model(model, x, target, x, target, criterion, opt, 2, 7)
        assert history["val_accuracy"] == []
        ends.append(outcome(model, history))
    assert_same_bits(*ends)


REFUSED = [
    (nn.BCELoss(), numpy.full((N, 4), 1.5), r"train_target from 0 to 1, got 1\.5"),
    (nn.BCEWithLogitsLoss(), numpy.full((N, 4), -0.5), r"train_target from 0 to 1, got -0\.5"),
    (nn.CrossEntropyLoss(), numpy.full((N, 4), 2.0), r"train_target from 0 to 1, got 2\.0: .* probabilities"),
    (nn.CrossEntropyLoss(), numpy.full(N, 4), "train_target from 0 to 3 for 4 outputs, got 4"),
    (nn.CrossEntropyLoss(), numpy.full(N, -1), "train_target from 0 to 3 for 4 outputs, got -1"),
    (nn.NLLLoss(), numpy.zeros(N), "class indices of an integer dtype, got float64"),
    (nn.CrossEntropyLoss(), numpy.zeros(N), "class indices of an integer dtype, got float64"),
    (nn.CrossEntropyLoss(weight=[1.0, 2.0]), numpy.zeros(N, int), "weight with a number for each of 4 out.* got 2"),
    (nn.BCEWithLogitsLoss(pos_weight=[1.0] * 3), numpy.zeros((N, 4)), "pos_weight with a number for each of 4.* got 3"),
    (nn.BCELoss(), numpy.zeros((N, 4)), "prediction from 0 to 1, got .*; end the network with Sigmoid"),
    (nn.MSELoss("none"), numpy.zeros((N, 4)), r"returns a number, got MSELoss\(reduction='none'\); its reduc"),
    (nn.GaussianNLLLoss(), numpy.zeros((N, 4)), "got GaussianNLLLoss, which takes a variance too; write the loop"),
    (nn.QuantileLoss([0.1, 0.5, 0.9]), numpy.zeros((N, 1)), r"of 3 quantiles takes a prediction of shape"),
]  # fmt: skip


@pytest.mark.parametrize(("criterion", "target", "sentence"), REFUSED, ids=lambda part: str(part)[:40])
def test_what_does_not_fit_is_refused_before_anything_changes(criterion, target, sentence):
    model = mlp(5, 9, OUTPUTS, dtype=numpy.float64)
    before, opt = snapshot(model), optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises((TypeError, ValueError), match=sentence):
        fastbp.train_model(model, draw((N, 5), numpy.float64), target, None, None, criterion, opt, 1, 7)
    assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: nn.HuberLoss(delta=0), "HuberLoss takes a delta above 0, got 0"),
        (lambda: nn.SmoothL1Loss(beta=-1), "SmoothL1Loss takes a finite beta of 0 or more, got -1"),
        (lambda: nn.QuantileLoss(1.0), "QuantileLoss takes quantiles between 0 and 1, got 1"),
        (lambda: nn.QuantileLoss([]), "QuantileLoss takes quantiles between 0 and 1"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=1.5), "label_smoothing from 0 to 1, got 1.5"),
        (lambda: nn.CrossEntropyLoss([1.0, numpy.inf]), "CrossEntropyLoss takes weight of finite numbers, got inf"),
        (lambda: nn.NLLLoss(weight=[numpy.nan]), "NLLLoss takes weight of finite numbers, got nan"),
        (lambda: nn.NLLLoss(ignore_index=1.5), "NLLLoss takes ignore_index as an int, got 1.5"),
        (lambda: nn.GaussianNLLLoss(eps=0), "GaussianNLLLoss takes an eps above 0, got 0"),
        (lambda: nn.KLDivLoss("batch"), "takes reduction 'mean', 'batchmean', 'sum' or 'none', got 'batch'"),
        (lambda: nn.MSELoss("batchmean"), "MSELoss takes reduction 'mean', 'sum' or 'none', got 'batchmean'"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(make, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        make()


def test_a_backward_of_many_losses_needs_the_gradient_of_each():
    x, y = Case("MSELoss").data(numpy.float64)
    criterion = nn.MSELoss("none")
    criterion(x, y)
    with pytest.raises(TypeError, match=r"needs grad_output of shape \(37, 4\) for reduction 'none', got none"):
        criterion.backward()
    with pytest.raises(ValueError, match=r"grad_output of shape \(37, 4\), got \(37,\)"):
        criterion.backward(numpy.ones(37))
    criterion = nn.MSELoss()
    criterion(x, y)
    with pytest.raises(TypeError, match="takes grad_output for reduction 'none' only, got 'mean'"):
        criterion.backward(numpy.ones((37, 4)))


def test_a_model_trains_by_the_gradient_of_many_losses(dtype):
    """Weights that are multiplied afterwards are those of the rows."""
    x, (_, y) = draw((N, 5), dtype), Case("HuberLoss").data(dtype, N)
    weights = numpy.arange(N, dtype=dtype) % 3
    grads = []
    for criterion in (nn.HuberLoss("none"), nn.HuberLoss("sum")):
        model = mlp(5, 9, OUTPUTS, dtype=dtype)
        if criterion.reduction == "none":
            values = criterion(model(x), y)
            model.backward(criterion.backward(numpy.broadcast_to(weights[:, None], values.shape).copy()))
        else:
            criterion(model(x), y, weights)
            model.backward(criterion.backward())
        grads.append(model[0].weight.grad.copy())
    numpy.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-6)


def test_a_code_without_a_loss_is_not_taken_for_another():
    x, y = Case("MSELoss").data(numpy.float64)
    classes, weights = numpy.zeros(37, numpy.int64), numpy.empty(0)
    for code, over_rows in ((len(LOSSES), False), (len(LOSSES), True), (0, True)):
        arguments = code, over_rows, over_rows, numpy.zeros(1000), x, y, classes, weights
        assert numpy.isnan(loss_forward(*arguments))
        assert numpy.isnan(loss_forward_backward(*arguments, 1.0, numpy.zeros_like(x)))
