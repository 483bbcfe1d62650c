"""Modules by name and arrays beside parameters: nn.ModuleDict and register_buffer as in torch."""

import copy
import pickle

import numpy
import pytest
import torch
from helpers import assert_close, draw

import fastbp
from fastbp import nn

X = draw((7, 4), numpy.float64)


def heads(lib, **dtype):
    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", lib.array([1.0, 2.0, 3.0]))
            self.heads = lib.nn.ModuleDict({"mean": lib.nn.Linear(4, 3, **dtype)})
            self.heads["spread"] = lib.nn.Linear(4, 3, **dtype)
            self.register_buffer("none", None)

        def forward(self, x):
            return self.heads["mean"](x) * self.scale + self.heads["spread"](x)

    return Net()


class Torch:
    nn, array = torch.nn, staticmethod(lambda values: torch.tensor(values, dtype=torch.float64))


class Ours:
    nn, array = fastbp.nn, staticmethod(numpy.array)


def pair():
    ours, theirs = heads(Ours, dtype="f8"), heads(Torch, dtype=torch.float64)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    return ours, theirs


def test_a_module_with_buffers_and_named_modules_is_as_in_torch():
    ours, theirs = pair()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_buffers()] == [name for name, _ in theirs.named_buffers()]
    assert list(ours.heads) == list(theirs.heads) == ["mean", "spread"]
    (ours(X) ** 2).sum().backward()
    (theirs(torch.tensor(X)) ** 2).sum().backward()
    for (name, mine), (their_name, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == their_name
        assert_close(mine.grad, other.grad)


def test_buffers_go_with_the_state_a_copy_a_pickle_and_a_conversion(tmp_path):
    model = heads(Ours, dtype="f8")
    model.scale = numpy.array([3.0, 2.0, 1.0])
    for other in (copy.deepcopy(model), heads(Ours, dtype="f8")):
        other.load_state_dict(model.state_dict())
        numpy.testing.assert_array_equal(other.scale, [3, 2, 1])
        assert other.scale is not model.scale
    assert model.float().scale.dtype == numpy.float32
    assert model(X.astype("f4")).dtype == numpy.float32
    fastbp.save(tmp_path / "model.npz", model)
    other = heads(Ours, dtype="f4").float()
    fastbp.load(tmp_path / "model.npz", model=other)
    numpy.testing.assert_array_equal(other.scale, [3, 2, 1])


def test_a_normalisation_with_a_buffer_of_its_users_converts_both():
    class Norm(nn.BatchNorm1d):
        def __init__(self):
            super().__init__(4)
            self.register_buffer("seen", numpy.zeros(4, numpy.float32))

    norm = Norm().double()
    assert norm.seen.dtype == norm.running_mean.dtype == numpy.float64
    assert norm.num_batches_tracked.dtype == numpy.int64
    assert "seen" in norm.state_dict()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda model: model.register_buffer("heads", X), KeyError, "has an attribute 'heads' already"),
        (lambda model: model.register_buffer("a.b", X), ValueError, "without a dot"),
        (lambda model: model.register_buffer("table", [1, 2]), TypeError, "takes a NumPy array, got list"),
        (lambda model: model.register_buffer("k", X, persistent=False), ValueError, "set a plain attribute, self.k"),
        (lambda model: model.heads.update({"more": 3}), TypeError, "ModuleDict takes modules, got int"),
        (lambda model: model.heads["none"], KeyError, "none"),
        (lambda model: model.heads(X), NotImplementedError, "ModuleDict does not define forward"),
    ],
)
def test_what_cannot_be_a_part_is_refused(call, error, message):
    model = heads(Ours, dtype="f8")
    before = list(model.state_dict())
    with pytest.raises(error, match=message):
        call(model)
    assert list(model.state_dict()) == before


def test_a_module_dict_is_changed_in_place_and_comes_back_from_a_file(tmp_path):
    ours, theirs = nn.ModuleDict(), torch.nn.ModuleDict()
    for made, lib in ((ours, nn), (theirs, torch.nn)):
        made.update({"b": lib.Linear(2, 3), "a": lib.ReLU()})
        made.update([("c", lib.Linear(3, 1))])
        del made["a"]
    assert list(ours.keys()) == list(theirs.keys()) == ["b", "c"]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert "b" in ours
    assert len(ours) == 2
    assert ours.pop("c").in_features == 3
    assert [name for name, _ in ours.items()] == ["b"]
    assert next(iter(ours.values())) is ours["b"] is ours.b
    again = pickle.loads(pickle.dumps(ours))
    numpy.testing.assert_array_equal(again["b"].weight.data, ours["b"].weight.data)
    fastbp.save(tmp_path / "parts.npz", ours)
    assert list(fastbp.load(tmp_path / "parts.npz").model) == ["b"]
    ours.clear()
    assert list(ours.parameters()) == []


def test_a_class_from_source_without_a_module_is_a_users_class():
    names = {"nn": nn}
    exec("class Net(nn.Linear):\n    def forward(self, x): return 2 * super(Net, self).forward(x)", names)
    net = names["Net"](4, 3, dtype="f8")
    numpy.testing.assert_array_equal(net(X), 2 * nn.Linear.forward(net, X))
