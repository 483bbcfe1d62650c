"""Epochs of a network in the engine, below ``train_model``: what decides between them is scikit-learn's."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from fastbp.engine.call_length import first_length, next_length
from fastbp.engine.compiled_train import is_compiled, room_for_results, run_train
from fastbp.engine.parallelism import divide
from fastbp.engine.plan import NoPlan, Plan, plan_of
from fastbp.engine.workspace import workspace_for
from fastbp.optim.optimizer import Optimizer
from fastbp.runtime.interrupts import Interrupts
from fastbp.runtime.model_lock import holder
from fastbp.runtime.threads import Team
from fastbp.sklearn.loss_terms import LossTerms
from fastbp.sklearn.network import Network as EstimatorNetwork
from fastbp.sklearn.sparse_rows import SparseRows
from fastbp.validation.arrays import Array
from fastbp_kernels.functions.gradient_clipping import NORM_SLAB
from fastbp_kernels.functions.penalty import Penalty
from fastbp_kernels.network.arguments import Network, Results, Step, TrainingRows, ValidationRows
from fastbp_kernels.network.table import FORWARDS, SEED

_NO_ORDER = np.empty((0, 0), np.int64)
_NO_SUMS = np.empty(0)
_NO_SPANS = np.empty((0, 3), np.int64)
_NO_SCALARS = np.zeros((1, 1, 1))
_ONE = np.ones(1)


class EpochRunner:
    """Trains a network in compiled calls, used as a context: threads and Ctrl-C are its own meanwhile.

    Parameters
    ----------
    network : Network
    terms : LossTerms
        The data and the loss.
    batch_size : int
    alpha : float
        Of the L2 penalty, ``alpha / 2`` times the sum of the squared weights over the samples of a mini-batch.

    Attributes
    ----------
    batches : int
        In an epoch.
    parameter, grad : ndarray
        Flat vectors.
    """

    def __init__(self, network: EstimatorNetwork, terms: LossTerms, batch_size: int, alpha: float) -> None:
        plan = plan_of(network.model)
        if isinstance(plan, NoPlan):
            raise ValueError(f"the engine cannot train this network: {plan.reason}")
        self._plan: Plan = plan
        self._terms, self._size = terms, batch_size
        rows = len(terms.rows.inputs)
        self._samples = rows
        self.batches = -(-rows // batch_size)
        self.parameter, self.grad = plan.parameter, plan.grad
        self._workspace = workspace_for(plan, divide(plan.flop, plan.parameter.size, batch_size, rows, 0))
        self._team = Team(self._workspace.division.ranks)
        self._interrupts = Interrupts()
        weights = [linear.weight for linear in network.linears]
        starts = [weight.offset - weights[0].offset for weight in weights]
        spans = [[start, start + weight.size] for start, weight in zip(starts, weights)]
        self._spans = np.array(spans if alpha else [], np.int64).reshape(-1, 2)
        self._half_alpha = alpha / 2
        self._of_first: tuple[Array, Array] | None = None
        self._repeated = _NO_SUMS  # the factors of the first epoch, for several
        self._sums = np.empty(-(-plan.parameter.size // NORM_SLAB))
        self._length = first_length(plan.flop, batch_size)
        self._validation = ValidationRows(*terms.rows.dense(slice(0, 0)))

    def __enter__(self) -> EpochRunner:
        if not is_compiled(self.parameter.dtype):
            inputs, target, classes, weights = self._validation
            none = TrainingRows(inputs, target, classes, weights, _NO_ORDER, self._size)
            self._call(0, 0, none, self._step(_NO_SPANS, _NO_SCALARS, 0, _ONE), room_for_results(0))
        self._interrupts.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._team.__exit__(*error)
        self._interrupts.__exit__(*error)

    @property
    def epochs_per_call(self) -> int:
        """How many epochs a compiled call goes through, as far as is known; 1 at the least."""
        return max(1, self._length // self.batches)

    def run(self, epochs: int, orders: Array | None, optimizer: Optimizer, rates: list[float] | None) -> list[float]:
        """Train so many epochs and return the loss of each, as scikit-learn averages it.

        Parameters
        ----------
        epochs : int
        orders : array of int64, shape (epochs, n), or None
            In which each epoch takes the samples.
        optimizer : Optimizer
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
        results = room_for_results(epochs)
        done, total = 0, epochs * self.batches
        while done < total:
            stop = self._end_of_call(done, total)
            scheduled = None
            if rates is not None:
                scheduled = [{"lr": np.repeat(rates, self.batches)[done:stop]}] * len(optimizer.param_groups)
            begun = perf_counter()
            with self._interrupts.held:
                scalars = optimizer.scalars(stop - done, scheduled)
                state = optimizer.state(self.parameter.dtype)
                own = factors[done:stop] if len(factors) > 1 else factors
                step = self._step(optimizer.spans(self._plan.parameters), scalars, optimizer.code, own)
                self._train(done, stop, orders, step, results, state)
                optimizer.advance(stop - done)
            self._length = next_length(self._length, stop - done, perf_counter() - begun)
            done = stop
        sums = results.train_losses[:, 1] * (self._size / self._samples)
        losses: list[float] = (sums + constants).tolist()
        return losses

    def loss_and_gradient(self) -> float:
        """Return the loss over all samples at once, and leave its gradient in ``grad``."""
        factors, constants = self._of_batches(1, None)
        results = room_for_results(1)
        with self._interrupts.held:
            self._train(0, self.batches, None, self._step(_NO_SPANS, _NO_SCALARS, 0, factors), results)
        return float(results.train_losses[0, 0] + constants[0])

    def _of_batches(self, epochs: int, orders: Array | None) -> tuple[Array, Array]:
        """Return the penalty's factor for each mini-batch, and what is added to the loss of each epoch."""
        terms, size = self._terms, self._size
        if orders is None or not terms.rows.weights.size:  # each epoch is like the first
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
        stop, inputs = min(done + self._length, total), self._terms.rows.inputs
        if not isinstance(inputs, SparseRows):
            return stop
        end_of_epoch = (done // self.batches + 1) * self.batches
        return min(stop, end_of_epoch, done + inputs.rows_at_a_time(self._size) // self._size)

    def _train(
        self, first: int, stop: int, orders: Array | None, step: Step, results: Results, state: Array | None = None
    ) -> None:
        """Let the engine work on the mini-batches from ``first`` up to ``stop``, of one epoch where rows are sparse."""
        rows, size = self._terms.rows, self._size
        if not isinstance(rows.inputs, SparseRows):
            order = _NO_ORDER if orders is None else orders
            own = TrainingRows(rows.inputs, rows.target, rows.classes, rows.weights, order, size)
            self._call(first, stop, own, step, results, state)
            return
        epoch, before = divmod(first, self.batches)
        part = slice(before * size, (before + stop - first) * size)
        inputs, target, classes, weights = rows.dense(part if orders is None else orders[epoch, part])
        own = TrainingRows(inputs, target, classes, weights, _NO_ORDER, size)
        results = results._replace(train_losses=results.train_losses[epoch : epoch + 1])
        self._call(0, stop - first, own, step, results, state)

    def _step(self, spans: Array, scalars: Array, code: int, factors: Array) -> Step:
        penalty = Penalty(self._spans, factors, self._sums)
        return Step(self._terms.call, code, scalars.astype(self.parameter.dtype), spans, 0.0, _NO_SUMS, penalty)

    @holder
    def _call(
        self, first: int, stop: int, rows: TrainingRows, step: Step, results: Results, state: Array | None = None
    ) -> None:
        """Let the engine work on the mini-batches of ``rows`` from ``first`` up to ``stop``."""
        plan, lock = self._plan, self._plan.lock
        if state is None:
            state = np.empty((0, self.parameter.size), self.parameter.dtype)
        for row, dropout in plan.dropouts:
            self._workspace.layers[row, [SEED, FORWARDS]] = dropout.seed, dropout.forwards
        with lock:
            run_train(
                self._team,
                self.parameter.dtype,
                first,
                stop,
                Network(self._workspace.layers, plan.parameter, plan.grad, state, plan.scalars),
                rows,
                self._validation,
                step,
                self._workspace.for_a_call(self._workspace.division.mode, False),
                results,
            )
        for _, dropout in plan.dropouts:
            dropout.forwards += stop - first
