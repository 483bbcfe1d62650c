"""The forwards of modules in a pass: what a module's output carries, and the module's own way back.

    loss.backward()                        goes over the nodes of the whole pass: ``fastbp.autograd.backward``
    module.backward(grad_output)           goes over those of the module's last forward alone: ``LastPass``

A node keeps what its backward reads and refers to no module, so that a model and its passes are in no reference cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastbp.autograd.backward import run_backward
from fastbp.autograd.functions import unwrap
from fastbp.autograd.node import Leaf, Node, tick
from fastbp.autograd.recording import is_grad_enabled
from fastbp.autograd.tensor import Tensor
from fastbp.nn.parameter import Parameter
from fastbp.runtime.buffers import Slot
from fastbp.runtime.model_lock import ModelLock, ModelLocks
from fastbp.validation.arrays import Array, plain, require_floats

Back = Callable[..., Any]
_new_node = Node.__new__

keeps_passes: ContextVar[bool] = ContextVar("fastbp_keeps_passes", default=False)
"""Whether a module's backward leaves its pass for another one, as within the backward of a user's own class."""


traced: ContextVar[dict[Node, Any] | None] = ContextVar("fastbp_traced", default=None)
"""Where the modules of forwards are noted by their nodes, while somebody wants to know."""


class Gradient(np.ndarray[Any, Any]):
    """A gradient that knows for which output it is: what the ``backward`` of losses and modules returns.

    Attributes
    ----------
    of : int
        ``Node.gradient_for`` of the output. What is computed from the array does not have it.
    """

    __slots__ = ("of",)

    of: int


def numbers_and_node(input: Any) -> tuple[Any, Node | None]:
    """Return what a module computes with, and its node; what is no tensor as it came, for the module's checks."""
    value, node = unwrap(input)
    return (np.asarray(value), node) if type(input) is Tensor else (value, node)


def gradient(array: Array, node: Node | None) -> Array:
    """Return a view of ``array`` that knows it is a gradient of the output of ``node``, if there is one."""
    if node is None:
        return array.view()
    made = array.view(Gradient)
    made.of = node.gradient_for()
    return made


class ForwardNode(Node):
    """A forward of a module of the library, which has one input.

    Attributes
    ----------
    back : function
        ``back(grad_output, wants_input, *kept)`` adds the gradients of ``leaves`` and returns that of the input, or
        None where ``wants_input`` is False.
    kept : tuple
        What ``back`` reads.
    check_kept : function or None
        ``check_kept(*kept)`` raises RuntimeError if that is not as the forward left it, before anything is added.
    reads, reads_for_input : sequence of Parameter
        Those whose values it reads in any case, and for the gradient of the input.
    lock : ModelLock or ModelLocks
    """

    __slots__ = ("back", "check_kept", "kept", "leaves", "lock", "name", "reads", "reads_for_input")

    back: Back
    check_kept: Callable[..., None] | None
    kept: tuple[Any, ...]
    reads: Sequence[Parameter]
    reads_for_input: Sequence[Parameter]
    leaves: Sequence[Parameter]
    lock: ModelLock | ModelLocks

    def backward(self, grad: Any) -> tuple[Any]:
        input = self.inputs[0]  # type: ignore[index]
        return (self.run(grad, input is not None and input.wanted),)

    def run(self, grad: Any, wants_input: bool) -> Array | None:
        """Go back, and return the gradient of the input if it is wanted."""
        lock, kept = self.lock, self.kept
        with lock:
            if lock.trainer:
                lock.require_free()
            for parameter in self.leaves:  # before the numbers: where Ctrl-C cuts in, none of them is left unseen
                parameter.has_grad = True
            grad_input: Array | None = self.back(plain(grad), wants_input, *kept)
        return grad_input

    def backward_apart(self, grad: Any) -> tuple[Sequence[Any], list[tuple[Leaf, Any]]]:
        return apart(self, grad)

    def check(self) -> None:
        input = self.inputs[0]  # type: ignore[index]
        self.require_unchanged(input is not None and input.wanted)

    def require_unchanged(self, wants_input: bool) -> None:
        """Raise RuntimeError if a parameter that the backward reads was changed since."""
        order = self.order
        for parameter in (*self.reads, *self.reads_for_input) if wants_input else self.reads:
            if parameter.changed > order:
                refuse_changed(self.name)
        if self.check_kept is not None:
            self.check_kept(*self.kept)

    def release(self) -> None:
        self.inputs, self.kept = None, ()

    def refuse(self) -> NoReturn:
        refuse_second(self.name)


class InputNode(Node):
    """Where a module that consists of others begins, so that its own ``backward`` ends there.

    Parameters
    ----------
    array : ndarray
    node : Node or None
        Of the array. Without one the gradient is computed where somebody asks for it.

    Attributes
    ----------
    outer : Node or None
        ``node``: what the gradient of the input is for.
    """

    __slots__ = ("asked", "outer")

    name = "a module"

    def __init__(self, array: Array, node: Node | None) -> None:
        self.order, self.shape, self.dtype = tick(), array.shape, array.dtype
        self.inputs, self.asked, self.outer = () if node is None else (node,), False, node

    @property
    def wanted(self) -> bool:  # type: ignore[override]
        """Whether somebody asks for the gradient, here or farther back."""
        return self.asked or any(node is not None and node.wanted for node in self.inputs or ())

    def gradient_for(self) -> int:
        return self.order if self.outer is None else self.outer.gradient_for()

    def backward(self, grad: Any) -> tuple[Any, ...]:
        return (grad,) if self.inputs else ()

    def release(self) -> None:
        self.inputs = self.inputs and None


def apart(node: Node, grad: Any) -> tuple[Sequence[Any], list[tuple[Leaf, Any]]]:
    """Return what a node's ``backward`` returns and what it adds to the gradients of its leaves, and take that away."""
    leaves: Sequence[Any] = node.leaves
    before = [(leaf.kernel_grad.copy(), leaf.has_grad) for leaf in leaves]
    try:
        for leaf in leaves:
            leaf.kernel_grad.fill(0)
        gradients = list(node.backward(grad))
        return gradients, [(leaf, leaf.kernel_grad.copy()) for leaf in leaves]
    finally:
        for leaf, (own, has_grad) in zip(leaves, before):
            leaf.kernel_grad[...], leaf.has_grad = own, has_grad


class LastPass(NamedTuple):
    """The last forward of a module.

    Attributes
    ----------
    root : Node
        Of its output.
    entry : Node or None
        Of its input.
    """

    root: Node
    entry: Node | None

    def backward(self, name: str, grad_output: Any, wants_input: bool, retain_graph: bool) -> Array | None:
        """Go back from output to input for the gradient of the output, and return that of the input if it is wanted."""
        root, entry = self
        grad = self.checked(name, grad_output)
        retains = retain_graph or keeps_passes.get()
        if isinstance(root, ForwardNode) and root.inputs == (entry,):
            root.require_unchanged(wants_input)
            grad_input = root.run(grad, wants_input)
            if not retains:
                root.release()
        elif root is entry:
            grad_input = grad
        else:
            if isinstance(entry, InputNode):
                entry.asked = wants_input
            found = run_backward([root], [grad], retains, until=entry)
            grad_input = found[0] if found and wants_input else None
        outer = entry.outer if isinstance(entry, InputNode) else entry
        return None if grad_input is None else gradient(grad_input, outer)

    def checked(self, name: str, grad_output: Any) -> Array:
        """Return ``grad_output``, or raise unless it can be the gradient of the output."""
        root = self.root
        if root.inputs is None:
            refuse_second(name)
        if type(grad_output) not in (np.ndarray, Gradient) or grad_output.dtype is not root.dtype:
            grad_output = require_floats(grad_output, f"{name}.backward", root.dtype)
        if grad_output.shape != root.shape:
            raise ValueError(
                f"{name}.backward takes a gradient of the last output's shape {root.shape}, got {grad_output.shape}"
            )
        if type(grad_output) is Gradient and getattr(grad_output, "of", root.gradient_for()) != root.gradient_for():
            raise RuntimeError(
                f"{name}.backward takes the gradient for its last output, got that for another output; "
                "call loss.backward(), or backward of the output that the gradient is for: output.backward(gradient)"
            )
        array: Array = grad_output.view(np.ndarray)
        return array


def record_forward(
    module: Any, input: Node | None, slot: Slot, back: Back, kept: tuple[Any, ...], lock: ModelLock | ModelLocks,
    leaves: Sequence[Parameter] = (), *, reads: Sequence[Parameter] = (), reads_for_input: Sequence[Parameter] = (),
    check_kept: Callable[..., None] | None = None,
) -> Tensor:  # fmt: skip
    """Return a module's output in ``slot`` as its caller gets it, and let the module remember the pass.

    What is not explained here is as ``ForwardNode`` has it.
    """
    readonly = slot.readonly
    output = readonly.view(Tensor)
    output._value = readonly
    if not is_grad_enabled():
        output._node = vars(module)["_last_pass"] = None
        return output
    node = _new_node(ForwardNode)
    node.order, node.inputs, node.shape, node.dtype = tick(), (input,), slot.shape, slot.dtype
    node.name, node.back, node.kept, node.lock = type(module).__name__, back, kept, lock
    node.leaves, node.reads, node.reads_for_input, node.check_kept = leaves, reads, reads_for_input, check_kept
    output._node = node if input is not None or leaves else None
    modules = traced.get()
    if modules is not None:
        modules[node] = module
    vars(module)["_last_pass"] = LastPass(node, input)
    return output


def refuse_second(name: str) -> NoReturn:
    """Raise RuntimeError for a backward through what an earlier one has used up."""
    raise RuntimeError(
        f"backward went through a forward of {name} a second time, and the first time dropped what it had kept; call "
        "forward again, or give the first of several backwards retain_graph=True"
    )


def refuse_changed(name: str) -> NoReturn:
    """Raise RuntimeError for a backward that would read other parameters than the forward did."""
    raise RuntimeError(
        f"backward of {name} needs the parameters of its forward, and they were changed or moved since, by a step, a "
        "training, load_state_dict or a new Sequential; call backward before the change, or forward again after it"
    )


def trained(*parameters: Parameter | None) -> tuple[Parameter, ...]:
    """Return those of ``parameters`` that there are and that are not frozen."""
    return tuple(parameter for parameter in parameters if parameter is not None and parameter.requires_grad)


def as_it_was(input: Array, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Array:
    """Return the input of a forward, which is kept itself, or raise RuntimeError if its user reshaped it since.

    ``numpy.ndarray.resize`` could take the memory from under a view.
    """
    if input.shape != shape or input.dtype != dtype:
        raise RuntimeError(
            f"backward of {name} needs the array of its forward as it was, {dtype} of shape {shape}, got {input.dtype} "
            f"{input.shape} since; give forward a copy"
        )
    return plain(input)
