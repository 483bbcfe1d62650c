"""Epochs of an estimator's training: a session's compiled calls, with the penalty and the averages of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from fastbp.engine.call_length import next_length
from fastbp.engine.compiled_train import room_for_results
from fastbp.engine.refusals import NotPlannable, require_known_part, require_mini_batches, require_own_parameters
from fastbp.engine.session import NO_ORDER, Session
from fastbp.engine.waiting_sessions import waiting_session
from fastbp.nn.module import Module
from fastbp.optim.optimizer import Optimizer
from fastbp.runtime.interrupts import Interrupts
from fastbp.runtime.model_lock import writing
from fastbp.sklearn.loss_terms import LossTerms
from fastbp.sklearn.network import Network
from fastbp.validation.arrays import Array
from fastbp_kernels.functions.gradient_clipping import NORM_SLAB
from fastbp_kernels.functions.penalty import Penalty
from fastbp_kernels.network.arguments import Results

_NO_SUMS = np.empty(0)


class Epochs:
    """Trains a network in compiled calls, used as a context: threads and Ctrl-C are its own meanwhile.

    Parameters
    ----------
    network : Network
    terms : LossTerms
        The data and the loss.
    batch_size : int
    alpha : float
        Of the L2 penalty, ``alpha / 2`` times the sum of the squared weights over the samples of a mini-batch.
    steps : object with ``step()``, or None
        An optimiser over parameters of the network. One with methods of its user's makes its steps by them, one behind
        the engine's gradients of each mini-batch. None computes gradients alone.
    owner : str
        The estimator, in errors.

    Attributes
    ----------
    batches : int
        In an epoch.
    parameter : ndarray
        The flat vector.
    between_calls : callable
        Called without arguments after each compiled call.

    Raises
    ------
    ValueError
        If the engine does not know the network, the loss or the optimiser's parameters, or a mini-batch is too short.
    """

    def __init__(
        self, network: Network, terms: LossTerms, batch_size: int, alpha: float, steps: Any, owner: str
    ) -> None:
        self._terms, self._size, self._samples = terms, batch_size, len(terms.inputs)
        self._steps, self._steps_itself = steps, False
        self._session = session = self._find_session(network.model, owner)
        self.batches = -(-self._samples // batch_size)
        self.parameter = session.plan.parameter
        self._interrupts = Interrupts()
        weights = [linear.weight for linear in network.linears]
        starts = [weight.offset - weights[0].offset for weight in weights]
        spans = [[start, start + weight.size] for start, weight in zip(starts, weights)]
        self._spans = np.array(spans if alpha else [], np.int64).reshape(-1, 2)
        self._half_alpha = alpha / 2
        self._of_first: tuple[Array, Array] | None = None
        self._repeated = _NO_SUMS  # the factors of the first epoch, for several
        self._sums = np.empty(-(-self.parameter.size // NORM_SLAB))
        self._length = session.first_length
        self.between_calls: Callable[[], object] = bool

    def _find_session(self, model: Module, owner: str) -> Session:
        """Return the session of the last training if it serves this one, or a new one after all checks."""
        terms, size, steps, rows = self._terms, self._size, self._steps, self._terms.rows
        waiting = waiting_session(model, terms.criterion, steps, rows, None, size, terms.call)
        if waiting is not None:
            return waiting
        require_mini_batches(model, self._samples, size)
        try:
            if steps is not None:
                self._steps_itself = _steps_itself(steps, owner)
            own = None if self._steps_itself else steps
            session = Session(model, terms.criterion, own, rows, None, size, loss=terms.call, owner=owner)
        except NotPlannable as reason:
            raise ValueError(f"{owner} takes a network and a loss that the engine trains: {reason}") from None
        if isinstance(steps, Optimizer):
            require_own_parameters(owner, steps, session.plan.parameters)
        return session

    def __enter__(self) -> Epochs:
        self._session.__enter__()
        self._interrupts.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._session.__exit__(*error)
        self._interrupts.__exit__(*error)

    @property
    def epochs_per_call(self) -> int:
        """How many epochs a compiled call goes through, as far as is known; 1 at the least."""
        return max(1, self._length // self.batches)

    def run(self, epochs: int, orders: Array | None, rates: list[float] | None) -> list[float]:
        """Train so many epochs and return the loss of each, as scikit-learn averages it.

        Parameters
        ----------
        epochs : int
        orders : array of int64, shape (epochs, n), or None
            In which each epoch takes the samples.
        rates : list of float, or None
            The learning rate of each epoch, where it differs.

        Raises
        ------
        ZeroDivisionError
            If the weights of a mini-batch sum to zero, before anything changes.
        KeyboardInterrupt
            At a finished mini-batch.
        """
        factors, constants = self._of_batches(epochs, orders)
        results = room_for_results(epochs, validates=False)
        done, total = 0, epochs * self.batches
        while done < total:
            stop = self._end_of_call(done, total)
            scheduled = None
            if rates is not None:
                scheduled = [{"lr": np.repeat(rates, self.batches)[done:stop]}] * len(self._steps.param_groups)
            begun = perf_counter()
            with self._interrupts.held:
                self._call(done, stop, orders, results, factors, scheduled)
                if self._steps_itself:
                    self._steps.step()
            self._length = next_length(self._length, stop - done, perf_counter() - begun)
            done = stop
            self.between_calls()
        sums = results.train_losses[:, 1] * (self._size / self._samples)
        losses: list[float] = (sums + constants).tolist()
        return losses

    def loss_and_gradient(self) -> float:
        """Return the loss over all samples at once, and leave its gradient in the network's parameters."""
        factors, constants = self._of_batches(1, None)
        results = room_for_results(1, validates=False)
        with self._interrupts.held:
            self._call(0, self.batches, None, results, factors)
        self.between_calls()
        return float(results.train_losses[0, 0] + constants[0])

    def _of_batches(self, epochs: int, orders: Array | None) -> tuple[Array, Array]:
        """Return the penalty's factor for each mini-batch, and what is added to the loss of each epoch."""
        terms, size = self._terms, self._size
        if orders is None or not terms.weights.size:  # each epoch is like the first
            if self._of_first is None:
                counts = terms.batch_weights(None, size, 1)
                self._of_first = self._half_alpha / counts[0], terms.constants(None, counts, size)
            factors, constants = self._of_first
            if len(factors) > 1 and len(self._repeated) < epochs * self.batches:
                self._repeated = np.tile(factors, epochs)
            return (self._repeated[: epochs * self.batches] if len(factors) > 1 else factors), constants
        counts = terms.batch_weights(orders, size, epochs)
        return self._half_alpha / counts.ravel(), terms.constants(orders, counts, size)

    def _end_of_call(self, done: int, total: int) -> int:
        """Return where a call ends that begins with mini-batch ``done``, counted over all epochs."""
        if self._steps_itself:
            return done + 1
        return min(done + self._length, total)

    def _call(
        self, first: int, stop: int, orders: Array | None, results: Results, factors: Array, scheduled: Any = None
    ) -> None:
        """Let the session work on the mini-batches from ``first`` up to ``stop``."""
        session = self._session
        if not session.plan.is_current:
            raise RuntimeError(
                "a module or a parameter of the network was set, moved, converted or frozen during the training, which "
                "stopped there"
            )
        penalty = Penalty(self._spans, factors[first:stop] if len(factors) > 1 else factors, self._sums)
        order = NO_ORDER if orders is None else orders
        with writing(session.plan.lock):
            session.call(first, stop, order, results, None, scheduled, penalty)


def _steps_itself(steps: Any, owner: str) -> bool:
    """Whether an optimiser makes its steps by methods of its user's, or raise TypeError if it makes none."""
    try:
        require_known_part(steps, Optimizer)
    except NotPlannable:
        if isinstance(steps, type) or not callable(getattr(steps, "step", None)):
            raise TypeError(f"{owner} takes optimizer as what returns an object with step(), got {steps!r}") from None
        return True
    return False
