"""Every row of the list of layers: PyTorch's numbers and trainings, files, conversions, copies."""

import copy
import pickle

import numpy
import pytest
import torch
from helpers import draw

import fastbp
from fastbp import nn, optim
from fastbp.interop.torch import from_torch, to_torch
from fastbp.nn.activations import Activation
from fastbp.nn.layer_classes import LAYER_CLASSES
from fastbp_kernels.functions.activations import ACTIVATIONS
from fastbp_kernels.layers.registry import LAYERS

F64 = numpy.float64
ROWS = LAYER_CLASSES.values()
WITHOUT_MODULE = {"Copy", "Add", "SparseLinear"}  # which networks have without a module of theirs
IDS = [row.name for row in ROWS]
rows = pytest.mark.parametrize("row", ROWS, ids=IDS)


def layer(row, dtype=F64):
    """A small module, with parameters that are not all alike, which drops nothing."""
    module = row.build_example(dtype).eval()
    for number, parameter in enumerate(module.parameters()):
        parameter.data = draw(parameter.shape, dtype, seed=number + 3)
    return module


def inputs(row, dtype=F64, n=7):
    if row.takes_indices:
        return numpy.random.default_rng(1).integers(0, row.example["num_embeddings"], n)
    return draw((n, 2), dtype, seed=2)


def network(row, dtype=F64):
    module = layer(row, dtype)
    between = module.predict(inputs(row, dtype)).shape[1]
    before = [] if row.takes_indices else [nn.Linear(2, 2, rng=0, dtype=dtype)]
    return nn.Sequential(*before, module, nn.Linear(between, 3, rng=1, dtype=dtype))


def test_layers_of_the_engine_are_those_of_the_list():
    of_kernels = {row.name for row in LAYERS} - WITHOUT_MODULE
    assert of_kernels <= LAYER_CLASSES.keys()
    assert {row.name.partition(":")[0] for row in ACTIVATIONS} <= LAYER_CLASSES.keys()


@rows
def test_a_row_has_a_class_of_its_name_here_and_in_torch_where_it_says_so(row):
    assert getattr(nn, row.name) is row.module
    assert hasattr(torch.nn, row.name) == row.in_torch


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not issubclass(row.module, Activation)], ids=lambda row: row.name
)
def test_outputs_and_gradients_are_those_of_the_twin(row):  # for activations: test_registries
    ours = layer(row)
    theirs = to_torch(ours)
    x = inputs(row)
    tensor = torch.tensor(x, requires_grad=not row.takes_indices)
    expected = theirs(tensor)
    grad = draw(tuple(expected.shape), F64, seed=9)
    expected.backward(torch.tensor(grad)) if expected.requires_grad else None
    numpy.testing.assert_allclose(ours(x), expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    grad_input = ours.backward(grad)
    if not row.takes_indices:
        numpy.testing.assert_allclose(grad_input, tensor.grad.numpy(), rtol=1e-11, atol=1e-13)
    for parameter, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
        numpy.testing.assert_allclose(parameter.grad, twin.grad.numpy(), rtol=1e-11, atol=1e-13)


@rows
def test_a_training_follows_torch(row):
    model = network(row)
    theirs = to_torch(model)
    x, y = inputs(row, n=24), draw((24, 3), F64, seed=4)
    sgd, criterion = torch.optim.SGD(theirs.parameters(), lr=0.05), torch.nn.MSELoss()
    for _ in range(3):
        for start in range(0, 24, 8):
            sgd.zero_grad()
            criterion(theirs(torch.tensor(x[start : start + 8])), torch.tensor(y[start : start + 8])).backward()
            sgd.step()
    opt = optim.SGD(model.parameters(), lr=0.05)
    history = fastbp.train_model(model, x, y, None, None, nn.MSELoss(), opt, 3, 8, progress=False)
    assert history.backend == ("modules" if row.takes_indices else "engine")
    for (name, ours), twin in zip(model.state_dict().items(), theirs.state_dict().values(), strict=True):
        numpy.testing.assert_allclose(ours, twin.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("dtype", [numpy.float32, F64])
@rows
def test_files_copies_and_conversions_give_the_same_network(row, dtype, tmp_path):
    model = network(row, dtype)
    x, state = inputs(row, dtype), model.state_dict()
    fastbp.save(tmp_path / "model", model)
    loaded = fastbp.load(tmp_path / "model").model
    converted = from_torch(to_torch(model))
    for other in (loaded, converted, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(other) == repr(model)
        assert {name: array.tobytes() for name, array in other.state_dict().items()} == {
            name: array.tobytes() for name, array in state.items()
        }
        assert other.predict(x).tobytes() == model.predict(x).tobytes()
        assert [module.training for module in other.modules()] == [module.training for module in model.modules()]
    theirs = to_torch(model)
    assert list(theirs.state_dict()) == list(state)
    network(row, dtype).load_state_dict(theirs.state_dict())


@rows
def test_no_samples_are_no_outputs(row):
    module, x = layer(row), inputs(row)[:0]
    output = module(x)
    assert output.shape[0] == 0
    assert module.backward(numpy.zeros_like(output)).shape[0] == 0
