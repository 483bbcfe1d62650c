"""Minimisers of SciPy over all rows at once, such as L-BFGS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.validation.arrays import Array


class Loss(Protocol):
    """A loss such as ``fastbp.nn.MSELoss``."""

    def forward(self, prediction: Array, target: Array) -> float: ...
    def backward(self) -> Array: ...


def minimize(
    model: Module,
    criterion: Loss,
    data: tuple[Array, Array],
    method: str = "L-BFGS-B",
    *,
    tol: float | None = None,
    options: Mapping[str, Any] | None = None,
    callback: Callable[..., object] | None = None,
) -> Any:
    """Minimise the loss of all rows of ``data`` over what is not frozen, by ``scipy.optimize.minimize``.

    For small networks and few rows, where a full batch converges in far fewer steps than mini-batches. Loss and
    gradient come from the model's compiled calls, one each for all rows. SciPy works in float64: a float32 model stops
    earlier, where its loss does not change any more. Where the model drops at random, call ``model.eval()`` first.

    Parameters
    ----------
    model : Module
        Left at the minimum that was found, with the gradients of the last point that was tried.
    criterion : MSELoss, or any object with ``forward(prediction, target)`` and ``backward()``
    data : (input, target)
        As the model and the criterion take them.
    method : str
        One of SciPy's that take a gradient: "L-BFGS-B", "BFGS", "CG", ...
    tol, options, callback
        As ``scipy.optimize.minimize`` takes them, such as ``options={"maxiter": 100}``.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``fun`` is the loss, ``x`` the parameters one behind the other, ``nit`` the number of iterations.

    Raises
    ------
    ImportError
        Without SciPy: ``pip install "fastbp[scipy]"``.
    TypeError, ValueError
        For arguments that do not fit each other. The parameters are as they were then, as after anything else that is
        raised meanwhile.
    """
    scipy_minimize = _import_minimize()
    parameters = _parameters_of(model)
    _check(criterion, data)
    input, target = data

    def evaluate(x: Array) -> tuple[float, Array]:
        _put(parameters, x)
        loss = float(criterion.forward(model(input), target))
        model.zero_grad()
        model.backward_parameters(criterion.backward())
        return loss, np.concatenate([parameter.grad.ravel() for parameter in parameters]).astype(np.float64)

    begin = np.concatenate([parameter.data.ravel() for parameter in parameters]).astype(np.float64)
    try:
        result = scipy_minimize(evaluate, begin, jac=True, method=method, tol=tol, options=options, callback=callback)
        _put(parameters, result.x)
    except BaseException:
        _put(parameters, begin)
        raise
    return result


def _import_minimize() -> Callable[..., Any]:
    try:
        from scipy.optimize import minimize as scipy_minimize
    except ImportError as error:
        raise ImportError('minimize needs SciPy: pip install "fastbp[scipy]"') from error
    found: Callable[..., Any] = scipy_minimize
    return found


def _parameters_of(model: Module) -> list[Parameter]:
    if not isinstance(model, Module):
        raise TypeError(f"minimize takes a fastbp.nn.Module as model, got {type(model).__name__}")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("minimize takes a model with parameters that are not frozen, got none")
    return parameters


def _check(criterion: Loss, data: tuple[Array, Array]) -> None:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"minimize takes data as a pair of inputs and targets, got {type(data).__name__}")
    if not all(callable(getattr(criterion, method, None)) for method in ("forward", "backward")):
        raise TypeError(f"minimize takes criterion as an object with forward() and backward(), got {criterion!r}")


def _put(parameters: Sequence[Parameter], x: Array) -> None:
    """Write numbers that lie one behind the other to the parameters."""
    for parameter, values in zip(parameters, _split(parameters, x), strict=True):
        parameter.data = values.reshape(parameter.shape).astype(parameter.dtype)


def _split(parameters: Sequence[Parameter], x: Array) -> Iterator[Array]:
    start = 0
    for parameter in parameters:
        yield x[start : start + parameter.size]
        start += parameter.size
