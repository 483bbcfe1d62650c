"""What leaves as C and ONNX: every row of the registries; what cannot says why, and no file is written."""

import subprocess
import sys
from inspect import isclass
from types import MethodType

import numba
import numpy
import pytest
from helpers import child_environment, draw

import fastbp
from fastbp import nn
from fastbp.interop.c_source import C_LAYERS
from fastbp.interop.exponential import Exponential
from fastbp.interop.formulas import FORMULAS
from fastbp.interop.leaving import PASSING
from fastbp.interop.onnx_write import ONNX_LAYERS
from fastbp.nn.activations import Activation
from fastbp_kernels.functions.activations import ACTIVATIONS

WRITERS = {"to_c": fastbp.to_c, "to_onnx": fastbp.to_onnx}
CANNOT_LEAVE = {nn.Elementwise, nn.Module, nn.ModuleDict, nn.ModuleList}


@pytest.fixture(params=WRITERS)
def caller(request):
    return request.param


def test_every_activation_has_a_formula():
    assert set(FORMULAS) == {row.name for row in ACTIVATIONS} - {"Identity"}


@pytest.mark.parametrize(("layers", "others"), [(C_LAYERS, {nn.Flatten}), (ONNX_LAYERS, {Exponential})])
def test_every_layer_that_predicts_is_written(layers, others):
    kinds = {part for part in vars(nn).values() if isclass(part) and issubclass(part, nn.Module)}
    known = set(PASSING) | {nn.Sequential, nn.Residual} | CANNOT_LEAVE
    missing = {kind for kind in kinds if not issubclass(kind, Activation)} - known - set(layers) - others
    assert {kind for kind in missing if not kind.__name__.endswith("Loss")} == set()


@numba.njit
def twice(x):
    return 2.0 * x


@numba.njit
def two(x):
    return 0.0 * x + 2.0


class Own(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(3, 3, rng=0)

    def forward(self, input):
        return self.linear(input)


class Doubled(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


class Narrow(nn.Linear):
    pass


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 4, rng=0), nn.Tanh())


def test_a_sequential_of_a_class_of_ones_own_leaves_if_nothing_else_is_its_own(caller, tmp_path):
    WRITERS[caller](Net(), tmp_path / "model")
    assert (tmp_path / "model").stat().st_size > 0


def with_own_forward():
    model = nn.Sequential(nn.Linear(3, 3, rng=0))
    model[0].forward = MethodType(lambda self, input: input, model[0])
    return model


REFUSED = {
    "takes a Module of fastbp, or a fitted MLPClassifier or MLPRegressor, got int": lambda: 3,
    "got Own with forward of its user's": Own,
    "got Narrow at '0' with a class of its user's": lambda: nn.Sequential(Narrow(3, 3)),
    "got Own at '1' with forward of its user's": lambda: nn.Sequential(nn.Linear(3, 3), Own()),
    "got Doubled at '0' with forward": lambda: nn.Sequential(Doubled(3, 3)),
    "got Linear at '0' with forward of its user's": with_own_forward,
    "finds no number of indices in the model; pass sample_shape=": (
        lambda: nn.Sequential(nn.Embedding(3, 3), nn.Linear(3, 3))
    ),
    "takes an Embedding as the first layer, got one behind a Tanh": (
        lambda: nn.Sequential(nn.Tanh(), nn.Embedding(3, 3))
    ),
    "got Elementwise at '1' of compiled ones": lambda: nn.Sequential(nn.Linear(3, 3), nn.Elementwise(twice, two)),
    "got ModuleList, which has no forward": lambda: nn.ModuleList([nn.Linear(3, 3)]),
    "got BatchNorm1d at '0' with track_running_stats=False": (
        lambda: nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    ),
    "finds no layer with a size in the model; pass sample_shape=": lambda: nn.Sequential(nn.Tanh()),
    "takes samples of shape (5,), got (4,)": lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)),
    "LayerNorm((4,)": lambda: nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(4)),
    "BatchNorm1d(4": lambda: nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(4)),
    "PReLU(num_parameters=4)": lambda: nn.Sequential(nn.Linear(3, 5), nn.PReLU(4)),
    "Softmax(dim=0) takes inputs with that axis for each sample": lambda: nn.Sequential(nn.Linear(3, 5), nn.Softmax(0)),
    "Residual takes modules whose output has the shape": lambda: nn.Sequential(nn.Residual(nn.Linear(3, 5))),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_leave_says_why_and_leaves_the_file_alone(text, caller, tmp_path):
    path = tmp_path / "model"
    path.write_text("before")
    with pytest.raises((TypeError, ValueError)) as caught:
        WRITERS[caller](REFUSED[text](), path)
    assert text in str(caught.value)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shape", [0, (), (3, -1), (3.0,), "3"])
def test_a_shape_that_is_none_is_refused(shape, caller, tmp_path):
    with pytest.raises(ValueError, match="takes sample_shape as sizes of 1 or more"):
        WRITERS[caller](nn.Sequential(nn.Tanh()), tmp_path / "model", sample_shape=shape)


def test_a_model_that_leaves_is_as_it_was(caller, tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Dropout(), nn.BatchNorm1d(3))
    before, parameter = model.state_dict(), model[0].weight
    WRITERS[caller](model, tmp_path / "model")
    assert model[0].weight is parameter
    assert model.training
    for name, array in model.state_dict().items():
        numpy.testing.assert_array_equal(array, before[name])


def test_a_folder_that_is_not_there_is_an_error_of_the_system(caller, tmp_path):
    with pytest.raises(OSError, match="no such folder"):
        WRITERS[caller](nn.Linear(2, 2), tmp_path / "no such folder" / "model")


def test_importing_fastbp_imports_neither_onnx_nor_safetensors():
    code = "import sys, fastbp; print(sorted({'onnx', 'onnxruntime', 'safetensors', 'google'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=child_environment())
    assert run.stdout == "[]\n", run.stderr


def test_without_onnx_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'fastbp.to_onnx needs onnx: pip install "fastbp\[onnx\]"'):
        fastbp.to_onnx(nn.Linear(2, 2), tmp_path / "model")
    with pytest.raises(ImportError, match=r"fastbp.from_onnx needs onnx"):
        fastbp.from_onnx(tmp_path / "model")


def test_the_exponential_predicts_the_exponential():
    x = draw((3, 4), numpy.float64)
    numpy.testing.assert_allclose(Exponential().predict(x), numpy.exp(x), rtol=1e-14)
