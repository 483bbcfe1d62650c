"""Minimisers of SciPy over all rows at once, such as L-BFGS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any, Protocol

import numpy as np

from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.validation.arrays import Array
from fastbp.validation.weights import require_weighing


class LossFunction(Protocol):
    """A loss such as ``fastbp.nn.MSELoss``."""

    @property
    def forward(self) -> Callable[..., float]: ...
    def backward(self) -> Array: ...


def minimize(
    model: Module,
    criterion: LossFunction,
    data: tuple[Array, Array],
    method: str = "L-BFGS-B",
    *,
    sample_weight: Array | None = None,
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
    sample_weight : ndarray of shape (n,), or None
        A weight of 0 or more for each row, in the model's dtype; ``criterion.forward`` takes it by this name.
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
    KeyboardInterrupt
        On Ctrl-C. The parameters are those of the last iteration that was finished.
    """
    scipy_minimize = _import_minimize()
    parameters = _parameters_of(model)
    _check(criterion, data)
    (input, target), weights = data, {}
    if sample_weight is not None:
        require_weighing(criterion, "minimize", "sample_weight")
        weights = {"sample_weight": sample_weight}

    def evaluate(x: Array) -> tuple[float, Array]:
        _put(parameters, x)
        loss = float(criterion.forward(model(input), target, **weights))
        model.zero_grad()
        model.backward_parameters(criterion.backward())
        return loss, np.concatenate([parameter.kernel_grad.ravel() for parameter in parameters]).astype(np.float64)

    begin = np.concatenate([parameter.data.ravel() for parameter in parameters]).astype(np.float64)
    iterates = _Iterates(begin, callback)
    settings = {"method": method, "tol": tol, "options": options, "callback": iterates.callback}
    try:
        result = scipy_minimize(evaluate, begin, jac=True, **settings)
        _put(parameters, result.x)
    except KeyboardInterrupt:
        _put(parameters, iterates.last)
        raise
    except BaseException:
        _put(parameters, begin)
        raise
    return result


class _Iterates:
    """Keeps the last iterate: SciPy calls ``callback`` after each iteration, which hands on to the user's."""

    def __init__(self, begin: Array, callback: Callable[..., object] | None) -> None:
        self.last, self._callback = begin, callback
        # SciPy looks at the names of parameters to know what to hand over.
        takes_result = callback is not None and set(signature(callback).parameters) == {"intermediate_result"}
        self.callback: Callable[..., object] = self._of_result if takes_result else self._of_point

    def _of_point(self, x: Array, *more: Any) -> object:
        self.last = np.copy(x)
        return None if self._callback is None else self._callback(x, *more)

    def _of_result(self, intermediate_result: Any) -> object:
        self.last = np.copy(intermediate_result.x)
        return None if self._callback is None else self._callback(intermediate_result=intermediate_result)


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


def _check(criterion: LossFunction, data: tuple[Array, Array]) -> None:
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
