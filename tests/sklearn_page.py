"""Fills in docs/sklearn.md from fits beside scikit-learn: a part of ``make equivalence``.

What rounding alone does is measured by scikit-learn against itself, with the features in reverse: the same network,
whose first sums are taken in another order.
"""

import warnings
from itertools import product
from pathlib import Path

import numpy
import scipy
import sklearn
from equivalence import filled_in, table, versions
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

import fastbp.sklearn

PAGE = Path(__file__).parents[1] / "docs" / "sklearn.md"
DATA = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}
SOLVERS, ACTIVATIONS = ("adam", "sgd", "lbfgs"), ("identity", "logistic", "tanh", "relu")
HEADER = (
    "data", "solver", "activation", "epochs", "first 50 epochs", "all epochs", "scikit-learn from itself",
    "same epochs", "same predictions",
)  # fmt: skip


class _Reversed:
    """With the first layer's weights in reverse, for features in reverse."""

    _is_first = True

    def _init_coef(self, *arguments):
        coef, intercept = super()._init_coef(*arguments)
        coef, self._is_first = (coef[::-1].copy() if self._is_first else coef), False
        return coef, intercept


class _ReversedClassifier(_Reversed, neural_network.MLPClassifier):
    pass


class _ReversedRegressor(_Reversed, neural_network.MLPRegressor):
    pass


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    cases = [(name, solver, activation, True) for name, solver, activation in product(DATA, SOLVERS, ACTIVATIONS)]
    cases += [(name, "adam", activation, False) for name, activation in product(("wine", "breast cancer"), ACTIVATIONS)]
    rows = [row(*case) for case in tqdm(cases, desc="fits")]
    page = PAGE.read_text(encoding="utf-8")
    page = filled_in(page, "versions", f"{versions()} scikit-learn {sklearn.__version__}, SciPy {scipy.__version__}.")
    page = filled_in(page, "fits", table(HEADER, rows))
    PAGE.write_text(page, encoding="utf-8")
    print(f"wrote docs/{PAGE.name}")


def row(name, solver, activation, is_scaled):
    """What one kind of fit came to."""
    X, y = DATA[name](return_X_y=True)
    X = StandardScaler().fit_transform(X) if is_scaled else X
    kind = "Classifier" if y.dtype.kind == "i" else "Regressor"
    options = {"solver": solver, "activation": activation, "random_state": 0}
    theirs = getattr(neural_network, f"MLP{kind}")(**options).fit(X, y)
    ours = getattr(fastbp.sklearn, f"MLP{kind}")(**options).fit(X, y)
    other = (_ReversedClassifier if kind == "Classifier" else _ReversedRegressor)(**options).fit(X[:, ::-1], y)
    predictions = theirs.predict(X), ours.predict(X)
    if kind == "Classifier":
        same = f"{int((predictions[0] == predictions[1]).sum())} of {len(y)}"
    else:
        same = f"within {abs(predictions[0] - predictions[1]).max():.1e}"
    return (
        name if is_scaled else f"{name}, not scaled",
        solver,
        activation,
        theirs.n_iter_,
        f"{apart(theirs, ours, 50):.1e}",
        f"{apart(theirs, ours):.1e}",
        f"{apart(theirs, other):.1e}",
        "yes" if theirs.n_iter_ == ours.n_iter_ else f"{theirs.n_iter_} and {ours.n_iter_}",
        same,
    )


def apart(one, two, epochs=None):
    """The largest difference of two loss curves, or of the last losses without one, over the first loss or 1."""
    curves = [numpy.array(getattr(each, "loss_curve_", [each.loss_]))[:epochs] for each in (one, two)]
    length = min(map(len, curves))
    return abs(curves[0][:length] - curves[1][:length]).max() / max(1.0, abs(curves[0][0]))


if __name__ == "__main__":
    main()
