"""What is trained, as it was at the beginning: noticed if somebody changes it on the way."""

from __future__ import annotations

from fastbp.engine.plan import plan_of
from fastbp.engine.refusals import require_own_parameters
from fastbp.nn.module import Module
from fastbp.nn.parameter import FlatView, Parameter
from fastbp.optim.optimizer import Optimizer as OptimizerBase
from fastbp.training.training_run import Criterion, Optimizer
from fastbp.validation.user_methods import own_methods


class TrainedParts:
    """The model, the loss and the optimiser of a training.

    Modes, frozen flags and settings of modules may change on the way, and count from then on.

    Parameters
    ----------
    model : Module
    flat : FlatView
        Its parameters.
    criterion : Criterion
    opt : Optimizer
    are_methods_fixed : bool
        Whether the methods of loss and optimiser are to be those of the beginning. Only functions of the user's set
        them meanwhile, and only the engine does not look for them.
    """

    def __init__(
        self, model: Module, flat: FlatView, criterion: Criterion, opt: Optimizer, are_methods_fixed: object
    ) -> None:
        self._model, self._flat, self._criterion, self._opt = model, flat, criterion, opt
        self._parameters: dict[Parameter, None] = plan_of(model).parameters
        self._of_opt = getattr(opt, "parameters", None)
        self._are_methods_fixed = are_methods_fixed
        self._reduction = getattr(criterion, "reduction", None)

    def require_unchanged(self) -> None:
        """Raise RuntimeError if ``progress``, or whoever else, has changed what a training cannot go on with.

        Raises
        ------
        ValueError
            If the optimiser has got parameters that are not the model's.
        """
        if not self._flat.is_current and not self._has_same_parameters():
            raise changed("a module or a parameter of the model was set, moved or converted")
        if getattr(self._criterion, "reduction", None) != self._reduction:
            raise changed("the criterion's reduction was set")
        if self._are_methods_fixed and (own_methods(self._criterion) or own_methods(self._opt)):
            raise changed("a method of the criterion or the optimiser was set")
        if isinstance(self._opt, OptimizerBase) and self._opt.parameters is not self._of_opt:
            require_own_parameters("train_model", self._opt, self._parameters)
            self._of_opt = self._opt.parameters

    def _has_same_parameters(self) -> bool:
        """Whether the model's parameters are those of the beginning and lie where they lay; then note the view anew."""
        now = self._model._current()
        if list(map(id, plan_of(self._model).parameters)) != list(map(id, self._parameters)):
            return False
        before, after = ([(data.ctypes.data, data.size) for data, _ in flat.runs] for flat in (self._flat, now))
        if before == after:
            self._flat = now
        return before == after


def changed(what: str) -> RuntimeError:
    """Return the error for a change behind which a training cannot go on."""
    return RuntimeError(
        f"{what} during the training, which stopped there; call train_model again with history= the history so far to "
        "go on"
    )
