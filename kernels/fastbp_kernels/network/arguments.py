"""What the engine's compiled calls take: named tuples, which numba takes apart once a call.

There is one compiled version for each dtype: arrays that a training does not need are empty, not absent.
"""

from __future__ import annotations

from typing import NamedTuple

from fastbp_kernels.compiler.pointers import Array, Pointer
from fastbp_kernels.functions.losses.kernels import LossCall
from fastbp_kernels.functions.penalty import Penalty

# Division of labour; see ``train``.
BY_ROWS, BY_CHUNKS, VALIDATION_BESIDE, BY_LAYERS = range(4)


class Network(NamedTuple):
    """A network and its parameters.

    Attributes
    ----------
    layers : array of int64, shape (layers, COLUMNS), read
        See ``table``.
    parameter, grad : vectors, read and written
        ``grad`` is left with the gradient of the last mini-batch.
    state : array of shape (vectors, those of the optimiser), read and written
        The optimiser's; of no vectors if it has none.
    scalars : array of shape (layers, SCALARS), read
        Beside the table.
    """

    layers: Array
    parameter: Array
    grad: Array
    state: Array
    scalars: Array


class Rows(NamedTuple):
    """Rows of data with their targets: to train, to validate, or to compute a loss of.

    A criterion's ``for_kernels`` makes of the targets that it is given what the kernels take; until then ``target`` is
    as given, and ``classes`` is empty.

    Attributes
    ----------
    input : array of shape (n, IN of the first layer), read
        For a loss alone the predictions.
    target : array of shape (n, OUT of the last layer), read
        Of no rows where the loss takes classes.
    classes : array of int64, shape (n,), read
        -1 for a row that the loss ignores; empty where it takes values.
    weights : array of shape (n,), read
        What each row's loss is multiplied by; empty where rows have no weights.
    """

    input: Array
    target: Array
    classes: Array
    weights: Array

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.input)

    def none(self) -> Rows:
        """Return no rows, in arrays of the same kind."""
        return Rows(self.input[:0], self.target[:0], self.classes[:0], self.weights[:0])


class Batches(NamedTuple):
    """Rows that are trained, and the mini-batches in which they come.

    Attributes
    ----------
    rows : Rows
    order : array of int64, shape (epochs, n) or (0, 0), read
        The rows of each epoch that the call touches, in order; without it the rows are taken as they stand.
    mini_batch_size : int
    """

    rows: Rows
    order: Array
    mini_batch_size: int


class Step(NamedTuple):
    """What is done with a mini-batch.

    Attributes
    ----------
    loss : LossCall
    optimizer : int
        Its code.
    scalars : array of shape (steps, rows, scalars), read
        The optimiser's for each step of the call, or one for all of them; a row for each kind of span.
    spans : array of int64, shape (spans, 4), read
        The first parameter and the last + 1 of those that are stepped, their row of scalars, and where their part of a
        vector of the state begins. Frozen parameters are in none.
    max_norm : float
        What the norm of the gradient is clipped to.
    norm_sums : vector of float64, written
        One for each ``NORM_SLAB`` parameters; empty where nothing is clipped.
    penalty : Penalty
        A part of each mini-batch's loss, before its update.
    """

    loss: LossCall
    optimizer: int
    scalars: Array
    spans: Array
    max_norm: float
    norm_sums: Array
    penalty: Penalty


class Workspace(NamedTuple):
    """The division of labour and the memory for it.

    Attributes
    ----------
    mode : int
        BY_ROWS, BY_LAYERS, BY_CHUNKS or VALIDATION_BESIDE.
    fuses_update : bool
        Whether parameters are stepped in the tile that computes their gradient: by SGD, of mini-batches within one
        k_block.
    block_rows : int
        Rows of a block: of the rows that pass through the network together. It is ``K_BLOCK`` if the mode is BY_CHUNKS;
        else a multiple of ``SLAB``, and of ``K_BLOCK`` too where mini-batches are larger.
    scratch : vector, written; zeros at first
        The memory of a block, as the table lays it out. There is one block BY_ROWS and BY_LAYERS, else one for each
        rank.
    classes : vector of int64, written
        ``block_rows`` for each block in scratch where the loss takes classes; else empty.
    weights : vector, written
        ``block_rows`` for each block in scratch where rows have weights; else empty.
    chunk_grads : vector, written
        Gradients of all parameters, one behind the other, if the mode is BY_CHUNKS; else empty.
    snapshots : array of shape (any, parameters), written
        Room for the parameters of so many epochs, for VALIDATION_BESIDE; else empty.
    slab_sums : vector of float64, written
        One for each ``SLAB`` rows of a block: for every block in scratch or, if those are more, every gradient in
        ``chunk_grads``.
    sync : vector of int64, zeros at first
        ``SYNC_SIZE`` for the threads' barrier, then ``queue_size`` of the number of ``snapshots``.
    """

    mode: int
    fuses_update: bool
    block_rows: int
    scratch: Array
    classes: Array
    weights: Array
    chunk_grads: Array
    snapshots: Array
    slab_sums: Array
    sync: Array


class Results(NamedTuple):
    """What the engine found.

    Attributes
    ----------
    train_losses : array of float64, shape (epochs, 2)
        The sum of the losses of an epoch's mini-batches, each before its update, and their sum where a short one that
        is a mean counts as much less; added to, for the mini-batches that the call works on.
    nonfinite : vector of int64, (2,), zeros at first
        Epoch and mini-batch, both from 1, of the first loss that is not finite.
    val_sums : vector of float64, (epochs,)
        The sum of the loss of the validation rows; added to, for the blocks that the call works on.
    val_hits : vector of int64, (epochs,)
        The number of validation rows whose outputs name their class; added to likewise.
    """

    train_losses: Array
    nonfinite: Array
    val_sums: Array
    val_hits: Array


class Block(NamedTuple):
    """Rows that pass through the network together, and where: within the engine only.

    Attributes
    ----------
    scratch : pointer
    classes : pointer to int64
        Where those of the rows are gathered.
    weights : pointer
        Likewise.
    grad : pointer
        What gradients are added to.
    slab_sums : vector of float64
    epoch, start, rows : int
        The first row in the epoch's order, and their number.
    steps, before : int
        The number of mini-batches that the call has trained, and of the rows of this one before the block.
    """

    scratch: Pointer
    classes: Pointer
    weights: Pointer
    grad: Pointer
    slab_sums: Array
    epoch: int
    start: int
    rows: int
    steps: int
    before: int
