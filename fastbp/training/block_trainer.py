"""Training by blocks of rows: each block is trained like an epoch of its own, and the losses go on in one sum."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from fastbp.engine.refusals import NotPlannable, require_mini_batches
from fastbp.nn.module import Module
from fastbp.training.engine_trainer import EngineTrainer
from fastbp.training.history import Backend, History, Position
from fastbp.training.loss_per_sample import LossPerSample
from fastbp.training.module_trainer import ModuleTrainer
from fastbp.training.row_blocks import BlockReader
from fastbp.training.trained_parts import changed
from fastbp.training.training_run import Criterion, Epochs, Optimizer, TrainingRun
from fastbp_kernels.network.arguments import Rows


class BlockTrainer:
    """Trains block by block, each by the engine or each module by module, and validates after the last one.

    Parameters
    ----------
    kind : type
        What trains a block: ``EngineTrainer``, or ``ModuleTrainer``.
    reader : BlockReader
    model : Module
    criterion : Criterion
    opt : Optimizer
    validation : Rows or None
    mini_batch_size : int
    """

    def __init__(
        self,
        kind: type[EngineTrainer] | type[ModuleTrainer],
        reader: BlockReader,
        model: Module,
        criterion: Criterion,
        opt: Optimizer,
        validation: Rows | None,
        mini_batch_size: int,
    ) -> None:
        self.backend: Backend = kind.backend
        self._kind, self._reader, self._model, self._criterion, self._opt = kind, reader, model, criterion, opt
        self._validation, self._size = validation, mini_batch_size
        self._validator = ModuleTrainer(model, criterion, opt, reader.first, validation, mini_batch_size)
        self.series = self._validator.series
        self.batches = 1  # of the epoch as far as it is known, and one more where other blocks may follow

    def train(self, run: TrainingRun) -> Iterator[None]:
        """Train, and yield wherever the trainer of a block does, and after each epoch."""
        history = run.history
        while history.epochs < run.epochs:
            rows = before = 0  # in the blocks before: rows and mini-batches
            for block in self._reader:
                batches = -(-block.n // self._size)
                self.batches = before + batches + 1
                if history.position.batches < before + batches:
                    yield from self._train_block(block, before, batches, run)
                rows, before = rows + block.n, before + batches
            if history.position.batches != before:
                raise ValueError(
                    f"train_model takes the same blocks where a training goes on, got {before} mini-batches in an "
                    f"epoch that had {history.position.batches} already"
                )
            self.batches = before
            self._finish_epoch(rows, run)
            yield

    def _train_block(self, block: Rows, before: int, batches: int, run: TrainingRun) -> Iterator[None]:
        """Train what is left of a block's ``batches``, which have ``before`` others before them in the epoch."""
        run.require_unchanged()
        require_mini_batches(self._model, block.n, self._size)
        position, per_sample = run.history.position, self._per_sample(block.n)
        # The only mini-batch of a short block counts as a whole one there, and as much less here.
        weight = per_sample.weight(min(block.n, self._size))
        base, carried = (position.weighted_loss, 0.0) if weight < 1 else (0.0, position.weighted_loss)
        inner = History()
        inner.position = Position(position.batches - before, position.loss, position.generator, carried)
        run.shuffler.rows = block.n
        if run.monitor:
            run.monitor.look_at(block, run.history.epochs, before)
        inner_run = TrainingRun(
            inner, 1, run.shuffler, run.held, run.monitor, run.require_unchanged, deadline=run.deadline,
            schedule=run.schedule and run.schedule.within_epoch, clip_grad_norm=run.clip_grad_norm,
        )  # fmt: skip
        try:
            yield from self._trainer(block).train(inner_run)
        finally:
            with run.held:
                done, has_ended = inner.position, bool(inner["train_loss_mean"])
                if has_ended or done.batches == batches:
                    run.shuffler.finish(1)
                    done.batches = batches
                if has_ended:
                    done.loss, done.weighted_loss = inner["train_loss"][0], inner["train_loss_mean"][0]
                run.history.position = Position(
                    before + done.batches, done.loss, run.shuffler.state, base + weight * done.weighted_loss
                )

    def _trainer(self, block: Rows) -> EngineTrainer | ModuleTrainer:
        """Return a trainer of one block that leaves the sum of the losses as it is."""
        try:
            trainer = self._kind(self._model, self._criterion, self._opt, block, None, self._size)
        except NotPlannable as why:
            raise changed(f"the model was changed, {why},") from why
        trainer.per_sample.counted = 1.0
        return trainer

    def _per_sample(self, rows: int) -> LossPerSample:
        return LossPerSample(self._criterion, rows, self._validation, self._size)

    def _finish_epoch(self, rows: int, run: TrainingRun) -> None:
        """Validate and record an epoch of so many rows."""
        history, position, per_sample = run.history, run.history.position, self._per_sample(rows)
        val_loss, val_accuracy = self._validator.evaluate()
        means = per_sample.train([position.weighted_loss]), per_sample.val(val_loss)
        with run.held:
            generator = run.shuffler.state
            history.record(Epochs([position.loss], val_loss, val_accuracy, *means), Position(generator=generator))
            if run.schedule:
                run.schedule.epoch_done(history)
        if run.monitor and self._validation and self._validation.n and not all(map(isfinite, val_loss)):
            run.monitor.look_at(self._reader.first, 0, 0)
            run.monitor.loss(history.epochs, None)
