"""Dropout."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

import numpy as np

from fastbp.nn.operation import NOTHING, Operation
from fastbp.nn.row_module import RowModule
from fastbp.validation.arrays import Array, RandomSource, require_generator
from fastbp_kernels import dropout_forward
from fastbp_kernels.layers.dropout import DECISIONS

_SELU_LIMIT = -1.7580993408473766  # what SELU approaches at minus infinity: -scale * alpha


class Dropout(RowModule):
    """Sets numbers to zero at random and scales the others by ``1 / (1 - p)``, as ``torch.nn.Dropout``.

    Only in training: after ``eval()``, and in ``predict``, the input passes as it is. What is dropped is a function of
    this module's seed, the number of its forwards in training, and a number's place in the input; not of PyTorch's
    generator.

    Parameters
    ----------
    p : float
        Probability of dropping a number, from 0 to 1.
    inplace : False
        The output is an array that this module owns, and the input stays as it is.
    rng : numpy.random.Generator, int or None
        Source of the seed, or a seed for it.

    Attributes
    ----------
    seed : int
    forwards : int
        How many there have been in training.
    """

    _has_modes = True
    settings: ClassVar[tuple[str, ...]] = ("p",)

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: RandomSource = None) -> None:
        name = type(self).__name__
        if inplace:
            raise ValueError(f"{name} leaves its input as it is and does not support inplace={inplace!r}")
        super().__init__()
        self.p = p
        self.seed = int(require_generator(rng, name).integers(1 << 63))
        self.forwards = 0
        self._last_forwards = -1

    @property
    def p(self) -> float:
        """Probability of dropping a number; may be set between forwards."""
        return self._p

    @p.setter
    def p(self, p: float) -> None:
        if isinstance(p, bool) or not isinstance(p, int | float | np.number) or not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__} takes p as a probability from 0 to 1, got {p!r}")
        self._p = float(p)
        self._last_forward.forget()  # which dropped by another
        self.changed()

    @property
    def threshold(self) -> int:
        """What the kernels take for ``p``."""
        return round(self._p * DECISIONS)

    def _scalars(self) -> tuple[float, float, float]:
        """Return the factor of what is kept, and what is added to what is kept and to what is dropped."""
        return 1 / (1 - self._p) if self._p < 1 else 0.0, 0.0, 0.0

    @property
    def _operation(self) -> Operation:
        return Operation("Dropout", scalars=self._scalars()) if self.training else NOTHING

    def _integers(self) -> tuple[int, ...]:
        return self.seed, self.forwards, self.threshold

    def _note_mini_batches(self, count: int) -> None:
        self.forwards += count

    def _forward_rows(self, input: Array, output: Array) -> None:
        if not self.training:
            self._last_forwards = -1
            output[...] = input
            return
        self._last_forwards, self.forwards = self.forwards, self.forwards + 1
        self._drop(input, self._scalars(), output)

    def _predict_rows(self, input: Array, output: Array) -> None:
        output[...] = input

    def _backward_rows(self, grad_output: Array, output: Array, grad_input: Array | None) -> None:
        if grad_input is None:
            return
        if self._last_forwards < 0:
            grad_input[...] = grad_output
        else:
            self._drop(grad_output, (self._scalars()[0], 0.0, 0.0), grad_input)

    def _drop(self, input: Array, scalars: tuple[float, float, float], output: Array) -> None:
        scale, kept, dropped = map(input.dtype.type, scalars)
        dropout_forward(input, self.seed, self._last_forwards, self.threshold, scale, kept, dropped, output)

    def extra_repr(self) -> str:
        return f"p={self._p}"


class AlphaDropout(Dropout):
    """Dropout that keeps mean and variance of what SELU returns, as ``torch.nn.AlphaDropout``.

    Klambauer et al., "Self-Normalizing Neural Networks", 2017. Parameters and attributes as of ``Dropout``.
    """

    def _scalars(self) -> tuple[float, float, float]:
        if self._p == 1:
            return 0.0, 0.0, 0.0
        scale = 1 / sqrt((1 - self._p) * (1 + self._p * _SELU_LIMIT**2))
        kept = -scale * self._p * _SELU_LIMIT
        return scale, kept, kept + scale * _SELU_LIMIT
