"""Embeddings: PyTorch's numbers, trainings with integers, indices that are refused."""

import numpy
import pytest
import torch
from helpers import draw

import fastbp
from fastbp import nn, optim

F64 = numpy.float64
INDICES = numpy.array([[3, 1, 4], [1, 5, 2], [0, 5, 3], [3, 5, 3]])


def pair(**options):
    ours = nn.Embedding(6, 4, rng=0, dtype=F64, **options)
    theirs = torch.nn.Embedding(6, 4, dtype=torch.float64, **options)
    theirs.weight.data = torch.tensor(ours.weight.data)
    return ours, theirs


@pytest.mark.parametrize("options", [{}, {"padding_idx": 3}, {"padding_idx": -1}], ids=str)
@pytest.mark.parametrize("dtype", [numpy.int64, numpy.int32, numpy.uint8])
def test_outputs_and_gradients_are_those_of_torch(options, dtype):
    ours, theirs = pair(**options)
    output, grad = theirs(torch.tensor(INDICES)), draw((4, 3, 4), F64)
    output.backward(torch.tensor(grad))
    numpy.testing.assert_array_equal(ours(INDICES.astype(dtype)), output.detach().numpy())
    numpy.testing.assert_array_equal(ours.predict(INDICES), output.detach().numpy())
    assert ours.backward(grad).shape == INDICES.shape
    numpy.testing.assert_allclose(ours.weight.grad, theirs.weight.grad.numpy(), rtol=1e-13)
    assert ours.padding_idx == theirs.padding_idx
    assert ours.padding_idx is None or not ours.weight.data[ours.padding_idx].any()


def test_the_first_numbers_are_standard_normal_and_seeded():
    weight = nn.Embedding(2000, 50, rng=1).weight.data
    assert weight.dtype == numpy.float32
    numpy.testing.assert_allclose([weight.mean(), weight.std()], [0, 1], atol=0.01)
    numpy.testing.assert_array_equal(weight, nn.Embedding(2000, 50, rng=1).weight.data)


@pytest.mark.parametrize("criterion", [nn.MSELoss, nn.CrossEntropyLoss])
def test_a_training_on_several_indices_a_row_follows_torch(criterion):
    ours, theirs = pair(padding_idx=0)
    model = nn.Sequential(
        ours, nn.Flatten(), nn.Linear(12, 8, rng=1, dtype=F64), nn.Tanh(), nn.Linear(8, 2, rng=2, dtype=F64)
    )
    twin = fastbp.to_torch(model)
    x = numpy.random.default_rng(0).integers(0, 6, (30, 3))
    y = draw((30, 2), F64) if criterion is nn.MSELoss else numpy.arange(30) % 2
    adam = torch.optim.Adam(twin.parameters(), lr=0.01)
    loss = getattr(torch.nn, criterion.__name__)()
    for _ in range(4):
        for start in range(0, 30, 10):
            adam.zero_grad()
            loss(twin(torch.tensor(x[start : start + 10])), torch.tensor(y[start : start + 10])).backward()
            adam.step()
    opt = optim.Adam(model.parameters(), lr=0.01)
    weights = numpy.ones(30)
    fastbp.train_model(model, x, y, x, y, criterion(), opt, 4, 10, sample_weight=weights, progress=False)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        numpy.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)
    if criterion is nn.CrossEntropyLoss:
        expected = (twin(torch.tensor(x)).argmax(1).numpy() == y).mean()
        assert fastbp.compute_accuracy(model, x, y) == expected


class Mixed(nn.Module):
    """A category in the first column, numbers in the others."""

    def __init__(self):
        self.embedding = nn.Embedding(5, 3, rng=0, dtype=F64)
        self.body = nn.Sequential(nn.Linear(5, 4, rng=1, dtype=F64), nn.Tanh(), nn.Linear(4, 1, rng=2, dtype=F64))

    def forward(self, rows):
        return self.body(numpy.concatenate([self.embedding(rows[:, 0].astype(int)), rows[:, 1:]], axis=1))

    def backward(self, grad_output):
        grad = self.body.backward(grad_output)
        self.embedding.backward(grad[:, :3])
        return numpy.zeros((len(grad), 3))


def test_a_class_of_ones_own_has_an_embedding_beside_numbers():
    model = Mixed()
    rng = numpy.random.default_rng(3)
    x = numpy.concatenate([rng.integers(0, 5, (40, 1)), rng.standard_normal((40, 2))], axis=1)
    y = (x[:, :1] == 2) + 0.5 * x[:, 1:2]
    opt = optim.Adam(model.parameters(), lr=0.03)
    history = fastbp.train_model(model, x, y, None, None, nn.MSELoss(), opt, 150, 10, progress=False)
    assert history["train_loss"][-1] < 0.05 * history["train_loss"][0]


@pytest.mark.parametrize(
    ("indices", "error", "text"),
    [
        (numpy.array([0, 6]), ValueError, r"Embedding\(6, 4\) takes indices from 0 to 5, got 6"),
        (numpy.array([-1]), ValueError, r"takes indices from 0 to 5, got -1"),
        (numpy.array([1.0]), TypeError, "integer dtype, got float64"),
        ([1, 2], TypeError, "takes a NumPy array, got list"),
    ],
)
def test_what_is_no_index_is_refused(indices, error, text):
    model = nn.Embedding(6, 4)
    for call in (model, model.predict):
        with pytest.raises(error, match=text):
            call(indices)


def test_arguments_are_refused_by_name():
    for arguments, name in (((0, 4), "num_embeddings"), ((4, True), "embedding_dim"), ((4, 4, 4), "padding_idx")):
        with pytest.raises(ValueError, match=f"Embedding takes {name} "):
            nn.Embedding(*arguments)


def test_integers_are_refused_where_nothing_takes_indices():
    model, y = nn.Sequential(nn.Linear(3, 1)), numpy.zeros((4, 1), numpy.float32)
    opt = optim.SGD(model.parameters(), 0.1)
    with pytest.raises(TypeError, match="float32 data for this model, got train_input of int64"):
        fastbp.train_model(model, INDICES, y, None, None, nn.MSELoss(), opt, 1, 2)


def test_torchs_embeddings_with_what_is_not_here_are_refused():
    with pytest.raises(TypeError, match=r"from_torch takes no max_norm, got Embedding with max_norm=1\.0"):
        fastbp.from_torch(torch.nn.Embedding(3, 2, max_norm=1.0))
