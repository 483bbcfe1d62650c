"""The classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from fastbp.sklearn.base import BaseMLP, is_stochastic
from fastbp.sklearn.class_weights import ClassWeights
from fastbp.sklearn.constraints import OF_CLASSIFIER
from fastbp.sklearn.outputs import apply_output
from fastbp.sklearn.sklearn_warnings import as_column
from fastbp.sklearn.stochastic import Split
from fastbp.validation.arrays import Array


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A fully connected network that classifies, as ``sklearn.neural_network.MLPClassifier``.

    Parameters, attributes and results are scikit-learn's, and described there; this is what there is besides.

    Parameters
    ----------
    activation : str
        Any activation of ``fastbp.nn``, such as "gelu", "silu" or "leaky_relu".
    class_weight : dict, list of dicts, "balanced" or None
        By which the loss of the samples of each class is multiplied; what a dict does not name counts 1. For several
        labels a list of a dict for each, of 0 and 1: a sample counts by the product. "balanced" is by all samples that
        ``fit`` is given, those that ``early_stopping`` sets aside included.
    dropout : float from 0 up to, but not, 1
        Probability of dropping each output of the hidden layers in training.
    layer_norm : bool
        Whether each hidden layer is normalised before its activation.
    optimizer : str, callable or None
        An optimiser of ``fastbp.optim`` instead of ``solver``: its name, or what is called with the parameters and
        ``lr=learning_rate_init``, such as ``functools.partial(fastbp.optim.AdamW, weight_decay=0.1)``.
    dtype : "float32", "float64" or None
        What is computed in; None takes that of the samples.
    n_jobs : int or None
        How many threads may train. None takes ``fastbp.get_num_threads()``, and one outside of the main thread, where
        several estimators may be fitting side by side.
    progress : bool or callable
        Whether to show a bar; or what is called with the estimator after each epoch.

    Attributes
    ----------
    model_ : nn.Sequential
        The network, with logits as outputs. ``coefs_`` and ``intercepts_`` are views of its parameters.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = OF_CLASSIFIER
    loss = "log_loss"
    _class_weights: ClassWeights | None = None  # of the samples of the last fit

    def __init__(
        self, hidden_layer_sizes: Any = (100,), activation: str = "relu", *, solver: str = "adam",
        alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: Any = None, tol: float = 1e-4, verbose: Any = False, warm_start: bool = False,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: float = 10, max_fun: int = 15000, class_weight: Any = None, dropout: float = 0.0,
        layer_norm: bool = False, optimizer: Any = None, dtype: Any = None, n_jobs: int | None = None,
        progress: Any = False,
    ) -> None:  # fmt: skip
        self._keep(locals())

    def _out_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array]:
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=self._data_dtypes(), reset=reset
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = as_column(y)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._learn_classes(y)
        else:
            self._require_known_classes(unique_labels(y))
        indicators = self._indicators(y)
        self._class_weights = None
        if self.class_weight is not None:
            labels = self._label_binarizer.y_type_.startswith("multilabel")
            self._class_weights = ClassWeights(self.class_weight, self.classes_, indicators, has_labels=labels)
        return X, indicators

    def _learn_classes(self, labels: Any) -> None:
        self._label_binarizer = LabelBinarizer().fit(labels)
        self.classes_ = self._label_binarizer.classes_

    def _require_known_classes(self, classes: Any) -> None:
        if self.warm_start and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _indicators(self, labels: Any) -> Array:
        """Return what ``LabelBinarizer`` makes of labels that are known, without looking through them again."""
        if labels.ndim == 2:
            found: Array = self._label_binarizer.transform(labels).astype(bool)
            return found
        places: Array = np.searchsorted(self.classes_, labels)[:, None]
        columns = 1 if len(self.classes_) <= 2 else np.arange(len(self.classes_))
        indicators: Array = places == columns
        return indicators

    @available_if(is_stochastic)  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """Train for one epoch, from where the last one ended.

        Parameters
        ----------
        X, y, sample_weight
            As ``fit`` takes them.
        classes : array-like of shape (n_classes,), or None
            All that there will be; needed in the first call only.

        Returns
        -------
        self
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "partial_fit takes class_weight as a dict or None, got 'balanced', which needs all samples at once; "
                "compute it with sklearn.utils.class_weight.compute_class_weight"
            )
        if _check_partial_fit_first_call(self, classes):
            self._learn_classes(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """Return the classes of samples, or indicators of their labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._classes_of(self._outputs(X))

    def _classes_of(self, outputs: Array) -> Any:
        binarizer = self._label_binarizer
        if self.out_activation_ == "softmax" and binarizer.y_type_ == "multiclass":
            return binarizer.classes_[outputs.argmax(axis=1)]
        if self.out_activation_ == "logistic" and binarizer.y_type_ != "multiclass":
            if self.n_outputs_ == 1 and len(binarizer.classes_) == 2:
                return binarizer.classes_[(outputs[:, 0] > 0).view(np.int8)]
            activated = (outputs > 0).astype(np.float64)
        else:
            activated = apply_output(self.out_activation_, outputs)
        return binarizer.inverse_transform(activated[:, 0] if self.n_outputs_ == 1 else activated)

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        probabilities = self._activated(X)
        if self.n_outputs_ > 1:
            return probabilities
        return np.hstack([1 - probabilities, probabilities])

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of ``predict_proba``."""
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def _weights_of_loss(self, y: Array, sample_weight: Array | None) -> Array | None:
        if self._class_weights is None:
            return sample_weight
        weight = self._class_weights.of(y)
        return weight if sample_weight is None else sample_weight * weight

    def _knows_output(self) -> bool:
        return self.out_activation_ in ("logistic", self._out_activation())

    def _scorer(self, split: Split) -> Callable[[], float]:
        expected = self._label_binarizer.inverse_transform(split.val_y)

        def score() -> float:
            predicted = self._classes_of(self._outputs(split.val_X, check_input=False))
            if predicted.ndim == 1 and split.val_weights is None:
                return float(np.mean(predicted == expected))
            return float(accuracy_score(expected, predicted, sample_weight=split.val_weights))

        return score

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
