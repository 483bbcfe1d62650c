"""The two ways in which ``train_model`` trains: many mini-batches in one compiled call, or module by module.

Both yield an ``Epoch`` for each finished epoch, go through the same kernels in the same order and give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from fastbp.arrays import Array, Buffer, aligned_zeros
from fastbp.nn.losses import MSELoss
from fastbp.nn.module import Module
from fastbp.nn.sequential import leaves
from fastbp.optim import SGD
from fastbp.plan import NotPlannable, Plan
from fastbp.threads import get_num_threads, ranks_for, run_ranks
from fastbp_kernels import engine
from fastbp_kernels.barrier import SYNC_SIZE
from fastbp_kernels.losses import SLAB
from fastbp_kernels.product import K_BLOCK

STRETCH_SECONDS = 0.04  # a compiled call's length: Ctrl-C and the progress bar wait for its end

# Rows of a block at the least, so that validation does not pack the weights for a few rows at a time.
_VALIDATION_ROWS = 128
# Up to so many parameters, a gradient for each thread costs less than sharing activations.
_PARTIAL_PARAMETERS = 1 << 16


class Criterion(Protocol):
    """A loss such as ``fastbp.nn.MSELoss``."""

    def forward(self, prediction: Array, target: Array) -> float: ...
    def backward(self) -> Array: ...


class Optimizer(Protocol):
    """An optimiser such as ``fastbp.optim.SGD``."""

    def step(self) -> None: ...


@dataclass(frozen=True)
class Rows:
    """Inputs and targets with a row a sample, C-contiguous and of one dtype."""

    input: Array
    target: Array

    def __len__(self) -> int:
        return len(self.input)


class Epoch(NamedTuple):
    """What an epoch left: the sum of the batch losses, and loss and accuracy on the validation data if there is any."""

    train_loss: float
    val_loss: float | None = None
    val_accuracy: float | None = None


DrawOrder = Callable[[], Array] | None
"""Draws the order of the rows of the next epoch; None leaves them as they stand."""


class ModuleTrainer:
    """Trains by calling the model's, the criterion's and the optimiser's own methods."""

    def __init__(
        self,
        model: Module,
        criterion: Criterion,
        opt: Optimizer,
        train: Rows,
        validation: Rows | None,
        mini_batch_size: int,
    ) -> None:
        self._model, self._criterion, self._opt = model, criterion, opt
        self._train, self._validation, self._size = train, validation, mini_batch_size
        self._input, self._target = Buffer(), Buffer()

    def run(self, epochs: int, draw_order: DrawOrder) -> Iterator[Epoch]:
        for _ in range(epochs):
            train_loss = self._train_epoch(draw_order() if draw_order else None)
            if self._validation is None:
                yield Epoch(train_loss)
            else:
                yield Epoch(train_loss, *self._evaluate(self._validation))

    def _train_epoch(self, order: Array | None) -> float:
        total = 0.0
        for start in range(0, len(self._train), self._size):
            stop = min(start + self._size, len(self._train))
            input = _batch(self._train.input, order, start, stop, self._input)
            target = _batch(self._train.target, order, start, stop, self._target)
            total += self._criterion.forward(self._model.forward(input), target)
            self._model.zero_grad()
            self._model.backward_parameters(self._criterion.backward())
            self._opt.step()
        return total

    def _evaluate(self, data: Rows) -> tuple[float, float | None]:
        prediction = self._model.predict(data.input)
        loss = getattr(self._criterion, "evaluate", self._criterion.forward)(prediction, data.target)
        return loss, accuracy(prediction, data.target) if is_one_hot(data.target) else None


def _batch(rows: Array, order: Array | None, start: int, stop: int, buffer: Buffer) -> Array:
    if order is None:
        return rows[start:stop]
    gathered = buffer.get((stop - start, *rows.shape[1:]), rows.dtype)
    return np.take(rows, order[start:stop], axis=0, out=gathered, mode="clip")  # "raise" would copy once more


class EngineTrainer:
    """Trains by the engine, in compiled calls of many mini-batches.

    Raises
    ------
    NotPlannable
        If the model, the criterion, the optimiser or the data's shapes are not of those that the engine knows.
    """

    def __init__(
        self,
        model: Module,
        criterion: Criterion,
        opt: Optimizer,
        train: Rows,
        validation: Rows | None,
        mini_batch_size: int,
    ) -> None:
        if type(criterion) is not MSELoss:
            raise NotPlannable(f"the engine does not know {type(criterion).__name__}")
        if type(opt) is not SGD:
            raise NotPlannable(f"the engine does not know {type(opt).__name__}")
        plan = Plan(leaves(model))
        if set(opt.parameters) != set(model.parameters()):
            raise NotPlannable("the optimiser holds a part of the model's parameters only")
        if train.input.ndim != 2 or train.target.ndim != 2:
            raise NotPlannable("the engine takes inputs and targets of two dimensions")
        self._criterion, self._opt, self._plan = criterion, opt, plan
        self._train = train
        self._validation = validation
        self._val_rows = Rows(train.input[:0], train.target[:0]) if validation is None else validation
        self._scores = validation is not None and is_one_hot(validation.target)
        self._size = min(mini_batch_size, len(train))
        self._batches = -(-len(train) // self._size)
        self._batch_scales = np.full(self._batches, criterion.scale(self._size * plan.out_features))
        rest = len(train) - (self._batches - 1) * self._size
        self._batch_scales[-1] = criterion.scale(rest * plan.out_features)
        self._divide(plan)
        self._units = self._batches + -(-len(self._val_rows) // self._block_rows)

    def _divide(self, plan: Plan) -> None:
        """Choose the number of threads, the division of labour among them and the rows of a block; see the engine."""
        flop = 3 * plan.flop
        stretches = -(-self._size // K_BLOCK)
        ranks = ranks_for(flop * K_BLOCK * get_num_threads(), stretches)
        by_stretches = ranks > 1 and plan.parameter.size <= _PARTIAL_PARAMETERS
        if by_stretches:
            self._block_rows = K_BLOCK
        else:
            # Blocks cut a mini-batch only where gradients' sums are cut, and validation rows where losses' sums are.
            slabs = -(-max(self._size, _VALIDATION_ROWS) // SLAB)
            self._block_rows = min(engine.BLOCK_ROWS, slabs * SLAB)
            rows = min(self._size, self._block_rows)
            ranks = ranks_for(flop * rows, -(-rows // SLAB))
        self._ranks = ranks
        self._layers, size = plan.layout(self._block_rows, in_place=by_stretches or ranks == 1)
        copies = ranks if by_stretches else 1
        self._scratch = aligned_zeros(copies * size, plan.dtype)
        self._partial = aligned_zeros(ranks * plan.parameter.size if by_stretches else 0, plan.dtype)
        self._slab_sums = np.zeros(copies * (self._block_rows // SLAB))

    def run(self, epochs: int, draw_order: DrawOrder) -> Iterator[Epoch]:
        orders: list[Array] = []  # of the epochs that the next call touches; likewise the results of an unfinished one
        unfinished: tuple[Array, float, int] | None = None
        done, stretch = 0, 1
        while done < epochs * self._units:
            stop = min(done + stretch, epochs * self._units)
            first_epoch = done // self._units
            touched = -(-stop // self._units) - first_epoch
            while draw_order and len(orders) < touched:
                orders.append(draw_order())
            batch_sums, val_sums = np.zeros((touched, self._batches)), np.zeros(touched)
            val_hits = np.zeros(touched, np.int64)
            if unfinished:
                batch_sums[0], val_sums[0], val_hits[0] = unfinished

            start = perf_counter()
            self._call(orders, done, stop, first_epoch, batch_sums, val_sums, val_hits)
            seconds = perf_counter() - start
            stretch = max(1, min(2 * stretch, int((stop - done) * STRETCH_SECONDS / max(seconds, 1e-9))))

            done = stop
            finished = done // self._units - first_epoch
            yield from self._epochs(batch_sums[:finished], val_sums[:finished], val_hits[:finished])
            unfinished = (batch_sums[-1], val_sums[-1], val_hits[-1]) if finished < touched else None
            del orders[:finished]

    def _call(
        self,
        orders: list[Array],
        done: int,
        stop: int,
        first_epoch: int,
        batch_sums: Array,
        val_sums: Array,
        val_hits: Array,
    ) -> None:
        plan = self._plan
        before = first_epoch * self._units
        run_ranks(
            self._ranks,
            engine.train,
            np.zeros(SYNC_SIZE, np.int64),
            self._layers,
            plan.parameter,
            plan.grad,
            self._partial,
            self._scratch,
            self._block_rows,
            self._slab_sums,
            self._train.input,
            self._train.target,
            np.stack(orders) if orders else _NO_ORDER,
            self._size,
            self._criterion.reduction == "mean",
            plan.dtype.type(self._opt.lr),
            self._val_rows.input,
            self._val_rows.target,
            done - before,
            stop - before,
            batch_sums,
            val_sums,
            val_hits,
        )

    def _epochs(self, batch_sums: Array, val_sums: Array, val_hits: Array) -> Iterator[Epoch]:
        """Yield what the engine's sums say of finished epochs."""
        # One by one, as the other trainer adds the losses: sum() would compensate and numpy.sum add in pairs.
        losses = np.cumsum(batch_sums * self._batch_scales, axis=1)[:, -1].tolist()
        if self._validation is None:
            return map(Epoch, losses)
        rows = len(self._validation)
        val_losses = (val_sums * self._criterion.scale(rows * self._plan.out_features)).tolist()
        if not self._scores:
            return map(Epoch, losses, val_losses)
        return map(Epoch, losses, val_losses, (val_hits / rows if rows else np.full(len(losses), np.nan)).tolist())


def accuracy(prediction: Array, one_hot_target: Array) -> float:
    """Return the share of rows whose largest output stands where the target has its 1; NaN for no rows."""
    hits = prediction.argmax(axis=-1) == one_hot_target.argmax(axis=-1)
    return float(np.count_nonzero(hits) / len(hits)) if len(hits) else float("nan")


def is_one_hot(target: Array) -> bool:
    """Whether every row of ``target`` has one 1 and else 0, in 2 columns or more."""
    if target.ndim != 2 or target.shape[1] < 2:
        return False
    return bool(((target == 0) | (target == 1)).all() and (target.sum(axis=1) == 1).all())


_NO_ORDER = np.empty((0, 0), np.int64)
