"""What is asked of data before anything changes: that they fit the model, the loss and each other.

An error names all arguments that are wrong, each with its whole shape or dtype, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from fastbp.engine.plan import NoPlan, Plan, plan_of
from fastbp.nn.embedding import Embedding
from fastbp.nn.linear import Linear
from fastbp.nn.losses import GaussianNLLLoss, KernelLoss
from fastbp.nn.losses.kernel_loss import given_rows, no_weights
from fastbp.nn.module import Module
from fastbp.training.training_run import Criterion, evaluation_of
from fastbp.validation.arrays import FLOAT_DTYPES, Array, plain
from fastbp.validation.callers import is_raised_here
from fastbp.validation.classes import class_indices, require_classes, require_integers
from fastbp.validation.foreign import require_array
from fastbp.validation.outputs import require_one_output
from fastbp.validation.user_methods import own_methods
from fastbp.validation.weights import require_row_weights, require_some_weight, require_weighing
from fastbp_kernels.network.arguments import Rows


def checked_rows(model: Module, criterion: Criterion, pairs: Sequence[dict[str, Any]]) -> list[Rows]:
    """Return pairs of an input and a target, each by its name, as the kernels take them.

    Classes are copied: one that somebody changes during the training would be an index beyond the outputs.

    Raises
    ------
    TypeError, ValueError
        For data that do not fit the model's dtype, the criterion's kind of targets, or each other.
    """
    floats = pairs[0] if len(pairs) == 1 else {**pairs[0], **pairs[1]}
    if takes_classes(criterion, next(reversed(pairs[0].values()))):
        floats = {name: pair[name] for pair in pairs for name in list(pair)[:1]}
        for pair in pairs:
            name = next(reversed(pair))
            pair[name] = class_indices(require_integers(pair[name], "train_model", name))
    require_model_dtype("train_model", model, without_indices(model, floats, [next(iter(pair)) for pair in pairs]))
    for pair in pairs:
        require_pairs(pair)
    return [_rows_of(model, *map(plain, pair.values())) for pair in pairs]


def without_indices(model: Module, data: dict[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    """Return ``data`` without those ``inputs`` that hold integers, for a model with an ``Embedding`` to take them."""
    integers = [name for name in inputs if _holds_integers(data[name])]
    if not integers or not any(isinstance(module, Embedding) for module in model.modules()):
        return data
    return {name: value for name, value in data.items() if name not in integers}


def _holds_integers(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "iu"


def _rows_of(model: Module, input: Array, target: Array) -> Rows:
    return given_rows(input, target, no_weights(*plan_of(model).dtypes) if _holds_integers(input) else None)


def require_model_dtype(owner: str, model: Module, data: Mapping[str, Any]) -> None:
    """Raise TypeError unless all ``data``, by the arguments' names, are NumPy arrays of the dtype of the parameters.

    A model without parameters, or with some of each dtype, has none: then the data are of one float dtype.
    """
    dtypes = plan_of(model).dtypes
    own = next(iter(dtypes)) if len(dtypes) == 1 else None
    for array in data.values():
        if type(array) is not np.ndarray or array.dtype is not own:
            break
    else:
        return
    taken = tuple(dtype.name for dtype in (FLOAT_DTYPES if own is None else (own,)))
    came = {name: require_array(value, f"{owner}({name}=...)", taken).dtype for name, value in data.items()}
    found = set(came.values())
    if found == {own} or (own is None and len(found) == 1 and found <= set(FLOAT_DTYPES)):
        return
    wrong = [f"{name} of {dtype}" for name, dtype in came.items() if own is None or dtype != own]
    rule = "data of one dtype, float32 or float64" if own is None else f"{own} data for this model"
    remedy = f"convert with .astype(numpy.{own or 'float32'})"
    if own is not None and len(found) == 1 and found <= set(FLOAT_DTYPES):
        other = found.pop()
        remedy += f", or build the model with dtype=numpy.{other}"
        remedy += " or turn it by model.double()" if other == "float64" else ""
    raise TypeError(f"{owner} takes {rule}, got {_listed(wrong)}; {remedy}")


def require_pairs(data: Mapping[str, Array]) -> None:
    """Raise ValueError unless two arrays, by the arguments' names, have as many rows."""
    (input_name, input), (target_name, target) = data.items()
    if not input.ndim or not target.ndim or len(input) != len(target):
        raise ValueError(
            f"{input_name} and {target_name} take one row a sample each, got shapes {input.shape} and {target.shape}"
        )


def require_features(owner: str, model: Module, name: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the ``Linear`` that the model begins with, if it does, takes inputs of ``shape``."""
    first = next(model._leaves(), None)
    if type(first) is not Linear or own_methods(first):
        return
    features = first.in_features
    if len(shape) < 2 or shape[-1] != features:
        if len(shape) == 1:
            remedy = f"; pass {name}[:, None]" if features == 1 else ""
        else:
            remedy = f"; pass {name}.reshape({shape[0]}, {features})" if prod(shape[1:]) == features else ""
        raise ValueError(
            f"{owner} takes {name} of shape (n, ..., {features}) for a model that begins with "
            f"Linear({features}, {first.out_features}), got {shape}{remedy}"
        )


def try_first_row(owner: str, model: Module, criterion: Criterion, data: Mapping[str, Array]) -> None:
    """Run the first row of input and target, by the arguments' names, through model and criterion.

    Raises
    ------
    ValueError, TypeError
        From fastbp's own parts in words about the whole arrays; from a user's own as they are.
    """
    (input_name, input), (target_name, target) = data.items()
    plan = plan_of(model)
    if _fit(plan, criterion, input, target):
        assert isinstance(plan, Plan)
        assert isinstance(criterion, KernelLoss)
        criterion.require_targets(target, plan.out_features, owner, target_name)
        return
    require_features(owner, model, input_name, input.shape)
    try:
        prediction = model.predict(input[:1])
    except (TypeError, ValueError) as error:
        if not is_raised_here(error):
            raise
        text = f"{owner} tried the first row of {input_name} of shape {input.shape}: {error}"
        raise type(error)(text) from error
    prediction = require_one_output(owner, model, prediction)
    if prediction.ndim == 2:
        if isinstance(criterion, KernelLoss):
            criterion.require_targets(target, prediction.shape[1], owner, target_name)
        elif takes_classes(criterion, target):
            require_classes(target, (len(input), prediction.shape[1]), owner, target_name)
    try:
        evaluation_of(criterion)(prediction, target[:1])
    except ValueError:
        is_ours = type(criterion).__module__.startswith("fastbp.")
        if (
            not is_ours
            or getattr(criterion, "columns_per_target", 1) != 1
            or prediction.shape == target[:1].shape
            or len(prediction) != len(target[:1])
        ):
            raise
        outputs = (len(input), *prediction.shape[1:])
        raise ValueError(misfit(owner, input_name, target_name, outputs, target)) from None


def takes_classes(criterion: Any, target: Any) -> bool:
    """Whether a criterion takes such a target as class indices."""
    if isinstance(criterion, KernelLoss):
        return criterion.takes_indices(target)
    return getattr(criterion, "takes_classes", False) is True


def require_weights(name: str, weights: Any, rows: Rows, criterion: Criterion) -> Array:
    """Return weights of ``rows``, by the argument's ``name``, as the kernels take them, or raise an error."""
    given = require_row_weights(weights, rows.weights.dtype, rows.input.shape[:1], "train_model", name)
    require_some_weight(given, "train_model", name)
    require_weighing(criterion, "train_model", name)
    return plain(given)


def require_number_of(criterion: Criterion) -> None:
    """Raise TypeError or ValueError unless ``criterion`` makes one number of prediction and target."""
    if getattr(criterion, "reduction", None) == "none":
        raise ValueError(
            f"train_model takes a criterion that returns a number, got {criterion!r}; its reduction may be 'mean' or "
            "'sum', and sample_weight weighs the rows"
        )
    if isinstance(criterion, GaussianNLLLoss) and type(criterion).forward is GaussianNLLLoss.forward:
        raise TypeError(
            "train_model hands a criterion prediction and target, got GaussianNLLLoss, which takes a variance too; "
            "write the loop yourself, or a subclass whose forward(prediction, target) takes both from the prediction"
        )


def _fit(plan: Plan | NoPlan, criterion: Criterion, input: Array, target: Array) -> bool:
    """Whether network and loss are the library's own and their shapes tell that they take the data."""
    if isinstance(plan, NoPlan) or plan.own_methods or not isinstance(criterion, KernelLoss) or own_methods(criterion):
        return False
    if criterion.checks_prediction:
        return False
    columns = plan.out_features // criterion.columns_per_target
    shape = () if takes_classes(criterion, target) else (columns,)
    return (
        columns * criterion.columns_per_target == plan.out_features
        and input.shape[1:] == (plan.first.in_features,)
        and target.shape[1:] == shape
    )


def misfit(owner: str, input_name: str, target_name: str, outputs: tuple[int, ...], target: Array) -> str:
    """Return the text of an error on a target that has not the shape ``outputs``."""
    shape = target.shape
    if outputs == (*shape, 1):
        remedy = f"pass {target_name}[{':' if len(shape) == 1 else '...'}, None]"
    elif prod(outputs) == prod(shape):
        remedy = f"pass {target_name}.reshape{outputs}"
    elif len(shape) == 1 and len(outputs) == 2:
        remedy = f"make one-hot rows of class indices: numpy.eye({outputs[1]}, dtype=numpy.{target.dtype})[indices]"
    else:
        remedy = "nothing is broadcast"
    return (
        f"{owner} takes {target_name} of the shape of the model's outputs for {input_name}, {outputs}, got {shape}; "
        f"{remedy}"
    )


def _listed(parts: list[str]) -> str:
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
