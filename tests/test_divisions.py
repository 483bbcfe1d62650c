"""However threads divide a training among them, it ends with the bits of one thread."""

import numpy
import pytest
from same_bits import NETWORKS, ORIGINAL, SMOOTH, Network, assert_same_bits, train

import fastbp
from fastbp.engine import call_length, parallelism, session
from fastbp.runtime import threads
from fastbp_kernels.network.arguments import BY_CHUNKS, Workspace


@pytest.fixture
def eager_threads(monkeypatch):
    """Threads for the smallest work, and a list of (threads, division by chunks) for every call of the engine."""
    calls = []

    class Watched(threads.Team):
        def run(self, kernel, *arguments):
            workspace = next(each for each in arguments if isinstance(each, Workspace))
            calls.append((self.ranks, workspace.mode == BY_CHUNKS))
            super().run(kernel, *arguments)

    monkeypatch.setattr(threads, "FLOP_PER_THREAD", 1.0)
    monkeypatch.setattr(session, "Team", Watched)
    before = fastbp.get_num_threads()
    yield calls
    fastbp.set_num_threads(before)


def assert_bits_of_one_thread(network, rows, mini_batch_size, count, calls, reduction, dtype):
    """Of the modules one by one on one thread, and of the engine on ``count``, whose calls are left in ``calls``."""
    data = network.data(dtype, *rows)
    fastbp.set_num_threads(1)
    expected = train(network.build(dtype), data, 2, mini_batch_size, by_modules=True, reduction=reduction)
    fastbp.set_num_threads(count)
    calls.clear()
    assert_same_bits(expected, train(network.build(dtype), data, 2, mini_batch_size, reduction=reduction))


@pytest.mark.parametrize(("count", "reduction"), [(1, "mean"), (2, "sum"), (3, "mean")])
def test_threads_that_share_rows_and_outputs_give_the_same_bits(monkeypatch, eager_threads, count, reduction, dtype):
    monkeypatch.setattr(parallelism, "_CHUNK_PARAMETERS", 0)
    for network in (ORIGINAL, NETWORKS["one beside vectors"], NETWORKS["without bias"], NETWORKS["Sigmoid last"]):
        for n, mini_batch_size, val in [(130, 49, 40), (900, 600, 300), (100, 17, None)]:
            assert_bits_of_one_thread(network, (n, val), mini_batch_size, count, eager_threads, reduction, dtype)
            assert set(eager_threads) == {(min(count, -(-min(mini_batch_size, n) // 16)), False)}


@pytest.mark.parametrize(("count", "reduction"), [(2, "mean"), (3, "sum")])
def test_threads_that_take_chunks_of_rows_give_the_same_bits(eager_threads, count, reduction, dtype):
    for network in (ORIGINAL, SMOOTH, NETWORKS["wide hidden"], NETWORKS["without bias, activation last"]):
        for n, mini_batch_size, val in [(1100, 700, 300), (513, 513, None), (1500, 10**6, 16)]:
            assert_bits_of_one_thread(network, (n, val), mini_batch_size, count, eager_threads, reduction, dtype)
            assert set(eager_threads) == {(count, True)}


@pytest.fixture
def validation_beside(monkeypatch, eager_threads):
    """The smallest validation is left to other threads, and no other work; yields the engine's calls."""
    monkeypatch.setattr(threads, "FLOP_PER_THREAD", 1e30)
    monkeypatch.setattr(parallelism, "_FLOP_BESIDE", 0.0)
    return eager_threads


@pytest.mark.parametrize("flop", [0.0, 1e6, 1e12])
@pytest.mark.parametrize("count", [2, 3])
def test_validation_beside_the_training_gives_the_same_bits(monkeypatch, validation_beside, count, flop, dtype):
    """Wherever compiled calls end, also within a validation; where no training follows it, one thread does it all."""
    monkeypatch.setattr(call_length, "CALL_SECONDS", 1e9)
    monkeypatch.setattr(call_length, "FIRST_FLOP", flop)
    for network in (ORIGINAL, SMOOTH, NETWORKS["without bias, activation last"]):
        for n, mini_batch_size, val in [(101, 20, 600), (101, 20, 34), (40, 7, 300), (300, 300, 100)]:
            data, options = network.data(dtype, n, val), {"shuffle": True, "rng": 1}
            expected = train(network.build(dtype), data, 9, mini_batch_size, by_modules=True, **options)
            fastbp.set_num_threads(count)
            validation_beside.clear()
            assert_same_bits(expected, train(network.build(dtype), data, 9, mini_batch_size, **options))
            ranks = {ranks for ranks, _ in validation_beside}
            assert ranks - {1} == {min(count, 1 + -(-val // (3 * n)))}


@pytest.mark.parametrize(
    ("n", "val", "constant", "value"),
    [(100, 10, "_FLOP_BESIDE", 0.0), (100, 50, "_FLOP_BESIDE", 1e9), (100, 50, "_COPIED_PARAMETERS", 100)],
    ids=["few rows", "little work", "large copies"],
)
def test_validation_that_would_gain_little_stays_with_the_training(
    monkeypatch, validation_beside, n, val, constant, value
):
    monkeypatch.setattr(parallelism, constant, value)
    fastbp.set_num_threads(2)
    train(ORIGINAL.build(numpy.float32), ORIGINAL.data(numpy.float32, n, val), 4, 20)
    assert set(validation_beside) == {(1, False)}


def test_validation_stays_with_the_training_where_somebody_looks_after_each_epoch(validation_beside):
    fastbp.set_num_threads(2)
    data = ORIGINAL.data(numpy.float32, 100, 50)
    expected = train(ORIGINAL.build(numpy.float32), data, 4, 20)
    assert (2, False) in validation_beside
    validation_beside.clear()
    assert_same_bits(expected, train(ORIGINAL.build(numpy.float32), data, 4, 20, progress=lambda history: None))
    assert set(validation_beside) == {(1, False)}


def test_small_work_stays_on_one_thread(monkeypatch):
    monkeypatch.setattr(threads, "Thread", None)
    train(ORIGINAL.build(numpy.float32), ORIGINAL.data(numpy.float32, 100, 20), 3, 50)


def test_threads_train_a_large_network_to_the_bits_of_one(dtype):
    network = Network((200, 300, 300, 10), ("ReLU", "Tanh", None))
    data, outcomes = network.data(dtype, 700, 100), []
    before = fastbp.get_num_threads()
    try:
        for count in (1, 2, 3):
            fastbp.set_num_threads(count)
            outcomes += [train(network.build(dtype), data, 2, 300, by_modules=way) for way in (True, False)]
    finally:
        fastbp.set_num_threads(before)
    for other in outcomes[1:]:
        assert_same_bits(outcomes[0], other)
