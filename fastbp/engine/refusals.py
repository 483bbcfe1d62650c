"""Why a network does not run in the engine: ``train_model`` then trains module by module, and the history tells.

Here is what modules and parameters may be refused for. Loss, optimiser and the data's shapes are looked at in
``training.engine_trainer``.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.validation.user_methods import is_of_the_library, own_methods


class NotPlannable(Exception):
    """The engine does not know a part of the network; the text says which."""


def require_known(module: Module) -> None:
    """Raise NotPlannable if the engine does not know the module, or some method is not the library's."""
    name = type(module).__name__
    known = type(module) is Linear or module._activation is not None or module._branch is not None
    if not (known or module._operation is not None) or not is_of_the_library(type(module)):
        raise NotPlannable(f"it contains a {name}, which the engine does not know")
    if own := own_methods(module):
        raise NotPlannable(f"it contains a {name} with methods of its own: {', '.join(own)}")


def why_scattered(parameters: Sequence[Parameter]) -> str:
    """Return why parameters do not lie one behind the other."""
    if len({parameter.storage for parameter in parameters}) == 1:
        return "one of its parameters was taken out since it was built; train a new Sequential of its modules"
    return "some of its parameters were set since it was built, or belong to another model as well"
