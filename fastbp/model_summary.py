"""What a model consists of, and what comes out of each module for some input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.nn.module import Module
from fastbp.nn.outline import bytes_in_words, html_table, outline, total
from fastbp.nn.residual import Residual
from fastbp.nn.sequential import Sequential
from fastbp.validation.arrays import Array
from fastbp.validation.user_methods import own_methods

_HEADS = ("name", "module", "output", "parameters", "")
_TO_THE_RIGHT = (False, False, False, True, False)


@dataclass(frozen=True)
class SummaryRow:
    """A module.

    Attributes
    ----------
    name : str
        Dotted; "" for the whole.
    kind : str
        Its class, with its settings where it holds no other modules.
    output_shape : tuple of int, or None
        None for a module within one of a class of your own, whose ``forward`` alone knows.
    parameters : int
        The number of its own; one that several modules share counts once.
    trained : "trained", "frozen", "in part" or ""
        Whether its own parameters are trained; "" if it has none.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    trained: str

    @property
    def texts(self) -> tuple[str, ...]:
        """The row as it is shown."""
        shape = "" if self.output_shape is None else str(self.output_shape)
        return self.name, self.kind, shape, f"{self.parameters:,}" if self.trained else "", self.trained


@dataclass(frozen=True)
class Summary:
    """What ``fastbp.summary`` returns: a table, in text or in a notebook.

    Attributes
    ----------
    rows : tuple of SummaryRow
    parameters, trained_parameters : int
        The numbers of all parameters, and of those that are trained.
    parameter_bytes, output_bytes : int
        The memory of the parameters, and of the outputs of all modules for the input. A training needs the parameters
        twice, with their gradients, and besides what its optimiser keeps.
    total : str
        The same in words.
    """

    rows: tuple[SummaryRow, ...]
    parameters: int
    trained_parameters: int
    parameter_bytes: int
    output_bytes: int
    total: str

    def __str__(self) -> str:
        rows = [_HEADS, *(row.texts for row in self.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
        lines = ["  ".join(map(_aligned, row, widths, _TO_THE_RIGHT)).rstrip() for row in rows]
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], self.total])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(_HEADS, (row.texts for row in self.rows), self.total)


def _aligned(text: str, width: int, to_the_right: bool) -> str:
    return text.rjust(width) if to_the_right else text.ljust(width)


def summary(model: Module, input: npt.ArrayLike | tuple[int, ...]) -> Summary:
    """Return a table of a model's modules: name, kind, output shape, parameters, and whether they are trained.

    Parameters
    ----------
    model : Module
        What it predicts for ``input`` is computed; it stays as it is.
    input : array-like, or tuple of int
        Samples, or the shape of some, such as (32, 20).

    Raises
    ------
    TypeError, ValueError
        For what is no model, and for an input that it does not take.
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary takes a Module, got {type(model).__name__}")
    if isinstance(input, tuple) and all(isinstance(size, int) for size in input):
        dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
        array = np.zeros(input, dtype)
    else:
        array = np.asarray(input)
    outputs: dict[Module, Array] = {}
    _predict(model, array, outputs)
    rows = outline(model)
    parts = [row.module for row in rows if next(row.module.named_children(), None) is None]
    parameters = list(model.parameters())
    size = sum(outputs[part].nbytes for part in dict.fromkeys(parts) if part in outputs)
    return Summary(
        tuple(
            SummaryRow(
                row.name, row.kind, outputs[row.module].shape if row.module in outputs else None, row.parameters,
                row.trained,
            )
            for row in rows
        ),
        sum(each.size for each in parameters),
        sum(each.size for each in parameters if each.requires_grad),
        sum(each.data.nbytes for each in parameters),
        size,
        f"{total(model)}; outputs of all modules {bytes_in_words(size)}",
    )  # fmt: skip


def _predict(module: Any, input: Array, outputs: dict[Module, Array]) -> Array:
    """Predict, and note the outputs of ``module`` and of those in it whose order is known."""
    if isinstance(module, Sequential | Residual) and not own_methods(module):
        within = input
        for child in module:
            within = _predict(child, within, outputs)
    output: Array = module.predict(input)
    if isinstance(output, np.ndarray):  # a class of a user's own may return several
        outputs[module] = output
    return output
