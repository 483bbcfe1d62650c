"""An estimator is its attributes and parameters: each is changed, and what follows is as in scikit-learn."""

import copy
import pickle
import warnings
from functools import cache
from itertools import product

import numpy
import pytest
from sklearn import neural_network
from sklearn.base import clone

import fastbp.sklearn

X = numpy.random.default_rng(0).normal(size=(60, 4))
TARGETS = {
    "two classes": numpy.where(X[:, 0] > 0, "b", "a"),
    "three classes": numpy.digitize(X[:, 0], [-0.5, 0.5]),
    "several labels": (X[:, :3] + X[:, 1:] > 0).astype(int),
    "one output": X[:, 0] * X[:, 1] + 1,
    "several outputs": X[:, :2] - X[:, 2:],
    "counts": numpy.abs(X[:, 0]).round(),
}
SOLVERS = {
    "adam": {},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    "adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.3, "n_iter_no_change": 1, "tol": 0.05
    },
    "lbfgs": {"solver": "lbfgs", "max_iter": 3},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3, "learning_rate_init": 0.05},
}  # fmt: skip

EVERY = 9  # cells of which the tests take one


def scaled_item(mlp):
    mlp.coefs_[0] = mlp.coefs_[0] * 0.5


def scaled_in_place(mlp):
    mlp.coefs_[0] *= 0.5
    mlp.intercepts_[1] += 0.25


def replaced_after_a_prediction_and_changed(mlp):
    mlp.coefs_ = [0.5 * coef for coef in mlp.coefs_]
    mlp.predict(X)
    mlp.coefs_[1] *= -1


def replaced_and_put_back(mlp):
    before = mlp.coefs_
    mlp.coefs_ = [0.5 * coef for coef in before]
    mlp.predict(X)
    mlp.coefs_ = before


def parameters(**values):
    return lambda mlp: mlp.set_params(**values)


def attribute(name, value):
    return lambda mlp: setattr(mlp, name, value(getattr(mlp, name)))


CHANGES = {
    "nothing": lambda mlp: None,
    "coefs_": attribute("coefs_", lambda coefs: [0.5 * coef for coef in coefs]),
    "an item of coefs_": scaled_item,
    "intercepts_": attribute("intercepts_", lambda intercepts: [intercept + 0.1 for intercept in intercepts]),
    "numbers in place": scaled_in_place,
    "coefs_ after a prediction": replaced_after_a_prediction_and_changed,
    "coefs_ put back": replaced_and_put_back,
    "columns first": attribute("coefs_", lambda coefs: [numpy.asfortranarray(0.5 * coef) for coef in coefs]),
    "activation": parameters(activation="identity"),
    "alpha": parameters(alpha=2.0),
    "learning rate": parameters(learning_rate_init=0.5),
    "momentum": parameters(momentum=0.2, beta_1=0.3),
    "other solver": parameters(solver="sgd"),
    **{f"out_activation_ {name}": attribute("out_activation_", lambda _, name=name: name)
       for name in ("identity", "logistic", "relu", "tanh", "softmax", "exp", "foo")},
    "layer of another size": parameters(hidden_layer_sizes=(4,)),
    "larger layer": parameters(hidden_layer_sizes=(16,)),
    "more layers": parameters(hidden_layer_sizes=(8, 8)),
    "no layers": parameters(hidden_layer_sizes=()),
    "half a neuron": parameters(hidden_layer_sizes=(6.7,)),
    "arrays of integers": attribute("coefs_", lambda coefs: [coef.round().astype(int) for coef in coefs]),
    "coefs_ of another size": attribute("coefs_", lambda coefs: [coefs[0][:, :5].copy(), coefs[1][:5].copy()]),
    "coefs_ that do not fit": attribute("coefs_", lambda coefs: [coefs[0], coefs[1][:5].copy()]),
}  # fmt: skip



def is_refused(change, solver, theirs):
    """Whether docs/sklearn.md has an error instead: other layers than those of ``coefs_``.

    scikit-learn has its errors in the middle of a training, and its "lbfgs" would take some numbers for others.
    """
    if change == "layer of another size":
        return solver == "lbfgs"
    return change in ("more layers", "no layers") and isinstance(theirs, Exception)


def repeated(method, times):
    def call(mlp, y):
        for _ in range(times):
            getattr(mlp, method)(X, y)
        return [mlp]

    return call


def predict(mlp, y):
    return [mlp, mlp.predict(X)]


def predict_twice(mlp, y):
    return [mlp, mlp.predict(X), mlp.predict(X[:7]), *([mlp.predict_proba(X)] if hasattr(mlp, "predict_proba") else [])]


def warm_fits(mlp, y):
    return repeated("fit", 3)(mlp.set_params(warm_start=True), y)


def copied(copy_of):
    def call(mlp, y):
        other = copy_of(mlp)
        if hasattr(mlp, "partial_fit") and not mlp.early_stopping:
            other.partial_fit(X, y)
        return [mlp, other, mlp.predict(X), other.predict(X)]

    return call


CALLS = {
    "predict": predict,
    "predict twice": predict_twice,
    "partial_fit": repeated("partial_fit", 3),
    "partial_fit after predict": lambda mlp, y: [mlp.predict(X), *repeated("partial_fit", 2)(mlp, y)],
    "warm fits": warm_fits,
    "partial_fit after warm fits": lambda mlp, y: [*warm_fits(mlp, y), *repeated("partial_fit", 2)(mlp, y)],
    "pickle": copied(lambda mlp: pickle.loads(pickle.dumps(mlp))),
    "deepcopy": copied(copy.deepcopy),
    "copy": copied(copy.copy),
    "clone": lambda mlp, y: repeated("fit", 1)(clone(mlp), y),
}
KEPT = (
    "coefs_", "intercepts_", "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "best_validation_score_",
    "validation_scores_", "_no_improvement_count", "n_layers_", "n_outputs_", "out_activation_",
)  # fmt: skip


@cache
def fitted(library, target, solver):
    y = TARGETS[target]
    name = "MLPRegressor" if y.dtype.kind == "f" else "MLPClassifier"
    options = {"loss": "poisson"} if target == "counts" else {}
    options |= {"hidden_layer_sizes": (8,), "max_iter": 2, "batch_size": 25, "random_state": 0, "activation": "tanh"}
    return getattr(library, name)(**options | SOLVERS[solver]).fit(X, y)


def outcome(library, target, solver, change, call):
    """What comes of a cell: arrays and numbers by their names, or the type of the error."""
    mlp = copy.deepcopy(fitted(library, target, solver))
    y = TARGETS[target]
    try:
        change(mlp)
        arrays = [*mlp.coefs_, *mlp.intercepts_]
        results = call(mlp, y)
    except Exception as error:
        return error
    found = {f"held {number}": array for number, array in enumerate(arrays) if not mlp.early_stopping}
    for number, result in enumerate(results):
        if isinstance(result, numpy.ndarray):
            found[f"result {number}"] = result
            continue
        for name in KEPT:
            value = getattr(result, name, "none")
            if isinstance(value, list) and value and isinstance(value[0], numpy.ndarray):
                found |= {f"{name}[{place}] of {number}": array for place, array in enumerate(value)}
            else:
                found[f"{name} of {number}"] = value
        if getattr(result, "_optimizer", None) is not None:
            found[f"learning rate of {number}"] = result._optimizer.learning_rate
    return found


def _builtin(result):
    """The type of an error, of NumPy's own the one of Python that it is; nothing for another result."""
    return next((kind for kind in type(result).__mro__ if kind.__module__ == "builtins" and kind is not object), ())


def differences(theirs, ours):
    """Yield the names of what is not the same."""
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        if not (isinstance(theirs, Exception) and isinstance(ours, _builtin(theirs))):
            yield " and ".join(repr(each) if isinstance(each, Exception) else "no error" for each in (theirs, ours))
        return
    for name, value in theirs.items():
        mine = ours[name]
        if type(value) in (str, type(None)):
            if mine != value:
                yield f"{name}: {value!r} and {mine!r}"
            continue
        one, two = numpy.asarray(value), numpy.asarray(mine)
        if (one.shape, one.dtype.kind) != (two.shape, two.dtype.kind):
            yield f"{name}: {one.dtype} {one.shape} and {two.dtype} {two.shape}"
        elif one.dtype.kind != "f":
            if not (one == two).all():
                yield name
        elif not numpy.allclose(one, two, rtol=1e-9, atol=1e-9, equal_nan=True):
            yield f"{name}: {abs(one - two).max():.1e} of {abs(one).max():.1e}"


def cells(target, solver, every):
    """Every so many-th change with what is called then, others for each solver and target."""
    first = list(TARGETS).index(target) + len(TARGETS) * list(SOLVERS).index(solver)
    return list(product(CHANGES, CALLS))[first % every :: every]


def all_differences(target, solver, every):
    """What is not as in scikit-learn, nor as docs/sklearn.md says."""
    different = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for change, call in cells(target, solver, every):
            theirs, ours = (
                outcome(library, target, solver, CHANGES[change], CALLS[call])
                for library in (neural_network, fastbp.sklearn)
            )
            if not (is_refused(change, solver, theirs) and isinstance(ours, ValueError)):
                different += [f"{target}, {solver}, {change}, {call}: {what}" for what in differences(theirs, ours)]
    return different


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("target", TARGETS)
def test_each_change_has_the_effect_that_it_has_in_scikit_learn(target, solver):
    """A part of the matrix, in which each change meets each call; ``python tests/test_sklearn_matrix.py`` does all."""
    different = all_differences(target, solver, EVERY)
    assert not different, "\n".join(different)


def test_each_change_meets_each_call():
    met = [cell for target, solver in product(TARGETS, SOLVERS) for cell in cells(target, solver, EVERY)]
    assert set(met) == set(product(CHANGES, CALLS))


if __name__ == "__main__":
    for pair in product(TARGETS, SOLVERS):
        print(*(all_differences(*pair, 1) or [f"{pair}: the same"]), sep="\n")
