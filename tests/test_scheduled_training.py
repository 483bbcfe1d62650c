"""Trainings under a schedule: the same bits both ways and after a stop, torch's course, errors before changes."""

import numpy
import pytest
import torch
from helpers import draw, mlp, snapshot, twin
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim
from fastbp.engine import call_length
from fastbp.engine.session import Session
from fastbp.optim import lr_scheduler as s

OWN = type("Own", (nn.MSELoss,), {})  # trained module by module
F64 = numpy.float64
ROWS, SIZE, EPOCHS = 23, 5, 6
SCHEDULES = {
    "StepLR": (lambda o: s.StepLR(o, 2, 0.5), "epoch"),
    "LambdaLR": (lambda o: s.LambdaLR(o, lambda step: 0.9**step), "batch"),
    "OneCycleLR": (lambda o: s.OneCycleLR(o, 0.1, epochs=EPOCHS, steps_per_epoch=5), "batch"),
    "OneCycleLR of epochs": (lambda o: s.OneCycleLR(o, 0.1, EPOCHS), "epoch"),
    "CyclicLR": (lambda o: s.CyclicLR(o, 0.01, 0.1, 3, 4), "batch"),
    "SequentialLR": (lambda o: s.SequentialLR(o, [s.LinearLR(o), s.CosineAnnealingLR(o, 9)], [4]), "batch"),
    "ChainedScheduler": (lambda o: s.ChainedScheduler([s.ConstantLR(o), s.ExponentialLR(o, 0.9)]), "epoch"),
    "ReduceLROnPlateau": (lambda o: s.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.05), "epoch"),
}
OPTIMIZERS = {
    "SGD": lambda m: optim.SGD(m.parameters(), lr=0.05, momentum=0.9),
    "NAdam": lambda m: optim.NAdam([{"params": m[0].parameters(), "lr": 0.02}, {"params": m[2].parameters()}], lr=0.01),
}


def data(dtype=F64):
    return draw((ROWS, 4), dtype), draw((ROWS, 3), dtype, seed=8), draw((9, 4), dtype, 2), draw((9, 3), dtype, 3)


def begin(schedule, opt, dtype=F64):
    model = mlp(4, 16, 3, dtype=dtype)
    opt = OPTIMIZERS[opt](model)
    return model, opt, SCHEDULES[schedule][0](opt)


def train(model, opt, scheduler, schedule, kind=nn.MSELoss, epochs=EPOCHS, dtype=F64, **options):
    return fastbp.train_model(
        model, *data(dtype), kind(), opt, epochs, SIZE, scheduler=scheduler,
        scheduler_interval=SCHEDULES[schedule][1], shuffle=True, rng=4, **options,
    )  # fmt: skip


def settings(opt):
    return [{name: value for name, value in group.items() if name != "params"} for group in opt.param_groups]


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_engine_gives_the_bits_of_the_modules(schedule, opt, dtype):
    ends, states = [], []
    for kind in (nn.MSELoss, OWN):
        parts = begin(schedule, opt, dtype)
        history = train(*parts, schedule, kind, dtype=dtype)
        assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
        ends.append(outcome(parts[0], history))
        states.append((parts[2].state_dict(), settings(parts[1])))
    assert_same_bits(*ends)
    assert repr(states[0]) == repr(states[1])


class Stop(Exception):
    pass


@pytest.mark.parametrize("kind", [nn.MSELoss, OWN])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_training_that_stops_within_an_epoch_goes_on_with_the_same_bits(schedule, kind, tmp_path, monkeypatch):
    whole = begin(schedule, "NAdam")
    expected = outcome(whole[0], train(*whole, schedule, kind))
    monkeypatch.setattr(call_length, "CALL_SECONDS", 0.0)
    monkeypatch.setattr(call_length, "FIRST_FLOP", 0.0)
    owner, name = (Session, "call") if kind is nn.MSELoss else (optim.NAdam, "step")
    goes, calls = getattr(owner, name), []

    def limited(*arguments):
        if len(calls) == 13:
            raise Stop
        calls.append(None)
        return goes(*arguments)

    model, opt, scheduler = begin(schedule, "NAdam")
    history = fastbp.History()
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, limited)
        with pytest.raises(Stop):
            train(model, opt, scheduler, schedule, kind, history=history)
    assert history.position.batches in (1, 3)
    fastbp.save(tmp_path / "c", model, opt, history, scheduler)
    model, opt, scheduler = begin(schedule, "NAdam")
    history = fastbp.load(tmp_path / "c", model, opt, scheduler).history
    assert_same_bits(outcome(model, train(model, opt, scheduler, schedule, kind, history=history)), expected)


def test_a_scheduler_that_does_not_fit_a_file_is_named_and_nothing_changes(tmp_path):
    model, opt, scheduler = begin("StepLR", "NAdam")
    with pytest.raises(ValueError, match="save takes a scheduler together with the optimiser"):
        fastbp.save(tmp_path / "c", model, None, None, scheduler)
    with pytest.raises(TypeError, match=r"save takes scheduler as one of fastbp\.optim\.lr_scheduler, got str"):
        fastbp.save(tmp_path / "c", model, opt, None, "StepLR")
    fastbp.save(tmp_path / "with", model, opt, None, scheduler)
    fastbp.save(tmp_path / "without", model, opt)
    model, opt, other = begin("LambdaLR", "NAdam")
    for parameter in model.parameters():
        parameter.data += 1
    before, state = snapshot(model), settings(opt)
    flat = optim.NAdam(model.parameters())
    for name, load_opt, load_scheduler, match in [
        ("with", opt, other, "the file holds a StepLR, got LambdaLR to fill"),
        ("with", None, other, "load takes a scheduler together with its optimiser"),
        ("without", opt, other, "the file holds no scheduler for LambdaLR"),
        ("with", flat, None, "the file holds another optimiser for NAdam"),
    ]:
        with pytest.raises(fastbp.CheckpointError, match=match):
            fastbp.load(tmp_path / name, model, load_opt, load_scheduler)
    assert settings(opt) == state
    for name, (values, _) in snapshot(model).items():
        numpy.testing.assert_array_equal(values, before[name][0])


def test_a_schedule_of_mini_batches_follows_torch():
    x, target, *_ = data()
    model = mlp(4, 16, 3, dtype=F64)
    other = twin(model)
    opt, theirs = optim.AdamW(model.parameters(), lr=0.01), torch.optim.AdamW(other.parameters(), lr=0.01)
    scheduler = s.OneCycleLR(opt, 0.02, total_steps=1000)
    their = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.02, total_steps=1000)
    for step in range(1000):
        rows = slice(step % 5 * SIZE, step % 5 * SIZE + SIZE)
        theirs.zero_grad()
        torch.nn.functional.mse_loss(other(torch.tensor(x[rows])), torch.tensor(target[rows])).backward()
        theirs.step()
        their.step()
    fastbp.train_model(
        model, x, target, None, None, nn.MSELoss(), opt, 200, SIZE, scheduler=scheduler, scheduler_interval="batch"
    )
    assert opt.lr == theirs.param_groups[0]["lr"]
    assert opt.betas == theirs.param_groups[0]["betas"]
    for mine, expected in zip(model.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_allclose(mine.data, expected.detach().numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [nn.MSELoss, OWN])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_blocks_of_rows_are_scheduled_and_clipped_as_the_rows_in_one_array(schedule, kind):
    x, target, *validation = data()
    blocks = fastbp.RowBlocks(lambda: ((x[rows], target[rows]) for rows in (slice(0, 10), slice(10, ROWS))))
    ends = []
    for rows in ((x, target), (blocks, None)):
        model, opt, scheduler = begin(schedule, "NAdam")
        history = fastbp.train_model(
            model, *rows, *validation, kind(), opt, EPOCHS, SIZE, scheduler=scheduler,
            scheduler_interval=SCHEDULES[schedule][1], clip_grad_norm=0.1,
        )  # fmt: skip
        ends.append(outcome(model, history))
    assert_same_bits(*ends)


def test_a_plateau_is_one_of_the_validation_loss_or_else_of_the_training_loss():
    for validates in (True, False):
        model, opt, scheduler = begin("ReduceLROnPlateau", "SGD")
        rows = data() if validates else (*data()[:2], None, None)
        history = fastbp.train_model(model, *rows, nn.MSELoss(), opt, EPOCHS, SIZE, scheduler=scheduler)
        again = begin("ReduceLROnPlateau", "SGD")[2]
        for loss in history["val_loss_mean" if validates else "train_loss_mean"]:
            again.step(loss)
        assert again.state_dict() == scheduler.state_dict()
        assert scheduler.last_epoch == EPOCHS


def test_a_schedule_that_ends_before_the_training_is_refused_and_nothing_changes():
    for schedule, missing in (("OneCycleLR", "mini-batches"), ("OneCycleLR of epochs", "epochs")):
        model, opt, scheduler = begin(schedule, "SGD")
        before, state = snapshot(model), scheduler.state_dict()
        with pytest.raises(
            ValueError, match=rf"takes a scheduler for the \d+ {missing} .*got OneCycleLR with \d+ steps left"
        ):
            train(model, opt, scheduler, schedule, epochs=EPOCHS + 1)
        for name, (values, _) in snapshot(model).items():
            numpy.testing.assert_array_equal(values, before[name][0])
        assert scheduler.state_dict() == state


@pytest.mark.parametrize("kind", [nn.MSELoss, OWN])
def test_a_function_that_fails_leaves_schedule_and_model_at_a_mini_batch(kind):
    model, opt, _ = begin("StepLR", "SGD")
    scheduler = s.LambdaLR(opt, lambda step: 1.0 if step < 8 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(model, opt, scheduler, "LambdaLR", kind)
    assert scheduler.last_epoch <= 7
    assert opt.lr == 0.05


def test_what_does_not_fit_is_named():
    model, opt, scheduler = begin("StepLR", "SGD")
    other = begin("StepLR", "SGD")[2]
    plateau = s.ReduceLROnPlateau(opt)
    before = snapshot(model)
    for options, match in [
        ({"scheduler": other}, "takes a scheduler of the optimiser that it is given, got a StepLR of another one"),
        ({"scheduler": 0.5}, r"takes scheduler as one of fastbp\.optim\.lr_scheduler, got float"),
        (
            {"scheduler": scheduler, "scheduler_interval": "step"},
            "takes scheduler_interval 'epoch' or 'batch', got 'step'",
        ),
        (
            {"scheduler": plateau, "scheduler_interval": "batch"},
            "takes scheduler_interval='epoch' for ReduceLROnPlateau",
        ),
        ({"clip_grad_norm": -1}, "train_model takes clip_grad_norm of 0 or more, got -1"),
    ]:
        with pytest.raises((TypeError, ValueError), match=match):
            fastbp.train_model(model, *data(), nn.MSELoss(), opt, 2, SIZE, **options)
    for name, (values, _) in snapshot(model).items():
        numpy.testing.assert_array_equal(values, before[name][0])
