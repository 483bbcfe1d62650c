"""The estimators' numbers are scikit-learn's: weights, orders, losses, epochs and predictions."""

import numpy
import pytest
import scipy.sparse
from sklearn.datasets import make_regression
from sklearn_cases import OF_CLASSES, OF_NUMBERS, assert_same, data, pair, several_labels

ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]
NAMES = [*OF_CLASSES, *OF_NUMBERS]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stochastic_solver_has_the_course_of_scikit_learns(name, solver, activation):
    X, y = data(name)
    rate = 0.01 if name != "diabetes" or solver == "adam" else 0.0001
    theirs, ours = pair(
        X, y, solver=solver, activation=activation, hidden_layer_sizes=(16,), max_iter=60, learning_rate_init=rate
    )
    assert_same(theirs, ours, X)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_lbfgs_begins_with_the_course_of_scikit_learns(name, activation):
    X, y = data(name)
    theirs, ours = pair(X, y, solver="lbfgs", activation=activation, hidden_layer_sizes=(16,), max_iter=12)
    assert_same(theirs, ours, X)


# What is set otherwise than by default, of estimators with two layers and short mini-batches at the end.
SETTINGS = {
    "defaults": {},
    "no shuffling": {"shuffle": False},
    "alpha": {"alpha": 1.5},
    "no alpha": {"alpha": 0},
    "betas": {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    "plain sgd": {"solver": "sgd", "momentum": 0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "all momentum": {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-4},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
    "patience": {"tol": 0.05, "n_iter_no_change": 3, "max_iter": 200},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 4, "max_iter": 200},
    "adaptive early stopping": {"solver": "sgd", "learning_rate": "adaptive", "early_stopping": True, "tol": 0.1,
                                "n_iter_no_change": 2},
    "endless patience": {"n_iter_no_change": numpy.inf, "tol": 1e9},
}  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["iris", "breast cancer", "diabetes"])
def test_a_setting_does_what_it_does_in_scikit_learn(name, setting):
    X, y = data(name)
    options = {"hidden_layer_sizes": (9, 5), "batch_size": 64, "max_iter": 20, "learning_rate_init": 0.01}
    if name == "diabetes":
        y = (y - y.mean()) / y.std()
    assert_same(*pair(X, y, **{**options, **SETTINGS[setting]}), X)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("name", ["iris", "breast cancer", "diabetes"])
def test_weights_of_samples_count_as_in_scikit_learn(name, solver, early):
    X, y = data(name)
    if name == "diabetes":
        y = (y - y.mean()) / y.std()
    weights = numpy.random.default_rng(0).uniform(0, 3, len(y))
    options = {"solver": solver, "hidden_layer_sizes": 7, "batch_size": 50, "max_iter": 10, "early_stopping": early}
    assert_same(*pair(X, y, fit={"sample_weight": weights}, **options), X)


def test_a_mini_batch_without_weight_is_refused_as_in_scikit_learn():
    X, y = data("iris")
    weights = numpy.zeros(len(y))
    weights[0] = 1
    with pytest.raises(ZeroDivisionError, match="Weights sum to zero"):
        pair(X, y, fit={"sample_weight": weights}, batch_size=10)
    ours = pair(X, y, max_iter=1)[1]
    before = [coef.copy() for coef in ours.coefs_]
    with pytest.raises(ZeroDivisionError, match="Weights sum to zero"):
        ours.set_params(warm_start=True, batch_size=10).fit(X, y, weights)
    for mine, other in zip(ours.coefs_, before, strict=True):
        numpy.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_second_fit_goes_on_where_the_first_one_ended(solver):
    for name in ("iris", "diabetes"):
        X, y = data(name)
        options = {"solver": solver, "warm_start": True, "max_iter": 5, "learning_rate_init": 1e-4, "tol": 1e-9}
        assert_same(*pair(X, y, calls=("fit", "fit", "fit"), **options), X)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fits_are_epochs(solver):
    X, y = data("iris")
    options = {"solver": solver, "batch_size": 40, "random_state": 3}
    assert_same(*pair(X, y, calls=["partial_fit"] * 5, fit={"classes": [0, 1, 2]}, **options), X)
    X, y = data("diabetes")
    assert_same(*pair(X, y, calls=["partial_fit"] * 5, learning_rate_init=1e-4, **options), X)


def test_partial_fit_goes_on_with_the_steps_of_fit():
    X, y = data("iris")
    theirs, ours = pair(X, y, max_iter=5)
    for estimator in (theirs, ours):
        estimator.partial_fit(X, y)
        estimator.partial_fit(X, y)
    assert_same(theirs, ours, X)
    assert ours._optimizer.learning_rate == pytest.approx(theirs._optimizer.learning_rate, rel=1e-12)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_several_labels_and_several_outputs_are_scikit_learns(solver):
    X, Y = several_labels()
    assert_same(*pair(X, Y, solver=solver, max_iter=10, hidden_layer_sizes=8), X)
    X, Y = make_regression(n_samples=80, n_features=6, n_targets=3, random_state=1)
    assert_same(*pair(X, Y / 100, solver=solver, max_iter=10, hidden_layer_sizes=8), X)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_the_loss_of_counts_is_scikit_learns(solver):
    X, _ = data("diabetes")
    rng = numpy.random.default_rng(2)
    counts = rng.poisson(numpy.exp(0.3 * X[:, :2])).astype(float)
    for y, fit in ((counts[:, 0], None), (counts, None), (counts, {"sample_weight": rng.uniform(0, 2, len(X))})):
        options = {"solver": solver, "loss": "poisson", "max_iter": 8, "hidden_layer_sizes": 6, "batch_size": 100}
        assert_same(*pair(X, y, fit=fit, name="MLPRegressor", **options), X)


def test_float32_gives_float32():
    for name in ("iris", "breast cancer", "diabetes"):
        X, y = data(name)
        theirs, ours = pair(X.astype(numpy.float32), y, max_iter=10, hidden_layer_sizes=8)
        assert_same(theirs, ours, X.astype(numpy.float32), tolerance=1e-5)
        assert all(array.dtype == numpy.float32 for array in (*ours.coefs_, *ours.intercepts_))


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
def test_sparse_samples_are_the_dense_ones(kind):
    X, y = data("digits")
    X = numpy.where(abs(X) > 1, X, 0.0)
    theirs, ours = pair(kind(X), y, max_iter=5, early_stopping=True)
    assert_same(theirs, ours, X)
    numpy.testing.assert_array_equal(ours.predict(kind(X)), ours.predict(X))


def test_probabilities_that_round_to_zero_and_one_cost_what_they_cost_in_scikit_learn():
    X, y = OF_CLASSES["breast cancer"](return_X_y=True)  # of features up to some thousand
    theirs, ours = pair(X, y, activation="relu", max_iter=20)
    assert theirs.loss_curve_[0] > 3
    assert_same(theirs, ours, X)
    X, y = OF_CLASSES["wine"](return_X_y=True)
    theirs, ours = pair(X, y, activation="relu", max_iter=20)
    assert theirs.loss_curve_[0] > 10
    assert_same(theirs, ours, X)


def test_the_state_of_the_users_generator_is_left_where_scikit_learn_leaves_it():
    X, y = data("iris")
    states = []
    for estimator in pair(X, y, max_iter=1):
        generator = numpy.random.RandomState(5)
        estimator.set_params(random_state=generator, max_iter=300, tol=0.01).fit(X, y)
        states.append((estimator.n_iter_, generator.randint(1 << 30)))
    assert states[0] == states[1]
    assert states[0][0] < 300
