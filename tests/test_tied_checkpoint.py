"""Tied parameters in files: the same ties come back, and a file or a model whose ties are others is refused."""

import json

import numpy
import pytest
from helpers import assert_unchanged, draw, snapshot
from hypothesis import given
from hypothesis import strategies as st
from same_bits import Network, assert_same_bits
from strategies import examples
from test_damaged_checkpoint import forged, tensor
from test_own_modules import Scale
from test_resume import Stop, StoppingSGD, outcome
from tied import TIED, squares, step, thrice_and_nested, ties, train_on, weights

import fastbp
from fastbp import nn, optim

DATA = Network((4, 4), (None,))


@pytest.fixture(params=TIED)
def tied(request):
    return TIED[request.param]


def test_ties_come_back_from_a_file(tied, dtype, tmp_path):
    build, groups = tied
    model, x = build(dtype), draw((7, 4), dtype)
    fastbp.save(tmp_path / "c", model)
    loaded = fastbp.load(tmp_path / "c").model
    assert ties(loaded) == groups
    assert repr(loaded) == repr(model)
    numpy.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert step(loaded, x) == step(model, x)


@pytest.mark.parametrize("steps", [0, 6, 13])
@pytest.mark.parametrize("given", [False, True], ids=["built", "filled"])
def test_a_tied_training_goes_on_from_a_file_with_the_same_bits(tied, steps, given, dtype, tmp_path):
    build, _ = tied
    data, whole = DATA.data(dtype, 40, 20), fastbp.History()
    expected, stopped = build(dtype), build(dtype)
    train_on(expected, data, optim.SGD(expected.parameters(), lr=0.05), whole, rng=5)

    opt, history = StoppingSGD(stopped.parameters(), lr=0.05), fastbp.History()
    opt.last = steps
    with pytest.raises(Stop):
        fastbp.train_model(stopped, *data, nn.MSELoss(), opt, 3, 7, shuffle=True, rng=5, history=history)
    fastbp.save(tmp_path / "c", stopped, optim.SGD(stopped.parameters(), lr=0.05), history)
    other = build(dtype) if given else None
    model, opt, history = fastbp.load(tmp_path / "c", model=other)
    assert given == (model is other)
    train_on(model, data, opt, history, rng=None if steps else 5)
    assert_same_bits(outcome(expected, whole), outcome(model, history))


def test_equal_values_are_no_tie(dtype, tmp_path):
    model = untied(dtype)
    numpy.testing.assert_array_equal(model[0].weight.data, model[2].weight.data)
    fastbp.save(tmp_path / "c", model)
    assert ties(fastbp.load(tmp_path / "c").model) == []
    assert ties(fastbp.from_torch(fastbp.to_torch(model))) == []


@examples(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=4), st.data())
def test_any_ties_come_back(tmp_path_factory, drawn, data):
    layers = squares(len(drawn), numpy.float32)
    for layer, (weight, bias, _) in zip(layers, drawn, strict=True):
        layer.weight, layer.bias = layers[weight % len(layers)].weight, layers[bias % len(layers)].bias
    wrapped = [nn.Sequential(nn.Tanh(), layer) if nested else layer for layer, (*_, nested) in zip(layers, drawn)]
    model, path = nn.Sequential(*wrapped), tmp_path_factory.getbasetemp() / "tied"
    some = data.draw(st.lists(st.sampled_from(list(model.parameters())), min_size=1, unique=True))
    fastbp.save(path, model, optim.SGD(some, lr=0.5))
    loaded = fastbp.load(path)
    assert ties(loaded.model) == ties(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    loaded_names = {parameter: name for name, parameter in loaded.model.named_parameters()}
    assert [loaded_names[p] for p in loaded.opt.parameters] == [names[p] for p in some]


def test_an_optimiser_finds_a_tied_parameter_by_whichever_name_the_file_has(tmp_path):
    class Pair(nn.Module):
        def __init__(self, first, second):
            parameter = nn.Parameter(numpy.ones(3, numpy.float32))
            setattr(self, first, parameter)
            setattr(self, second, parameter)

    one, other = Pair("a", "b"), Pair("b", "a")
    fastbp.save(tmp_path / "c", one, optim.SGD(one.parameters(), lr=0.5))
    assert fastbp.load(tmp_path / "c", other).opt.parameters == (other.a,)


def test_a_model_with_a_users_module_is_filled_if_its_ties_are_those_of_the_file(dtype, tmp_path):
    def build(tied):
        model = nn.Sequential(Scale(4, dtype), *squares(2, dtype), Scale(4, dtype))
        if tied:
            model[3].factor = model[0].factor
        return model

    fastbp.save(tmp_path / "c", build(True))
    model = build(True)
    assert fastbp.load(tmp_path / "c", model).model is model
    with pytest.raises(fastbp.CheckpointError, match=r"file ties 0\.factor = 3\.factor, the model ties nothing"):
        fastbp.load(tmp_path / "c", build(False))


def untied(dtype):
    return nn.Sequential(squares(1, dtype)[0], nn.Tanh(), squares(1, dtype)[0])


def tied_by_bias_too(dtype):
    model = weights(dtype)
    model[2].bias = model[0].bias
    return model


MISFITS = {
    "an untied model": (weights, untied, r"the file ties 0\.weight = 2\.weight, the model ties nothing"),
    "an untied file": (untied, weights, r"the file ties nothing, the model ties 0\.weight = 2\.weight"),
    "one group more": (weights, tied_by_bias_too, r"the file ties nothing, the model ties 0\.bias = 2\.bias"),
    "one group less": (tied_by_bias_too, weights, r"the file ties 0\.bias = 2\.bias, the model ties nothing"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_model_with_other_ties_is_refused_before_anything_changes(case, tmp_path):
    saved, given, match = MISFITS[case]
    fastbp.save(tmp_path / "c", saved(numpy.float32))
    model = given(numpy.float32)
    for parameter in model.parameters():
        parameter.data *= 2
    opt, before = optim.SGD(model.parameters(), lr=7), snapshot(model)
    with pytest.raises(fastbp.CheckpointError, match=match) as error:
        fastbp.load(tmp_path / "c", model, opt)
    assert str(tmp_path / "c") in str(error.value)
    assert_unchanged(model, before)
    assert opt.lr == 7


def test_a_model_with_other_names_hears_of_the_names(tmp_path):
    fastbp.save(tmp_path / "c", weights(numpy.float32))
    with pytest.raises(fastbp.CheckpointError, match=r"missing '4\.weight'"):
        fastbp.load(tmp_path / "c", nn.Sequential(untied(numpy.float32)[0], nn.Tanh(), nn.ReLU(), *squares(2, "f4")))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path, model = tmp_path_factory.mktemp("saved") / "c", thrice_and_nested(numpy.float32)
    fastbp.save(path, model, optim.SGD(model.parameters(), lr=0.5))
    return path.read_bytes()


def note(*groups):
    return lambda content, tensors: content.__setitem__("tied", list(groups))


ONE, TWO, THREE, FOUR = "0.0.weight", "1.0.weight", "1.1.1.weight", "2.weight"
HOSTILE = {
    "an unknown name": note([ONE, TWO, THREE, FOUR], ["1.0.bias", "9.bias"]),
    "a name twice in one group": note([ONE, ONE, TWO, THREE, FOUR], ["1.0.bias", "1.1.1.bias"]),
    "a name in two groups": note([ONE, TWO], [TWO, THREE, FOUR], ["1.0.bias", "1.1.1.bias"]),
    "other shapes": note([ONE, "0.0.bias"]),
    "other values": note([ONE, TWO, THREE, FOUR], ["0.0.bias", "1.0.bias"]),
    "other bits": tensor("model.2.weight", numpy.full((4, 4), numpy.nan, numpy.float32)),
    "another dtype": tensor("model.2.weight", numpy.zeros((4, 4))),
    "one name alone": note([ONE]),
    "no name": note([]),
    "a name for a group": note(ONE),
    "a number for a name": note([ONE, 1]),
    "a list for a name": note([ONE, [TWO]]),
    "a number": lambda content, tensors: content.__setitem__("tied", 3),
    "null": lambda content, tensors: content.__setitem__("tied", None),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_contradicts_its_own_ties_is_refused(case, saved, tmp_path):
    (tmp_path / "c").write_bytes(forged(saved, HOSTILE[case]))
    model = thrice_and_nested(numpy.float32)
    before = snapshot(model)
    for arguments in ({}, {"model": model}):
        with pytest.raises(fastbp.CheckpointError) as error:
            fastbp.load(tmp_path / "c", **arguments)
        assert str(tmp_path / "c") in str(error.value)
    assert_unchanged(model, before)


NAMES = st.sampled_from([ONE, TWO, THREE, FOUR, "0.0.bias", "1.0.bias", "1.1.1.bias", "", "weight"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@examples(max_examples=200)
@given(st.lists(st.lists(NAMES, max_size=5), max_size=3) | JSON)
def test_any_note_of_ties_is_refused_or_kept(saved, tmp_path_factory, drawn):
    path = tmp_path_factory.getbasetemp() / "noted"
    path.write_bytes(forged(saved, lambda content, tensors: content.__setitem__("tied", drawn)))
    try:
        loaded = fastbp.load(path).model
    except fastbp.CheckpointError:
        return
    assert {frozenset(group) for group in ties(loaded)} == {frozenset(group) for group in drawn}


@examples(max_examples=150)
@given(st.binary(max_size=60), st.integers(0, 3000), st.integers(0, 60))
def test_bytes_put_anywhere_in_a_tied_file_are_noticed(saved, tmp_path_factory, inserted, place, removed):
    data = saved[:place] + inserted + saved[place + removed :]
    if data == saved:
        return
    path = tmp_path_factory.getbasetemp() / "fuzzed_ties"
    path.write_bytes(data)
    for model in (None, thrice_and_nested(numpy.float32)):
        with pytest.raises(fastbp.CheckpointError):
            fastbp.load(path, model)


def without_note(content, tensors):
    del content["tied"]


def test_a_file_without_a_note_of_ties_fills_a_tied_model_whose_values_agree(saved, tmp_path):
    """As fastbp wrote it before it knew of ties."""
    (tmp_path / "c").write_bytes(forged(saved, without_note))
    model = thrice_and_nested(numpy.float32)
    before = snapshot(model)
    for parameter in model.parameters():
        parameter.data[...] = 0
    fastbp.load(tmp_path / "c", model)
    assert_unchanged(model, before)
    assert ties(fastbp.load(tmp_path / "c").model) == []


def test_a_file_without_a_note_of_ties_whose_values_differ_is_refused(saved, tmp_path):
    def change(content, tensors):
        without_note(content, tensors)
        tensors["model.2.weight"] = tensors["model.2.weight"] + 1

    (tmp_path / "c").write_bytes(forged(saved, change))
    model = thrice_and_nested(numpy.float32)
    before = snapshot(model)
    with pytest.raises(fastbp.CheckpointError, match=r"different values for 0\.0\.weight and 2\.weight"):
        fastbp.load(tmp_path / "c", model)
    assert_unchanged(model, before)


def test_a_tied_parameter_that_is_nan_comes_back(tmp_path):
    model = weights(numpy.float32)
    model[0].weight.data[0] = numpy.nan
    fastbp.save(tmp_path / "c", model)
    assert ties(fastbp.load(tmp_path / "c").model) == [["0.weight", "2.weight"]]


def test_the_note_names_the_groups(tmp_path):
    fastbp.save(tmp_path / "c", thrice_and_nested(numpy.float32))
    data = (tmp_path / "c").read_bytes()
    size = int.from_bytes(data[:8], "little")
    content = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["content"])
    assert content["tied"] == [[ONE, TWO, THREE, FOUR], ["1.0.bias", "1.1.1.bias"]]
