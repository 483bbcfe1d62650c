"""What an estimator reads anew at each call: weights that others set, classes' weights, dtypes, and layers besides."""

import copy
import pickle

import numpy
import pytest
from sklearn import neural_network
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_sample_weight
from sklearn_cases import assert_same, data, several_labels

import fastbp.sklearn
from fastbp import nn
from fastbp.sklearn import MLPClassifier, MLPRegressor, from_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = data("iris")
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 4, "learning_rate_init": 0.02, "random_state": 0}
BOTH = (neural_network, fastbp.sklearn)


def by_hand(library):
    """Estimators of which every attribute is set by hand."""
    draw = numpy.random.default_rng(0).normal
    regressor, classifier = library.MLPRegressor(activation="tanh"), library.MLPClassifier()
    for mlp, outputs in ((regressor, 2), (classifier, 3)):
        mlp.coefs_ = [draw(size=(4, 5)), draw(size=(5, outputs))]
        mlp.intercepts_ = [draw(size=5), draw(size=outputs)]
        mlp.n_layers_, mlp.n_outputs_ = 3, outputs
    regressor.out_activation_, classifier.out_activation_ = "identity", "softmax"
    classifier._label_binarizer = LabelBinarizer().fit(y)
    return regressor, classifier


def test_an_estimator_that_is_built_by_hand_predicts_again_and_again():
    for theirs, ours in zip(*map(by_hand, BOTH)):
        for samples in (X, X[:1], X.astype(numpy.float32), X.tolist()):
            for _ in range(2):
                numpy.testing.assert_allclose(ours.predict(samples), theirs.predict(samples), rtol=1e-12)


def test_arrays_that_are_put_in_place_are_trained_in_place():
    results = []
    for library in BOTH:
        mlp = library.MLPClassifier(**SMALL).fit(X, y)
        arrays = [coef.copy() for coef in mlp.coefs_]
        mlp.coefs_ = arrays
        mlp.partial_fit(X, y)
        assert mlp.coefs_ is arrays
        results.append(arrays)
    for theirs, ours in zip(*results):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_arrays_that_a_training_cannot_write_into_are_refused_before_anything_changes():
    ours = MLPClassifier(**SMALL).fit(X, y)
    ours.coefs_ = [coef.copy() for coef in ours.coefs_]
    ours.coefs_[1].flags.writeable = False
    before = ours.coefs_[0].copy()
    with pytest.raises(ValueError, match=r"a training writes into coefs_\[1\], got an array that is read-only"):
        ours.partial_fit(X, y)
    numpy.testing.assert_array_equal(ours.coefs_[0], before)
    other = MLPClassifier(**SMALL).fit(X, y)
    other.coefs_[1].flags.writeable = False
    with pytest.raises(ValueError, match=r"a training writes into coefs_\[1\], got an array that is read-only"):
        other.partial_fit(X, y)
    ours.coefs_ = [coef[:, :2] for coef in ours.coefs_]
    with pytest.raises(ValueError, match=r"intercepts_\[0\] takes an array of shape \(2,\)"):
        ours.predict(X)


def test_warm_fits_with_early_stopping_go_on_to_learn():
    options = {**SMALL, "warm_start": True, "early_stopping": True, "max_iter": 1, "learning_rate_init": 1e-3}
    made = []
    for library in BOTH:
        mlp = library.MLPClassifier(**options)
        for _ in range(12):
            mlp.fit(X, y)
        made.append(mlp)
    assert_same(*made, X)
    assert len(set(made[1].loss_curve_)) == 12


@pytest.mark.parametrize("how", ["layer_norm", "dropout", "from_model", "batch norm"])
def test_other_layers_stay_where_coefs_are_replaced(how):
    if how in ("layer_norm", "dropout"):
        ours = MLPClassifier(**SMALL, **{how: 0.5 if how == "dropout" else True}, activation="gelu").fit(X, y)
    else:
        norm = nn.BatchNorm1d(6) if how == "batch norm" else nn.LayerNorm(6)
        model = nn.Sequential(nn.Linear(4, 6, rng=0), norm, nn.GELU(), nn.Linear(6, 3, rng=1))
        ours = from_model(model.double(), classes=[0, 1, 2]).partial_fit(X, y)
    expected, layers = ours.predict_proba(X), [type(module) for module in ours.model_]
    for copied in (ours, copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        copied.coefs_ = [coef.copy() for coef in copied.coefs_]
        numpy.testing.assert_array_equal(copied.predict_proba(X), expected)
        numpy.testing.assert_array_equal(pickle.loads(pickle.dumps(copied)).predict_proba(X), expected)
        copied.partial_fit(X, y)
        assert (copied.predict_proba(X) != expected).any()
        assert [type(module) for module in copied.model_] == layers


def test_settings_that_are_changed_on_a_fitted_estimator_are_taken():
    ours = MLPClassifier(**SMALL).fit(X, y)
    ours.set_params(layer_norm=True).partial_fit(X, y)
    assert [type(module).__name__ for module in ours.model_] == ["Linear", "LayerNorm", "ReLU", "Linear"]
    scale = ours.model_[1].weight.data.copy()
    ours.set_params(activation="tanh", dropout=0.5).partial_fit(X, y)
    assert [type(module).__name__ for module in ours.model_] == ["Linear", "LayerNorm", "Tanh", "Dropout", "Linear"]
    assert 0 < abs(ours.model_[1].weight.data - scale).max() < 0.1


def test_a_network_that_was_given_cannot_take_other_settings():
    ours = from_model(nn.Sequential(nn.Linear(4, 6, rng=0), nn.GELU(), nn.Linear(6, 3, rng=1)), classes=[0, 1, 2])
    with pytest.raises(ValueError, match="an estimator made of a model keeps its layers"):
        ours.set_params(activation="tanh").predict(X)
    assert ours.fit(X, y).score(X, y) > 0.3


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_single_precision_is_used_where_scikit_learn_uses_it(solver):
    single = X.astype(numpy.float32)
    theirs, ours = (library.MLPRegressor(**SMALL, solver=solver).fit(single, X[:, 0]) for library in BOTH)
    for samples in (X, single, X.round().astype(int), X.astype(numpy.float16)):
        expected, found = theirs.predict(samples), ours.predict(samples)
        assert found.dtype == expected.dtype
        theirs.coefs_, theirs.intercepts_ = ours.coefs_, ours.intercepts_
        expected = theirs.predict(samples)
        numpy.testing.assert_allclose(found, expected, rtol=1e-5 if expected.dtype == numpy.float32 else 1e-12)
    assert MLPRegressor(**SMALL, dtype="float32").fit(X, X[:, 0]).predict(X).dtype == numpy.float32


@pytest.mark.parametrize("sizes", [(6.7,), (8.0,), numpy.array([8.0, 4.0]), [[3]], ("a",)])
def test_sizes_that_are_no_integers_are_refused(sizes):
    for library in BOTH:
        with pytest.raises(TypeError):
            library.MLPClassifier(hidden_layer_sizes=sizes).fit(X, y)


def test_samples_and_targets_of_other_sizes_are_refused():
    ours = by_hand(fastbp.sklearn)[0]
    ours.t_ = ours._no_improvement_count = 0
    ours.loss_curve_, ours.best_loss_ = [], numpy.inf
    with pytest.raises(ValueError, match=r"goes on with coefs_ of layers of \[4, 5, 2\] features, got"):
        ours.set_params(hidden_layer_sizes=(5,)).partial_fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"goes on with coefs_ of layers of \[4, 5, 2\] features, got"):
        ours.partial_fit(numpy.hstack([X, X]), X[:, :2])


def fitted_alike(one, two):
    for mine, other in zip(one.coefs_ + one.intercepts_, two.coefs_ + two.intercepts_, strict=True):
        numpy.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)


def test_classes_that_are_not_named_or_not_there_count_one():
    chunk = numpy.flatnonzero(y != 1)
    weighted = MLPClassifier(**SMALL, class_weight={1: 10, 2: 3}).partial_fit(X[chunk], y[chunk], classes=[0, 1, 2])
    weights = numpy.where(y[chunk] == 2, 3.0, 1.0)
    fitted_alike(weighted, MLPClassifier(**SMALL).partial_fit(X[chunk], y[chunk], weights, classes=[0, 1, 2]))
    weighted.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"class_weight takes classes of y, which are \[0, 1, 2\], got \[7\] besides"):
        weighted.set_params(class_weight={7: 1}).partial_fit(X, y)


def test_balanced_weights_are_of_all_rows_that_are_given(monkeypatch):
    used = []
    monkeypatch.setattr(MLPClassifier, "_weights_of_loss", _noting(MLPClassifier._weights_of_loss, used))
    target = numpy.where(numpy.arange(150) < 30, 0, y)
    expected = numpy.unique(compute_sample_weight("balanced", target))
    MLPClassifier(**SMALL, class_weight="balanced", early_stopping=True).fit(X, target)
    numpy.testing.assert_allclose(numpy.unique(used[-1]), expected)
    rare = numpy.where(numpy.arange(150) == 0, 9, y)
    MLPClassifier(**SMALL, class_weight={9: 10.0}, early_stopping=True, validation_fraction=0.5).fit(X, rare)


def _noting(function, used):
    def noting(self, *arguments):
        used.append(function(self, *arguments))
        return used[-1]

    return noting


def test_several_labels_take_a_dict_for_each():
    inputs, labels = several_labels()
    given = [{0: 1.0, 1: 5.0}, {0: 2.0, 1: 1.0}, {0: 1.0, 1: 1.0}]
    weights = compute_sample_weight(given, labels)
    plain = MLPClassifier(**SMALL).fit(inputs, labels, weights)
    fitted_alike(MLPClassifier(**SMALL, class_weight=given).fit(inputs, labels), plain)
    fitted_alike(MLPClassifier(**SMALL, class_weight=[{1: 5.0}, {0: 2}, {}]).fit(inputs, labels), plain)
    for wrong in ([{1: 5.0}], {1: 5.0}):
        with pytest.raises(ValueError, match="class_weight takes 'balanced' or a list of a dict for each of 3 labels"):
            MLPClassifier(class_weight=wrong).fit(inputs, labels)
    with pytest.raises(ValueError, match="class_weight takes a dict or 'balanced' where a sample has one class"):
        MLPClassifier(class_weight=[{}, {}, {}]).fit(X, y)


def test_progress_that_returns_true_ends_the_training():
    for early_stopping in (False, True):
        options = {**SMALL, "early_stopping": early_stopping}
        ours = MLPClassifier(**options, progress=lambda mlp: mlp.n_iter_ == 2).fit(X, y)
        assert ours.n_iter_ == len(ours.loss_curve_) == 2
        fitted_alike(ours, MLPClassifier(**{**options, "max_iter": 2}).fit(X, y))


def test_partial_fit_of_no_epochs_trains_nothing_as_in_scikit_learn():
    made = [library.MLPClassifier(**SMALL).fit(X, y).set_params(max_iter=0).partial_fit(X, y) for library in BOTH]
    assert made[0].loss_curve_ == pytest.approx(made[1].loss_curve_)
    assert_same(*made, X)


@pytest.mark.parametrize("hidden", [(), (6,)])
@pytest.mark.parametrize("wrong", ["swish", None, 3, ["relu"]], ids=repr)
def test_an_activation_that_is_none_is_refused_by_name_on_a_fitted_estimator_too(hidden, wrong):
    mlp = MLPClassifier(**{**SMALL, "hidden_layer_sizes": hidden}).fit(X, y).set_params(activation=wrong)
    for call in (lambda: mlp.predict(X), lambda: mlp.partial_fit(X, y)):
        with pytest.raises(ValueError, match=r"MLPClassifier takes activation as one of .*relu.*, got "):
            call()
    mlp.set_params(activation="tanh").predict(X)


def test_a_solver_that_is_none_is_refused_by_name_on_a_fitted_estimator_too():
    mlp = MLPRegressor(**SMALL).fit(X, y).set_params(solver="newton")
    before = [coef.copy() for coef in mlp.coefs_]
    with pytest.raises(ValueError, match="MLPRegressor takes solver as 'lbfgs', 'sgd' or 'adam', got 'newton'"):
        mlp.partial_fit(X, y)
    for coef, kept in zip(mlp.coefs_, before):
        numpy.testing.assert_array_equal(coef, kept)


@pytest.mark.parametrize("name", ["max_iter", "batch_size"])
def test_a_count_that_is_no_integer_is_refused_on_a_fitted_estimator_too(name):
    for library in BOTH:
        mlp = library.MLPRegressor(**SMALL).fit(X, y).set_params(**{name: 1.5})
        with pytest.raises(TypeError):
            mlp.partial_fit(X, y)
    with pytest.raises(TypeError, match=rf"MLPRegressor takes {name} as an int, got 1\.5"):
        mlp.partial_fit(X, y)
