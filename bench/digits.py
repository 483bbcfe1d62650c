"""scikit-learn's MLPClassifier and fastbp's in its place, side by side on digits: ``python -m bench.digits``.

The same call of both: the loss curve, the accuracy on digits that were held back, and the seconds.
"""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fastbp.sklearn

OPTIONS: dict[str, Any] = {"hidden_layer_sizes": (64, 32), "batch_size": 64, "max_iter": 100, "random_state": 0}
SHOWN = (1, 2, 5, 10, 20, 50, 100)


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = load_digits(return_X_y=True)
    split = train_test_split(StandardScaler().fit_transform(X), y, test_size=0.25, random_state=0, stratify=y)
    train, test = (split[0], split[2]), (split[1], split[3])
    fastbp.sklearn.MLPClassifier(**OPTIONS | {"max_iter": 1}).fit(*train)  # compiles, or loads what was compiled
    arguments = ", ".join(f"{name}={value}" for name, value in OPTIONS.items())
    print("scikit-learn's MLPClassifier on digits, and fastbp's after one changed line, in float64:")
    print("    from fastbp.sklearn import MLPClassifier")
    print(f"    MLPClassifier({arguments})\n")
    fitted = {}
    for name, library in (("scikit-learn", neural_network), ("fastbp", fastbp.sklearn)):
        begun = perf_counter()
        mlp = library.MLPClassifier(**OPTIONS).fit(*train)
        fitted[name] = mlp, perf_counter() - begun
    print(format_table(fitted, test))
    curves = [np.array(mlp.loss_curve_) for mlp, _ in fitted.values()]
    print(f"\nThe loss curves differ by {abs(curves[0] - curves[1]).max():.1e} at the most.")
    ratio = fitted["scikit-learn"][1] / fitted["fastbp"][1]
    print(f"scikit-learn takes {ratio:.1f} times the time of fastbp.")


def format_table(fitted: dict[str, tuple[Any, float]], test: tuple[Any, Any]) -> str:
    """Return what the estimators came to as a table in Markdown."""
    epochs = [epoch for epoch in SHOWN if epoch <= min(len(mlp.loss_curve_) for mlp, _ in fitted.values())]
    header = ["", *(f"loss {epoch}" for epoch in epochs), "epochs", "accuracy", "seconds"]
    lines = [header, ["---"] * len(header)]
    for name, (mlp, seconds) in fitted.items():
        losses = [f"{mlp.loss_curve_[epoch - 1]:.6f}" for epoch in epochs]
        lines.append([name, *losses, str(mlp.n_iter_), f"{mlp.score(*test):.4f}", f"{seconds:.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
