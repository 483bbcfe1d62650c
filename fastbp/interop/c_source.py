"""A network as one file of C99: loops over constant arrays, and no library but libm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from math import isfinite, isnan, prod
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from fastbp.checkpoint.atomic_write import write_atomically
from fastbp.interop.c_functions import function_text
from fastbp.interop.exponential import Exponential
from fastbp.interop.formulas import FORMULAS, Language, Term
from fastbp.interop.leaving import Leaving, leaving, write
from fastbp.interop.sample_shapes import Shape, axis_of
from fastbp.nn.activations import Activation
from fastbp.nn.batch_norm import BatchNorm1d
from fastbp.nn.embedding import Embedding
from fastbp.nn.flatten import Flatten
from fastbp.nn.glu import GLU
from fastbp.nn.layer_norm import LayerNorm
from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.prelu import PReLU
from fastbp.nn.rms_norm import RMSNorm
from fastbp.nn.softmax import LogSoftmax, Softmax
from fastbp.validation.arrays import Array
from fastbp.version import __version__


def to_c(model: Any, path: str | os.PathLike[str], *, sample_shape: int | Sequence[int] | None = None) -> None:
    """Write a network to ``path`` as one file of C99 that needs nothing but libm.

    The file defines one function, for a sample at a time, which returns what ``model.predict`` does::

        void predict(const float *input, float *output);

    It takes and returns ``double`` for a model of float64, and takes ``int64_t`` for one that begins with an
    ``Embedding``, which returns NaN for an index that it does not have. Both arrays are the caller's, and may be one.
    The function allocates nothing, keeps no state between calls, and has the parameters as constants; so any number of
    threads may call it. It needs room on the stack for the outputs of its two widest layers. ``cc
    -Dpredict=another_name`` names it otherwise.

    Parameters
    ----------
    model : Module, or a fitted MLPClassifier or MLPRegressor
        Of the library's layers. A classifier returns probabilities: one for each class, or for two classes that of the
        second. A comment names the classes.
    path : str or path
        The file is written whole or not at all.
    sample_shape : int or sequence of int, optional
        Of one sample, whose numbers lie in C order in ``input``; by default what the first layer with a size takes.

    Raises
    ------
    TypeError, ValueError
        For what cannot be written in C: modules or methods of your own, ``Elementwise``, ``BatchNorm1d`` without
        running statistics, layers that do not fit each other. Nothing is written then.
    OSError
        Where the file cannot be written; what was there is left.
    """
    leaves = leaving(model, "to_c", sample_shape)
    source = CSource(leaves)
    write(leaves, source)
    write_atomically(Path(path), source.text().encode("ascii"))


class CExpressions(Language):
    """Formulas as expressions of C.

    Parameters
    ----------
    dtype : dtype
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._f = "f" if dtype == np.float32 else ""
        self.kept: list[str] = []

    def number(self, value: float) -> Term:
        text = numbers_text([value], self._dtype)[0]
        return Term(self, f"({text})" if text.startswith("-") else text)

    def write(self, operation: str, *terms: Term) -> Term:
        return Term(self, _OPERATIONS[operation].format(*(term.written for term in terms), f=self._f))

    def keep(self, term: Term) -> Term:
        self.kept.append(term.written)
        return Term(self, f"t{len(self.kept)}")


_OPERATIONS = {
    "add": "({0} + {1})", "subtract": "({0} - {1})", "multiply": "({0} * {1})", "divide": "({0} / {1})",
    "negative": "(-{0})", "less": "({0} < {1})", "less_equal": "({0} <= {1})", "where": "({0} ? {1} : {2})",
    "absolute": "fabs{f}({0})", "exp": "exp{f}({0})", "expm1": "expm1{f}({0})", "log1p": "log1p{f}({0})",
    "tanh": "tanh{f}({0})", "sigmoid": "(1.0{f} / (1.0{f} + exp{f}(-{0})))",
    "normal_distribution": "(0.5{f} * erfc{f}({0} * -0.70710678118654752440{f}))",
}  # fmt: skip


class CSource:
    """The file, which grows layer by layer.

    Parameters
    ----------
    leaves : Leaving
    """

    def __init__(self, leaves: Leaving) -> None:
        self._leaves, self.dtype = leaves, leaves.dtype
        self._real = "float" if leaves.dtype == np.float32 else "double"
        self._functions: dict[str, None] = {}
        self._arrays: dict[tuple[int, bool], tuple[str, str]] = {}  # names and definitions, by what they are of
        self._lines: list[str] = []
        self._x, self._y = "a", "b"
        self._widest = prod(leaves.sample_shape)
        self._residuals: list[int] = []  # the sizes of those that are open
        self._skips = 0

    def add_layer(self, layer: Any, name: str, shape: Shape, returned: Shape) -> None:
        """Write the statements of a layer."""
        self._widest = max(self._widest, prod(returned))
        if isinstance(layer, Activation | Exponential):
            self._line(f"/* {name}: {type(layer).__name__} */" if name else f"/* {type(layer).__name__} */")
            self._add_activation(layer, prod(shape))
        elif type(layer) is not Flatten:
            self._line(f"/* {name}: {type(layer).__name__} */" if name else f"/* {type(layer).__name__} */")
            C_LAYERS[type(layer)](self, layer, shape)

    def begin_residual(self, shape: Shape) -> None:
        """Keep what is added later."""
        size = prod(shape)
        self._line("{")
        self._residuals.append(size)
        skip = f"skip{len(self._residuals)}"
        self._line(f"{self._real} {skip}[{size}];")
        self._line(f"for (int i = 0; i < {size}; i++)")
        self._line(f"    {skip}[i] = {self._x}[i];")

    def end_residual(self) -> None:
        """Add what was kept."""
        skip, size = f"skip{len(self._residuals)}", self._residuals[-1]
        self._line(f"for (int i = 0; i < {size}; i++)")
        self._line(f"    {self._x}[i] += {skip}[i];")
        self._residuals.pop()
        self._line("}")

    def call(self, function: str, *arguments: object) -> None:
        """Write the call of one of ``c_functions.FUNCTIONS``."""
        self._functions[function] = None
        self._line(f"{function}({', '.join(map(str, arguments))}, {self._x});")

    def multiply(self, linear: Linear, rows: int) -> None:
        """Write the call of ``linear``, whose outputs are the inputs of the next layer."""
        weight, bias = self.array(linear.weight.data, "transposed weight", transposed=True), self.parameter(linear.bias)
        self._functions["linear"] = None
        sizes = f"{rows}, {linear.in_features}, {linear.out_features}"
        self._line(f"linear({sizes}, {weight}, {bias}, {self._x}, {self._y});")
        self._x, self._y = self._y, self._x

    def look_up(self, embedding: Embedding, indices: int) -> None:
        """Write the first statements of a network that takes indices."""
        weight = self.array(embedding.weight.data, "weight")
        self._functions["embedding"] = None
        self._line(f"embedding({indices}, {embedding.num_embeddings}, {embedding.embedding_dim}, {weight}, input, a);")

    def parameter(self, parameter: Any) -> str:
        """Return the name of a parameter's array, "0" for none."""
        return "0" if parameter is None else self.array(parameter.data, "")

    def array(self, array: Array, note: str, *, transposed: bool = False) -> str:
        """Return the name of the constant array of these numbers."""
        key = array.ctypes.data, transposed
        if key not in self._arrays:
            name = f"p{len(self._arrays)}"
            numbers = numbers_text((array.T if transposed else array).ravel(), self.dtype)
            shape = " x ".join(map(str, array.shape[::-1] if transposed else array.shape))
            body = fill(", ".join(numbers), 116, initial_indent="    ", subsequent_indent="    ")
            definition = f"/* {shape}{', ' if note else ''}{note} */\n"
            definition += f"static const {self._real} {name}[{array.size}] = {{\n{body}\n}};\n"
            self._arrays[key] = name, definition
        return self._arrays[key][0]

    def number(self, value: float) -> str:
        """Return a constant."""
        return numbers_text([value], self.dtype)[0]

    def text(self) -> str:
        """Return the whole file."""
        size, returned = prod(self._leaves.sample_shape), prod(self._leaves.output_shape)
        functions = [function_text(name, self._real) for name in self._functions]
        room = f"{self._real} a[{self._widest}]" + (f", b[{self._widest}]" if "linear" in self._functions else "")
        takes_indices = self._leaves.takes_indices
        copies = [] if takes_indices else [f"    for (int i = 0; i < {size}; i++)", "        a[i] = input[i];"]
        taken = "int64_t" if takes_indices else self._real
        signature = f"void predict(const {taken} *input, {self._real} *output)"
        back = [f"    for (int i = 0; i < {returned}; i++)", f"        output[i] = {self._x}[i];"]
        head = [
            f"/* A network written by fastbp {__version__}: {size} inputs, {returned} outputs. C99; link with -lm.",
            "",
            f"       {signature};",
            *([f"\n   {_commented(self._leaves.facts)}"] if self._leaves.facts else []),
            "*/",
            "#include <math.h>",
            *(["#include <stdint.h>"] if takes_indices else []),
            f"\n{signature};\n",
        ]
        arrays = [definition for _, definition in self._arrays.values()]
        body = [f"{signature}\n{{", f"    {room};", *copies]
        return "\n".join([*head, *arrays, *functions, *body, *self._lines, *back, "}\n"])

    def _add_activation(self, layer: Any, size: int) -> None:
        language = CExpressions(self.dtype)
        if isinstance(layer, Exponential):
            value = Term(language, "x").call("exp")
        else:
            value = FORMULAS[layer.row](Term(language, "x"), *map(language.number, layer.scalars))
        self._line(f"for (int i = 0; i < {size}; i++) {{")
        self._line(f"    const {self._real} x = {self._x}[i];")
        for number, kept in enumerate(language.kept, 1):
            self._line(f"    const {self._real} t{number} = {kept};")
        self._line(f"    {self._x}[i] = {value.written};")
        self._line("}")

    def _line(self, text: str) -> None:
        self._lines.append("    " * (1 + len(self._residuals)) + text)


def _linear(source: CSource, linear: Linear, shape: Shape) -> None:
    source.multiply(linear, prod(shape[:-1]))


def _embedding(source: CSource, embedding: Embedding, shape: Shape) -> None:
    source.look_up(embedding, prod(shape))


def _layer_norm(source: CSource, norm: LayerNorm, shape: Shape) -> None:
    features = prod(norm.normalized_shape)
    weight, bias = source.parameter(norm.weight), source.parameter(norm.bias)
    source.call("layer_norm", prod(shape) // features, features, weight, bias, source.number(norm.eps))


def _rms_norm(source: CSource, norm: RMSNorm, shape: Shape) -> None:
    features = prod(norm.normalized_shape)
    eps = source.number(norm.eps_for(source.dtype))
    source.call("rms_norm", prod(shape) // features, features, source.parameter(norm.weight), eps)


def _glu(source: CSource, glu: GLU, shape: Shape) -> None:
    axis = axis_of(glu, shape)
    source.call("glu", prod(shape[:axis]), shape[axis] // 2, prod(shape[axis + 1 :]))


def _batch_norm(source: CSource, norm: BatchNorm1d, shape: Shape) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = source.array(norm.running_mean, "running mean"), source.array(norm.running_var, "running variance")
    weight, bias = source.parameter(norm.weight), source.parameter(norm.bias)
    source.call("batch_norm", norm.num_features, prod(shape[1:]), mean, variance, weight, bias, source.number(norm.eps))


def _prelu(source: CSource, prelu: PReLU, shape: Shape) -> None:
    slopes = prelu.num_parameters
    source.call("prelu", slopes, prod(shape) // slopes, source.parameter(prelu.weight))


def _softmax(source: CSource, softmax: Softmax | LogSoftmax, shape: Shape) -> None:
    axis = axis_of(softmax, shape)
    function = "softmax" if isinstance(softmax, Softmax) else "log_softmax"
    source.call(function, prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))


C_LAYERS: dict[type[Module], Callable[[CSource, Any, Shape], None]] = {
    Linear: _linear, Embedding: _embedding, LayerNorm: _layer_norm, BatchNorm1d: _batch_norm, PReLU: _prelu,
    RMSNorm: _rms_norm, GLU: _glu, Softmax: _softmax, LogSoftmax: _softmax,
}  # fmt: skip
"""How the layers are written that are no activations."""


def numbers_text(values: Iterable[float] | Array, dtype: np.dtype[Any]) -> list[str]:
    """Return constants of C that are just these numbers in ``dtype``."""
    array = np.asarray(values, dtype)
    texts = [f"{text}f" for text in map(str, array)] if dtype == np.float32 else list(map(repr, array.tolist()))
    return [
        text if isfinite(value) else "NAN" if isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
        for text, value in zip(texts, array.tolist())
    ]


def _commented(facts: dict[str, Any]) -> str:
    """Return facts in JSON that no text in them can end as a comment."""
    return json.dumps(facts).replace("/", "\\u002f")
