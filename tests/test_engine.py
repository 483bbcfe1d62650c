"""The compiled engine gives the bits of the modules called one by one, whatever the sizes, and tells when it cannot."""

import hashlib
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy
import pytest
from helpers import LAYOUTS, child_environment, draw, mlp, snapshot
from same_bits import Network, OwnSGD, assert_same_bits, train

import fastbp
from fastbp import nn, optim, threads, trainers
from fastbp.course import Rows
from fastbp.plan import Plan
from fastbp_kernels import engine

ORIGINAL = Network((2, 25, 25, 25, 2), ("ReLU", "ReLU", "ReLU", None))
SMOOTH = Network((4, 32, 16, 4), ("Tanh", "Sigmoid", None))
NETWORKS = {
    "one number": Network((1, 1), (None,)),
    "one Linear": Network((4, 3), (None,)),
    "the original": ORIGINAL,
    "smooth": SMOOTH,
    "activation last": Network((3, 9, 5), ("Tanh", "ReLU")),
    "Tanh last": Network((3, 2, 7), ("ReLU", "Tanh")),
    "Sigmoid last": Network((3, 15, 3), ("Sigmoid", "Sigmoid")),
    "no activation": Network((5, 6, 7, 2), (None, None, None)),
    "through one feature": Network((3, 1, 7, 1), ("Tanh", "ReLU", None)),
    "whole vectors": Network((16, 32, 64, 8), ("ReLU", "Tanh", None)),
    "one beside vectors": Network((31, 33, 65, 17), ("Sigmoid", "ReLU", None)),
    "wider than a stretch of k": Network((300, 20, 257, 12), ("ReLU", "Tanh", None)),
    "wide hidden": Network((10, 530, 6), ("Sigmoid", None)),
    "without bias": Network((5, 17, 9, 3), ("ReLU", "Tanh", None), bias=False),
    "without bias, activation last": Network((4, 8, 2), ("Sigmoid", "ReLU"), bias=False),
}
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
    layout = Plan.layout

    def in_place(plan, rows, **options):
        return layout(plan, rows, **(options | {"in_place": "in_place" in options}))

    monkeypatch.setattr(Plan, "layout", in_place)


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
    monkeypatch.setattr(trainers, "STRETCH_SECONDS", seconds)
    monkeypatch.setattr(trainers, "_FIRST_FLOP", 0.0)
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
                trainer = trainers.EngineTrainer(model, nn.MSELoss(), opt, Rows(*data[:2]), Rows(*data[2:]), 20)
            trainer._call([], 0, stop, *trainer._results(-(-stop // 11)))
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


def digest(outcome):
    together = b"".join(array.tobytes() for array in outcome.parameters + outcome.gradients)
    return hashlib.sha256(together + repr(dict(outcome.history)).encode()).hexdigest()


def digests():
    """Of trainings in both dtypes, by the engine and by modules, of mini-batches in order and shuffled."""
    found = []
    for dtype in (numpy.float32, numpy.float64):
        for network in (SMOOTH, ORIGINAL):
            data = network.data(dtype, 600, 40)
            for options in ({}, {"by_modules": True}, {"shuffle": True, "rng": 0}):
                found.append(digest(train(network.build(dtype), data, 5, 300, **options)))
    return found


def test_another_process_gives_the_same_bits():
    command = [sys.executable, "-c", "import test_engine; print(*test_engine.digests())"]
    environment = child_environment(Path(__file__).parent)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == digests()


@pytest.fixture
def eager_threads(monkeypatch):
    """Threads for the smallest work, and a list of (threads, division by stretches) for every call of the engine."""
    calls = []

    class Watched(threads.Team):
        def run(self, kernel, *arguments):
            calls.append((self.ranks, arguments[4].size > 0))
            super().run(kernel, *arguments)

    monkeypatch.setattr(threads, "FLOP_PER_THREAD", 1.0)
    monkeypatch.setattr(trainers, "Team", Watched)
    before = fastbp.get_num_threads()
    yield calls
    fastbp.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_threads_that_share_rows_and_outputs_give_the_same_bits(monkeypatch, eager_threads, count, reduction, dtype):
    monkeypatch.setattr(trainers, "_PARTIAL_PARAMETERS", 0)
    for network in (ORIGINAL, NETWORKS["one beside vectors"], NETWORKS["without bias"], NETWORKS["Sigmoid last"]):
        for n, mini_batch_size, val in [(130, 49, 40), (900, 600, 300), (100, 17, None)]:
            data = network.data(dtype, n, val)
            fastbp.set_num_threads(1)
            expected = train(network.build(dtype), data, 2, mini_batch_size, by_modules=True, reduction=reduction)
            fastbp.set_num_threads(count)
            eager_threads.clear()
            assert_same_bits(expected, train(network.build(dtype), data, 2, mini_batch_size, reduction=reduction))
            assert set(eager_threads) == {(min(count, -(-min(mini_batch_size, n) // 16)), False)}


@pytest.mark.parametrize("count", [2, 3])
def test_threads_that_take_stretches_of_rows_give_the_same_bits(eager_threads, count, reduction, dtype):
    for network in (ORIGINAL, SMOOTH, NETWORKS["wide hidden"], NETWORKS["without bias, activation last"]):
        for n, mini_batch_size, val in [(1100, 700, 300), (513, 513, None), (1500, 10**6, 16)]:
            data = network.data(dtype, n, val)
            fastbp.set_num_threads(1)
            expected = train(network.build(dtype), data, 2, mini_batch_size, by_modules=True, reduction=reduction)
            fastbp.set_num_threads(count)
            eager_threads.clear()
            assert_same_bits(expected, train(network.build(dtype), data, 2, mini_batch_size, reduction=reduction))
            assert set(eager_threads) == {(count, True)}


@pytest.fixture
def validation_beside(monkeypatch, eager_threads):
    """The smallest validation is left to other threads, and no other work; yields the engine's calls."""
    monkeypatch.setattr(threads, "FLOP_PER_THREAD", 1e30)
    monkeypatch.setattr(trainers, "_FLOP_BESIDE", 0.0)
    return eager_threads


@pytest.mark.parametrize("flop", [0.0, 1e6, 1e12])
@pytest.mark.parametrize("count", [2, 3])
def test_validation_beside_the_training_gives_the_same_bits(monkeypatch, validation_beside, count, flop, dtype):
    """Wherever compiled calls end, also within a validation; where no training follows it, one thread does it all."""
    monkeypatch.setattr(trainers, "STRETCH_SECONDS", 1e9)
    monkeypatch.setattr(trainers, "_FIRST_FLOP", flop)
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
    monkeypatch.setattr(trainers, constant, value)
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


class Same(nn.Module):
    """A user's module that lets everything through."""

    def forward(self, input):
        return input.copy()

    def backward(self, grad_output):
        return grad_output


class OwnLinear(nn.Linear):
    pass


class OwnLoss(nn.MSELoss):
    pass


def shared(model):
    model[2].weight = model[0].weight
    return model


def with_a_layer_of_another(model):
    nn.Sequential(model[0], nn.Linear(4, 2))
    return model


UNKNOWN = [
    ("a Same, which the engine does not know", lambda: nn.Sequential(nn.Linear(4, 4, rng=0), Same())),
    ("an? OwnLinear, which the engine does not know", lambda: nn.Sequential(nn.Linear(4, 4), OwnLinear(4, 4))),
    ("a Tanh that does not follow a Linear", lambda: nn.Sequential(nn.Tanh(), nn.Linear(4, 4, rng=0))),
    ("a ReLU that does not follow a Linear", lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.ReLU())),
    ("share a parameter", lambda: shared(mlp(4, 4, 4))),
    ("belong to another model", lambda: with_a_layer_of_another(mlp(4, 4, 4))),
    ("an? OwnLinear, which", lambda: OwnLinear(4, 4)),
]


@pytest.mark.parametrize(("reason", "build"), UNKNOWN, ids=[reason for reason, _ in UNKNOWN])
def test_a_model_that_the_engine_does_not_know_trains_module_by_module_and_says_why(reason, build):
    model, x, target = build(), draw((23, 4), numpy.float32), draw((23, 4), numpy.float32, seed=1)
    before = snapshot(model)
    opt = optim.SGD(model.parameters(), lr=0.1)
    history = fastbp.train_model(model, x, target, None, None, nn.MSELoss(), opt, 20, 5)
    assert history.way.startswith("module by module: ")
    assert re.search(reason, history.way)
    assert history["train_loss"][-1] < history["train_loss"][0]
    for name, (data, _) in snapshot(model).items():
        assert not numpy.array_equal(data, before[name][0]), name


def parts(model, criterion=nn.MSELoss, opt=optim.SGD, parameters=None):
    """The way in which these train, and what the model's parameters are afterwards."""
    x, target = draw((23, 4), numpy.float32), draw((23, 3), numpy.float32, seed=1)
    optimiser = opt(model.parameters() if parameters is None else parameters, lr=0.1)
    history = fastbp.train_model(model, x, target, x, target, criterion(), optimiser, 3, 5)
    return history, [parameter.data for parameter in model.parameters()]


@pytest.mark.parametrize(("what", "own_class"), [("criterion", OwnLoss), ("opt", OwnSGD)])
def test_a_users_criterion_or_optimiser_is_used_and_named(what, own_class):
    expected, known = parts(mlp(4, 5, 3))
    history, own = parts(mlp(4, 5, 3), **{what: own_class})
    assert expected.way == "engine"
    assert history.way == f"module by module: the engine does not know {own_class.__name__}"
    assert dict(history) == dict(expected)
    for mine, theirs in zip(own, known, strict=True):
        numpy.testing.assert_array_equal(mine, theirs)


def test_a_users_module_in_the_middle_changes_the_way_and_not_a_bit():
    model = mlp(4, 5, 3)
    expected, known = parts(model)
    first, activation, last = mlp(4, 5, 3)
    history, own = parts(nn.Sequential(first, Same(), activation, last))
    assert history.way == "module by module: it contains a Same, which the engine does not know"
    assert dict(history) == dict(expected)
    for mine, theirs in zip(own, known, strict=True):
        numpy.testing.assert_array_equal(mine, theirs)


def test_an_optimiser_over_a_part_of_the_model_is_told():
    model = mlp(4, 5, 3)
    history, _ = parts(model, parameters=model[2].parameters())
    assert history.way == "module by module: the optimiser holds a part of the model's parameters only"


def test_data_of_three_dimensions_train_module_by_module():
    model, x = mlp(4, 5, 3), draw((8, 2, 4), numpy.float32)
    opt = optim.SGD(model.parameters(), lr=0.1)
    history = fastbp.train_model(model, x, x[..., :3], None, None, nn.MSELoss(), opt, 2, 3)
    assert history.way == "module by module: the engine takes inputs and targets of two dimensions"


def test_a_lone_linear_and_nested_sequentials_train_in_the_engine():
    first, activation, last = mlp(4, 5, 3)
    assert parts(nn.Linear(4, 3))[0].way == "engine"
    expected, known = parts(mlp(4, 5, 3))
    history, own = parts(nn.Sequential(nn.Sequential(first), nn.Sequential(nn.Sequential(activation, last))))
    assert (history.way, dict(history)) == ("engine", dict(expected))
    for mine, theirs in zip(own, known, strict=True):
        numpy.testing.assert_array_equal(mine, theirs)


def test_a_layer_that_became_part_of_a_larger_model_trains_there(dtype):
    """Building the larger model moves the parameters to other vectors."""
    inner, data = mlp(4, 6, 5, dtype=dtype), draw((23, 4), dtype)
    opt = optim.SGD(inner.parameters(), lr=0.1)
    fastbp.train_model(inner, data, draw((23, 5), dtype), None, None, nn.MSELoss(), opt, 1, 5)
    inner.predict(data)
    outer = nn.Sequential(inner, nn.Tanh(), nn.Linear(5, 3, rng=3, dtype=dtype))
    before = snapshot(inner)
    train(outer, (data, draw((23, 3), dtype), None, None), 2, 5)
    for name, (values, grad) in snapshot(inner).items():
        assert not numpy.array_equal(values, before[name][0])
        assert not numpy.array_equal(grad, before[name][1])
    hidden = data
    for module in inner:
        hidden = module(hidden)
    numpy.testing.assert_array_equal(inner.predict(data), hidden)


def test_a_new_architecture_compiles_nothing():
    kernels = (engine.train, engine.predict)
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


def test_memory_beside_the_data_is_that_of_a_block_of_rows():
    """A row of X and twice the outputs, in cache lines, for 512 rows; twice, as the model's predict keeps its own."""
    lines = 1 + 2 * (2 + 1 + 1)
    peaks = []
    for n in (5000, 50_000):
        model, data = SMOOTH.build(numpy.float32), SMOOTH.data(numpy.float32, n)
        tracemalloc.start()
        train(model, data, 1, n)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 10_000
    assert peaks[1] < 2 * 512 * 64 * lines + 100_000
