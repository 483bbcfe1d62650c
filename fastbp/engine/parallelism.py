"""How a training's work is divided: among how many threads, by rows, layers or chunks, in blocks of how many rows.

A pure decision from the network, the sizes of the data and the number of threads; it changes no bit of a result.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from fastbp.runtime.threads import get_num_threads, ranks_for
from fastbp_kernels.functions.losses.kernels import SLAB
from fastbp_kernels.linalg.product import K_BLOCK
from fastbp_kernels.network.arguments import BY_CHUNKS, BY_LAYERS, BY_ROWS, VALIDATION_BESIDE
from fastbp_kernels.network.train import BLOCK_ROWS

# Validation of so many operations or more is left to another thread, if it is a tenth of an epoch's work and the copies
# of the parameters stay in cache.
_FLOP_BESIDE = 2e5
_COPIED_PARAMETERS = 1 << 16
# Rows of a block at the least, so that validation does not pack the weights for a few rows at a time.
_VALIDATION_ROWS = 128
# Up to so many parameters, gradients for each thread cost less than sharing activations: several for each, so that they
# seldom wait for each other.
_CHUNK_PARAMETERS = 1 << 16
_CHUNKS_PER_RANK = 8
# Columns of a layer's outputs that a rank takes at the least, and the rows that take as long as reading the weights.
_LAYER_COLUMNS, _READ_ROWS = 64, 12


class Division(NamedTuple):
    """A division of labour.

    Attributes
    ----------
    mode : int
        BY_ROWS, BY_LAYERS, BY_CHUNKS or VALIDATION_BESIDE; see ``fastbp_kernels.network.train``.
    block_rows : int
        Rows that pass through the network at a time.
    ranks : int
        Threads that train.
    validators : int
        Further ones that validate meanwhile.
    chunks : int
        Gradients that are kept apart and added up BY_CHUNKS; else 0.
    in_place : bool
        Whether gradients take the place of outputs.
    is_sparse : bool
        Whether the first layer takes ``SparseRows``.
    """

    mode: int
    block_rows: int
    ranks: int
    validators: int
    chunks: int
    in_place: bool
    is_sparse: bool = False

    @property
    def blocks(self) -> int:
        """Blocks that are worked on at a time."""
        return 1 if self.mode in (BY_ROWS, BY_LAYERS) else self.ranks + self.validators


def divide(
    flop: int,
    parameters: int,
    mini_batch_size: int,
    train_rows: int,
    val_rows: int,
    *,
    beside: bool = True,
    whole: bool = False,
) -> Division:
    """Return the division of labour for a training.

    Parameters
    ----------
    flop : int
        Operations of one row's forward pass.
    parameters : int
        Their number.
    mini_batch_size, train_rows, val_rows : int
    beside : bool
        Whether validation may be left to other threads.
    whole : bool
        Whether a mini-batch is to pass in one block, for its rows depend on each other.
    """
    if whole:
        slabs = -(-max(mini_batch_size, _VALIDATION_ROWS) // SLAB)
        return Division(BY_ROWS, slabs * SLAB, 1, 0, 0, in_place=False)
    row_chunks = -(-mini_batch_size // K_BLOCK)
    ranks = ranks_for(3 * flop * K_BLOCK * get_num_threads(), row_chunks)
    if ranks > 1 and parameters <= _CHUNK_PARAMETERS:
        chunks = ranks * min(_CHUNKS_PER_RANK, -(-row_chunks // ranks))
        return Division(BY_CHUNKS, K_BLOCK, ranks, 0, chunks, in_place=True)
    # Blocks cut a mini-batch only where gradients' sums are cut, and validation rows where losses' sums are.
    slabs = -(-max(mini_batch_size, _VALIDATION_ROWS) // SLAB)
    block_rows = min(BLOCK_ROWS, slabs * SLAB)
    rows = min(mini_batch_size, block_rows)
    if suits_layers(rows, parameters):
        pieces = -(-rows // SLAB) * max(1, isqrt(parameters) // _LAYER_COLUMNS)
        ranks = ranks_for(flop * max(rows, _READ_ROWS), pieces)
        if ranks > 1:
            return Division(BY_LAYERS, block_rows, ranks, 0, 0, in_place=False)
    ranks = ranks_for(3 * flop * rows, -(-rows // SLAB))
    validators = _validators(flop, parameters, train_rows, val_rows) if ranks == 1 and beside else 0
    mode = VALIDATION_BESIDE if validators else BY_ROWS
    # In place of the outputs, gradients stay in cache longer; apart from them, weights can follow theirs at once.
    return Division(mode, block_rows, ranks, validators, 0, in_place=ranks == 1 and mini_batch_size > K_BLOCK)


def suits_layers(rows: int, parameters: int) -> bool:
    """Whether a block is best worked on BY_LAYERS: where it has fewer rows than its layers are wide, about."""
    return rows * rows < parameters


def _validators(flop: int, parameters: int, train_rows: int, val_rows: int) -> int:
    """Return the number of threads that validate beside the training: as many as keep pace with it."""
    trained = 3 * train_rows
    pays = flop * val_rows >= _FLOP_BESIDE and 9 * val_rows >= trained and parameters <= _COPIED_PARAMETERS
    return min(get_num_threads() - 1, -(-val_rows // trained)) if pays else 0
