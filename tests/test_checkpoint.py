"""fastbp.save and fastbp.load: the same bits, the same network, and clear errors for what does not fit."""

import sys
from base64 import b64decode

import numpy
import pytest
import torch
from helpers import assert_unchanged, mlp, snapshot
from recipes import OPTIMIZERS
from same_bits import Network, assert_same_bits, train
from test_own_modules import Scale
from test_resume import Stop, StoppingSGD, outcome

import fastbp
from fastbp import nn, optim

# A file of format 1 that holds no note of ties.
BEFORE_TIES = """
cAIAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJ2ZXJzaW9uIjoiMSIsInNoYTI1NiI6ImMzNzNkNTM1ZDc0ZTQwOWU0Y2E5MTlmNzYwYjEzNTcyMTQ0Njlh
NzNjZGZhYTAwYWQxOGNhMzUzZGY4NWIyYzYiLCJjb250ZW50Ijoie1wiZmFzdGJwXCI6IFwiMC4xLjBcIiwgXCJ0eXBlXCI6IFwiU2VxdWVudGlhbFwi
LCBcIm5ldHdvcmtcIjoge1widHlwZVwiOiBcIlNlcXVlbnRpYWxcIiwgXCJtb2R1bGVzXCI6IFt7XCJ0eXBlXCI6IFwiTGluZWFyXCIsIFwiaW5fZmVh
dHVyZXNcIjogMiwgXCJvdXRfZmVhdHVyZXNcIjogMSwgXCJiaWFzXCI6IHRydWUsIFwiZHR5cGVcIjogXCJmbG9hdDMyXCJ9LCB7XCJ0eXBlXCI6IFwi
VGFuaFwifV19LCBcIm9wdGltaXNlclwiOiB7XCJ0eXBlXCI6IFwiU0dEXCIsIFwibHJcIjogXCIweDEuMDAwMDAwMDAwMDAwMHAtMVwiLCBcInBhcmFt
ZXRlcnNcIjogW1wiMC53ZWlnaHRcIiwgXCIwLmJpYXNcIl19fSIsImZvcm1hdCI6ImZhc3RicCJ9LCJtb2RlbC4wLmJpYXMiOnsiZHR5cGUiOiJGMzIi
LCJzaGFwZSI6WzFdLCJkYXRhX29mZnNldHMiOlswLDRdfSwibW9kZWwuMC53ZWlnaHQiOnsiZHR5cGUiOiJGMzIiLCJzaGFwZSI6WzEsMl0sImRhdGFf
b2Zmc2V0cyI6WzQsMTJdfX0gICAgICAAAABAAAAAPwAAgL4=
"""

NETWORK = Network((4, 9, 3), ("Tanh", None))
GENERATORS = [getattr(numpy.random, n) for n in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")]


def stopped_training(dtype, steps=13, kind=numpy.random.PCG64):
    """Model, optimiser and history of a training of three epochs that stopped in its third."""
    model, history, rng = NETWORK.build(dtype), fastbp.History(), numpy.random.Generator(kind(5))
    opt = StoppingSGD(model.parameters(), lr=0.05)
    opt.last = steps
    with pytest.raises(Stop):
        go_on(model, dtype, opt, history, rng)
    return model, optim.SGD(model.parameters(), lr=0.05), history


def go_on(model, dtype, opt, history, rng=None):
    data = NETWORK.data(dtype, 40, 20)
    fastbp.train_model(model, *data, nn.MSELoss(), opt, 3, 7, shuffle=True, rng=rng, history=history)


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("steps", [0, 5, 6, 13, 17])
def test_a_training_goes_on_from_a_file_with_the_same_bits(steps, kind, dtype, tmp_path):
    fastbp.save(tmp_path / "c", *stopped_training(dtype, steps, kind))
    model, opt, history = fastbp.load(tmp_path / "c")
    go_on(model, dtype, opt, history, None if steps else numpy.random.Generator(kind(5)))
    rng = numpy.random.Generator(kind(5))
    expected = train(NETWORK.build(dtype), NETWORK.data(dtype, 40, 20), 3, 7, shuffle=True, rng=rng)
    assert_same_bits(expected, outcome(model, history))


def test_a_loaded_history_is_the_one_saved(dtype, tmp_path):
    model, opt, history = stopped_training(dtype)
    history["val_loss"][0] = numpy.nan
    history["train_loss"][1] = 0.1 + 0.2
    fastbp.save(tmp_path / "c", model, opt, history)
    loaded = fastbp.load(tmp_path / "c")
    for name, values in history.items():
        numpy.testing.assert_array_equal(loaded.history[name], values)
    for name in ("backend", "fallback_reason", "seconds", "setting", "position"):
        assert getattr(loaded.history, name) == getattr(history, name), name
    assert loaded.opt.lr == opt.lr


def test_every_network_of_the_library_comes_back(dtype, tmp_path):
    inner = nn.Sequential(nn.Sigmoid(), nn.Sequential(), nn.Linear(3, 3, bias=False, dtype=dtype))
    model = nn.Sequential(nn.Linear(4, 3, dtype=dtype), nn.ReLU(), inner, nn.Tanh(), nn.Linear(3, 1, dtype=dtype))
    for whole in (model, nn.Linear(5, 2, dtype=dtype), nn.ReLU(), nn.Sequential()):
        fastbp.save(tmp_path / "c", whole)
        loaded = fastbp.load(tmp_path / "c")
        assert repr(loaded.model) == repr(whole)
        assert loaded.opt is None
        assert loaded.history is None
        assert_unchanged(loaded.model, snapshot(whole))


def test_a_model_with_a_users_module_is_filled(dtype, tmp_path):
    def build():
        return nn.Sequential(nn.Linear(4, 3, dtype=dtype), Scale(3, dtype))

    model = build()
    fastbp.save(tmp_path / "c", model, optim.SGD([model[1].factor], lr=0.3))
    with pytest.raises(fastbp.CheckpointError, match=r"build the model and pass it, model="):
        fastbp.load(tmp_path / "c")
    other = build()
    loaded = fastbp.load(tmp_path / "c", model=other)
    assert loaded.model is other
    assert_unchanged(other, snapshot(model))
    assert loaded.opt.parameters == (other[1].factor,)


def test_an_optimiser_that_is_given_takes_the_saved_settings(tmp_path):
    model, opt, _ = stopped_training(numpy.float32)
    fastbp.save(tmp_path / "c", model, opt)
    opt.lr = 7.0
    assert fastbp.load(tmp_path / "c", model, opt).opt is opt
    assert opt.lr == 0.05


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_group_that_a_loaded_optimiser_takes_has_the_defaults_of_the_one_saved(make, tmp_path):
    model = mlp(5, 4, 3)
    first, *others = model.parameters()
    saved = make([first])
    fastbp.save(tmp_path / "file", model, saved)
    loaded = fastbp.load(tmp_path / "file")
    saved.add_param_group({"params": others})
    loaded.opt.add_param_group({"params": list(loaded.model.parameters())[1:]})
    for mine, theirs in zip(loaded.opt.param_groups, saved.param_groups, strict=True):
        assert {**mine, "params": None} == {**theirs, "params": None}


def test_what_cannot_be_saved_is_refused_and_leaves_the_file(tmp_path):
    model, opt, history = stopped_training(numpy.float32)
    fastbp.save(tmp_path / "c", model, opt, history)
    before = (tmp_path / "c").read_bytes()
    other = optim.SGD(mlp(4, 3).parameters(), lr=0.1)
    wrong = [
        (3, None, None),
        (model, other, None),
        (model, StoppingSGD(model.parameters(), lr=1), None),
        (model, opt, {}),
    ]
    for arguments in wrong:
        with pytest.raises((TypeError, ValueError), match=r"save (takes|knows)"):
            fastbp.save(tmp_path / "c", *arguments)
    assert (tmp_path / "c").read_bytes() == before


@pytest.mark.parametrize("wrong", [torch.nn.Linear(4, 3), optim.SGD, {}], ids=lambda value: type(value).__name__)
def test_a_model_of_another_kind_is_refused(wrong, tmp_path):
    fastbp.save(tmp_path / "c", mlp(4, 3))
    with pytest.raises(TypeError, match=rf"load takes model as a Module of fastbp, got {type(wrong).__name__}"):
        fastbp.load(tmp_path / "c", wrong)


MISFITS = {
    "network": lambda: {"model": mlp(4, 8, 3)},
    "deeper network": lambda: {"model": mlp(4, 9, 9, 3)},
    "optimiser of another model": lambda: {"opt": optim.SGD(mlp(4, 9, 3).parameters(), lr=7)},
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_refused_before_anything_changes(case, tmp_path):
    fastbp.save(tmp_path / "c", *stopped_training(numpy.float32))
    model = mlp(4, 9, 3, seed=8)
    opt = optim.SGD(model.parameters(), lr=7)
    arguments = {"model": model, "opt": opt, **MISFITS[case]()}
    before = snapshot(arguments["model"])
    with pytest.raises(fastbp.CheckpointError):
        fastbp.load(tmp_path / "c", **arguments)
    assert_unchanged(arguments["model"], before)
    assert arguments["opt"].lr == 7


def test_without_safetensors_the_extra_is_named(tmp_path, monkeypatch):
    fastbp.save(tmp_path / "d", mlp(4, 3))
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"fastbp.save needs safetensors: .*fastbp\[checkpoint\]"):
        fastbp.save(tmp_path / "c", mlp(4, 3))
    with pytest.raises(ImportError, match=r"fastbp.load needs safetensors: .*fastbp\[checkpoint\]"):
        fastbp.load(tmp_path / "d")
    assert not (tmp_path / "c").exists()


def test_a_file_from_before_ties_were_noted_loads(tmp_path):
    (tmp_path / "c").write_bytes(b64decode(BEFORE_TIES))
    model, opt, history = fastbp.load(tmp_path / "c")
    assert repr(model) == repr(nn.Sequential(nn.Linear(2, 1), nn.Tanh()))
    numpy.testing.assert_array_equal(model[0].weight.data, [[0.5, -0.25]])
    assert model[0].bias.data == 2
    assert opt.lr == 0.5
    assert opt.parameters == tuple(model.parameters())
    assert history is None


class OwnSequential(nn.Sequential):
    pass


class OwnTanh(nn.Tanh):
    pass


def with_own(name, place=None):
    """A network whose module at ``place``, or itself, got a method of the user's own."""

    def build():
        model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Sequential(nn.Tanh(), nn.Linear(3, 3, rng=1)))
        module = model if place is None else dict(model.named_modules())[place]
        method = getattr(type(module), name)
        setattr(module, name, lambda *arguments: 2 * method(module, *arguments))
        return model

    return build


def with_more(name, place, value):
    """A network whose module at ``place`` got a part that its class does not have."""

    def build():
        model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Sequential(nn.Tanh(), nn.Linear(3, 3, rng=1)))
        setattr(dict(model.named_modules())[place], name, value())
        return model

    return build


def parameter():
    return nn.Parameter(numpy.ones(3, numpy.float32))


NO_NETWORKS = {
    "a subclass of Sequential": lambda: OwnSequential(nn.Linear(4, 3, rng=0)),
    "one inside": lambda: nn.Sequential(nn.Linear(4, 3, rng=0), OwnSequential(nn.Linear(3, 3, rng=1))),
    "a subclass of an activation": lambda: nn.Sequential(nn.Linear(4, 3, rng=0), OwnTanh()),
    "an own forward": with_own("forward"),
    "an own predict": with_own("predict"),
    "a layer's own forward": with_own("forward", "0"),
    "an activation's own backward": with_own("backward", "1.0"),
    "an inner Sequential's own backward": with_own("backward", "1"),
    "an own zero_grad": with_own("zero_grad", "1.0"),
    "a kernel of an activation's own": with_own("forward_kernel", "1.0"),
    "a Sequential with a parameter": with_more("scale", "1", parameter),
    "a layer with a layer": with_more("inner", "0", lambda: nn.Linear(2, 2)),
    "an activation with a parameter": with_more("slope", "1.0", parameter),
}


@pytest.mark.parametrize("case", NO_NETWORKS)
def test_a_network_that_the_library_could_not_build_again_asks_for_a_model(case, tmp_path):
    """Built from the library's classes it would silently be another."""
    model, other = NO_NETWORKS[case](), NO_NETWORKS[case]()
    fastbp.save(tmp_path / "c", model)
    for array in other.parameters():
        array.data[...] = 0
    with pytest.raises(fastbp.CheckpointError, match=r"build the model and pass it, model="):
        fastbp.load(tmp_path / "c")
    fastbp.load(tmp_path / "c", other)
    assert_unchanged(other, snapshot(model))


def test_methods_that_went_again_leave_a_network_of_the_library(tmp_path):
    model = with_own("forward", "0")()
    del model[0].forward
    model.note = "an attribute that is no method"
    fastbp.save(tmp_path / "c", model)
    assert repr(fastbp.load(tmp_path / "c").model) == repr(model)
