"""Training data that come in blocks of rows, so that a file larger than memory streams through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastbp.engine.plan import Plan, plan_of
from fastbp.nn.losses import KernelLoss
from fastbp.nn.module import Module
from fastbp.training.data import checked_rows
from fastbp.training.training_run import Criterion
from fastbp.validation.arrays import Array, plain
from fastbp.validation.weights import require_row_weights, require_weighing
from fastbp_kernels.network.arguments import Rows


class RowBlocks:
    """Blocks of rows in place of ``train_input`` of ``train_model``, whose ``train_target`` is None then.

    Each epoch goes through all blocks in order, and through each of them by mini-batches; the last mini-batch of a
    block may be short. So where all blocks but the last have a multiple of ``mini_batch_size`` rows, the results are
    those of the same rows in one array. With ``shuffle`` the rows of each block are shuffled among themselves.

    Parameters
    ----------
    read : callable
        Called without arguments at the beginning of every epoch, and once to look at the first block. It returns an
        iterator over blocks: pairs of inputs (n, ...) and targets (n, ...), as ``train_model`` takes them, or with
        weights (n,) for ``sample_weight`` as a third part. A generator function does. The blocks are the same in every
        epoch of a training that stops and goes on: those that were finished are read once more and passed over.

    Raises
    ------
    TypeError
    """

    def __init__(self, read: Callable[[], Iterable[tuple[Array, Array]]]) -> None:
        if not callable(read):
            raise TypeError(
                f"RowBlocks takes a function that returns an iterator over blocks, got {type(read).__name__}; pass the "
                "generator function and not what it returns"
            )
        self.read = read


class BlockReader:
    """Reads blocks and checks each as ``train_model`` checks an array.

    Parameters
    ----------
    blocks : RowBlocks
    target, weights : None
        What came as ``train_target`` and ``sample_weight``.
    model : Module
    criterion : Criterion

    Attributes
    ----------
    first : Rows
        The first block.
    """

    def __init__(self, blocks: RowBlocks, target: Any, weights: Any, model: Module, criterion: Criterion) -> None:
        if target is not None or weights is not None:
            came = "train_target" if weights is None else "sample_weight"
            raise ValueError(f"train_model takes RowBlocks of (input, target, weights) alone, got {came} besides")
        self._blocks, self._model, self._criterion = blocks, model, criterion
        self._kind: tuple[tuple[int, ...], tuple[int, ...], int] | None = None  # shapes of rows, arrays in a block
        self.first = next(iter(self))
        weighs = self.first.weights.size > 0
        self._kind = self.first.input.shape[1:], self.first.target.shape[1:], 2 + weighs

    def __iter__(self) -> Iterator[Rows]:
        """Yield the blocks of an epoch that have rows."""
        has_rows = False
        for number, block in enumerate(self._blocks.read(), 1):
            rows = self._checked(block, number)
            if rows.n:
                has_rows = True
                yield rows
        if not has_rows:
            raise ValueError(
                "train_model takes RowBlocks of a function that returns a new iterator over one row or more each time, "
                "got one without rows"
            )

    def _checked(self, block: Any, number: int) -> Rows:
        if not isinstance(block, tuple | list) or len(block) not in (2, 3):
            came = type(block).__name__
            raise TypeError(f"train_model takes blocks as (input, target[, weights]), got {came} as block {number}")
        names = f"the input of block {number}", f"the target of block {number}"
        (rows,) = checked_rows(self._model, self._criterion, [dict(zip(names, block))])
        if len(block) == 3:
            rows = self._weighted(rows, block[2], f"the weights of block {number}")
        kind = rows.input.shape[1:], rows.target.shape[1:], len(block)
        if self._kind is not None and kind != self._kind:
            raise ValueError(
                f"train_model takes blocks like the first one, of rows {self._kind[0]} and {self._kind[1]} in "
                f"{self._kind[2]} arrays, got {kind[0]} and {kind[1]} in {kind[2]} arrays as block {number}"
            )
        plan = plan_of(self._model)
        if isinstance(plan, Plan) and isinstance(self._criterion, KernelLoss):
            self._criterion.require_targets(rows.target, plan.out_features, "train_model", names[1])
        return rows

    def _weighted(self, rows: Rows, weights: Any, name: str) -> Rows:
        require_weighing(self._criterion, "train_model", name)
        given = require_row_weights(weights, rows.input.dtype, rows.input.shape[:1], "train_model", name)
        return rows._replace(weights=plain(given))
