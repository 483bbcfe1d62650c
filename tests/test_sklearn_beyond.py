"""What the estimators take beyond scikit-learn's: weights of classes, dropout, other parts, dtypes, threads."""

import _thread
import threading
from functools import partial

import numpy
import pytest
from sklearn.utils import compute_sample_weight
from sklearn_cases import assert_same, data, pair, several_labels

from fastbp import nn, optim
from fastbp.sklearn import MLPClassifier, MLPRegressor
from fastbp.sklearn.lbfgs import loss_and_gradient
from fastbp.sklearn.loss_terms import LOSSES
from fastbp.sklearn.network import ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = data("iris")
SMALL = {"hidden_layer_sizes": (6, 5), "max_iter": 8, "learning_rate_init": 0.02, "random_state": 0}


def same(one, two, tolerance=0.0):
    for mine, other in zip(one.coefs_ + one.intercepts_, two.coefs_ + two.intercepts_, strict=True):
        numpy.testing.assert_allclose(mine, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("class_weight", [{0: 1, 1: 3, 2: 0.5}, "balanced"])
def test_weights_of_classes_are_weights_of_their_samples(class_weight, solver):
    target = numpy.where(numpy.arange(150) < 30, 0, y)
    options = {**SMALL, "solver": solver}
    weights = compute_sample_weight(class_weight, target)
    for more in (None, numpy.linspace(0, 1, 150)):
        ours = MLPClassifier(**options, class_weight=class_weight).fit(X, target, more)
        same(ours, MLPClassifier(**options).fit(X, target, weights if more is None else weights * more), 1e-12)


def test_weights_of_classes_of_two_and_of_several_labels():
    target = (y > 0).astype(int)
    weights = compute_sample_weight({0: 2, 1: 5}, target)
    same(
        MLPClassifier(**SMALL, class_weight={0: 2, 1: 5}).fit(X, target),
        MLPClassifier(**SMALL).fit(X, target, weights), 1e-12,
    )  # fmt: skip
    inputs, labels = several_labels()
    weights = compute_sample_weight("balanced", labels)
    same(
        MLPClassifier(**SMALL, class_weight="balanced").fit(inputs, labels),
        MLPClassifier(**SMALL).fit(inputs, labels, weights), 1e-12,
    )  # fmt: skip


def test_balanced_weights_need_all_samples():
    with pytest.raises(ValueError, match="partial_fit takes class_weight as a dict or None, got 'balanced'"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    MLPClassifier(class_weight={1: 2.0}).partial_fit(X, y, classes=[0, 1, 2])


def test_scores_of_the_validation_do_not_weigh_classes():
    ours = MLPClassifier(**SMALL, early_stopping=True, class_weight={0: 100}).fit(X, y)
    assert all(round(score * 15) == pytest.approx(score * 15) for score in ours.validation_scores_)


def test_dropout_drops_in_training_alone():
    plain, dropping = (MLPClassifier(**SMALL, dropout=p).fit(X, y) for p in (0.0, 0.5))
    assert [type(module).__name__ for module in dropping.model_].count("Dropout") == 2
    assert dropping.loss_curve_[0] != plain.loss_curve_[0]
    numpy.testing.assert_array_equal(dropping.predict_proba(X), dropping.predict_proba(X))
    again = MLPClassifier(**SMALL, dropout=0.5).fit(X, y)
    same(dropping, again)
    assert MLPClassifier(**{**SMALL, "max_iter": 200}, dropout=0.1).fit(X, y).score(X, y) > 0.9


def test_layers_are_normalised():
    ours = MLPClassifier(**{**SMALL, "max_iter": 60}, layer_norm=True).fit(X, y)
    names = [type(module).__name__ for module in ours.model_]
    assert names == ["Linear", "LayerNorm", "ReLU", "Linear", "LayerNorm", "ReLU", "Linear"]
    assert not (ours.model_[1].weight.data == 1).all()
    assert ours.score(X, y) > 0.9


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_the_gradient_is_that_of_the_loss_for_every_activation(activation):
    ours = MLPClassifier(**{**SMALL, "max_iter": 1}, activation=activation, alpha=0.5).fit(X, y)
    require_gradient(ours, numpy.eye(3)[y[::13]].astype(bool))


@pytest.mark.parametrize("loss", ["squared_error", "poisson", *LOSSES, nn.QuantileLoss(0.9)], ids=str)
def test_the_gradient_is_that_of_the_loss_for_every_loss(loss):
    counts = numpy.abs(X[:, :1]).round()
    ours = MLPRegressor(loss=loss, **{**SMALL, "max_iter": 1}, activation="tanh", alpha=0.5).fit(X, counts.ravel())
    require_gradient(ours, counts[::13])
    assert ours.predict(X).shape == (150,)


def require_gradient(ours, targets):
    inputs, weights = X[::13], numpy.linspace(0.5, 2, len(targets))
    packed = ours._current_network().packed()
    _, gradient = loss_and_gradient(ours, packed, inputs, targets, weights)
    for place, step in enumerate(1e-6 * numpy.eye(packed.size)):  # too small to meet a kink
        ends = [loss_and_gradient(ours, packed + sign * step, inputs, targets, weights)[0] for sign in (1, -1)]
        assert abs((ends[0] - ends[1]) / 2e-6 - gradient[place]) < 1e-7


OPTIMIZERS = [name for name in optim.__all__ if isinstance(getattr(optim, name), type) and name != "Optimizer"]
OPTIMIZERS = [name for name in OPTIMIZERS if issubclass(getattr(optim, name), optim.Optimizer)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_trains(name):
    ours = MLPClassifier(**{**SMALL, "max_iter": 60}, optimizer=name).fit(X, y)
    assert ours.loss_ < ours.loss_curve_[0]
    same(ours, MLPClassifier(**{**SMALL, "max_iter": 60}, optimizer=getattr(optim, name)).fit(X, y))
    ours.partial_fit(X, y)


def test_an_optimiser_with_settings_of_its_own():
    options = {**SMALL, "batch_size": 40}
    plain = MLPClassifier(**options, solver="sgd", momentum=0.8).fit(X, y)
    own = MLPClassifier(**options, optimizer=partial(optim.SGD, momentum=0.8, nesterov=True)).fit(X, y)
    same(plain, own, 1e-12)
    adam = MLPClassifier(**options, epsilon=1e-12).fit(X, y)
    same(adam, MLPClassifier(**options, optimizer=partial(optim.Adam, eps=1e-12)).fit(X, y), 1e-4)


def test_an_optimiser_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"takes one of fastbp\.optim by its name or a callable, got 'newton'"):
        MLPClassifier(optimizer="newton").fit(X, y)


def test_the_dtype_is_that_which_is_asked_for():
    narrow = MLPClassifier(**SMALL, dtype="float32").fit(X, y)
    assert narrow.coefs_[0].dtype == narrow.predict_proba(X).dtype == numpy.float32
    wide = MLPClassifier(**SMALL, dtype=numpy.float64).fit(X.astype("f4"), y)
    assert wide.coefs_[0].dtype == wide.predict_proba(X.astype("f4")).dtype == numpy.float64
    numpy.testing.assert_allclose(narrow.predict_proba(X), wide.predict_proba(X), rtol=0, atol=1e-4)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr("fastbp.runtime.threads.FLOP_PER_THREAD", 1.0)
    one, two = (MLPClassifier(**{**SMALL, "hidden_layer_sizes": 40}, n_jobs=jobs).fit(X, y) for jobs in (1, 2))
    same(one, two)
    assert one.loss_curve_ == two.loss_curve_


def test_progress_is_told_after_each_epoch(capsys):
    seen = []
    MLPClassifier(**SMALL, progress=lambda mlp: seen.append((mlp.n_iter_, mlp.score(X, y)))).fit(X, y)
    assert [epoch for epoch, _ in seen] == list(range(1, 9))
    assert len({score for _, score in seen}) > 1
    same(MLPClassifier(**SMALL, progress=True).fit(X, y), MLPClassifier(**SMALL).fit(X, y))
    assert "epoch" in capsys.readouterr().err


def test_wrong_parameters_get_scikit_learns_errors():
    for name, value in {"dropout": 1.0, "layer_norm": "yes", "dtype": "int8", "class_weight": "even"}.items():
        with pytest.raises(ValueError, match=f"The '{name}' parameter of MLPClassifier must be"):
            MLPClassifier(**{name: value}).fit(X, y)
    with pytest.raises(ValueError, match="The 'loss' parameter of MLPRegressor must be"):
        MLPRegressor(loss="log_loss").fit(X, y)
    for options in ({"alpha": -1}, {"solver": "newton"}, {"activation": "sine"}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=f"The '{next(iter(options))}' parameter of MLPClassifier must be"):
            MLPClassifier(**options).fit(X, y)


def test_without_hidden_layers_it_is_a_linear_model():
    assert_same(*pair(X, y, hidden_layer_sizes=[], max_iter=10), X)


def test_an_interrupt_ends_the_training_and_keeps_what_was_trained():
    def stop(mlp):
        if mlp.n_iter_ == 3:
            raise KeyboardInterrupt

    ours = MLPClassifier(**SMALL, progress=stop)
    with pytest.warns(UserWarning, match=r"Training interrupted by user\.") as caught:
        ours.fit(X, y)
    assert caught[0].filename == __file__
    same(ours, MLPClassifier(**{**SMALL, "max_iter": 3}).fit(X, y))
    assert len(ours.loss_curve_) == 3


def test_an_interrupt_comes_through_while_the_engine_runs():
    ours = MLPClassifier(**{**SMALL, "max_iter": 10**7, "n_iter_no_change": numpy.inf})
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        ours.fit(X, y)
    timer.join()
    assert ours.n_iter_ == len(ours.loss_curve_) > 0
    ours.partial_fit(X, y)
