"""Attributes that torch lets one set: they are taken as in torch, or an error says the rule and the remedy."""

import inspect
import pickle

import numpy
import pytest
import torch
from helpers import draw, mlp

import fastbp
from fastbp import nn, optim


def normalized(library, **options):
    return library.Sequential(library.Linear(3, 4), library.BatchNorm1d(4, **options), library.Linear(4, 1))


@pytest.mark.parametrize("momentum", [None, 0.0, 0.7, numpy.float64(0.25), 1])
def test_a_momentum_that_is_set_is_torchs(momentum, dtype):
    ours, theirs = nn.BatchNorm1d(4, dtype=dtype), torch.nn.BatchNorm1d(4, dtype=getattr(torch, dtype.__name__))
    for step in range(5):
        if step == 2:
            ours.momentum = theirs.momentum = momentum
            ours.eps = theirs.eps = 0.5
        input = draw((9, 4), dtype, seed=step)
        expected = theirs(torch.tensor(input)).detach().numpy()
        numpy.testing.assert_allclose(ours(input), expected, rtol=1e-4, atol=1e-6)
        for (_, buffer), other in zip(ours.named_buffers(), theirs.buffers(), strict=True):
            numpy.testing.assert_allclose(buffer, other.numpy(), rtol=1e-5 if dtype == numpy.float32 else 1e-13)
    assert ours.momentum == theirs.momentum
    assert pickle.loads(pickle.dumps(ours)).momentum == momentum


@pytest.mark.parametrize("momentum", [None, 0.6])
def test_a_momentum_that_is_set_holds_in_the_engine_with_the_bits_of_a_loop(momentum):
    x, y, models = draw((20, 3), numpy.float32), draw((20, 1), numpy.float32, seed=1), []
    begin = normalized(nn).state_dict()
    for way in ("engine", "loop"):
        models.append(normalized(nn))
        models[-1].load_state_dict(begin)
        criterion, opt = nn.MSELoss(), optim.SGD(models[-1].parameters(), lr=0.1)
        for set_to in (0.1, momentum):
            models[-1][1].momentum = set_to
            if way == "engine":
                assert fastbp.train_model(models[-1], x, y, None, None, criterion, opt, 2, 5).backend == "engine"
                continue
            for start in (*range(0, 20, 5), *range(0, 20, 5)):
                opt.zero_grad()
                criterion(models[-1](x[start : start + 5]), y[start : start + 5])
                models[-1].backward(criterion.backward())
                opt.step()
    for name, value in models[0].state_dict().items():
        numpy.testing.assert_array_equal(value, models[1].state_dict()[name])


def test_an_eps_that_is_set_holds_in_predictions_of_the_engine():
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.LayerNorm(4))
    x = draw((5, 3), numpy.float32)
    first = model.predict(x)
    model[1].eps = 2.0
    expected = torch.nn.functional.layer_norm(torch.tensor(model[0].predict(x)), (4,), eps=2.0)
    numpy.testing.assert_allclose(model.predict(x), expected.numpy(), rtol=1e-5, atol=1e-7)
    assert not numpy.array_equal(first, model.predict(x))


@pytest.mark.parametrize("name", ["eps", "momentum"])
@pytest.mark.parametrize("value", ["a", True, -0.1, numpy.nan, [0.1]])
def test_a_setting_that_does_not_fit_is_refused_and_changes_nothing(name, value):
    module = nn.BatchNorm1d(4)
    with pytest.raises((TypeError, ValueError), match=rf"BatchNorm1d takes .*{name}"):
        setattr(module, name, value)
    assert (module.eps, module.momentum) == (1e-5, 0.1)


def test_a_probability_that_is_set_behind_a_forward_lets_no_backward_drop_by_another():
    module = nn.Dropout(0.5, rng=0)
    output = module(numpy.ones((5, 4), numpy.float32))
    module.p = 0.1
    numpy.testing.assert_array_equal(module.backward(numpy.ones((5, 4), numpy.float32)), output)


def built():
    """An object of every class whose twin in torch has attributes, and classes that only we have."""
    arguments = {"Linear": (3, 2), "BatchNorm1d": (3,), "LayerNorm": (3,), "RMSNorm": (3,), "Embedding": (4, 3)}
    for name in nn.__all__:
        kind = getattr(nn, name)
        is_layer = name not in ("Module", "Parameter", "ModuleDict", "ModuleList")
        if is_layer and inspect.isclass(kind) and hasattr(torch.nn, name):
            yield kind(*arguments.get(name, ()), **getattr(kind, "example", {}))
    model = mlp(3, 2)
    yield from (model[0].weight, model)
    for name in optim.__all__:
        kind = getattr(optim, name)
        if inspect.isclass(kind) and issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer:
            yield kind(model.parameters(), lr=0.1)


def refusal(thing, name):
    """What Python says where the attribute is set to what it is, or nothing."""
    try:
        setattr(thing, name, getattr(thing, name))
    except AttributeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("thing", list(built()), ids=lambda thing: type(thing).__name__)
def test_pythons_own_message_shows_for_no_attribute(thing):
    names = {name for name in dir(type(thing)) if not name.startswith("_")}
    for name in names | {name for name in getattr(thing, "__dict__", {}) if not name.startswith("_")}:
        if not callable(getattr(thing, name)):
            said = refusal(thing, name)
            assert "setter" not in said, name
            assert not said or "; " in said, f"{said}: no remedy"


def test_what_follows_from_how_a_module_was_built_names_the_remedy():
    with pytest.raises(AttributeError, match=r"Linear\.in_features is read-only, got 4 for it; build another module"):
        nn.Linear(3, 2).in_features = 4
    with pytest.raises(AttributeError, match=r"SGD\.param_groups is read-only, .*add_param_group"):
        optim.SGD(mlp(3, 2).parameters(), lr=0.1).param_groups = []


def test_buffers_are_those_of_torch_each_once():
    ours, theirs = normalized(nn), normalized(torch.nn)
    assert [b.shape for b in ours.buffers()] == [tuple(b.shape) for b in theirs.buffers()]
    assert next(ours.buffers()) is ours[1].running_mean
    for library, part in ((nn, ours[1]), (torch.nn, theirs[1])):
        whole = library.Module()
        whole.first = whole.second = part
        assert len(list(whole.buffers())) == 3


@pytest.mark.parametrize("strict", [True, False])
def test_averaged_counters_are_taken_as_in_torch(strict):
    ours, theirs = normalized(nn), normalized(torch.nn)
    state = {name: (value + 3) / 2 for name, value in theirs.state_dict().items()}
    state["1.num_batches_tracked"] = torch.tensor(2.75, dtype=torch.float64)
    state["0.bias"] = torch.arange(4)
    theirs.load_state_dict(state, strict=strict)
    ours.load_state_dict(state, strict=strict)
    for name, value in theirs.state_dict().items():
        numpy.testing.assert_array_equal(ours.state_dict()[name], value.numpy())
    assert ours[1].num_batches_tracked.dtype == numpy.int64


@pytest.mark.parametrize("count", [numpy.nan, numpy.inf, 1e300, -1e19])
def test_a_counter_that_is_no_count_is_refused(count):
    model = normalized(nn)
    with pytest.raises(ValueError, match=r"'1\.num_batches_tracked' counts, and takes numbers of int64, got"):
        model.load_state_dict({**model.state_dict(), "1.num_batches_tracked": numpy.array(count)})
