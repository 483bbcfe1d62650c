"""The compiled engine gives the bits of the modules called one by one, whatever the sizes."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy
import pytest
from helpers import LAYOUTS, child_environment
from same_bits import NETWORKS, ORIGINAL, SMOOTH, Network, assert_same_bits, digests, train

from fastbp import nn, optim
from fastbp.engine import call_length
from fastbp.engine import session as session_module
from fastbp.engine.compiled_train import room_for_results
from fastbp.engine.plan import plan_of
from fastbp.nn.losses.kernel_loss import given_rows
from fastbp.runtime import threads
from fastbp_kernels.network import predict as predicting
from fastbp_kernels.network import train as training

# Rows, mini-batch size, validation rows: short last batches, batches of one row, of all, larger than the data, beyond
# one and two stretches of 256 rows; validation of no rows, of one, of several blocks.
SIZES = [(23, 5, 11), (7, 7, 1), (7, 100, 0), (20, 1, None), (300, 256, 600), (700, 257, 5), (1300, 513, 130)]


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_engine_and_module_by_module_give_the_same_bits(network, reduction, dtype):
    for n, mini_batch_size, val in SIZES:
        data = network.data(dtype, n, val)
        outcomes = [
            train(network.build(dtype), data, 2, mini_batch_size, by_modules=by_modules, reduction=reduction)
            for by_modules in (True, False)
        ]
        assert_same_bits(*outcomes)


@pytest.mark.parametrize("network", [ORIGINAL, SMOOTH], ids=["the original", "smooth"])
def test_a_long_shuffled_training_ends_with_the_same_bits(network, reduction, dtype):
    data = network.data(dtype, 333, 70)
    options = {"reduction": reduction, "shuffle": True}
    one = train(network.build(dtype), data, 60, 20, rng=5, **options)
    assert_same_bits(one, train(network.build(dtype), data, 60, 20, rng=5, by_modules=True, **options))
    assert one.history["train_loss"][-1] < one.history["train_loss"][0]


def keep_gradients(monkeypatch):
    """Let gradients replace outputs in the engine, also where weights could follow theirs at once."""
    divide = session_module.divide

    def in_place(*arguments, **options):
        return divide(*arguments, **options)._replace(in_place=True)

    monkeypatch.setattr(session_module, "divide", in_place)


@pytest.fixture(params=[False, True], ids=["weights follow at once", "gradients kept"])
def either_update(request, monkeypatch):
    """Both ways of the engine to update a network's parameters."""
    if request.param:
        keep_gradients(monkeypatch)


@pytest.mark.usefixtures("either_update")
def test_a_training_that_diverges_does_so_with_the_same_numbers(dtype):
    data = ORIGINAL.data(dtype, 50, 30)
    options = {"lr": 1e6, "on_nonfinite": "ignore"}
    one, two = (train(ORIGINAL.build(dtype), data, 12, 7, by_modules=way, **options) for way in (True, False))
    assert not numpy.isfinite(one.history["train_loss"][-1])
    assert_same_bits(one, two)


@pytest.mark.usefixtures("either_update")
def test_numbers_that_are_not_finite_go_through_alike(dtype):
    for network in (SMOOTH, ORIGINAL, NETWORKS["activation last"]):
        for value in (numpy.nan, numpy.inf, -numpy.inf, numpy.finfo(dtype).max, 1e-40, -0.0):
            data = network.data(dtype, 40, 20)
            data[0][17, 1] = data[2][3, 0] = data[2][19, 1] = value
            ways = ({"by_modules": way, "on_nonfinite": "ignore"} for way in (True, False))
            assert_same_bits(*(train(network.build(dtype), data, 2, 7, **way) for way in ways))


@pytest.mark.parametrize("by_modules", [False, True])
def test_ten_epochs_are_ten_calls_of_one(by_modules, dtype):
    data = ORIGINAL.data(dtype, 101, 40)
    together, apart = ORIGINAL.build(dtype), ORIGINAL.build(dtype)
    one = train(together, data, 10, 20, by_modules=by_modules)
    histories = [train(apart, data, 1, 20, by_modules=by_modules).history for _ in range(9)]
    last = train(apart, data, 1, 20, by_modules=by_modules)
    histories.append(last.history)
    for name in one.history:
        assert one.history[name] == [value for history in histories for value in history[name]]
    for kind in ("parameters", "gradients"):
        for mine, theirs in zip(getattr(one, kind), getattr(last, kind), strict=True):
            numpy.testing.assert_array_equal(mine, theirs)


def test_ten_shuffled_epochs_are_ten_calls_with_one_generator():
    data = ORIGINAL.data(numpy.float32, 101)
    one, two = ORIGINAL.build(numpy.float32), ORIGINAL.build(numpy.float32)
    train(one, data, 10, 20, shuffle=True, rng=3)
    train(two, data, 1, 20, shuffle=True, rng=numpy.random.default_rng(3), calls=10)
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        numpy.testing.assert_array_equal(mine.data, theirs.data)


@pytest.mark.parametrize("by_modules", [False, True])
def test_a_training_repeats_bit_for_bit(by_modules, dtype):
    data, options = SMOOTH.data(dtype, 101, 40), {"by_modules": by_modules, "shuffle": True, "rng": 0}
    assert_same_bits(*(train(SMOOTH.build(dtype), data, 10, 20, **options) for _ in range(2)))


@pytest.mark.usefixtures("either_update")
@pytest.mark.parametrize("seconds", [0.0, 1e-5, 1e9])
def test_it_does_not_matter_where_compiled_calls_end(monkeypatch, seconds, dtype):
    data = ORIGINAL.data(dtype, 101, 600)
    expected = train(ORIGINAL.build(dtype), data, 8, 20, by_modules=True, shuffle=True, rng=1)
    monkeypatch.setattr(call_length, "CALL_SECONDS", seconds)
    monkeypatch.setattr(call_length, "FIRST_FLOP", 0.0)
    assert_same_bits(expected, train(ORIGINAL.build(dtype), data, 8, 20, shuffle=True, rng=1))


def test_a_compiled_call_leaves_the_gradients_of_its_last_mini_batch_wherever_it_ends(monkeypatch, dtype):
    """An epoch is six mini-batches and five blocks of validation rows."""
    data = ORIGINAL.data(dtype, 101, 600)
    for stop in range(1, 24):
        outcomes = []
        for keeps in (False, True):
            model = ORIGINAL.build(dtype)
            opt = optim.SGD(model.parameters(), lr=0.05)
            with monkeypatch.context() as patched:
                if keeps:
                    keep_gradients(patched)
                train_rows, val_rows = given_rows(*data[:2]), given_rows(*data[2:])
                session = session_module.Session(model, nn.MSELoss(), opt, train_rows, val_rows, 20)
            with session:
                session.call(0, stop, session_module.NO_ORDER, room_for_results(-(-stop // 11)))
            outcomes.append([array.copy() for p in model.parameters() for array in (p.data, p.grad)])
        for one, two in zip(*outcomes, strict=True):
            numpy.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("arrange", [LAYOUTS[name] for name in LAYOUTS if name != "broadcast_row"])
def test_the_layout_of_the_data_does_not_change_a_bit(arrange, dtype):
    data = SMOOTH.data(dtype, 101, 40)
    moved = [arrange(array) for array in data]
    assert_same_bits(train(SMOOTH.build(dtype), data, 3, 20), train(SMOOTH.build(dtype), moved, 3, 20))


@pytest.mark.parametrize("by_modules", [False, True])
@pytest.mark.parametrize("offset", [1, 3, 8, 13])
def test_the_alignment_of_the_data_does_not_change_a_bit(offset, by_modules, dtype):
    def shifted(array):
        memory = numpy.empty(array.size + offset, dtype)
        memory[offset:] = array.ravel()
        return memory[offset:].reshape(array.shape)

    data = SMOOTH.data(dtype, 101, 40)
    outcomes = [train(SMOOTH.build(dtype), each, 3, 20, by_modules=by_modules) for each in (data, map(shifted, data))]
    assert_same_bits(*outcomes)


def test_another_process_gives_the_same_bits():
    command = [sys.executable, "-c", "import same_bits; print(*same_bits.digests())"]
    environment = child_environment(Path(__file__).parent)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == digests()


def test_a_new_architecture_compiles_nothing():
    kernels = (training.train, predicting.predict)
    for dtype in (numpy.float32, numpy.float64):
        network = Network((2, 3), (None,))
        train(network.build(dtype), network.data(dtype, 10, 5), 1, 5)
    before = [len(kernel.signatures) for kernel in kernels]
    for dtype in (numpy.float32, numpy.float64):
        for network in NETWORKS.values():
            for options in ({}, {"shuffle": True, "rng": 0}):
                data = network.data(dtype, 10, 5)
                data[0].flags.writeable = False
                train(network.build(dtype), [numpy.asfortranarray(data[0]), *data[1:]], 1, 4, **options)
    assert [len(kernel.signatures) for kernel in kernels] == before


@pytest.mark.parametrize("count", [1, 3, 16])
def test_memory_beside_the_data_is_that_of_a_block_of_rows(monkeypatch, count):
    """A row of X and twice the outputs, in cache lines, for 512 rows; threads that share many rows have 256 each.

    These threads have 8 gradients each, too.
    """
    monkeypatch.setattr(threads, "_limit", count)
    model = SMOOTH.build(numpy.float32)
    row = 64 * (1 + 2 * (2 + 1 + 1))
    memory = 512 * row if count == 1 else count * (256 * row + 8 * plan_of(model).grad.nbytes)
    train(model, SMOOTH.data(numpy.float32, 2), 1, 2)  # has the engine's code loaded
    peaks = []
    for n in (40_000, 80_000):  # each enough for 8 gradients of 256 rows in all threads
        model, data = SMOOTH.build(numpy.float32), SMOOTH.data(numpy.float32, n)
        tracemalloc.start()
        train(model, data, 1, n)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20_000
    assert peaks[1] < memory + 50_000
