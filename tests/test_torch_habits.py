"""What a PyTorch user's script calls on modules, beside forward and backward: it does what it does in torch."""

import copy
import pickle
from collections import OrderedDict

import numpy
import pytest
import torch
from helpers import draw, mlp, twin

import fastbp
from fastbp import nn, optim

F32, F64 = numpy.float32, numpy.float64
X = draw((7, 4), F32)


def nested(library):
    return library.Sequential(library.Linear(4, 5), library.Sequential(library.ReLU(), library.Linear(5, 3)))


def test_train_and_eval_set_the_mode_of_every_module_as_in_torch():
    ours, theirs = nested(nn), nested(torch.nn)
    for change in (lambda m: m.eval(), lambda m: m.train(), lambda m: m.train(False), lambda m: m.eval().train()):
        assert change(ours) is ours
        change(theirs)
        assert [m.training for m in ours.modules()] == [m.training for m in theirs.modules()]
    with pytest.raises(ValueError, match=r"Sequential\.train takes mode as True or False, got 'yes'"):
        ours.train("yes")
    numpy.testing.assert_array_equal(ours.eval().predict(X), ours.train().predict(X))


def test_children_modules_and_apply_come_in_torchs_order():
    ours, theirs = nested(nn), nested(torch.nn)
    for listed in (lambda m: m.children(), lambda m: m.modules()):
        assert [type(m).__name__ for m in listed(ours)] == [type(m).__name__ for m in listed(theirs)]
    assert [name for name, _ in ours.named_children()] == [name for name, _ in theirs.named_children()]
    order = {ours: [], theirs: []}
    for model, seen in order.items():
        assert model.apply(lambda module, seen=seen: seen.append(type(module).__name__)) is model
    assert order[ours] == order[theirs]


def test_apply_with_init_in_place_starts_a_model():
    def start(module):
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 0.5)
            nn.init.zeros_(module.bias)

    model = nested(nn).apply(start)
    assert {float(value) for p in model.parameters() for value in numpy.unique(p.data)} == {0.0, 0.5}


@pytest.mark.parametrize("build", [lambda: mlp(4, 5, 3), lambda: nested(nn), lambda: nn.Linear(4, 3)])
def test_double_and_float_convert_in_place_and_keep_the_parameters(build):
    model = build()
    opt = optim.SGD(model.parameters(), lr=0.1)
    parameters, single = list(model.parameters()), model.state_dict()
    model.backward(model(X))
    assert model.double() is model
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert {p.dtype for p in parameters} == {numpy.dtype(F64)} == {p.grad.dtype for p in parameters}
    for name, value in model.state_dict().items():
        numpy.testing.assert_array_equal(value, single[name])
    x, target = X.astype(F64), draw((7, 3), F64)
    with pytest.raises(TypeError, match="takes float64 arrays, got float32"):
        model(X)
    assert model.predict(x).dtype == F64
    before = [p.data.copy() for p in parameters]
    model.backward(model(x))
    opt.step()
    assert not any(numpy.array_equal(p.data, old) for p, old in zip(parameters, before, strict=True))
    assert fastbp.train_model(model, x, target, None, None, nn.MSELoss(), opt, 1, 3).epochs == 1
    assert model.float().predict(X).dtype == F32
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        numpy.testing.assert_array_equal(copied.predict(X), model.predict(X))


def test_a_model_whose_layers_were_converted_by_another_follows():
    one, two = mlp(4, 3), nn.Sequential(nn.Linear(4, 3))
    two[0].weight, two[0].bias = one[0].weight, one[0].bias
    two.predict(X)
    one.double()
    for call in (two.predict, two, two[0], two[0].predict):
        with pytest.raises(TypeError, match="float64"):
            call(X)
        assert call(X.astype(F64)).dtype == F64


def test_to_takes_the_cpu_and_the_two_dtypes_in_torchs_positions():
    model = mlp(4, 5, 3)
    for arguments in (("cpu",), (torch.device("cpu"),), (F32,), ("cpu", "float32"), (None,), ()):
        assert model.to(*arguments) is model
    assert model.cpu() is model
    assert model.to(dtype=F64).predict(X.astype(F64)).dtype == F64
    assert model.to("cpu", F32).predict(X).dtype == F32
    for wrong in ("cuda", "cuda:0", torch.device("cuda"), "mps"):
        with pytest.raises(ValueError, match=r"Sequential computes on the CPU .*got \.to\("):
            model.to(wrong)
    with pytest.raises((TypeError, ValueError), match=r"Sequential"):
        model.to(torch.float64)
    with pytest.raises(TypeError, match=r"Sequential\.to computes in float32 or float64, got dtype float16"):
        model.to(numpy.float16)


def test_a_conversion_beyond_float32_is_infinite_as_in_torch():
    layer = nn.Linear(2, 1, dtype=F64)
    layer.weight.data[...] = [[1e300, -1e300]]
    numpy.testing.assert_array_equal(layer.float().weight.data, numpy.array([[numpy.inf, -numpy.inf]], F32))


def test_numel_and_requires_grad_are_torchs():
    ours = nested(nn)
    theirs = twin(ours)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert all(p.requires_grad for p in ours.parameters())


def test_load_state_dict_that_is_not_strict_leaves_what_it_does_not_name_as_torch_does():
    ours = nested(nn)
    theirs = twin(ours)
    state = {"0.weight": numpy.ones((5, 4), F32), "9.weight": numpy.ones(2, F32)}
    mine = ours.load_state_dict(state, strict=False)
    their = theirs.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=False)
    assert (mine.missing_keys, mine.unexpected_keys) == (their.missing_keys, their.unexpected_keys)
    for name, value in theirs.state_dict().items():
        numpy.testing.assert_array_equal(ours.state_dict()[name], value)
    with pytest.raises(ValueError, match=r"unexpected '9\.weight'; missing '0\.bias'"):
        ours.load_state_dict(state)
    with pytest.raises(ValueError, match=r"'0\.weight' has shape \(2,\) instead of \(5, 4\)"):
        ours.load_state_dict({"0.weight": numpy.ones(2, F32)}, strict=False)
    assert ours.load_state_dict(ours.state_dict()) == ([], [])


def test_values_that_would_tear_a_tie_are_refused():
    model = mlp(4, 4, 4)
    model[2].weight = model[0].weight
    state = model.state_dict()
    state["2.weight"] = state["2.weight"] + 1
    with pytest.raises(ValueError, match=r"'0\.weight' and '2\.weight' are one parameter here and differ"):
        model.load_state_dict(state)


def test_identity_hands_through_and_costs_the_engine_nothing():
    first, act, last = mlp(4, 5, 3)
    plain = mlp(4, 5, 3)
    model = nn.Sequential(nn.Identity(54, unused="yes"), first, nn.Identity(), act, last, nn.Identity())
    numpy.testing.assert_array_equal(model(X), plain(X))
    numpy.testing.assert_array_equal(model.backward(draw((7, 3), F32)), plain.backward(draw((7, 3), F32)))
    opt = optim.SGD(model.parameters(), lr=0.1)
    history = fastbp.train_model(model, X, draw((7, 3), F32), None, None, nn.MSELoss(), opt, 1, 3)
    assert history.backend == "engine"
    alone = nn.Identity()
    assert numpy.shares_memory(alone(X), X)
    assert alone.backward(X) is X
    assert not numpy.shares_memory(alone.predict(X), X)
    with pytest.raises(TypeError, match="Identity takes a NumPy array, got list"):
        alone([1.0])


def test_a_sequential_of_named_modules_has_torchs_names():
    def build(library):
        parts = [("first", library.Linear(4, 5)), ("act", library.Tanh()), ("last", library.Linear(5, 3))]
        return library.Sequential(OrderedDict(parts))

    ours, theirs = build(nn), build(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.act is ours[1]
    assert repr(ours).splitlines()[1].startswith("  (first): Linear(")
    assert fastbp.from_torch(theirs).state_dict().keys() == theirs.state_dict().keys()
    assert fastbp.to_torch(ours).state_dict().keys() == ours.state_dict().keys()


def test_named_modules_survive_a_file(tmp_path):
    model = nn.Sequential(OrderedDict(first=nn.Linear(4, 5), act=nn.Tanh(), inner=nn.Sequential(nn.Linear(5, 3))))
    fastbp.save(tmp_path / "model.safetensors", model)
    loaded = fastbp.load(tmp_path / "model.safetensors").model
    assert list(loaded.state_dict()) == list(model.state_dict())
    numpy.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_a_slice_of_a_sequential_is_one_and_shares_its_modules():
    model = mlp(4, 5, 6, 3)
    for part in (slice(0, 2), slice(2, None), slice(None, None, 2), slice(-1, None), slice(0, 0)):
        theirs = twin(model)[part]
        ours = model[part]
        assert type(ours) is nn.Sequential
        assert list(ours) == list(model)[part]
        assert list(ours.state_dict()) == list(theirs.state_dict())
    numpy.testing.assert_array_equal(model[2:].predict(model[:2].predict(X)), model.predict(X))
    model[:2].double().float()
    numpy.testing.assert_array_equal(model[2:].predict(model[:2].predict(X)), model.predict(X))


def test_a_sequential_is_changed_in_place_as_in_torch():
    def change(library):
        model = library.Sequential(library.Linear(4, 5))
        model.append(library.ReLU()).extend([library.Linear(5, 5), library.Linear(5, 3)])
        model[2] = library.Linear(5, 6)
        model[3] = library.Linear(6, 3)
        del model[1]
        model.insert(1, library.Tanh())
        return model

    ours, theirs = change(nn), change(torch.nn)
    assert [type(m).__name__ for m in ours] == [type(m).__name__ for m in theirs]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.predict(X).shape == (7, 3)
    before = ours.state_dict()
    for wrong in (3, nn.Linear(3, 3, dtype=F64)):
        with pytest.raises((TypeError, ValueError), match="Sequential takes"):
            ours.append(wrong)
    with pytest.raises(IndexError, match="Sequential of 4 modules takes an index or a slice, got 9"):
        ours[9]
    assert before.keys() == ours.state_dict().keys()


def test_modules_in_a_module_list_are_found_and_trained():
    class Net(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList(nn.Linear(4, 4, rng=k) for k in range(2))
            self.layers.append(nn.Linear(4, 3, rng=2))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

        def backward(self, g):
            for layer in reversed(list(self.layers)):
                g = layer.backward(g)
            return g

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 3)])

    ours = Net()
    assert list(ours.state_dict()) == list(Theirs().state_dict())
    before = ours.predict(X)
    opt = optim.SGD(ours.parameters(), lr=0.1)
    fastbp.train_model(ours, X, draw((7, 3), F32), None, None, nn.MSELoss(), opt, 3, 3)
    assert not numpy.array_equal(ours.predict(X), before)
    assert len(ours.layers) == 3
    assert ours.layers[1] in ours.layers
    assert type(ours.layers[:2]) is nn.ModuleList
    with pytest.raises(NotImplementedError, match="ModuleList does not define forward"):
        ours.layers(X)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(ours.layers)))
    assert [m.weight.shape for m in copied] == [(4, 4), (4, 4), (3, 4)]


def test_building_a_layer_elsewhere_outdates_nothing_of_other_models():
    model, other = mlp(4, 5, 3), mlp(4, 5, 3)
    model.predict(X)
    model(X)
    opt = optim.SGD(model.parameters(), lr=0.1)
    opt.zero_grad()
    found = model._plan, model._flat, opt._flat
    nn.Sequential(other, nn.Linear(3, 3))
    other[0].weight = nn.Parameter(numpy.zeros((5, 4), F32))
    other.double()
    nn.Linear(9, 9)
    model.predict(X)
    model(X)
    opt.step()
    assert (model._plan, model._flat, opt._flat) == found
    assert all(each.is_current for each in found)


@pytest.mark.parametrize("name", ["a.b", "", 0])
def test_names_that_would_get_lost_are_refused(name):
    with pytest.raises((TypeError, ValueError), match=r"Sequential takes names of"):
        nn.Sequential({"first": nn.Linear(4, 4), name: nn.Linear(4, 4)})
    with pytest.raises((TypeError, KeyError)):
        torch.nn.Sequential(OrderedDict({"first": torch.nn.Linear(4, 4), name: torch.nn.Linear(4, 4)}))
    model = nn.Sequential(nn.Linear(4, 4))
    if isinstance(name, str):
        with pytest.raises(ValueError, match=r"Sequential takes names of parts without a dot"):
            setattr(model, name, nn.Linear(4, 4))
    assert len(model) == 1


def test_the_modules_under_torchs_private_name_are_to_be_read():
    model = mlp(4, 5, 3)
    assert list(model._modules) == ["0", "1", "2"]
    with pytest.raises(TypeError, match="does not support item assignment"):
        model._modules["1"] = nn.Tanh()
