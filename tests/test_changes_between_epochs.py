"""What `progress` does to modes, frozen parameters and settings counts from the next epoch on, as in torch."""

import pickle

import numpy
import pytest
import torch
from helpers import assert_same_parameters, draw, mlp, tensor, twin
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim

F32 = numpy.float32
X, Y = draw((22, 4), F32), draw((22, 3), F32, seed=1)
OWN = type("Own", (nn.MSELoss,), {})  # trained module by module


def network():
    model = nn.Sequential(
        nn.Linear(4, 6, rng=0), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.25, rng=1),
        nn.Residual(nn.Linear(6, 6, rng=2), nn.Dropout(0.5, rng=3)), nn.AlphaDropout(0.25, rng=4),
        nn.Linear(6, 3, rng=5),
    )  # fmt: skip
    return model, optim.Adam(model.parameters(), lr=0.01)


def look(model, opt):
    """What changes nothing in the end."""
    model.eval()
    model.predict(X.astype(model[0].weight.dtype))
    model(X[:3].astype(model[0].weight.dtype))
    model.train()
    model[3].p = model[3].p
    model.requires_grad_(False)
    model.requires_grad_(True)


def evaluate_dropout(model, opt):
    model[3].eval()


def evaluate_all(model, opt):
    model.eval()


def toggle(model, opt):
    model.train(not model.training)


def set_p(model, opt):
    model[3].p, model[4][1].p = 0.5, 0.0


def freeze(model, opt):
    model[0].weight.requires_grad = False


def freeze_batch_norm(model, opt):
    model[1].eval()
    model[1].requires_grad_(False)


def thaw_in_turn(model, opt):
    for place in (0, 6):
        model[place].requires_grad_(not model[place].weight.requires_grad)


def follow_statistics_faster(model, opt):
    model[1].momentum = 0.5


def set_an_activation(model, opt):
    model[2] = nn.ReLU()


def add_a_group(model, opt):
    opt.param_groups[0]["lr"] = 0.5


CHANGES = [
    look, evaluate_dropout, evaluate_all, toggle, set_p, freeze, freeze_batch_norm, thaw_in_turn,
    follow_statistics_faster, set_an_activation, add_a_group,
]  # fmt: skip


def by_hand(change, size, epochs):
    """The loop of one's own."""
    model, opt = network()
    criterion = nn.MSELoss()
    for epoch in range(epochs):
        if epoch:
            change(model, opt)
        for start in range(0, len(X), size):
            criterion(model(X[start : start + size]), Y[start : start + size])
            model.zero_grad()
            model.backward(criterion.backward())
            opt.step()
    return outcome(model, fastbp.History())


@pytest.mark.parametrize("size", [6, 22])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_counts_from_the_next_epoch_on_as_in_a_loop_of_ones_own(change, size, count):
    expected, courses = by_hand(change, size, 4), []
    for kind in (nn.MSELoss, OWN):
        for rows in ((X, Y), (fastbp.RowBlocks(lambda: iter([(X, Y)])), None)):
            model, opt = network()

            def progress(history, model=model, opt=opt):
                if history.epochs < 4:
                    change(model, opt)

            history = fastbp.train_model(model, *rows, X, Y, kind(), opt, 4, size, progress=progress)
            assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
            assert_same_bits(outcome(model, fastbp.History()), expected)
            courses.append(dict(history))
    assert courses[1:] == courses[:-1]


def test_whoever_looks_at_the_model_between_epochs_changes_nothing(dtype):
    ends = []
    for progress in (None, look):
        model, opt = network()
        model.to(dtype)
        x, y = X.astype(dtype), Y.astype(dtype)
        show = progress and (lambda history, model=model, opt=opt: look(model, opt))
        history = fastbp.train_model(
            model, x, y, x, y, nn.MSELoss(), opt, 5, 6, shuffle=True, rng=1, progress=show, metrics=["r2"],
            early_stopping=fastbp.EarlyStopping(3),
        )  # fmt: skip
        ends.append(outcome(model, history))
    assert_same_bits(*ends)


def test_freezing_batch_norm_on_the_way_gives_the_numbers_of_torch():
    model = nn.Sequential(nn.Linear(4, 6, rng=0, dtype="f8"), nn.BatchNorm1d(6, dtype="f8"), nn.Tanh(),
                          nn.Linear(6, 3, rng=1, dtype="f8"))  # fmt: skip
    other = torch.nn.Sequential(
        twin(model[0]), torch.nn.BatchNorm1d(6, dtype=torch.float64), torch.nn.Tanh(), twin(model[3])
    )
    x, y = X.astype("f8"), Y.astype("f8")
    opt = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    torch_opt = torch.optim.SGD(other.parameters(), lr=0.05, momentum=0.9)

    def change(module, epochs):
        module[1].train(epochs % 2 == 0)
        module[1].requires_grad_(epochs % 2 == 0)
        module[3].bias.requires_grad_(epochs != 3)

    def progress(history):
        change(model, history.epochs)

    fastbp.train_model(model, x, y, None, None, nn.MSELoss(), opt, 5, 11, progress=progress)
    for epoch in range(5):
        if epoch:
            change(other, epoch)
        for start in (0, 11):
            torch_opt.zero_grad()
            torch.nn.functional.mse_loss(other(tensor(x[start : start + 11])), tensor(y[start : start + 11])).backward()
            torch_opt.step()
    assert_same_parameters(model, other)
    numpy.testing.assert_allclose(model[1].running_var, other[1].running_var.numpy(), rtol=1e-10)


@pytest.mark.parametrize("kind", [nn.MSELoss, OWN])
def test_a_batch_norm_that_begins_to_train_refuses_a_mini_batch_of_one_row(kind):
    model, opt = network()
    model.eval()
    with pytest.raises(ValueError, match=r"BatchNorm1d .*2 rows or more") as error:
        fastbp.train_model(model, X, Y, None, None, kind(), opt, 3, 7, progress=lambda history: model.train() and None)
    assert error.value.history.epochs == 1


@pytest.mark.parametrize("kind", [nn.MSELoss, OWN])
def test_parameters_of_another_model_are_refused_on_the_way_too(kind):
    model, opt = network()

    def progress(history):
        opt.add_param_group({"params": nn.Linear(2, 2).parameters()})

    with pytest.raises(ValueError, match=r"takes an optimiser over the model's parameters"):
        fastbp.train_model(model, X, Y, None, None, kind(), opt, 3, 11, progress=progress)


class Slotted(Exception):
    """Takes no history."""

    history = "mine"


def stop_by(kind):
    def progress(history):
        if history.epochs == 2:
            raise kind("enough")

    return progress


@pytest.mark.parametrize("error", [ValueError, SystemExit, type("Own", (BaseException,), {})])
@pytest.mark.parametrize("kind", [nn.MSELoss, OWN])
def test_the_history_is_on_whatever_exception_ends_a_training(error, kind):
    ends = []
    for stops in (True, False):
        model, opt = network()
        criterion, history = kind(), None
        if stops:
            with pytest.raises(error) as raised:
                fastbp.train_model(model, X, Y, X, Y, criterion, opt, 5, 6, progress=stop_by(error))
            history = raised.value.history
            assert history.epochs == 2
        history = fastbp.train_model(model, X, Y, X, Y, criterion, opt, 5, 6, history=history)
        ends.append(outcome(model, history))
    assert_same_bits(*ends)


def test_the_history_is_on_what_diverges_and_on_what_cannot_go_on():
    model = mlp(4, 5, 3)
    with pytest.raises(fastbp.DivergenceError) as raised:
        fastbp.train_model(
            model, X, Y, None, None, nn.MSELoss(), optim.SGD(model.parameters(), lr=1e30), 9, 7, on_nonfinite="raise"
        )
    assert isinstance(raised.value.history, fastbp.History)
    model = mlp(4, 5, 3)
    with pytest.raises(RuntimeError, match=r"during the training") as raised:
        fastbp.train_model(
            model, X, Y, None, None, nn.MSELoss(), optim.SGD(model.parameters()), 9, 7,
            progress=lambda history: model.double() and None,
        )  # fmt: skip
    assert pickle.loads(pickle.dumps(raised.value)).history["train_loss"] == raised.value.history["train_loss"]


def test_an_exception_with_a_history_of_its_own_keeps_that():
    model = mlp(4, 5, 3)
    with pytest.raises(Slotted) as raised:
        fastbp.train_model(
            model, X, Y, None, None, nn.MSELoss(), optim.SGD(model.parameters()), 9, 7, progress=stop_by(Slotted)
        )
    assert raised.value.history == "mine"
