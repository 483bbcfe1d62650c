"""Tensor: a NumPy array that carries the node which computed it.

What a tensor is stands here. How functions of tensors are recorded stands in ``functions.py``, and by which names
NumPy and Python come there in ``protocols.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.autograd.backward import run_backward
from fastbp.autograd.node import ArrayLeaf, KeptGradNode, Leaf, Node, PoisonedNode
from fastbp.validation.arrays import Array
from fastbp.validation.foreign import require_array

_MADE_BY_NUMPY = "a copy or view that NumPy made by itself (such as numpy.asanyarray or numpy.array(..., subok=True))"


class Tensor(np.ndarray[Any, Any]):
    """A NumPy array that knows how it was computed, so that ``backward`` can go back to what it was computed from.

    Outputs of modules and losses are tensors, and ``fastbp.tensor(array, requires_grad=True)`` is one to begin with.
    NumPy's functions, operators and methods of tensors give tensors. Those without derivative (``argmax``, rounding,
    comparisons) give plain arrays. A function that fastbp has no gradient of gives the right numbers, and a backward
    through it raises RuntimeError. Tensors that were computed are not written to: ``out=``, ``numpy.copyto``,
    ``tensor[...] = x`` and their like raise RuntimeError, and ``tensor += x`` is ``tensor = tensor + x``.

    A tensor of shape () is used as a number: ``float(loss)``, ``f"{loss:.3f}"``, ``loss.item()``, ``loss < 1``.

    Not recorded, since NumPy asks nobody: ``numpy.asarray(t)``, ``numpy.array(t)``, ``numpy.mean([t, u])`` of a list
    (``numpy.stack([t, u]).mean()`` is), and ``array[...] = t`` into a plain array. Copies by ``copy.deepcopy`` and
    pickles are plain arrays. Arrays that were used in a pass are read again by its backward: change them after it.
    """

    __slots__ = ("_node", "_value")

    _node: Node | None
    _value: Any  # the same numbers as operations take them: a plain array, or a NumPy scalar, which is much faster

    def __init_subclass__(cls) -> None:
        raise TypeError(f"Tensor has no subclasses, got {cls.__name__}; write functions of tensors instead")

    # Gradients

    @property
    def requires_grad(self) -> bool:
        """Whether ``backward`` reaches something from here. Set on a tensor that was not recorded, it makes a leaf."""
        return node_of(self) is not None

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        node = node_of(self)
        if requires_grad and node is None:
            self._node = ArrayLeaf(require_real(self._value))
        elif not requires_grad and node is not None:
            if not isinstance(node, Leaf):
                raise RuntimeError("requires_grad can be unset on leaves only; tensor.detach() gives the numbers alone")
            self._node = None

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set ``requires_grad`` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was not computed from others that require gradients."""
        node = node_of(self)
        return node is None or isinstance(node, Leaf)

    @property
    def grad(self) -> Array | None:
        """The sum of the gradients that backwards have brought to this leaf; None before the first, and elsewhere."""
        return getattr(node_of(self), "grad", None)

    @grad.setter
    def grad(self, grad: Array | None) -> None:
        node = node_of(self)
        if not isinstance(node, ArrayLeaf | KeptGradNode):
            raise RuntimeError("grad can be set on a tensor with requires_grad=True that was not computed from others")
        if grad is not None:
            grad = _gradient_for(node, grad, "Tensor.grad")
        node.grad = None if grad is None else np.array(grad)

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is no leaf too, as ``grad``.

        Only what is computed from the tensor afterwards counts: call it at once.
        """
        node = node_of(self)
        if node is None:
            raise RuntimeError("retain_grad needs a tensor that requires a gradient")
        if not node.keeps_grad:
            self._node = KeptGradNode(node)

    def backward(self, grad: Any = None, retain_graph: bool = False) -> None:
        """Add the gradients of this tensor to the ``grad`` of each leaf and parameter that it was computed from.

        Parameters
        ----------
        grad : array of the tensor's shape or None
            The gradient with respect to this tensor. None stands for 1, and is for tensors of one element only.
        retain_graph : bool
            Whether another backward will go through the same operations. Otherwise what they kept is dropped.

        Raises
        ------
        RuntimeError
            If the tensor was computed without recording or from numbers alone; if an earlier backward has used the
            operations up; if a leaf was changed since; if a function in between has no gradient. No gradient has
            changed then.
        """
        node, first = root_gradient(self, grad, "backward")
        run_backward([node], [first], retain_graph)

    # The numbers alone

    def detach(self) -> Array:
        """Return the numbers as a plain array, a read-only view."""
        view = plain_view(self)
        view.flags.writeable = False
        return view

    def numpy(self) -> Array:
        """Return ``detach()``."""
        return self.detach()

    def cpu(self) -> Tensor:
        """Return the tensor itself: it is on no other device."""
        return self

    @property
    def data(self) -> Any:
        """A leaf's values as a plain array that may be written to; a read-only one for any other tensor.

        ``leaf.data -= step`` and ``leaf.data = values`` note the change, writing to the array by index does not.
        """
        return plain_view(self) if self.is_leaf else self.detach()

    @data.setter
    def data(self, values: Any) -> None:
        if not self.is_leaf:
            raise RuntimeError("data can be set on leaves only; compute a new tensor instead")
        plain_view(self)[...] = _without_mask(values)
        note_change(self)

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.item(), digits)

    def __reduce__(self) -> Any:
        return np.array(self, subok=False).__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.array(self, subok=False).__reduce_ex__(protocol)

    def __copy__(self) -> Array:  # type: ignore[override]
        return np.array(self, subok=False)

    def __deepcopy__(self, memo: Any) -> Array:  # type: ignore[override]
        return np.array(self, subok=False)

    def __repr__(self) -> str:
        text = repr(plain_view(self)).replace("\n", "\n ")
        ending = ", requires_grad=True)" if self.requires_grad else ")"
        return f"tensor{text[len('array') : -1]}{ending}"

    def __str__(self) -> str:
        return str(plain_view(self))

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.ndim == 0 else plain_view(self), spec)

    __hash__ = object.__hash__  # type: ignore[assignment]  # as in PyTorch, to be found in sets and dictionaries


def plain_view(tensor: Tensor) -> Array:
    """Return the tensor's memory as a plain array."""
    return np.ndarray.view(tensor, np.ndarray)


def wrap(value: Any, node: Node | None) -> Tensor:
    """Return a tensor of a plain array or NumPy scalar, computed as ``node`` says; None is for not recorded."""
    if type(value) is np.ndarray:
        tensor = value.view(Tensor)
    else:
        array = np.asarray(value if isinstance(value, np.generic) else _without_mask(value))
        tensor = array.view(Tensor)
        if node is None:  # may be written to, and then a scalar would be out of date
            value = array
    tensor._value, tensor._node = value, node
    return tensor


def _without_mask(value: Any) -> Any:
    return require_array(value, "a function of tensors") if isinstance(value, np.ndarray) else value


def settle(tensor: Tensor) -> None:
    """Give a tensor that NumPy made by itself its value and a node without backward: nobody knows what it is of."""
    tensor._value = plain_view(tensor)
    base = tensor.base
    is_plain = type(base) is Tensor and getattr(base, "_node", base) is None
    tensor._node = None if is_plain else PoisonedNode(_MADE_BY_NUMPY)


def node_of(tensor: Tensor) -> Node | None:
    """Return the tensor's node, None if it was not recorded."""
    try:
        return tensor._node
    except AttributeError:
        settle(tensor)
        return tensor._node


def note_change(tensor: Tensor) -> None:
    """Let backwards of what was computed from the values before know that they have changed."""
    node = tensor._node
    if isinstance(node, Leaf):
        node.note_change()


def require_real(array: Any) -> Any:
    """Return ``array`` if gradients of it can be asked for, or raise TypeError."""
    if array.dtype.kind != "f":
        raise TypeError(f"gradients are of floating point numbers, got an array of {array.dtype}; use .astype(float)")
    return array


def tensor(data: Any, dtype: npt.DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Return a tensor of a copy of ``data``.

    Parameters
    ----------
    data : array or nested lists of numbers
    dtype : dtype or None
        None is the dtype of an array, and float32 for floats of Python, as in PyTorch.
    requires_grad : bool
        Whether backwards are to leave the gradient with respect to these numbers in ``grad``.
    """
    if dtype is None and not isinstance(data, np.ndarray | np.generic) and np.asarray(data).dtype.kind == "f":
        dtype = np.float32
    array = np.array(_without_mask(data), dtype=dtype, subok=False)
    return wrap(array, ArrayLeaf(require_real(array)) if requires_grad else None)


def root_gradient(output: Tensor, grad: Any, caller: str) -> tuple[Node, Any]:
    """Return the node that a backward begins with, and the gradient there."""
    if not isinstance(output, Tensor):
        raise TypeError(f"{caller} begins at tensors, got {type(output).__name__}")
    node = node_of(output)
    if node is None:
        raise RuntimeError(
            f"{caller} needs a tensor that was computed from parameters, or leaves with requires_grad=True, and "
            "recorded; this one was computed from numbers alone, or under fastbp.no_grad()"
        )
    if node.inputs is None:
        node.refuse()
    if grad is not None:
        return node, _gradient_for(node, grad, caller)
    if output.size != 1:
        raise RuntimeError(
            f"{caller} without a gradient begins at one number, got a tensor of shape {output.shape}; "
            "reduce it by sum() or mean(), or give the gradient"
        )
    one = node.dtype.type(1)
    return node, one if node.shape == () else np.full(node.shape, one)


def _gradient_for(node: Node, grad: Any, owner: str) -> Any:
    array = np.asarray(_without_mask(grad))
    if array.shape != node.shape:
        raise ValueError(f"{owner} takes a gradient of shape {node.shape}, got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{owner} takes a gradient of real numbers, got {array.dtype}")
    return array.astype(node.dtype, copy=False)[()]
