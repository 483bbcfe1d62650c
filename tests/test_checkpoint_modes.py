"""A file keeps what changes a training beside numbers, modes and what is frozen; and files of format 1 are read."""

import copy
from pathlib import Path

import numpy
import pytest
import safetensors.numpy
from helpers import draw
from same_bits import assert_same_bits, outcome
from test_damaged_checkpoint import at, forged

import fastbp
from fastbp import nn, optim
from fastbp.nn.layer_classes import LAYER_CLASSES

DATA = Path(__file__).parent / "data"
F32 = numpy.float32
X, Y = draw((24, 3), F32), draw((24, 2), F32, seed=1)


class Doubled(nn.Module):
    """A module that no file can build."""

    def forward(self, input):
        return input * 2

    def backward(self, grad_output):
        return grad_output * 2


def network(*more):
    model = nn.Sequential(
        nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5, rng=1),
        nn.Residual(nn.Linear(4, 4, rng=2), nn.Dropout(0.25, rng=3)), nn.Linear(4, 2, rng=4), *more,
    )  # fmt: skip
    return model, optim.Adam(model.parameters(), lr=0.01)


def train(model, opt, epochs=1):
    return fastbp.train_model(model, X, Y, None, None, nn.MSELoss(), opt, epochs, 8)


def freeze_batch_norm(model):
    model[1].eval()
    model[1].requires_grad_(False)


def evaluate_dropout(model):
    model[3].eval()


def evaluate_inside(model):
    model[4][1].eval()
    model[0].weight.requires_grad = False


def evaluate_all_but_one(model):
    model.eval()
    model[3].train()


CHANGES = [freeze_batch_norm, evaluate_dropout, evaluate_inside, evaluate_all_but_one, lambda model: None]


def flags(model):
    modes = {name: module.training for name, module in model.named_modules()}
    return modes, {name: parameter.requires_grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("more", [[], [Doubled()]], ids=["built", "filled"])
@pytest.mark.parametrize("is_given", [False, True])
def test_modes_and_what_is_frozen_come_back_and_a_training_goes_on_with_the_same_bits(change, more, is_given, tmp_path):
    model, opt = network(*more)
    train(model, opt)
    change(model)
    train(model, opt)
    fastbp.save(tmp_path / "c", model, opt)
    given = {}
    if more or is_given:
        other, _ = network(*copy.deepcopy(more))
        other[0].requires_grad_(False)
        other[5].eval()
        given = {"model": other}
    loaded = fastbp.load(tmp_path / "c", **given)
    assert flags(loaded.model) == flags(model)
    assert repr(loaded.opt.state_dict()) == repr(opt.state_dict())
    ends = [outcome(one, train(one, its, 2)) for one, its in ((model, opt), (loaded.model, loaded.opt))]
    assert_same_bits(*ends)


def test_modules_that_the_file_does_not_know_keep_their_mode(tmp_path):
    model, _ = network()
    fastbp.save(tmp_path / "c", model)
    other, _ = network(nn.Dropout(0.5).eval())
    fastbp.load(tmp_path / "c", other)
    assert [module.training for module in other] == [True] * 6 + [False]


def test_a_file_of_another_program_changes_no_mode_and_no_flag(tmp_path):
    model, _ = network()
    safetensors.numpy.save_file(model.state_dict(), tmp_path / "c")
    evaluate_inside(model)
    before = flags(model)
    fastbp.load(tmp_path / "c", model)
    assert flags(model) == before


def test_a_frozen_parameter_of_several_names_stays_frozen(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Tanh(), nn.Linear(3, 3, rng=1))
    model[2].weight = model[0].weight
    model[0].weight.requires_grad = False
    fastbp.save(tmp_path / "c", model)
    assert not fastbp.load(tmp_path / "c").model[2].weight.requires_grad
    model[0].weight.requires_grad = True
    fastbp.load(tmp_path / "c", model)
    assert not model[2].weight.requires_grad
    assert model[0].bias.requires_grad


def test_an_ensemble_keeps_modes_and_what_is_frozen(tmp_path):
    models = [network()[0] for _ in range(2)]
    freeze_batch_norm(models[0])
    fastbp.Ensemble(models).save(tmp_path / "e")
    loaded = fastbp.Ensemble.load(tmp_path / "e").models
    assert [flags(model) for model in loaded] == [flags(model) for model in models]


FORGED = {
    "modes that are none": at("modes", value=[]),
    "a mode that is none": at("modes", "1", value=1),
    "frozen that is no list": at("frozen", value={}),
    "frozen of another model": at("frozen", value=["7.weight"]),
    "frozen that is no name": at("frozen", value=[["0.weight"]]),
}


@pytest.mark.parametrize("case", FORGED)
@pytest.mark.parametrize("is_given", [False, True])
def test_wrong_modes_are_refused_before_anything_changes(case, is_given, tmp_path):
    model, _ = network()
    fastbp.save(tmp_path / "c", model)
    (tmp_path / "c").write_bytes(forged((tmp_path / "c").read_bytes(), FORGED[case]))
    evaluate_inside(model)
    before = flags(model)
    with pytest.raises(fastbp.CheckpointError):
        fastbp.load(tmp_path / "c", model if is_given else None)
    assert flags(model) == before


def test_a_training_of_format_1_is_read_and_goes_on():
    path = DATA / "training_format_1.safetensors"
    model, opt, history = fastbp.load(path)
    assert repr(model) == repr(nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LeakyReLU(0.2), nn.Dropout(0.25),
        nn.Residual(nn.Linear(4, 4), nn.PReLU(4)), nn.LayerNorm(4), nn.Linear(4, 2),
    ))  # fmt: skip
    stored = safetensors.numpy.load_file(path)
    for name, value in model.state_dict().items():
        numpy.testing.assert_array_equal(value, stored[f"model.{name}"])
    modes, trained = flags(model)
    assert all(modes.values())
    assert [name for name, is_trained in trained.items() if not is_trained] == ["0.weight"]
    assert (model[3].seed, model[3].forwards) == (4720721261117928063, 9)
    assert [group["lr"] for group in opt.param_groups] == [0.005, 0.01]
    assert [len(group["params"]) for group in opt.param_groups] == [4, 7]
    assert {int(own["step"]) for own in opt.state_dict()["state"].values()} == {9}
    assert history["train_loss"] == [3.8118276079378592, 3.0146862023461547, 3.5435981760861894]

    schedule = optim.lr_scheduler.StepLR(opt, 2, 0.5)
    fastbp.load(path, model, opt, schedule)
    assert schedule.get_last_lr() == [0.005, 0.01]
    rng = numpy.random.default_rng(0)
    x, y = (rng.normal(size=(24, features)).astype(F32) for features in (3, 2))
    fastbp.train_model(
        model, x, y, x[:6], y[:6], nn.MSELoss(), opt, 4, 10, shuffle=True, rng=4, scheduler=schedule, history=history
    )
    numpy.testing.assert_allclose(history["train_loss"][3:], [2.993954405024269], rtol=1e-5)
    numpy.testing.assert_allclose(history["val_loss"][3:], [1.231869063175819], rtol=1e-5)


def test_an_ensemble_of_format_1_is_read():
    path = DATA / "ensemble_format_1.safetensors"
    models, stored = fastbp.Ensemble.load(path).models, safetensors.numpy.load_file(path)
    assert [repr(module) for module in models[0]] == [
        repr(module) for module in (
            nn.Linear(3, 4), nn.GELU(approximate="tanh"), nn.AlphaDropout(0.5), nn.Softplus(2.0), nn.Identity(),
            nn.Linear(4, 3), nn.LogSoftmax(1),
        )
    ]  # fmt: skip
    for number, model in enumerate(models):
        for name, value in model.state_dict().items():
            numpy.testing.assert_array_equal(value, stored[f"{number}.{name}"])


def test_a_setting_that_a_module_gains_later_has_its_default_in_files_of_before(tmp_path, monkeypatch):
    model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.Dropout(0.5, rng=1))
    fastbp.save(tmp_path / "before", model)

    class Dropout(nn.Dropout):
        def __init__(self, p=0.5, inplace=False, *, scale=1.5, rng=None):
            super().__init__(p, rng=rng)
            self.scale = scale

    Dropout.__module__ = nn.Dropout.__module__

    row = LAYER_CLASSES["Dropout"]
    later = row._replace(module=Dropout, settings={**row.settings, "scale": float})
    monkeypatch.setitem(LAYER_CLASSES, "Dropout", later)
    loaded = fastbp.load(tmp_path / "before").model
    assert (loaded[1].scale, loaded[1].p, loaded[1].seed) == (1.5, 0.5, model[1].seed)
    loaded[1].scale = 2.5
    fastbp.save(tmp_path / "later", loaded)
    assert fastbp.load(tmp_path / "later").model[1].scale == 2.5


def test_a_format_to_come_is_refused_by_name(tmp_path):
    data = safetensors.numpy.save({}, {"format": "fastbp", "version": "3", "content": "{}", "sha256": ""})
    (tmp_path / "c").write_bytes(data)
    with pytest.raises(fastbp.CheckpointError, match=r"has format '3'; this fastbp reads formats 1 and 2: install"):
        fastbp.load(tmp_path / "c")
