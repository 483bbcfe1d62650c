"""Memory that is not ours to write: models that come from files, other processes and read-only buffers own theirs."""

import copy
import io
import pickle
import tracemalloc

import joblib
import numpy
import pytest
from helpers import draw, mlp
from joblib import Parallel, delayed

import fastbp
from fastbp import nn, optim

F32 = numpy.float32
X, TARGET = draw((12, 4), F32), draw((12, 3), F32, 1)


class Pair(nn.Module):
    """A module of a user's own, whose layers have each a storage of its own."""

    def __init__(self):
        self.one, self.two = nn.Linear(4, 5, rng=0), nn.Linear(5, 3, rng=1)

    def forward(self, input):
        return self.two(self.one(input))

    def backward(self, grad_output):
        return self.one.backward(self.two.backward(grad_output))


MODELS = {
    "Sequential": lambda: mlp(4, 5, 3),
    "Linear": lambda: nn.Linear(4, 3, rng=0),
    "Linear without bias": lambda: nn.Linear(4, 3, bias=False, rng=0),
    "Pair": Pair,
}


def through_out_of_band_buffers(model):
    """Protocol 5, as Ray does it: the arrays lie in bytes that nobody may write."""
    buffers = []
    data = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


def through_a_memory_map(model, folder):
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib", mmap_mode="r")


WAYS = {
    **{f"protocol {n}": lambda model, _, n=n: pickle.loads(pickle.dumps(model, n)) for n in range(6)},
    "out-of-band buffers": lambda model, _: through_out_of_band_buffers(model),
    "memory map": through_a_memory_map,
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "unpickler": lambda model, _: pickle.Unpickler(io.BytesIO(pickle.dumps(model))).load(),
}


def train_a_little(model):
    opt = optim.SGD(model.parameters(), lr=0.1)
    model.zero_grad()
    model(X)
    model.backward(TARGET)
    opt.step()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_comes_in_owns_aligned_memory_that_it_may_write(way, kind, tmp_path):
    model = MODELS[kind]()
    model(X)
    model.backward(TARGET)
    others = [WAYS[way](model, tmp_path) for _ in range(2)]
    kept = [parameter.data.copy() for parameter in model.parameters()]
    for other in others:
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            numpy.testing.assert_array_equal(theirs.data, mine.data)
            for array in (theirs.data, theirs.kernel_grad):
                assert array.flags.writeable
            assert theirs.storage.data.ctypes.data % 64 == theirs.storage.grad.ctypes.data % 64 == 0
    train_a_little(others[0])
    for mine, theirs, untouched in zip(kept, others[1].parameters(), model.parameters(), strict=True):
        numpy.testing.assert_array_equal(theirs.data, mine, "the first shares nothing with the second")
        numpy.testing.assert_array_equal(untouched.data, mine)
    assert not numpy.array_equal(others[0].predict(X), others[1].predict(X))


def test_a_pickle_of_model_and_optimizer_keeps_them_together():
    model = mlp(4, 5, 3)
    for protocol in range(6):
        other, opt = pickle.loads(pickle.dumps((model, optim.SGD(model.parameters(), lr=0.1)), protocol))
        before = other.predict(X)
        other(X)
        other.backward(TARGET)
        opt.step()
        assert not numpy.array_equal(other.predict(X), before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model, 0))])
def test_a_copy_keeps_ties(duplicate):
    model = mlp(4, 4, 4)
    model[2].weight = model[0].weight
    other = duplicate(model)
    assert other[2].weight is other[0].weight
    assert other[2].weight is not model[0].weight


def step_of_a_worker(model):
    model.backward(model(numpy.ones((4, 784), F32)))
    optim.SGD(model.parameters(), lr=0.1).step()
    return 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_of_joblib_train_a_model_that_is_handed_over_as_a_memory_map():
    model = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 10))
    assert Parallel(n_jobs=2)(delayed(step_of_a_worker)(model) for _ in range(2)) == [1, 1]


def test_state_is_loaded_from_memory_that_nobody_may_write(tmp_path):
    source, model = mlp(4, 5, 3), mlp(4, 5, 3, seed=1)
    for name, value in source.state_dict().items():
        numpy.save(tmp_path / f"{name}.npy", value)
    maps = {name: numpy.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in source.state_dict()}
    model.load_state_dict(maps)
    train_a_little(model)
    for name, value in source.state_dict().items():
        numpy.testing.assert_array_equal(maps[name], value)


def test_data_that_nobody_may_write_are_read_where_they_lie_or_copied():
    """Read-only views of memory that may be written, such as pandas hands out, need no copy."""
    model, x = mlp(4, 5, 3), X.copy()
    view = x.view()
    view.flags.writeable = False
    expected = model.predict(x)
    for given in (view, numpy.frombuffer(x.tobytes(), F32).reshape(x.shape), numpy.asfortranarray(x)):
        numpy.testing.assert_array_equal(model.predict(given), expected)
        numpy.testing.assert_array_equal(model(given), expected)
        assert given is not view or not given.flags.writeable
    assert numpy.shares_memory(model[0]._checked(view), x)


class OwnSGD(optim.SGD):
    """Trains module by module."""


@pytest.mark.parametrize("kind", [optim.SGD, OwnSGD], ids=["engine", "module by module"])
def test_data_in_another_order_are_copied_once_a_training(kind):
    """As pandas hands out the columns of a table; epochs, mini-batches and validation read the copy."""
    x, target = numpy.asfortranarray(draw((20_000, 16), F32)), numpy.asfortranarray(draw((20_000, 3), F32, 1))
    model = mlp(16, 4, 3)
    opt = kind(model.parameters(), lr=0.01)
    fastbp.train_model(model, x[:100], target[:100], x[:100], target[:100], nn.MSELoss(), opt, 1, 50)
    tracemalloc.start()
    fastbp.train_model(model, x, target, x[:10], target[:10], nn.MSELoss(), opt, 3, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert x.nbytes + target.nbytes < peak < 1.4 * (x.nbytes + target.nbytes)
