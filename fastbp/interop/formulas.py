"""The formula of every activation, once for all languages that a network can leave in.

A formula is a function of terms. What a term becomes, text of C or nodes of ONNX, is its ``Language``'s affair. The
scalars are those that the row of ``fastbp_kernels.functions.activations`` names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any, TypeAlias

Number: TypeAlias = "Term | float"


class Language(ABC):
    """What writes operations down."""

    @abstractmethod
    def write(self, operation: str, *terms: Term) -> Term:
        """Return the term of an operation, which is one of ``OPERATIONS``."""

    @abstractmethod
    def number(self, value: float) -> Term:
        """Return the term of a constant."""

    @abstractmethod
    def keep(self, term: Term) -> Term:
        """Return a term that is computed once, however often it is used."""


OPERATIONS = (
    "add", "subtract", "multiply", "divide", "negative", "less", "less_equal", "where", "absolute", "exp", "expm1",
    "log1p", "tanh", "sigmoid", "normal_distribution",
)  # fmt: skip
"""What formulas are made of; ``normal_distribution`` is Phi, and ``where`` takes its second term where the first is
true, else the third."""


@dataclass(frozen=True)
class Term:
    """A number in a formula.

    Attributes
    ----------
    language : Language
    written : str
        What stands for it there: an expression, or a name.
    """

    language: Language
    written: str

    def call(self, operation: str, *others: Number) -> Term:
        """Return an operation on this term and others."""
        terms = (other if isinstance(other, Term) else self.language.number(other) for other in others)
        return self.language.write(operation, self, *terms)

    def __add__(self, other: Number) -> Term:
        return self.call("add", other)

    def __sub__(self, other: Number) -> Term:
        return self.call("subtract", other)

    def __mul__(self, other: Number) -> Term:
        return self.call("multiply", other)

    def __truediv__(self, other: Number) -> Term:
        return self.call("divide", other)

    def __neg__(self) -> Term:
        return self.call("negative")

    def __lt__(self, other: Number) -> Term:
        return self.call("less", other)

    def __le__(self, other: Number) -> Term:
        return self.call("less_equal", other)

    def where(self, chosen: Number, otherwise: Number) -> Term:
        """Return ``chosen`` where this is true, else ``otherwise``."""
        return self.call("where", chosen, otherwise)

    def kept(self) -> Term:
        """Return this term, computed once."""
        return self.language.keep(self)


def _gelu_tanh(x: Term) -> Term:
    inner = (x + x * x * x * 0.044715) * sqrt(2 / pi)
    return x * 0.5 * (inner.call("tanh") + 1.0)


def _leaky_relu(x: Term, negative_slope: Term) -> Term:
    return (x <= 0.0).where(x * negative_slope, x)


def _elu(x: Term, scale: Term, alpha: Term, rate: Term) -> Term:
    return (x <= 0.0).where((x * rate).call("expm1") * alpha, x * scale)


def _hardtanh(x: Term, least: Number, most: Number) -> Term:
    bound = (x < least).where(least, x).kept()
    upper = most if isinstance(most, Term) else x.language.number(most)
    return (upper < bound).where(upper, bound)


def _hardsigmoid(x: Term) -> Term:
    return _hardtanh((x + 3.0).kept(), 0.0, 6.0) * (1 / 6)


def _mish(x: Term) -> Term:
    """Return x * tanh(log(1 + e)) with e = exp(x), as e (e + 2) / (e (e + 2) + 2); beyond 20 the quotient is 1."""
    power = (x.language.number(20.0) < x).where(20.0, x).call("exp").kept()
    product = (power * (power + 2.0)).kept()
    return x * (product / (product + 2.0))


def _softplus(x: Term, beta: Term, threshold: Term) -> Term:
    scaled = (x * beta).kept()
    return (threshold < scaled).where(x, scaled.call("exp").call("log1p") / beta)


def _log_sigmoid(x: Term) -> Term:
    return (x <= 0.0).where(x, 0.0) - (-x.call("absolute")).call("exp").call("log1p")


def _softshrink(x: Term, width: Term) -> Term:
    return (width < x).where(x - width, (x < -width).where(x + width, x * 0.0))


FORMULAS: dict[str, Callable[..., Any]] = {
    "ReLU": lambda x: (x < 0.0).where(0.0, x),
    "Tanh": lambda x: x.call("tanh"),
    "Sigmoid": lambda x: x.call("sigmoid"),
    "GELU": lambda x: x * x.call("normal_distribution"),
    "GELU:tanh": _gelu_tanh,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Hardtanh": _hardtanh,
    "Hardsigmoid": _hardsigmoid,
    "Hardswish": lambda x: x * _hardsigmoid(x),
    "SiLU": lambda x: x * x.call("sigmoid"),
    "Mish": _mish,
    "Softplus": _softplus,
    "Softsign": lambda x: x / (x.call("absolute") + 1.0),
    "LogSigmoid": _log_sigmoid,
    "Hardshrink": lambda x, width: (x.call("absolute") <= width).where(0.0, x),
    "Softshrink": _softshrink,
    "Tanhshrink": lambda x: x - x.call("tanh"),
    "Threshold": lambda x, threshold, value: (x <= threshold).where(value, x),
}
"""By the names of the rows, all but that of the identity."""
