"""A history that is handed over must be of this model, and have epochs left."""

import copy
import warnings

import numpy
import pytest
from helpers import assert_unchanged, draw, mlp, snapshot
from same_bits import OwnSGD

import fastbp
from fastbp import nn, optim

X, TARGET = draw((20, 4), numpy.float32), draw((20, 3), numpy.float32, seed=1)


@pytest.fixture(params=[optim.SGD, OwnSGD], ids=["engine", "modules"])
def opt_class(request):
    return request.param


def train(model, history, epochs=3, opt_class=optim.SGD, data=(X, TARGET), **options):
    opt = opt_class(model.parameters(), lr=0.05)
    return fastbp.train_model(model, *data, None, None, nn.MSELoss(), opt, epochs, 7, history=history, **options)


def test_a_training_that_is_complete_warns_and_returns(opt_class):
    model = mlp(4, 5, 3)
    history = train(model, None, opt_class=opt_class)
    before, kept = snapshot(model), copy.deepcopy(dict(history))
    match = "^this history already has 3 of 3 epochs, and nothing is trained; pass a larger epochs to go on$"
    with pytest.warns(UserWarning, match=match) as caught:
        assert train(model, history, opt_class=opt_class) is history
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert_unchanged(model, before)
    assert dict(history) == kept


def test_no_epochs_asked_of_a_new_history_warn_of_nothing(opt_class):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = train(mlp(4, 5, 3), fastbp.History(), 0, opt_class)
        train(mlp(4, 5, 3), history, 0, opt_class)
        train(mlp(4, 5, 3), history, 2, opt_class)


OTHERS = {
    "wider": (lambda: mlp(4, 6, 3), r"0\.weight of float32 \(5, 4\), got 0\.weight of float32 \(6, 4\)"),
    "deeper": (lambda: mlp(4, 5, 3, 3), r"no more parameters, got 4\.weight of float32 \(3, 3\)"),
    "without bias": (lambda: mlp(4, 5, 3, bias=False), r"0\.bias of float32 \(5,\), got 2\.weight of float32 \(3, 5\)"),
    "a layer": (lambda: nn.Linear(4, 3), r"0\.weight of float32 \(5, 4\), got weight of float32 \(3, 4\)"),
    "float64": (lambda: mlp(4, 5, 3, dtype=numpy.float64), r"0\.weight of float32 .*, got 0\.weight of float64 "),
}


@pytest.mark.parametrize("case", OTHERS)
def test_the_history_of_another_model_is_refused_before_anything_changes(case, opt_class):
    build, match = OTHERS[case]
    history, model = train(mlp(4, 5, 3), None, opt_class=opt_class), build()
    before, kept = snapshot(model), copy.deepcopy(vars(history))
    dtype = next(model.parameters()).dtype
    with pytest.raises(ValueError, match=r"this history is of a training of another model, with " + match):
        train(model, history, 6, opt_class, data=(X.astype(dtype), TARGET.astype(dtype)))
    assert_unchanged(model, before)
    assert vars(history) == kept


def test_fewer_layers_are_another_model_too():
    history = train(mlp(4, 3, 3), None)
    with pytest.raises(ValueError, match=r"with 2\.weight of float32 \(3, 3\), got no more parameters; .*History\(\)"):
        train(nn.Sequential(nn.Linear(4, 3)), history, 6)


def test_another_instance_of_the_architecture_goes_on(opt_class):
    history = train(mlp(4, 5, 3), None, opt_class=opt_class)
    assert train(mlp(4, 5, 3, seed=9), history, 4, opt_class).epochs == 4


def test_a_checkpoint_keeps_whose_history_it_is(tmp_path):
    model = mlp(4, 5, 3)
    fastbp.save(tmp_path / "c", model, history=train(model, None))
    model, _, history = fastbp.load(tmp_path / "c")
    assert train(model, history, 4).epochs == 4
    _, _, history = fastbp.load(tmp_path / "c")
    with pytest.raises(ValueError, match="this history is of a training of another model"):
        train(mlp(4, 6, 3), history, 4)


def test_a_history_that_does_not_say_whose_it_is_goes_on_with_any_model():
    """Those in files of fastbp before it noted that."""
    history = train(mlp(4, 5, 3), None)
    history.setting = history.setting._replace(parameters="")
    assert train(mlp(4, 6, 3), history, 4).epochs == 4
    with pytest.raises(ValueError, match="another model"):
        train(mlp(4, 5, 3), history, 5)


@pytest.mark.parametrize("rng", [0, 5, numpy.random.default_rng(0)], ids=["0", "5", "generator"])
def test_an_rng_without_shuffling_is_refused(rng, opt_class):
    model = mlp(4, 5, 3)
    before = snapshot(model)
    match = r"train_model takes rng with shuffle=True, got rng=.* without it; pass shuffle=True"
    for history in (None, train(mlp(4, 5, 3), None)):
        with pytest.raises(ValueError, match=match):
            train(model, history, 6, opt_class, rng=rng)
    assert_unchanged(model, before)
    train(model, None, 1, opt_class, rng=None)
