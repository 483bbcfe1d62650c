"""Threads that work on one layer after the other train to the bits of one thread."""

import layers
import numpy
import pytest
import scipy.sparse
from numba import njit
from recipes import Recipe
from same_bits import Network, assert_same_bits, train

import fastbp
from fastbp import nn, optim
from fastbp.engine import parallelism, session
from fastbp.runtime import threads
from fastbp.sklearn import MLPRegressor
from fastbp_kernels.network.arguments import BY_LAYERS, Workspace
from fastbp_kernels.parallel import partition


@pytest.fixture
def by_layers(monkeypatch):
    """Let all trainings be worked on by layers; yields the threads of each call that is."""
    calls = []

    class Watched(threads.Team):
        def run(self, kernel, *arguments):
            if any(isinstance(each, Workspace) and each.mode == BY_LAYERS for each in arguments):
                calls.append(self.ranks)
            super().run(kernel, *arguments)

    monkeypatch.setattr(session, "Team", Watched)
    monkeypatch.setattr(threads, "FLOP_PER_THREAD", 1.0)
    monkeypatch.setattr(parallelism, "_CHUNK_PARAMETERS", 0)
    monkeypatch.setattr(parallelism, "_LAYER_COLUMNS", 1)
    monkeypatch.setattr(parallelism, "suits_layers", lambda rows, parameters: True)
    before = fastbp.get_num_threads()
    yield calls
    fastbp.set_num_threads(before)


WIDE = Network((70, 131, 97, 3), ("ReLU", "Tanh", None))


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_linear_layers_shared_by_outputs_give_the_same_bits(by_layers, count, shuffle, dtype):
    for network in (WIDE, Network((33, 300, 65), ("GELU", "Sigmoid"), bias=False)):
        for n, mini_batch_size in ((50, 1), (50, 4), (64, 16), (200, 49), (700, 600)):
            data, outcomes, options = network.data(dtype, n, 20), [], {"shuffle": True, "rng": 1} if shuffle else {}
            for ranks in (1, count):
                fastbp.set_num_threads(ranks)
                by_layers.clear()
                outcomes.append(train(network.build(dtype), data, 2, mini_batch_size, **options))
                assert set(by_layers) == ({count} if ranks > 1 else set())
            assert_same_bits(*outcomes)


@pytest.mark.parametrize("end", layers.ENDS)
@pytest.mark.parametrize("name", layers.NETWORKS)
def test_layers_of_all_kinds_give_the_same_bits(by_layers, name, end):
    models, of_rows = [layers.network(name, numpy.float32, end) for _ in range(2)], "batch norm" not in name + end
    for model, ranks in zip(models, (1, 3), strict=True):
        fastbp.set_num_threads(ranks)
        layers.trained(model, nn.MSELoss(), 63, 20, optim.Adam)
    assert set(by_layers) == ({3} if of_rows else set())
    layers.assert_same_bits(*models)


@pytest.mark.usefixtures("by_layers")
@pytest.mark.parametrize("seed", range(90, 120))
def test_whatever_is_put_together_gives_the_same_bits(seed):
    recipe = Recipe(seed)
    (model, history), (other, shared) = (recipe.run(by_modules=False, threads=ranks) for ranks in (1, 3))
    layers.assert_same_bits(model, other)
    for name in history:
        numpy.testing.assert_array_equal(history[name], shared[name], err_msg=name)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sparse_rows_give_the_same_bits(by_layers):
    rng = numpy.random.default_rng(0)
    x = numpy.where(rng.random((97, 23)) < 0.2, rng.standard_normal((97, 23)), 0.0)
    fits = []
    for ranks in (1, 3):
        fastbp.set_num_threads(ranks)
        model = MLPRegressor(hidden_layer_sizes=(65, 33), batch_size=20, max_iter=3, random_state=0, tol=0.0)
        fits.append(model.fit(scipy.sparse.csr_array(x), x[:, 0]))
    assert set(by_layers) == {3}
    for one, other in zip(fits[0].coefs_, fits[1].coefs_, strict=True):
        numpy.testing.assert_array_equal(one, other)


def test_one_thread_alone_does_the_work_of_all(by_layers, monkeypatch, dtype):
    data, outcomes = WIDE.data(dtype, 50, 20), []
    for start in (threads.start_with_stack, _no_thread):
        monkeypatch.setattr(threads, "start_with_stack", start)
        fastbp.set_num_threads(3)
        outcomes.append(train(WIDE.build(dtype), data, 2, 17))
    assert set(by_layers) == {3}
    assert_same_bits(*outcomes)


def _no_thread(thread):
    raise RuntimeError("can't start new thread")


@njit
def rectangle(rows, columns, rank, ranks):
    return partition.rank_rectangle(rows, columns, rank, ranks)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6, 16])
def test_rectangles_cover_all_outputs_once(ranks):
    for rows, columns in ((1, 1), (4, 512), (16, 10), (100, 31), (1024, 1000), (5, 33)):
        covered = numpy.zeros((rows, columns), int)
        for rank in range(ranks):
            top, bottom, left, right = rectangle(rows, columns, rank, ranks)
            covered[top:bottom, left:right] += 1
            assert left % partition.COLUMNS == 0 or left == columns
        assert (covered == 1).all()


def test_rectangles_are_cut_where_least_is_read():
    assert rectangle(4, 512, 1, 2) == (0, 4, 256, 512)
    assert rectangle(1024, 512, 1, 2) == (512, 1024, 0, 512)
    assert rectangle(16, 10, 1, 2) == (8, 16, 0, 10)
    assert rectangle(512, 512, 5, 16) == (128, 256, 128, 256)
