"""Why the engine does not take a training: ``train_model`` then trains module by module, and the history tells.

All reasons are here. ``Session`` asks for those of criterion, optimiser and data, and ``plan_of`` for those of the
network: its ``Plan`` of the whole, ``RowsBuilder`` of each module. What no training may have is a ValueError here too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.parameter import FlatView, Parameter
from fastbp.optim.optimizer import Optimizer
from fastbp.validation.arrays import Array
from fastbp.validation.user_methods import is_of_the_library, own_methods

T = TypeVar("T")


class NotPlannable(Exception):
    """The engine does not know a part of the training; the text says which."""


def require_known_part(part: object, kind: type[T]) -> T:
    """Return ``part``, a criterion or optimiser, or raise NotPlannable if it is no ``kind`` of the library's."""
    if not (isinstance(part, kind) and is_of_the_library(type(part))):
        raise NotPlannable(f"the engine does not know {type(part).__name__}")
    require_no_methods(part, own_methods(part))
    return part


def require_own_parameters(owner: str, opt: Optimizer, parameters: Collection[Parameter]) -> None:
    """Raise ValueError if an optimiser has a parameter that is none of ``parameters``, the model's."""
    for parameter in opt.parameters:
        if parameter not in parameters:
            raise ValueError(
                f"{owner} takes an optimiser over the model's parameters, got one with a parameter of shape "
                f"{parameter.shape} that is not the model's; build it from model.parameters()"
            )


def require_mini_batches(model: Module, rows: int, mini_batch_size: int) -> None:
    """Raise ValueError if a mini-batch of the training has fewer rows than a module of the model needs."""
    fewest = rows % mini_batch_size or min(rows, mini_batch_size)
    for module in model.modules():
        if module._least_rows > fewest:
            raise ValueError(
                f"{type(module).__name__} takes mini-batches of {module._least_rows} rows or more in training, got "
                f"{rows} rows in mini-batches of {mini_batch_size}, one of {fewest}; choose another mini_batch_size or "
                "leave rows out"
            )


def require_no_methods(part: object, own: Sequence[str]) -> None:
    """Raise NotPlannable if criterion, optimiser or model has methods of its user's, ``own``."""
    if own:
        raise NotPlannable(f"the {type(part).__name__} has methods of its own: {', '.join(own)}")


def require_known(module: Module) -> None:
    """Raise NotPlannable if the engine does not know the module, or some method is not the library's."""
    name = type(module).__name__
    known = type(module) is Linear or module._activation is not None or module._branch is not None
    if not (known or module._operation is not None) or not is_of_the_library(type(module)):
        raise NotPlannable(f"it contains a {name}, which the engine does not know")
    if own := own_methods(module):
        raise NotPlannable(f"it contains a {name} with methods of its own: {', '.join(own)}")


def require_linear(linears: Collection[Linear]) -> None:
    """Raise NotPlannable if there are none."""
    if not linears:
        raise NotPlannable("it has no Linear")


def require_different(parameters: Collection[Parameter]) -> None:
    """Raise NotPlannable if one of the layers' parameters is there twice."""
    if len(set(parameters)) != len(parameters):
        raise NotPlannable("two of its layers share a parameter")


def require_one_vector(flat: FlatView, parameters: Sequence[Parameter]) -> None:
    """Raise NotPlannable if the parameters, of which ``flat`` is, do not lie one behind the other."""
    if len(flat.runs) != 1:
        if len({parameter.storage for parameter in parameters}) == 1:
            raise NotPlannable(
                "one of its parameters was taken out since it was built; train a new Sequential of its modules"
            )
        raise NotPlannable("some of its parameters were set since it was built, or belong to another model as well")


def require_inputs(module: Module | None, inputs: int, features: int) -> None:
    """Raise NotPlannable if a module does not take as many inputs as there are outputs before it."""
    if inputs != features:
        name = type(module).__name__
        raise NotPlannable(f"a {name} with {inputs} inputs follows a module with {features} outputs")


def require_outputs(module: Module | None, inputs: int, outputs: int, *, is_known: bool) -> None:
    """Raise NotPlannable if a module has no ``outputs`` for so many inputs, or their number is not known before it."""
    name = type(module).__name__
    if not is_known:
        raise NotPlannable(f"a {name} comes before the first module that tells its number of inputs")
    if not outputs:
        raise NotPlannable(f"a {name} follows a module with {inputs} outputs")


def require_same_features(inputs: int, outputs: int) -> None:
    """Raise NotPlannable if the modules of a residual block return another number of features than they take."""
    if inputs != outputs:
        raise NotPlannable("a Residual adds outputs to inputs of another number")


def require_all(planned: Collection[Parameter], parameters: Collection[Parameter]) -> None:
    """Raise NotPlannable if the model has ``parameters`` beside those that the engine has ``planned``."""
    if set(planned) != set(parameters):
        raise NotPlannable("it has a parameter that belongs to no Linear")


def require_dimensions(input: Array, target: Array, *, any_input: bool, are_classes: bool) -> None:
    """Raise NotPlannable unless inputs are rows of features, or ``any_input`` goes, and targets rows or classes."""
    dimensions = 1 if are_classes else 2
    if (not any_input and input.ndim != 2) or target.ndim != dimensions:
        raise NotPlannable(f"the engine takes inputs of two dimensions and targets of {dimensions}")
