"""The stochastic solvers: epochs until the loss, or a validation score, does not become better any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from math import isinf
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastbp.sklearn.network import Network
from fastbp.sklearn.optimizers import AdamOptimizer, BaseOptimizer, OtherOptimizer, SGDOptimizer
from fastbp.sklearn.progress import progress_of
from fastbp.sklearn.sklearn_warnings import warn
from fastbp.validation.arrays import Array

if TYPE_CHECKING:
    from fastbp.sklearn.base import BaseMLP
    from fastbp.sklearn.epochs import Epochs
    from fastbp.sklearn.other_outputs import OtherOutputs

# Whether Ctrl-C ends what this fit is a part of, and not this fit alone.
interrupts_pass: ContextVar[bool] = ContextVar("interrupts_pass", default=False)
_MOST_ORDERED = 1 << 20  # rows of the orders of a block of epochs: 8 MiB


class Split:
    """The samples that are trained, and those that are set aside for validation.

    Attributes
    ----------
    X, y : ndarray of shape (n, i) and (n, o)
    weights : ndarray of shape (n,), or None
    val_X, val_y, val_weights : likewise, or None without early stopping
    """

    val_X: Any = None
    val_y: Any = None
    val_weights: Any = None

    def __init__(self, mlp: BaseMLP, X: Any, y: Array, sample_weight: Array | None) -> None:
        self.X, self.y, self.weights = X, y, sample_weight
        if not mlp.early_stopping:
            return
        arrays = [X, y] if sample_weight is None else [X, y, sample_weight]
        parts = train_test_split(
            *arrays,
            random_state=mlp._random_state,
            test_size=mlp.validation_fraction,
            stratify=y if is_classifier(mlp) and mlp.n_outputs_ == 1 else None,
        )
        self.X, self.val_X, self.y, self.val_y = parts[:4]
        if sample_weight is not None:
            self.weights, self.val_weights = parts[4:]
        if self.val_X.shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )


def fit_stochastic(mlp: BaseMLP, X: Any, y: Array, sample_weight: Array | None, *, incremental: bool) -> None:
    """Train for ``max_iter`` epochs at the most, and for no more than one if ``incremental``.

    Parameters
    ----------
    mlp : BaseMLP
        With its network; what scikit-learn's attributes tell of the training is written.
    X, y : ndarray of shape (n, i) and (n, o)
    sample_weight : ndarray of shape (n,), or None
    incremental : bool
    """
    if mlp.early_stopping and incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    for name, number in (("max_iter", mlp.max_iter), ("batch_size", mlp.batch_size)):
        if not isinstance(number, int | np.integer) and (name, number) != ("batch_size", "auto"):
            # Nobody has looked at it on a fitted estimator.
            raise TypeError(f"{type(mlp).__name__} takes {name} as an int, got {number!r}")
    with mlp._trained_network() as network:
        best = _fit_network(mlp, network, X, y, sample_weight, incremental)
    if mlp.early_stopping:
        mlp._keep_best(best)


def _fit_network(
    mlp: BaseMLP, network: Network, X: Any, y: Array, sample_weight: Array | None, incremental: bool
) -> list[Array] | None:
    """Train the network and return its best parameters, where a score tells which these are."""
    optimizer = mlp._optimizer
    if not incremental or optimizer is None or not optimizer.follow(network.model):
        optimizer = mlp._optimizer = _optimizer_of(mlp, network)
    split = Split(mlp, X, y, sample_weight)
    size = _batch_size(mlp.batch_size, split.X.shape[0])
    epochs = mlp._epochs(network, split.X, split.y, split.weights, size, optimizer.steps)
    course = _Course(mlp, split, network, epochs)
    mlp.n_iter_ = 0
    try:
        with course.runner, progress_of(mlp) as show:
            for _ in course.epochs(min(1, mlp.max_iter) if incremental else mlp.max_iter):
                if show(mlp):
                    course.is_stopped = True
                    break
        if not incremental and mlp.n_iter_ == mlp.max_iter and not course.is_stopped:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({mlp.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
            )
    except KeyboardInterrupt:
        if interrupts_pass.get() or threading.current_thread() is not threading.main_thread():
            raise
        warn("Training interrupted by user.")
    return course.best


def _optimizer_of(mlp: BaseMLP, network: Network) -> BaseOptimizer:
    parameters, rate = network.parameters, mlp.learning_rate_init
    build = mlp._other_optimizer()
    if build is not None:
        return OtherOptimizer(parameters, build, rate)
    if mlp.solver == "sgd":
        return SGDOptimizer(parameters, rate, mlp.learning_rate, mlp.momentum, mlp.nesterovs_momentum, mlp.power_t)
    return AdamOptimizer(parameters, rate, mlp.beta_1, mlp.beta_2, mlp.epsilon)


def _batch_size(batch_size: Any, samples: int) -> int:
    if batch_size == "auto":
        return min(200, samples)
    if batch_size > samples:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return int(np.clip(batch_size, 1, samples))


class _Course:
    """The epochs of one call of ``fit``."""

    def __init__(self, mlp: BaseMLP, split: Split, network: Network, runner: Epochs | OtherOutputs) -> None:
        self.mlp, self.split, self.network, self.runner = mlp, split, network, runner
        self.best: list[Array] | None = None
        assert mlp._optimizer is not None
        self.optimizer = mlp._optimizer
        self.samples = split.X.shape[0]
        self.order = np.arange(self.samples)
        self.is_stopped = False
        self.score = mlp._scorer(split) if mlp.early_stopping else None
        self.by_one = mlp.early_stopping or bool(mlp.verbose) or callable(mlp.progress)

    def epochs(self, most: int) -> Iterator[None]:
        """Train ``most`` epochs or fewer, and yield after each."""
        mlp = self.mlp
        while most and not self.is_stopped:
            count = self._ahead(most)
            orders = self._draw(count)
            rates = self.optimizer.rates_ahead(mlp.t_, self.samples, count)
            for loss in self.runner.run(count, orders, rates):
                self._note(loss)
                yield
            most -= count

    def _ahead(self, most: int) -> int:
        """Return the number of epochs that can be trained at once: no rule can end the training before their end."""
        mlp = self.mlp
        if self.by_one:
            return 1
        patience = mlp.n_iter_no_change
        sure = most if isinf(patience) else int(patience) + 1 - mlp._no_improvement_count
        ahead = min(most, sure, _MOST_ORDERED // self.samples, self.runner.epochs_per_call)
        return max(1, int(ahead))

    def _draw(self, count: int) -> Array | None:
        """Return the orders of the next epochs, each shuffled out of the one before.

        scikit-learn takes the order before at shuffled places, which is the same.
        """
        if not self.mlp.shuffle:
            return None
        shuffle = self.mlp._random_state.shuffle
        orders = np.empty((count, self.samples), np.int64)
        for order in orders:
            order[...] = self.order
            shuffle(order)
            self.order = order
        return orders

    def _note(self, loss: float) -> None:
        """Note a finished epoch and decide whether it is the last one."""
        mlp = self.mlp
        mlp.n_iter_ += 1
        mlp.loss_ = loss
        mlp.t_ += self.samples
        mlp.loss_curve_.append(loss)
        if mlp.verbose:
            print(f"Iteration {mlp.n_iter_}, loss = {loss:.8f}")
        what = "Training loss"
        if self.score is None:
            self._compare_loss(loss)
        else:
            self._compare_score(self.score())
            what = "Validation score"
        self.optimizer.iteration_ends(mlp.t_)
        if mlp._no_improvement_count > mlp.n_iter_no_change:
            message = f"{what} did not improve more than tol={mlp.tol:f} for {mlp.n_iter_no_change} consecutive epochs."
            self.is_stopped = self.optimizer.trigger_stopping(message, mlp.verbose)
            if not self.is_stopped:
                mlp._no_improvement_count = 0

    def _compare_loss(self, loss: float) -> None:
        mlp = self.mlp
        mlp._no_improvement_count = mlp._no_improvement_count + 1 if loss > mlp.best_loss_ - mlp.tol else 0
        if loss < mlp.best_loss_:
            mlp.best_loss_ = loss

    def _compare_score(self, score: float) -> None:
        mlp = self.mlp
        mlp.validation_scores_.append(score)
        if mlp.verbose:
            print(f"Validation score: {score:f}")
        is_worse = score < mlp.best_validation_score_ + mlp.tol  # NaN is not
        mlp._no_improvement_count = mlp._no_improvement_count + 1 if is_worse else 0
        if score > mlp.best_validation_score_:
            mlp.best_validation_score_ = score
            self.best = self.network.snapshot()
