"""What may change between a model's forward and its backward, what is refused, and what stops a call half way."""

import copy
import itertools
import pickle
import threading

import numpy
import pytest
from chains import assert_bits, backward_one_by_one, batch, gradients, one_by_one, refused
from helpers import assert_unchanged, draw, mlp, snapshot
from same_bits import SMOOTH, Network

from fastbp import nn
from fastbp.engine import chain

F32 = numpy.float32


# What is refused, and that nothing has changed then


def reshape(x):
    x.shape = x.shape[::-1]


def resize(x):
    x.resize((1, *x.shape[1:]), refcheck=False)


def reinterpret(x):
    x.dtype = numpy.dtype("i4")


@pytest.mark.filterwarnings("ignore:Setting the")
@pytest.mark.parametrize("spoil", [reshape, resize, reinterpret])
@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4), (3000, 4)], ids=str)
def test_a_backward_behind_an_input_that_is_not_as_it_was_is_refused(spoil, shape):
    model, x = SMOOTH.build(F32), draw(shape, F32)
    grad_output = model.forward(x).copy()
    spoil(x)
    refused(model, grad_output, r"backward of a network needs the array of its forward as it was, float32 of shape")


def test_an_input_that_was_frozen_since_serves_its_backward(dtype):
    model, other = SMOOTH.build(dtype), SMOOTH.build(dtype)
    x, grad_output = batch(SMOOTH, (40,), dtype)
    expected = one_by_one(other, x, grad_output)
    model.forward(x)
    x.flags.writeable = False
    assert_bits([model.backward(grad_output), *gradients(model)], expected[1:])


def test_a_backward_reads_the_input_as_it_is_then(dtype):
    model, other = SMOOTH.build(dtype), SMOOTH.build(dtype)
    x, grad_output = batch(SMOOTH, (40,), dtype)
    model.forward(x)
    one_by_one(other, x, grad_output, retain_graph=True)
    other.zero_grad()
    x *= 2
    assert_bits([model.backward(grad_output), *gradients(model)], backward_one_by_one(other, grad_output))


def test_a_backward_needs_a_forward_of_the_model_or_of_its_modules():
    model = SMOOTH.build(F32)
    refused(model, draw((4, 4), F32), r"Sequential\.backward needs a forward before it")
    model.predict(draw((4, 4), F32))
    refused(model, draw((4, 4), F32), r"Sequential\.backward needs a forward before it")


@pytest.mark.parametrize("last", ["Linear", "Tanh"])
def test_a_gradient_that_does_not_fit_is_refused(last):
    model = Network((4, 5, 3), ("ReLU", "Tanh" if last == "Tanh" else None)).build(F32)
    model.forward(draw((6, 4), F32))
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"^Sequential\.backward takes a gradient .* shape \(6, 3\), got \(3, 6\)"):
        model.backward(draw((3, 6), F32))
    with pytest.raises(TypeError, match=r"^Sequential\.backward takes float32 arrays, got float64"):
        model.backward_parameters(draw((6, 3), numpy.float64))
    assert_unchanged(model, before)


# What may change between forward and backward


def rid_of_a_bias(model):
    model[0].bias = None


def given_another_weight(model):
    model[2].weight = nn.Parameter(draw((16, 32), F32, 9))


def written_to(model):
    model[2].weight.data[...] *= 2


def loaded(model):
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})


def built_into_another(model):
    nn.Sequential(nn.Linear(3, 4, rng=5), model)


def built_in_part_into_another(model):
    nn.Sequential(model[2], nn.Linear(16, 3, rng=5))


def beside_another(model):
    mlp(3, 4)


def tied(model):
    model[2].bias = nn.Parameter(draw((16,), F32, 9))


CHANGES = [written_to, beside_another]
REPLACED = [rid_of_a_bias, given_another_weight, tied]
NEEDS_A_FORWARD = [loaded, built_into_another, built_in_part_into_another]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_model_computes_what_its_modules_do(change):
    x, grad_output = batch(SMOOTH, (40,), F32)
    model, other = SMOOTH.build(F32), SMOOTH.build(F32)
    model.forward(x)
    values = [x]
    for module in other:
        values.append(module.forward(values[-1]))
    for each in (model, other):
        change(each)
    assert_bits([model.backward(grad_output), *gradients(model)], backward_one_by_one(other, grad_output))
    model.zero_grad()
    other.zero_grad()
    output = model.forward(x).copy()
    expected = one_by_one(other, x, grad_output)
    assert_bits([output, model.backward(grad_output), *gradients(model)], expected)


@pytest.mark.parametrize("change", REPLACED, ids=lambda change: change.__name__)
def test_a_backward_reaches_the_parameters_of_its_forward_whatever_took_their_place(change):
    x, grad_output = batch(SMOOTH, (40,), F32)
    model, other = SMOOTH.build(F32), SMOOTH.build(F32)
    parameters = list(model.parameters())
    expected = one_by_one(other, x, grad_output)
    model(x)
    change(model)
    assert_bits([model.backward(grad_output), *(parameter.grad for parameter in parameters)], expected[1:])


@pytest.mark.parametrize("change", NEEDS_A_FORWARD, ids=lambda change: change.__name__)
def test_a_backward_after_other_parameters_came_is_refused(change):
    x, grad_output = batch(SMOOTH, (40,), F32)
    model, other = SMOOTH.build(F32), SMOOTH.build(F32)
    model.forward(x)
    for each in (model, other):
        change(each)
    refused(model, grad_output, r"backward of .* needs the parameters of its forward.* call")
    expected = one_by_one(other, x, grad_output)
    assert_bits([model.forward(x), model.backward(grad_output), *gradients(model)], expected)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_writes_to_memory_of_its_own(duplicate, dtype):
    model = SMOOTH.build(dtype)
    x, grad_output = batch(SMOOTH, (40,), dtype)
    model.forward(x)
    handed_out = [model.forward(x), model.backward(grad_output)]
    kept = [array.copy() for array in handed_out]
    other = duplicate(model)
    other.backward(other.forward(-x))
    assert_bits(handed_out, kept)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_needs_a_forward_of_its_own(duplicate):
    model = SMOOTH.build(F32)
    model.forward(draw((40, 4), F32))
    refused(duplicate(model), draw((40, 4), F32), "needs a forward before it")


# What stops a call half way


@pytest.fixture
def stopped(monkeypatch):
    """Run a call in which ``error`` comes where the module's ``name`` would be called, after so many calls of it."""

    def run(name, error, call, *arguments, after=0):
        original, calls = getattr(chain, name), itertools.count()

        def stop(*given):
            if next(calls) < after:
                return original(*given)
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(chain, name, stop)
            with pytest.raises(type(error)):
                call(*arguments)

    return run


STOPS = {
    "before memory is divided": ("_Layout", MemoryError(), 0, 100),
    "before a larger batch": ("whole_or_shared", KeyboardInterrupt(), 0, 100),
    "before a smaller batch": ("whole_or_shared", KeyboardInterrupt(), 0, 7),
    "before one of the same size": ("whole_or_shared", KeyboardInterrupt(), 0, 40),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_forward_that_is_stopped_leaves_the_last_one(stopped, case, dtype):
    name, error, after, n = STOPS[case]
    x, grad_output = batch(SMOOTH, (40,), dtype)
    expected = one_by_one(SMOOTH.build(dtype), x, grad_output)
    model = SMOOTH.build(dtype)
    model.forward(x)
    stopped(name, error, model.forward, draw((n, 4), dtype), after=after)
    assert_bits([model.backward(grad_output), *gradients(model)], expected[1:])
    assert_bits([model.forward(x)], expected[:1])


def test_a_call_that_is_stopped_gives_the_model_back(stopped):
    model = SMOOTH.build(F32)
    x, grad_output = batch(SMOOTH, (40,), F32)
    model.forward(x)
    outcomes = []
    for call, argument in ((model.forward, x), (model.backward, grad_output), (model.backward_parameters, grad_output)):
        stopped("whole_or_shared", KeyboardInterrupt(), call, argument)
        worker = threading.Thread(target=lambda: outcomes.append(model.forward(x).copy()))
        worker.start()
        worker.join()
    assert len(outcomes) == 3


def test_a_plan_that_is_stopped_is_made_again(monkeypatch):
    model, x = SMOOTH.build(F32), draw((40, 4), F32)
    model.forward(x)
    built_into_another(model)
    model[0].weight.data[...] += 1

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nn.sequential, "Chain", stop)
        with pytest.raises(KeyboardInterrupt):
            model.forward(x)
    numpy.testing.assert_array_equal(model.forward(x), model.predict(x))
