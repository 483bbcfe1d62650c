"""What all losses have: a reduction, and the number that they return."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastbp.autograd.backward import run_backward
from fastbp.autograd.node import Node
from fastbp.nn.forward_node import gradient, keeps_passes, refuse_second
from fastbp.nn.losses.loss_node import LossNode, call_own
from fastbp.validation.arrays import Array, require_floats
from fastbp.validation.read_only import tell_read_only
from fastbp.validation.user_methods import defined, follow, is_of_the_library, passes_by

_SHORTCUTS = {"evaluate": ("forward", "__call__")}


class Loss:
    """The base class of all losses: their reduction, and what a subclass that redefines ``forward`` is evaluated by.

    A subclass defines ``forward`` by calls of losses and functions of NumPy, which are recorded; it may define
    ``backward()`` too, which is called instead and returns the gradient with respect to the last call's prediction. One
    whose ``forward`` takes ``sample_weight`` trains with weights of the rows; see ``train_model``.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
        It holds for the gradient as well.
    """

    takes_classes: ClassVar[bool] = False  # a class index a row instead of an array like the prediction
    takes_logits: ClassVar[bool] = False  # whether a single output's sides part at 0
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    _passed_by: ClassVar[frozenset[str]] = frozenset()  # short cuts of a base that this class may not take

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        follow(cls, _SHORTCUTS, Loss)
        if is_of_the_library(cls):
            tell_read_only(cls, "build another loss")
        cls._defines_forward = not is_of_the_library(defined(cls, "forward")[1])
        cls._passed_by = frozenset(name for name, methods in _SHORTCUTS.items() if passes_by(cls, name, methods))

    _defines_forward: ClassVar[bool] = False
    _last: Node | None = None  # of the last call

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    @property
    def reduction(self) -> str:
        """May be set between forwards."""
        return self._reduction

    @reduction.setter
    def reduction(self, reduction: str) -> None:
        if reduction not in self.reductions:
            taken = ", ".join(map(repr, self.reductions[:-1])) + f" or {self.reductions[-1]!r}"
            raise ValueError(f"{type(self).__name__} takes reduction {taken}, got {reduction!r}")
        self._reduction = reduction

    def __call__(self, prediction: Array, target: Array, sample_weight: Array | None = None) -> Any:
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        backward = type(self).backward
        if "backward" in vars(self) or not (backward is _BACKWARD or is_of_the_library(backward)):
            return call_own(self, prediction, target, **weights)
        value = self.forward(prediction, target, **weights)
        if self._defines_forward or "forward" in vars(self):
            node = getattr(value, "_node", None)
            if node is None or node is not self._last:
                vars(self).update(_last=node, _entry=getattr(prediction, "_node", None))
        return value

    def forward(self, prediction: Array, target: Array, sample_weight: Array | None = None) -> Any:
        """Return the loss, a tensor."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(prediction, target)")

    def evaluate(self, prediction: Array, target: Array, sample_weight: Array | None = None) -> Any:
        """Return the loss where no ``backward`` is to follow."""
        return self(prediction, target) if sample_weight is None else self(prediction, target, sample_weight)

    def backward(self, grad_output: Array | None = None, *, retain_graph: bool = False) -> Array:
        """Return the gradient of the last loss with respect to its prediction: what ``model.backward`` takes.

        ``loss.backward()`` does both.

        Parameters
        ----------
        grad_output : ndarray of the loss's shape, or None
            The gradient with respect to each loss, for the reduction "none" alone.
        retain_graph : bool
            Whether another backward may follow for the same forward.

        Returns
        -------
        grad_prediction : ndarray of the prediction's shape
            The caller's.
        """
        name, node = type(self).__name__, self._last
        if node is None:
            raise RuntimeError(f"{name}.backward needs a forward before it: call criterion(prediction, target)")
        if node.inputs is None:
            refuse_second(name)
        entry = node.inputs[0] if isinstance(node, LossNode) else vars(self).get("_entry")
        if isinstance(node, LossNode):
            with np.errstate(all="ignore"):  # as in the kernels
                grad_prediction = node.backward(self._first_gradient(node, grad_output))[0]
        elif entry is None:
            raise RuntimeError(f"{name} has a forward of its own: call loss.backward() of what it returns")
        else:
            (grad_prediction,) = run_backward([node], [self._first_gradient(node, grad_output)], True, until=entry)
        if not (retain_graph or keeps_passes.get()):
            node.release()
        return gradient(grad_prediction, entry)

    def _first_gradient(self, node: Node, grad_output: Any) -> Any:
        """Return the gradient with respect to the loss of ``node`` that a backward begins with."""
        name, shape = type(self).__name__, node.shape
        if (grad_output is None) != (self._reduction != "none"):
            if grad_output is None:
                raise TypeError(f"{name}.backward needs grad_output of shape {shape} for reduction 'none', got none")
            raise TypeError(f"{name}.backward takes grad_output for reduction 'none' only, got {self._reduction!r}")
        if grad_output is None:
            return node.dtype.type(1)
        grad_output = require_floats(grad_output, f"{name}.backward", node.dtype)
        if grad_output.shape != shape:
            raise ValueError(f"{name}.backward takes grad_output of shape {shape}, got {grad_output.shape}")
        return grad_output

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_last", "_entry", "_calls")}

    def extra_repr(self) -> str:
        """Return what ``repr`` shows before the reduction."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        return f"{type(self).__name__}({extra}{', ' if extra else ''}reduction={self.reduction!r})"


_BACKWARD = Loss.backward
