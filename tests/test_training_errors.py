"""Bad input to train_model and compute_accuracy: refused at the door, with model, gradients and optimiser as before."""

import re

import numpy
import pytest
from helpers import assert_unchanged, draw, mlp, snapshot

import fastbp
from fastbp import nn, optim

F32, F64 = numpy.float32, numpy.float64


class CountingSGD(optim.SGD):
    """Counts how often it was used."""

    uses = 0

    def step(self):
        self.uses += 1
        super().step()

    def zero_grad(self):
        self.uses += 1
        super().zero_grad()


class Call:
    """A call of train_model that is right until an argument is replaced."""

    def __init__(self):
        self.model = mlp(4, 5, 3)
        self.rng = numpy.random.default_rng(0)
        self.arguments = {
            "model": self.model,
            "train_input": draw((20, 4), F32),
            "train_target": draw((20, 3), F32, seed=1),
            "val_input": draw((10, 4), F32, seed=2),
            "val_target": draw((10, 3), F32, seed=3),
            "criterion": nn.MSELoss(),
            "opt": CountingSGD(self.model.parameters(), lr=0.1),
            "epochs": 2,
            "mini_batch_size": 5,
            "shuffle": True,
            "rng": self.rng,
            "progress": False,
        }
        for parameter in self.model.parameters():
            parameter.grad = numpy.full_like(parameter.data, 3)

    def __call__(self, **replaced):
        return fastbp.train_model(**{**self.arguments, **replaced})


@pytest.fixture
def call():
    return Call()


def assert_refused(call, error, match, **replaced):
    before, state = snapshot(call.model), call.rng.bit_generator.state
    with pytest.raises(error, match=match):
        call(**replaced)
    assert_unchanged(call.model, before)
    assert call.arguments["opt"].uses == 0
    assert call.arguments["opt"].lr == 0.1
    assert call.rng.bit_generator.state == state, "the generator has not been drawn from"


def zeros(*shape, dtype=F32):
    return numpy.zeros(shape, dtype)


def test_the_call_is_right_until_an_argument_is_replaced(call):
    before = snapshot(call.model)
    call()
    with pytest.raises(AssertionError):
        assert_unchanged(call.model, before)
    assert call.arguments["opt"].uses >= 8


VALUE_ERRORS = {
    "feature count": ({"train_input": zeros(20, 3)}, r"train_input .* begins with Linear\(4, 5\), got \(20, 3\)"),
    "feature count in validation": ({"val_input": zeros(10, 3)}, r"val_input .* with Linear\(4, 5\), got \(10, 3\)"),
    "target shape": ({"train_target": zeros(20, 2)}, r"train_target of the shape .* \(20, 3\), got \(20, 2\)"),
    "target of one column": ({"train_target": zeros(20, 1)}, r"train_target .* \(20, 3\), got \(20, 1\)"),
    "flat target": ({"train_target": zeros(20)}, r"train_target of the shape .* \(20, 3\), got \(20,\)"),
    "target shape in validation": ({"val_target": zeros(10, 2)}, r"val_target of the .* \(10, 3\), got \(10, 2\)"),
    "fewer targets": ({"train_target": zeros(19, 3)}, r"train_input and train_target .*\(20, 4\) and \(19, 3\)"),
    "more targets": ({"train_target": zeros(21, 3)}, r"train_input and train_target .*\(20, 4\) and \(21, 3\)"),
    "fewer targets in validation": ({"val_target": zeros(9, 3)}, r"val_input and val_target .*\(10, 4\) and \(9, 3\)"),
    "a number as input": ({"train_input": zeros()}, r"train_input and train_target .*\(\) and \(20, 3\)"),
    "no training rows": ({"train_input": zeros(0, 4), "train_target": zeros(0, 3)}, r"one training row or more"),
    "no val_target": ({"val_target": None}, r"val_input and val_target together"),
    "no val_input": ({"val_input": None}, r"val_input and val_target together"),
    "batch size 0": ({"mini_batch_size": 0}, r"mini_batch_size of 1 or more, got 0"),
    "batch size -5": ({"mini_batch_size": -5}, r"mini_batch_size of 1 or more, got -5"),
    "epochs -1": ({"epochs": -1}, r"epochs of 0 or more, got -1"),
}


@pytest.mark.parametrize("case", VALUE_ERRORS)
def test_wrong_values_and_shapes_are_refused(call, case):
    replaced, match = VALUE_ERRORS[case]
    assert_refused(call, ValueError, match, **replaced)


@pytest.mark.parametrize("name", ["train_input", "train_target", "val_input", "val_target"])
@pytest.mark.parametrize("wrong", [numpy.int64, numpy.uint8, numpy.bool_, object, numpy.float16], ids=str)
def test_arrays_that_are_not_float_are_refused_by_name(call, name, wrong):
    match = rf"takes float32 data for this model, got {name} of {numpy.dtype(wrong)}; .*\.astype\(numpy\.float32\)"
    assert_refused(call, TypeError, match, **{name: call.arguments[name].astype(wrong)})


@pytest.mark.parametrize("name", ["train_input", "train_target", "val_input", "val_target"])
def test_a_list_in_place_of_an_array_is_refused_by_name(call, name):
    match = rf"{name}.* takes a NumPy array, got list; .*numpy\.asarray"
    assert_refused(call, TypeError, match, **{name: call.arguments[name].tolist()})


@pytest.mark.parametrize("name", ["train_target", "val_target"])
def test_a_target_of_the_other_float_dtype_is_refused(call, name):
    match = rf"takes float32 data for this model, got {name} of float64; .*\.astype\(numpy\.float32\)"
    assert_refused(call, TypeError, match, **{name: call.arguments[name].astype(F64)})


@pytest.mark.parametrize("names", [("train_input", "train_target"), ("val_input", "val_target")])
def test_data_of_the_dtype_that_the_model_has_not_are_refused(call, names):
    match = rf"got {names[0]} of float64 and {names[1]} of float64; .*\.astype\(numpy\.float32\)"
    assert_refused(call, TypeError, match, **{name: call.arguments[name].astype(F64) for name in names})


@pytest.mark.parametrize("name", ["epochs", "mini_batch_size"])
@pytest.mark.parametrize("wrong", [5.0, "5", None, True, numpy.float32(5)], ids=repr)
def test_counts_that_are_no_integers_are_refused(call, name, wrong):
    match = rf"train_model takes {name} as an int, got {re.escape(repr(wrong))}"
    assert_refused(call, TypeError, match, **{name: wrong})


def test_counts_may_be_numpy_integers(call):
    assert call(epochs=numpy.int64(1), mini_batch_size=numpy.int32(5)).epochs == 1


def test_an_optimiser_over_another_models_parameters_is_refused(call):
    other = mlp(4, 5, 3)
    before = snapshot(other)
    opt = CountingSGD(other.parameters(), lr=0.1)
    assert_refused(call, ValueError, r"optimiser .*\(5, 4\) .*not the model's; .*model\.parameters\(\)", opt=opt)
    assert_unchanged(other, before)
    assert opt.uses == 0


def test_an_optimiser_over_a_parameter_too_many_is_refused(call):
    opt = CountingSGD([*call.model.parameters(), nn.Linear(2, 7).weight], lr=0.1)
    assert_refused(call, ValueError, r"optimiser .*\(7, 2\) .*not the model's; .*model\.parameters\(\)", opt=opt)


def test_a_call_that_raises_leaves_the_loss_as_it_was(call):
    criterion = call.arguments["criterion"]
    criterion(draw((7, 3), F32), zeros(7, 3))
    grad = criterion.backward(retain_graph=True).copy()
    assert_refused(call, ValueError, "val_input and val_target", val_target=zeros(9, 3))
    assert_refused(call, ValueError, "train_target of the shape", train_target=zeros(20, 2))
    assert_refused(call, ValueError, "val_target of the shape", val_target=zeros(10, 2))
    numpy.testing.assert_array_equal(criterion.backward(), grad)


ACCURACY_ERRORS = {
    "rows": (zeros(9, 4), numpy.eye(3, dtype=F32), ValueError, r"\(9, 4\) and \(3, 3\)"),
    "features": (zeros(3, 5), numpy.eye(3, dtype=F32), ValueError, r"inputs .* with Linear\(4, 5\), got \(3, 5\)"),
    "classes": (zeros(2, 4), numpy.eye(2, dtype=F32), ValueError, r"targets of the shape .* \(2, 3\), got \(2, 2\)"),
    "not one-hot": (zeros(3, 4), numpy.ones((3, 3), F32), ValueError, r"one-hot"),
    "halves": (zeros(2, 4), numpy.full((2, 3), 0.5, F32), ValueError, r"one-hot"),
    "truths": (zeros(3, 4), numpy.eye(3, dtype=bool), TypeError, r"got targets of bool; .*\.astype\(numpy\.float32\)"),
    "mixed": (zeros(3, 4), numpy.eye(3), TypeError, r"takes float32 data .* got targets of float64"),
}


@pytest.mark.parametrize("case", ACCURACY_ERRORS)
def test_accuracy_refuses_what_it_cannot_count(case):
    inputs, targets, error, match = ACCURACY_ERRORS[case]
    with pytest.raises(error, match=match):
        fastbp.compute_accuracy(mlp(4, 5, 3), inputs, targets)


def trained(**replaced):
    model = nn.Sequential(nn.Linear(4, 3, rng=0))
    arguments = {
        "model": model, "train_input": draw((500, 4), F32), "train_target": draw((500, 3), F32, seed=1),
        "val_input": None, "val_target": None, "criterion": nn.MSELoss(), "opt": optim.SGD(model.parameters(), lr=0.1),
        "epochs": 2, "mini_batch_size": 100,
    }  # fmt: skip
    return fastbp.train_model(**{**arguments, **replaced})


@pytest.mark.parametrize("small", [numpy.int8, numpy.uint8])
def test_a_count_may_be_a_small_integer_of_numpy(small):
    """Its products with the numbers of rows and outputs are beyond 255."""
    assert trained(mini_batch_size=small(100), epochs=small(2))["train_loss"] == trained()["train_loss"]


WRONG_PARTS = {
    "no model": ("model", None, r"a fastbp\.nn\.Module as model, got NoneType"),
    "a class as model": ("model", nn.Linear, r"a fastbp\.nn\.Module as model, got type"),
    "a name as criterion": ("criterion", "mean", r"criterion as an object with forward\(\), got 'mean'"),
    "a class as criterion": ("criterion", nn.MSELoss, r"criterion as an object with forward\(\)"),
    "a number as opt": ("opt", 0.1, r"opt as an object with step\(\), got 0\.1"),
    "a text as rng": ("rng", "a", r"rng as a numpy\.random\.Generator, a seed .* got 'a'"),
}


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_train_model_says_what_it_takes(case):
    name, wrong, match = WRONG_PARTS[case]
    with pytest.raises(TypeError, match=r"train_model takes " + match):
        trained(**{name: wrong})


def test_accuracy_is_that_of_a_module():
    with pytest.raises(TypeError, match=r"compute_accuracy takes a fastbp\.nn\.Module, got NoneType"):
        fastbp.compute_accuracy(None, zeros(2, 4), numpy.eye(2, dtype=F32))
