"""What is trained, as it was at the beginning: noticed if somebody changes it on the way."""

from __future__ import annotations

from fastbp.nn.parameter import FlatView
from fastbp.training.training_run import Criterion, Optimizer
from fastbp.validation.user_methods import own_methods


class TrainedParts:
    """The parameters, the loss and the optimiser of a training.

    Parameters
    ----------
    flat : FlatView
        The model's parameters.
    criterion : Criterion
    opt : Optimizer
    are_methods_fixed : bool
        Whether the methods of loss and optimiser are to be those of the beginning. Only functions of the user's set
        them meanwhile, and only the engine does not look for them.
    """

    def __init__(self, flat: FlatView, criterion: Criterion, opt: Optimizer, are_methods_fixed: object) -> None:
        self._flat, self._criterion, self._opt = flat, criterion, opt
        self._are_methods_fixed = are_methods_fixed
        self._reduction = getattr(criterion, "reduction", None)

    def require_unchanged(self) -> None:
        """Raise RuntimeError if ``progress``, or whoever else, has changed what a training goes by."""
        what = ""
        if not self._flat.is_current:
            what = "a module or a parameter of the model was set, moved, converted or frozen"
        elif getattr(self._criterion, "reduction", None) != self._reduction:
            what = "the criterion's reduction was set"
        elif self._are_methods_fixed and (own_methods(self._criterion) or own_methods(self._opt)):
            what = "a method of the criterion or the optimiser was set"
        if what:
            raise RuntimeError(
                f"{what} during the training, which stopped there; call train_model again with history= the history so "
                "far to go on"
            )
