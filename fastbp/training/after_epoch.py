"""What follows each epoch of a training: metrics, the note of the best epoch, then progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fastbp.nn.module import Module
from fastbp.training.early_stopping import BestEpoch, EarlyStopping
from fastbp.training.history import History
from fastbp.training.metrics import Metric, MetricRecorder
from fastbp.training.training_run import Criterion, TrainingRun
from fastbp.validation.callers import warn
from fastbp_kernels.network.arguments import Rows


class AfterEpoch:
    """Records metrics, notes the best epoch, shows progress, and tells whether the training stops.

    An exception may come between the end of an epoch and its metrics or its note; ``look`` then catches up when the
    training goes on.

    Parameters
    ----------
    model : Module
    criterion : Criterion
    validation : Rows or None
    series : int
        How many of its own the trainer records: see ``TrainingSetup``.
    metrics : see ``train_model``
    rule : EarlyStopping or None

    Attributes
    ----------
    metrics : tuple of str
        Names of those that are recorded here.

    Raises
    ------
    TypeError, ValueError
        For metrics that cannot be computed, and for a rule by a series that is not recorded.
    """

    def __init__(
        self,
        model: Module,
        criterion: Criterion,
        validation: Rows | None,
        series: int,
        metrics: Iterable[str | Metric] | Mapping[str, Metric] | None,
        rule: EarlyStopping | None,
    ) -> None:
        self._model, self._rule = model, rule
        self._recorder = None if metrics is None else MetricRecorder(metrics, model, criterion, validation)
        self.metrics = () if self._recorder is None else self._recorder.names
        if rule is not None:
            self._check(rule, series)

    def _check(self, rule: EarlyStopping, series: int) -> None:
        if not isinstance(rule, EarlyStopping):
            raise TypeError(f"train_model takes early_stopping as a fastbp.EarlyStopping, got {rule!r}")
        names = ["train_loss", "train_loss_mean"]
        names += ["val_loss", "val_loss_mean"] if series > 1 else []
        names += ["val_accuracy"] if series > 2 else []
        names += [f"val_{name}" for name in self.metrics]
        if rule.monitor not in names:
            raise ValueError(
                f"train_model takes early_stopping by a series that it records, {', '.join(names)}, got "
                f"{rule.monitor!r}; pass val_input and val_target, or metrics"
            )

    def begin(self, run: TrainingRun) -> bool:
        """Catch up with the epoch at whose end the model stands, and return whether patience is over already."""
        history, rule = run.history, self._rule
        position, is_between = history.position, not history.position.batches
        if rule is not None and history.best is not None and history.best.serves(rule):
            history.best.rule = rule
            if position.last_state is not None and history.best.is_over(history):
                return self._is_over(history)
            put_back(run, self._model)
        else:
            go_on_without_rule(run, self._model)
        if position.last_state is not None:  # all epochs are done
            return False
        if rule is not None and history.best is None:
            history.best = BestEpoch(rule, max(history.epochs - is_between, 0))
        if is_between and history.epochs:
            self._look(run)
        if is_between and history.best is not None and history.best.is_over(history):
            return self._is_over(history)
        return False

    def _is_over(self, history: History) -> bool:
        history.stopped_by = "early_stopping"
        warn(
            f"this history was stopped by early stopping after {history.epochs} epochs, and nothing is trained; pass a "
            "larger patience to go on"
        )
        return True

    def __call__(self, run: TrainingRun, show: Callable[[History], object]) -> object:
        """Look at the model after an epoch, show it, and return True to stop."""
        history = run.history
        self._look(run)
        stops = show(history)
        if history.best is not None and history.best.is_over(history):
            history.stopped_by = "early_stopping"
            return True
        return stops

    def _look(self, run: TrainingRun) -> None:
        if self._recorder is not None:
            self._recorder.record(run)
        if run.history.best is not None:
            with run.held:
                run.history.best.look(run.history, self._model)

    def finish(self, run: TrainingRun) -> None:
        """Give the model its state of the best epoch, where the training has come to its end."""
        history, position = run.history, run.history.position
        has_ended = history.stopped_by in ("epochs", "early_stopping") and position.last_state is None
        if has_ended and history.best is not None and history.best.state is not None:
            with run.held:
                position.last_state = self._model.state_dict()
                self._model.load_state_dict(history.best.state)


def after_epoch(
    model: Module,
    criterion: Criterion,
    validation: Rows | None,
    series: int,
    metrics: Iterable[str | Metric] | Mapping[str, Metric] | None,
    rule: EarlyStopping | None,
) -> AfterEpoch | None:
    """Return what ``AfterEpoch`` does with these arguments; None if there is nothing to do."""
    if metrics is None and rule is None:
        return None
    return AfterEpoch(model, criterion, validation, series, metrics, rule)


def put_back(run: TrainingRun, model: Module) -> None:
    """Give the model its state of where the training ended, if it has that of the best epoch and goes on."""
    position = run.history.position
    if position.last_state is not None and run.history.epochs < run.epochs:
        with run.held:
            model.load_state_dict(position.last_state)
            position.last_state = None


def go_on_without_rule(run: TrainingRun, model: Module) -> None:
    """Let a training go on without the early stopping that it had, if epochs are left."""
    if run.history.epochs < run.epochs:
        put_back(run, model)
        run.history.best = None
