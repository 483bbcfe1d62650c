"""How the work of a training is divided, as a table: network, batch and threads, and what comes of it."""

import pytest

import fastbp
from fastbp.engine.parallelism import Division, divide
from fastbp_kernels.network.arguments import BY_CHUNKS, BY_LAYERS, BY_ROWS, VALIDATION_BESIDE

SMALL, WIDE = (2854, 1427), (3_721_216, 1_863_690)  # operations of a row, parameters: 2-25-25-25-2, 784-1024-1024-10

LONG = (393_728, 197_633)  # 256-256-256-256-1

# threads, network, mini-batch, rows, rows of validation; mode, rows of a block, threads, validators, chunks, in place
TABLE = [
    (1, SMALL, 50, 1000, 0, Division(BY_ROWS, 128, 1, 0, 0, False)),
    (2, SMALL, 50, 1000, 0, Division(BY_ROWS, 128, 1, 0, 0, False)),
    (1, SMALL, 50, 1000, 1000, Division(BY_ROWS, 128, 1, 0, 0, False)),
    (2, SMALL, 50, 1000, 1000, Division(VALIDATION_BESIDE, 128, 1, 1, 0, False)),
    (16, SMALL, 50, 1000, 1000, Division(VALIDATION_BESIDE, 128, 1, 1, 0, False)),
    (2, SMALL, 50, 1000, 100, Division(BY_ROWS, 128, 1, 0, 0, False)),
    (1, SMALL, 10_000, 10_000, 0, Division(BY_ROWS, 512, 1, 0, 0, True)),
    (2, SMALL, 10_000, 10_000, 0, Division(BY_CHUNKS, 256, 2, 0, 16, True)),
    (16, SMALL, 10_000, 10_000, 0, Division(BY_CHUNKS, 256, 16, 0, 48, True)),
    (1, WIDE, 128, 1000, 0, Division(BY_ROWS, 128, 1, 0, 0, False)),
    (2, WIDE, 128, 1000, 0, Division(BY_LAYERS, 128, 2, 0, 0, False)),
    (2, WIDE, 1, 1000, 0, Division(BY_LAYERS, 128, 2, 0, 0, False)),
    (64, WIDE, 1, 1000, 0, Division(BY_LAYERS, 128, 21, 0, 0, False)),
    (16, WIDE, 128, 1000, 0, Division(BY_LAYERS, 128, 16, 0, 0, False)),
    (16, WIDE, 1024, 2048, 2048, Division(BY_LAYERS, 512, 16, 0, 0, False)),
    (2, LONG, 4096, 8192, 0, Division(BY_ROWS, 512, 2, 0, 0, False)),
    (2, LONG, 4, 8192, 0, Division(BY_LAYERS, 128, 2, 0, 0, False)),
    (2, (17_000, 8_700), 4, 8192, 0, Division(BY_ROWS, 128, 1, 0, 0, False)),
]


@pytest.mark.parametrize(("threads", "network", "batch", "rows", "val_rows", "division"), TABLE)
def test_a_network_a_batch_and_threads_make_a_division(threads, network, batch, rows, val_rows, division):
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(threads)
    try:
        assert divide(*network, batch, rows, val_rows) == division
        assert divide(*network, batch, rows, val_rows, beside=False) == division._replace(
            validators=0, mode=BY_ROWS if division.validators else division.mode
        )
    finally:
        fastbp.set_num_threads(before)


def test_blocks_are_counted_for_threads_that_work_on_rows_of_their_own():
    assert Division(BY_ROWS, 512, 2, 0, 0, False).blocks == 1
    assert Division(BY_LAYERS, 512, 2, 0, 0, False).blocks == 1
    assert Division(BY_CHUNKS, 256, 2, 0, 16, True).blocks == 2
    assert Division(VALIDATION_BESIDE, 128, 1, 1, 0, False).blocks == 2
