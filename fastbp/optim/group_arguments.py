"""What an optimiser's ``params`` may be: parameters, or PyTorch's groups of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fastbp.nn.parameter import Parameter
from fastbp.optim.parameter_group import NOTES, refuse_unsupported

if TYPE_CHECKING:
    from fastbp.optim.optimizer import Optimizer


def read_groups(kind: type[Optimizer], params: Any) -> list[Mapping[str, Any]]:
    """Return the groups that ``params`` are, or the one that it makes."""
    given = _listed(kind, params)
    if not any(isinstance(entry, Mapping) for entry in given):
        return [{"params": given}]
    for entry in given:
        if not isinstance(entry, Mapping):
            raise TypeError(
                f"{kind.__name__} takes parameters or groups of them, got both; put {type(entry).__name__} in a group: "
                '{"params": [parameter]}'
            )
    return given


def read_group(
    kind: type[Optimizer], group: Mapping[str, Any], defaults: Mapping[str, Any]
) -> tuple[tuple[Parameter, ...], dict[str, Any], dict[str, Any]]:
    """Return parameters, settings and a scheduler's notes of a group.

    Raises
    ------
    TypeError, ValueError
        For what is no group of ``kind``.
    """
    options = dict(group)
    if "params" not in options:
        raise ValueError(f"{kind.__name__} takes a group with 'params', got {', '.join(map(repr, options))}")
    params = options.pop("params")
    listed = [params] if isinstance(params, Parameter) else _listed(kind, params)
    _require_parameters(kind, listed)
    settings = {name: options.pop(name, value) for name, value in defaults.items()}
    notes = {name: options.pop(name) for name in list(options) if name in NOTES}
    refuse_unsupported(kind, options)
    return tuple(dict.fromkeys(listed)), settings, notes


def _listed(kind: type[Optimizer], params: Any) -> list[Any]:
    if isinstance(params, Parameter) or not isinstance(params, Iterable):
        raise TypeError(
            f"{kind.__name__} takes an iterable of parameters, got {type(params).__name__}; pass model.parameters()"
        )
    return list(params)


def _require_parameters(kind: type[Optimizer], given: list[Any]) -> None:
    name = kind.__name__
    if not given:
        raise ValueError(f"{name} takes one parameter or more, got none; a generator such as parameters() serves once")
    for parameter in given:
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"{name} takes fastbp.nn.Parameter, got {type(parameter).__name__}; pass model.parameters()"
            )
