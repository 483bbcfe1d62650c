"""Arrays of other libraries are refused with the call that makes a NumPy array of them."""

import subprocess
import sys

import numpy
import pytest
import torch
from helpers import child_environment, mlp
from scipy import sparse

import fastbp
from fastbp import nn, optim

F32, F64 = numpy.float32, numpy.float64


def torch_ones(*shape, **options):
    return torch.ones(*shape, **options)


class DataFrame:
    """What pandas calls so: it is not needed for the tests."""

    def to_numpy(self, dtype):
        return numpy.ones((7, 5), dtype)


class Series(DataFrame):
    pass


for stand_in in (DataFrame, Series):
    stand_in.__module__ = "pandas.core.frame"

# What a float32 model is handed, its name in the message, and the call that it takes.
FOREIGN = {
    "sparse matrix": (sparse.csr_matrix(numpy.ones((7, 5), F32)), "csr_matrix", ".toarray()"),
    "sparse array": (sparse.coo_array(numpy.ones((7, 5), F32)), "coo_array", ".toarray()"),
    "sparse float64": (sparse.csc_array(numpy.ones((7, 5))), "csc_array", ".toarray().astype(numpy.float32)"),
    "tensor": (torch_ones(7, 5), "Tensor of torch.float32", ".numpy()"),
    "tensor with gradient": (torch_ones(7, 5, requires_grad=True), "Tensor of torch.float32", ".detach().numpy()"),
    "torch parameter": (torch.nn.Parameter(torch_ones(7, 5)), "Parameter of torch.float32", ".detach().numpy()"),
    "tensor elsewhere": (torch_ones(7, 5, device="meta"), "Tensor of torch.float32", ".detach().cpu().numpy()"),
    "tensor of float64": (torch_ones(7, 5, dtype=torch.float64), "Tensor of torch.float64", ".float().numpy()"),
    "tensor of bfloat16": (torch_ones(7, 5, dtype=torch.bfloat16), "Tensor of torch.bfloat16", ".float().numpy()"),
    "tensor of integers": (torch_ones(7, 5, dtype=torch.int64), "Tensor of torch.int64", ".float().numpy()"),
    "sparse tensor": (torch_ones(7, 5).to_sparse(), "Tensor of torch.float32", ".to_dense().numpy()"),
    "data frame": (DataFrame(), "DataFrame", ".to_numpy(dtype=numpy.float32)"),
    "series": (Series(), "Series", ".to_numpy(dtype=numpy.float32)"),
    "list": ([[1.0] * 5] * 7, "list", "numpy.asarray(..., dtype=numpy.float32)"),
}


def assert_told(call, name, remedy):
    with pytest.raises(TypeError) as error:
        call()
    assert str(error.value).endswith(f"takes a NumPy array, got {name}; convert it with {remedy}")


@pytest.mark.parametrize("case", FOREIGN)
def test_the_remedy_is_the_call_of_that_library(case):
    array, name, remedy = FOREIGN[case]
    assert_told(lambda: nn.Linear(5, 3)(array), name, remedy)


@pytest.mark.parametrize("case", [case for case in FOREIGN if "elsewhere" not in case and case != "list"])
def test_the_remedy_helps(case):
    array, _, remedy = FOREIGN[case]
    converted = eval(f"array{remedy}", {"array": array, "numpy": numpy})
    assert nn.Linear(5, 3)(converted).shape == (7, 3)


def test_the_remedy_casts_to_float64_where_that_is_wanted():
    layer = nn.Linear(5, 3, dtype=F64)
    assert_told(lambda: layer(torch_ones(7, 5)), "Tensor of torch.float32", ".double().numpy()")
    assert_told(lambda: layer(DataFrame()), "DataFrame", ".to_numpy(dtype=numpy.float64)")
    assert_told(lambda: layer(sparse.eye_array(5)), "dia_array", ".toarray()")


def test_where_either_float_dtype_is_taken_both_pass_uncast():
    for dtype in (torch.float32, torch.float64):
        assert_told(lambda dtype=dtype: nn.ReLU()(torch_ones(7, 5, dtype=dtype)), f"Tensor of {dtype}", ".numpy()")
    assert_told(lambda: nn.ReLU()(sparse.eye_array(5)), "dia_array", ".toarray()")


@pytest.mark.parametrize("name", ["train_input", "train_target", "val_input", "val_target"])
def test_train_model_names_the_argument(name):
    model, x, target = mlp(5, 3), numpy.ones((7, 5), F32), numpy.ones((7, 3), F32)
    data = {"train_input": x, "train_target": target, "val_input": x, "val_target": target}
    data[name] = sparse.csr_array(data[name].astype(F64))

    def train():
        opt = optim.SGD(model.parameters(), lr=0.1)
        fastbp.train_model(model, **data, criterion=nn.MSELoss(), opt=opt, epochs=1, mini_batch_size=5)

    assert_told(train, "csr_array", ".toarray().astype(numpy.float32)")
    with pytest.raises(TypeError, match=rf"^train_model\({name}=\.\.\.\) takes a NumPy array"):
        train()


def test_losses_parameters_and_gradients_name_it_too():
    tensor, layer = torch_ones(7, 3), nn.Linear(5, 3)
    layer(numpy.ones((7, 5), F32))
    for call in (
        lambda: nn.MSELoss()(tensor, numpy.ones((7, 3), F32)),
        lambda: nn.MSELoss()(numpy.ones((7, 3), F32), tensor),
        lambda: nn.Parameter(tensor),
        lambda: layer.backward(tensor),
        lambda: setattr(layer.weight, "data", tensor),
        lambda: fastbp.compute_accuracy(nn.ReLU(), tensor, numpy.eye(3, dtype=F32)),
    ):
        assert_told(call, "Tensor of torch.float32", ".numpy()")


def test_none_of_these_libraries_is_imported():
    code = (
        "import sys, numpy, fastbp\n"
        "try: fastbp.nn.ReLU()([1.0])\n"
        "except TypeError: print({'torch', 'scipy.sparse', 'pandas', 'ml_dtypes'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
