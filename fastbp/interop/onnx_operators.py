"""Which operator of ONNX is which activation, in both directions.

An activation that no operator computes, or none with its settings, or none in float64, is a function of its own in the
file: of the domain ``DOMAIN``, with the class's name, its row's scalars as inputs, and a body of simple operators that
any runtime knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp.interop.formulas import Language, Term
from fastbp.nn.activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Threshold,
    activation_classes,
)
from fastbp.validation.arrays import Array
from fastbp_kernels.functions.gelu import TAILS

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # that of the releases of ONNX with this opset
DOMAIN = "fastbp"

Attributes = Mapping[str, Any]


class Standard(NamedTuple):
    """An activation as an operator of ONNX.

    Attributes
    ----------
    module : type
    operator : str
    attributes : callable
        Returns the operator's attributes for a module, or None where the operator is another function.
    build : callable
        Returns a module for attributes, or None where it is another function.
    constants : callable
        Returns further inputs for a module, which ``build`` has among the attributes by their places, "1" and so on.
    in_float64 : bool
        Whether runtimes have it in float64, and no attribute would be rounded to float32.
    """

    module: type[Activation]
    operator: str
    attributes: Callable[[Any], Attributes | None] = lambda _: {}
    build: Callable[[Attributes], Activation | None] | None = None
    constants: Callable[[Any], Sequence[float]] = lambda _: ()
    in_float64: bool = False

    def module_of(self, attributes: Attributes) -> Activation | None:
        """Return the module that this operator is, or None."""
        return self.module() if self.build is None else self.build(attributes)


def _gelu(attributes: Attributes) -> GELU:
    form = attributes.get("approximate", "none")
    return GELU(form.decode() if isinstance(form, bytes) else form)


def _hardsigmoid(attributes: Attributes) -> Hardsigmoid | None:
    slope, offset = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return Hardsigmoid() if abs(slope - 1 / 6) < 1e-6 and offset == 0.5 else None


def _selu(attributes: Attributes) -> SELU | None:
    scale, alpha = attributes.get("gamma", 1.0507), attributes.get("alpha", 1.67326)
    return SELU() if abs(scale - 1.0507) < 1e-4 and abs(alpha - 1.67326) < 1e-4 else None


def _clip(attributes: Attributes) -> Activation | None:
    least, most = attributes.get("1", -np.inf), attributes.get("2", np.inf)
    if (least, most) == (0.0, 6.0):
        return ReLU6()
    if (least, most) == (0.0, np.inf):
        return ReLU()
    return Hardtanh(least, most) if np.isfinite([least, most]).all() else None


STANDARDS = (
    Standard(ReLU, "Relu", in_float64=True),
    Standard(Tanh, "Tanh", in_float64=True),
    Standard(Sigmoid, "Sigmoid", in_float64=True),
    Standard(GELU, "Gelu", lambda module: {"approximate": module.approximate}, _gelu),
    Standard(
        LeakyReLU, "LeakyRelu", lambda module: {"alpha": module.negative_slope},
        lambda attributes: LeakyReLU(attributes.get("alpha", 0.01)),
    ),
    Standard(
        ELU, "Elu", lambda module: {"alpha": module.alpha}, lambda attributes: ELU(attributes.get("alpha", 1.0))
    ),
    Standard(
        CELU, "Celu", lambda module: {"alpha": module.alpha}, lambda attributes: CELU(attributes.get("alpha", 1.0))
    ),
    Standard(SELU, "Selu", build=_selu),
    Standard(Mish, "Mish"),
    Standard(
        Softplus, "Softplus", lambda module: {} if (module.beta, module.threshold) == (1, 20) else None,
        lambda _: Softplus(),
    ),
    Standard(Softsign, "Softsign"),
    Standard(Hardsigmoid, "HardSigmoid", lambda _: {"alpha": 1 / 6, "beta": 0.5}, _hardsigmoid),
    Standard(Hardswish, "HardSwish"),
    Standard(Hardtanh, "Clip", build=_clip, constants=lambda module: module.scalars, in_float64=True),
    Standard(ReLU6, "Clip", build=_clip, constants=lambda module: module.scalars, in_float64=True),
    Standard(
        Hardshrink, "Shrink", lambda module: {"lambd": module.lambd, "bias": 0.0} if module.lambd >= 0 else None,
        lambda attributes: Hardshrink(attributes.get("lambd", 0.5)) if not attributes.get("bias", 0.0) else None,
    ),
    Standard(
        Softshrink, "Shrink", lambda module: {"lambd": module.lambd, "bias": module.lambd},
        lambda attributes: (
            Softshrink(attributes["lambd"]) if attributes.get("bias") == attributes.get("lambd") is not None else None
        ),
    ),
    Standard(
        Threshold, "ThresholdedRelu", lambda module: {"alpha": module.threshold} if module.value == 0 else None,
        lambda attributes: Threshold(attributes.get("alpha", 1.0), 0.0),
    ),
)  # fmt: skip


def standard_for(module: Activation, dtype: np.dtype[Any]) -> tuple[Standard, Attributes] | None:
    """Return the operator that computes ``module`` in ``dtype``, and its attributes; None if none does."""
    for standard in STANDARDS:
        if type(module) is standard.module and (dtype == np.float32 or standard.in_float64):
            attributes = standard.attributes(module)
            return None if attributes is None else (standard, attributes)
    return None


def standard_module(operator: str, attributes: Attributes) -> Activation | None:
    """Return the activation that an operator with these attributes is, or None."""
    for standard in STANDARDS:
        if standard.operator == operator:
            module = standard.module_of(attributes)
            if module is not None:
                return module
    return None


def function_name(module: Activation) -> str:
    """Return the name of the function of ``DOMAIN`` that computes an activation."""
    return type(module).__name__ + ("_tanh" if module.row == "GELU:tanh" else "")


# Where among the scalars of the row stand the settings of a class, if these are not the scalars themselves.
_SETTING_PLACES: dict[type[Activation], tuple[int, ...]] = {ELU: (1,), CELU: (1,)}


def function_module(name: str, scalars: Sequence[float]) -> Activation | None:
    """Return the activation that a function of ``DOMAIN`` computes, or None."""
    for kind in activation_classes():
        if name == kind.__name__ and kind is not GELU:
            places = _SETTING_PLACES.get(kind, range(len(kind.settings)))
            return kind(**{setting: scalars[place] for setting, place in zip(kind.settings, places)})
    return {"GELU": GELU(), "GELU_tanh": GELU("tanh")}.get(name)


class OnnxNodes(Language):
    """Formulas as nodes, each with an output of its own.

    Parameters
    ----------
    onnx : module
    dtype : dtype
    prefix : str
        Of the names of values.

    Attributes
    ----------
    nodes : list of NodeProto
    """

    def __init__(self, onnx: Any, dtype: np.dtype[Any], prefix: str = "") -> None:
        self._onnx, self._dtype, self._prefix = onnx, dtype, prefix
        self.nodes: list[Any] = []
        self._constants: dict[float, Term] = {}

    def operator(self, name: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = f"{self._prefix}t{len(self.nodes)}" if output is None else output
        self.nodes.append(self._onnx.helper.make_node(name, inputs, [output], domain=domain, **attributes))
        return output

    def constant(self, array: Array) -> str:
        """Add a constant, and return its name."""
        return self.operator("Constant", value=self._onnx.numpy_helper.from_array(array))

    def number(self, value: float) -> Term:
        if value not in self._constants:
            self._constants[value] = Term(self, self.constant(np.array(value, self._dtype)))
        return self._constants[value]

    def write(self, operation: str, *terms: Term) -> Term:
        composed = _COMPOSED.get(operation)
        if composed is not None:
            return composed(*terms)
        return Term(self, self.operator(_OPERATORS[operation], *(term.written for term in terms)))

    def keep(self, term: Term) -> Term:
        return term


_OPERATORS = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "negative": "Neg", "less": "Less",
    "less_equal": "LessOrEqual", "where": "Where", "absolute": "Abs", "exp": "Exp", "tanh": "Tanh", "log": "Log",
    "sigmoid": "Sigmoid",
}  # fmt: skip


def _normal_distribution(x: Term) -> Term:
    """Return Phi(x) as ``fastbp_kernels.functions.gelu`` does: runtimes lack the error function in float64."""
    tail = TAILS[8]
    far = x.call("absolute")
    m = (far < tail.limit).where(far, tail.limit)
    quotient = _polynomial(m, tail.numerator) / _polynomial(m, tail.divisor)
    beyond = (m * m * -0.5).call("exp") * quotient
    return (x < 0.0).where(beyond, -beyond + 1.0)


def _polynomial(x: Term, coefficients: Sequence[float]) -> Term:
    *others, last = coefficients
    value = x * 0.0 + last
    for coefficient in reversed(others):
        value = value * x + coefficient
    return value


_COMPOSED: dict[str, Callable[..., Term]] = {
    "expm1": lambda x: x.call("exp") - 1.0,
    "log1p": lambda x: (x + 1.0).call("log"),
    "normal_distribution": _normal_distribution,
}
