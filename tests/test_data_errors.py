"""What train_model and compute_accuracy say of data that do not fit: every argument by name, with its whole shape."""

import re

import numpy
import pytest
from helpers import assert_unchanged, draw, mlp, snapshot
from test_own_modules import Scale

import fastbp
from fastbp import nn

F32, F64 = numpy.float32, numpy.float64
NAMES = ("train_input", "train_target", "val_input", "val_target")


def zeros(*shape, dtype=F32):
    return numpy.zeros(shape, dtype)


def data(outputs=3, **replaced):
    return {
        "train_input": draw((20, 4), F32),
        "train_target": draw((20, outputs), F32),
        "val_input": draw((10, 4), F32),
        "val_target": draw((10, outputs), F32),
        **replaced,
    }


class Step:
    """An optimiser of a model that may have no parameters."""

    def step(self):
        pass


def refused(error, model=None, criterion=None, **arrays):
    """The text of the error; nothing has changed."""
    model = mlp(4, 5, 3) if model is None else model
    before = snapshot(model)
    with pytest.raises(error) as caught:
        fastbp.train_model(
            model, **data(**arrays), criterion=criterion or nn.MSELoss(), opt=Step(), epochs=1, mini_batch_size=5
        )
    assert_unchanged(model, before)
    return str(caught.value)


def test_all_data_of_another_dtype_than_the_models_are_named_at_once():
    text = refused(TypeError, train_input=zeros(20, 4, dtype=F64), val_target=zeros(10, 3, dtype=numpy.int64))
    assert text == (
        "train_model takes float32 data for this model, got train_input of float64 and val_target of int64; "
        "convert with .astype(numpy.float32)"
    )


def test_one_conversion_is_enough():
    """Inputs of float64 and targets of float32 once led from error to error and back."""
    model, arrays = mlp(4, 5, 3), data(train_input=draw((20, 4), F64), val_input=draw((10, 4), F64))
    assert "got train_input of float64 and val_input of float64;" in refused(TypeError, model, **arrays)
    for name in ("train_input", "val_input"):
        arrays[name] = arrays[name].astype(F32)
    fastbp.train_model(model, **arrays, criterion=nn.MSELoss(), opt=Step(), epochs=1, mini_batch_size=5)


def test_where_all_data_are_float64_the_model_may_follow():
    text = refused(TypeError, **{name: array.astype(F64) for name, array in data().items()})
    assert text == (
        "train_model takes float32 data for this model, got train_input of float64, train_target of float64, val_input "
        "of float64 and val_target of float64; convert with .astype(numpy.float32), or build the model with "
        "dtype=numpy.float64 or turn it by model.double()"
    )
    text = refused(TypeError, mlp(4, 5, 3, dtype=F64))
    assert text.endswith("convert with .astype(numpy.float64), or build the model with dtype=numpy.float32")


def test_data_of_a_model_without_parameters_agree_with_each_other():
    text = refused(TypeError, nn.ReLU(), val_input=zeros(10, 4, dtype=F64))
    assert text == (
        "train_model takes data of one dtype, float32 or float64, got train_input of float32, train_target of float32, "
        "val_input of float64 and val_target of float32; convert with .astype(numpy.float32)"
    )
    text = refused(TypeError, nn.ReLU(), **{name: array.astype(int) for name, array in data().items()})
    assert "got train_input of int64," in text


SHAPES = {
    "flat target": (
        {"train_target": zeros(20)},
        1,
        "train_model takes train_target of the shape of the model's outputs for train_input, (20, 1), got (20,); "
        "pass train_target[:, None]",
    ),
    "flat val_target": (
        {"val_target": zeros(10)},
        1,
        "train_model takes val_target of the shape of the model's outputs for val_input, (10, 1), got (10,); "
        "pass val_target[:, None]",
    ),
    "a column for several outputs": (
        {"train_target": zeros(20, 1)},
        3,
        "train_model takes train_target of the shape of the model's outputs for train_input, (20, 3), got (20, 1); "
        "nothing is broadcast",
    ),
    "class indices": (
        {"train_target": zeros(20)},
        3,
        "train_model takes train_target of the shape of the model's outputs for train_input, (20, 3), got (20,); "
        "make one-hot rows of class indices: numpy.eye(3, dtype=numpy.float32)[indices]",
    ),
    "one dimension too many": (
        {"train_target": zeros(20, 3, 1)},
        3,
        "train_model takes train_target of the shape of the model's outputs for train_input, (20, 3), got (20, 3, 1); "
        "pass train_target.reshape(20, 3)",
    ),
    "feature count": (
        {"train_input": zeros(20, 24)},
        3,
        "train_model takes train_input of shape (n, ..., 4) for a model that begins with Linear(4, 5), got (20, 24)",
    ),
    "feature count in validation": (
        {"val_input": zeros(10, 24)},
        3,
        "train_model takes val_input of shape (n, ..., 4) for a model that begins with Linear(4, 5), got (10, 24)",
    ),
    "flat input": (
        {"train_input": zeros(20)},
        3,
        "train_model takes train_input of shape (n, ..., 4) for a model that begins with Linear(4, 5), got (20,)",
    ),
    "images": (
        {"train_input": zeros(20, 2, 2)},
        3,
        "train_model takes train_input of shape (n, ..., 4) for a model that begins with Linear(4, 5), got (20, 2, 2); "
        "pass train_input.reshape(20, 4)",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_a_wrong_shape_is_named_with_the_argument_and_whole(case):
    replaced, outputs, text = SHAPES[case]
    assert refused(ValueError, mlp(4, 5, outputs), outputs=outputs, **replaced) == text


def test_a_flat_input_of_one_feature_is_told_what_to_pass():
    text = refused(ValueError, mlp(1, 5, 3), train_input=zeros(20))
    assert text.endswith("begins with Linear(1, 5), got (20,); pass train_input[:, None]")


def test_targets_of_more_dimensions_are_told_what_to_pass():
    text = refused(ValueError, mlp(4, 1), train_input=zeros(20, 6, 4), train_target=zeros(20, 6))
    assert text.endswith("(20, 6, 1), got (20, 6); pass train_target[..., None]")


def test_layers_that_do_not_fit_each_other_are_told_as_of_one_row():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(6, 3))
    assert refused(ValueError, model) == (
        "train_model tried the first row of train_input of shape (20, 4): Linear(6, 3) takes inputs of shape (..., 6), "
        "got (1, 5)"
    )


class Wrapped(nn.Module):
    """A model in the way of PyTorch."""

    def __init__(self):
        self.layers = mlp(4, 5, 3)

    def forward(self, input):
        return self.layers(input)

    def backward(self, grad_output):
        return self.layers.backward(grad_output)


def test_a_users_model_around_a_layer_is_told_of_the_argument_too():
    text = refused(ValueError, Wrapped(), val_input=zeros(10, 24))
    assert text.startswith("train_model tried the first row of val_input of shape (10, 24): Linear(4, 5) takes inputs")


class Raising:
    def __init__(self, error):
        self.error = error

    def forward(self, *_):
        raise self.error

    evaluate = backward = forward


class RaisingModule(nn.Module):
    forward = Raising.forward
    backward = Raising.forward
    error = ValueError("the user's own")


def test_an_error_of_a_users_own_module_or_criterion_passes_unchanged():
    for error in (ValueError("one"), TypeError("two"), KeyError("three")):
        with pytest.raises(type(error)) as caught:
            fastbp.train_model(mlp(4, 3), **data(), criterion=Raising(error), opt=Step(), epochs=1, mini_batch_size=5)
        assert caught.value is error
    assert refused(ValueError, RaisingModule()) == "the user's own"
    message = refused(ValueError, nn.Sequential(Scale(3, F32), nn.Linear(3, 3)))
    assert re.match(r"operands could not be broadcast", message)


class CrossEntropy:
    """Takes class indices, as a user may write it."""

    def forward(self, prediction, indices):
        assert indices.shape == prediction.shape[:1]
        self.grad = numpy.zeros_like(prediction)
        return 0.0

    def backward(self):
        return self.grad


def test_a_users_criterion_may_take_targets_of_another_shape():
    arrays = data(train_target=zeros(20), val_target=zeros(10))
    fastbp.train_model(mlp(4, 3), **arrays, criterion=CrossEntropy(), opt=Step(), epochs=1, mini_batch_size=5)


def accuracy_refused(error, inputs, targets, model=None):
    with pytest.raises(error) as caught:
        fastbp.compute_accuracy(mlp(4, 5, 3) if model is None else model, inputs, targets)
    return str(caught.value)


def test_accuracy_names_its_arguments():
    assert accuracy_refused(TypeError, zeros(5, 4, dtype=F64), zeros(5, 3)) == (
        "compute_accuracy takes float32 data for this model, got inputs of float64; convert with .astype(numpy.float32)"
    )
    assert accuracy_refused(ValueError, zeros(5, 24), zeros(5, 3)) == (
        "compute_accuracy takes inputs of shape (n, ..., 4) for a model that begins with Linear(4, 5), got (5, 24)"
    )
    assert accuracy_refused(ValueError, zeros(5, 4), zeros(4, 3)) == (
        "inputs and targets take one row a sample each, got shapes (5, 4) and (4, 3)"
    )
    assert accuracy_refused(ValueError, zeros(5, 4), zeros(5), mlp(4, 1)) == (
        "compute_accuracy takes targets of the shape of the model's outputs for inputs, (5, 1), got (5,); "
        "pass targets[:, None]"
    )
