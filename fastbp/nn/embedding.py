"""A table of vectors, one for each index."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.autograd.functions import unwrap
from fastbp.nn.forward_node import record_forward, trained
from fastbp.nn.init import Init, initial_values
from fastbp.nn.module import Module, locked
from fastbp.nn.parameter import Parameter
from fastbp.runtime.buffers import Buffer
from fastbp.runtime.model_lock import read
from fastbp.validation.arrays import Array, RandomSource, require_dtype, require_generator
from fastbp.validation.classes import require_integers, stray_class
from fastbp_kernels import embedding_backward, embedding_forward


def _standard_normal(shape: tuple[int, int], rng: np.random.Generator, dtype: np.dtype[Any]) -> Array:
    return rng.standard_normal(shape).astype(dtype)


class Embedding(Module):
    """The row of a weight for each index, as ``torch.nn.Embedding``.

    Inputs are integers from 0 up to ``num_embeddings``, of any shape; outputs have an axis of ``embedding_dim`` numbers
    more.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int or None
        A row that is 0 at first and gets no gradient; counted from the end if it is negative.
    init : callable, str or None
        As ``Linear`` takes it; None draws from the standard normal distribution.
    rng : numpy.random.Generator, int or None
    device : None or "cpu"
    dtype : numpy.float32 or numpy.float64

    Attributes
    ----------
    weight : Parameter of shape (num_embeddings, embedding_dim)

    Raises
    ------
    TypeError, ValueError
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        init: Init = None,
        rng: RandomSource = None,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        for name, size in (("num_embeddings", num_embeddings), ("embedding_dim", embedding_dim)):
            if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
                raise ValueError(f"Embedding takes {name} as an int of 1 or more, got {size!r}")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"Embedding takes padding_idx from {-num_embeddings} to {num_embeddings - 1} or None, got {padding_idx}"
            )
        if device is not None and str(device) != "cpu":
            raise ValueError(f"Embedding computes on the CPU, got device={device!r}; leave it out")
        given, generator = require_dtype(dtype, "Embedding"), require_generator(rng, "Embedding")
        drawn = _standard_normal if init is None else init
        values, _ = initial_values(drawn, int(num_embeddings), int(embedding_dim), generator, given)
        self._padding = None if padding_idx is None else int(padding_idx) % int(num_embeddings)
        if self._padding is not None:
            values[self._padding] = 0
        self.weight = Parameter(values)
        self._output = Buffer()

    @property
    def num_embeddings(self) -> int:
        return self.weight.shape[0]

    @property
    def embedding_dim(self) -> int:
        return self.weight.shape[1]

    @property
    def padding_idx(self) -> int | None:
        return self._padding

    def _checked(self, input: Any) -> Array:
        """Return a copy of the indices as the kernels take them."""
        indices = np.array(require_integers(input, "Embedding", "input"), np.int64, order="C")
        stray = stray_class(indices, self.num_embeddings)
        if stray is not None:
            raise ValueError(
                f"Embedding({self.num_embeddings}, {self.embedding_dim}) takes indices from 0 to "
                f"{self.num_embeddings - 1}, got {stray}"
            )
        return indices

    @locked
    def forward(self, input: Array) -> Array:
        """Return a tensor of shape ``(*input.shape, embedding_dim)``, to be read."""
        value, _ = unwrap(input)
        indices, weight = self._checked(value), self.weight
        slot = self._output.take((*indices.shape, self.embedding_dim), weight.dtype)
        embedding_forward(indices.reshape(-1), weight.kernel_data, slot.array.reshape(-1, self.embedding_dim))
        kept = indices, weight, self._padding
        return record_forward(self, None, slot, _back, kept, self._current().lock, trained(weight))

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)  # type: ignore[no-any-return]
        lock, indices = self._current().lock, self._checked(unwrap(input)[0])

        def compute() -> Array:
            output = np.empty((*indices.shape, self.embedding_dim), self.weight.dtype)
            embedding_forward(indices.reshape(-1), self.weight.kernel_data, output.reshape(-1, self.embedding_dim))
            return output

        return read(lock, compute)

    def extra_repr(self) -> str:
        padding = "" if self._padding is None else f", padding_idx={self._padding}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def _back(
    grad_output: Array, wants_input: bool, indices: Array, weight: Parameter, padding: int | None
) -> Array | None:
    """Add the gradient of the weight, and return zeros of the input's shape: nothing depends on an index smoothly."""
    if weight.requires_grad:
        grad = weight.kernel_grad
        before = None if padding is None else grad[padding].copy()
        embedding_backward(indices.reshape(-1), grad_output.reshape(-1, weight.shape[1]), grad)
        if padding is not None:
            grad[padding] = before
    return np.zeros(indices.shape, weight.dtype) if wants_input else None
