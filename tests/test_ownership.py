"""Who owns which memory: flat vectors under the parameters, buffers that are reused, arrays that are new."""

import copy
import pickle

import numpy
import pytest
from helpers import DTYPES, draw, mlp, owner

from fastbp import nn, optim


@pytest.fixture
def model(dtype):
    return nn.Sequential(mlp(5, 17, 4, dtype=dtype), nn.Tanh(), nn.Linear(4, 3, rng=9, dtype=dtype))


@pytest.mark.parametrize("what", ["data", "grad"])
def test_all_parameters_are_views_of_one_flat_vector(model, what):
    for parameter in model.parameters():
        parameter.note_grad()
    arrays = [getattr(parameter, what) for parameter in model.parameters()]
    vector = owner(arrays[0])
    assert all(numpy.shares_memory(array, vector) for array in arrays)
    addresses = [array.ctypes.data for array in arrays]
    ends = [array.ctypes.data + array.nbytes for array in arrays]
    assert addresses[1:] == ends[:-1], "each parameter starts where the one before it ends"


def test_data_and_gradient_do_not_overlap(model):
    for parameter in model.parameters():
        parameter.grad = parameter.data
        assert not numpy.shares_memory(parameter.data, parameter.grad)


@pytest.mark.parametrize("what", ["data", "grad"])
def test_the_flat_vectors_start_at_a_cache_line(model, what):
    first = next(model.parameters())
    first.note_grad()
    assert getattr(first, what).ctypes.data % 64 == 0


def test_building_a_model_keeps_the_values_of_its_layers(dtype):
    layers = [nn.Linear(5, 4, rng=0, dtype=dtype), nn.Linear(4, 3, rng=1, dtype=dtype)]
    before = [parameter.data.copy() for layer in layers for parameter in layer.parameters()]
    nn.Sequential(layers[0], nn.ReLU(), layers[1])
    after = [parameter.data for layer in layers for parameter in layer.parameters()]
    for old, new in zip(before, after, strict=True):
        numpy.testing.assert_array_equal(old, new)


def test_building_a_model_keeps_the_gradients_of_its_layers(dtype):
    layer, x = nn.Linear(5, 4, rng=0, dtype=dtype), draw((7, 5), dtype)
    layer.backward(layer(x))
    before = layer.weight.grad.copy()
    nn.Sequential(layer, nn.ReLU(), nn.Linear(4, 3, dtype=dtype))
    assert before.any()
    numpy.testing.assert_array_equal(layer.weight.grad, before)


def test_writing_to_a_weight_is_writing_to_the_network(model, dtype):
    x = draw((7, 5), dtype)
    before = model.predict(x)
    model[2].weight.data[...] *= 2
    model[2].bias.data[...] *= 2
    numpy.testing.assert_allclose(model.predict(x), 2 * before, rtol=1e-6)


def test_assigning_to_data_and_grad_writes_through_the_views(model, dtype):
    weight = model[2].weight
    weight.note_grad()
    data, grad = weight.data, weight.grad
    weight.data = numpy.full((3, 4), 5, dtype)
    weight.grad = numpy.full((3, 4), 6, dtype)
    assert (data == 5).all()
    assert (grad == 6).all()


def test_a_parameter_does_not_alias_the_array_that_it_was_made_of(dtype):
    values = numpy.ones((2, 3), dtype)
    parameter = nn.Parameter(values)
    values[...] = 7
    assert (parameter.data == 1).all()


@pytest.mark.parametrize("build", [lambda d: nn.Linear(5, 3, dtype=d), lambda d: nn.ReLU(), lambda d: nn.Sigmoid()])
def test_output_and_input_gradient_are_reused(build, dtype):
    module = build(dtype)
    addresses = set()
    for seed, rows in enumerate((7, 7, 4)):  # a smaller batch fits into the larger one's memory
        output = module(draw((rows, 5), dtype, seed))
        gradient = module.backward(draw(output.shape, dtype, seed))
        addresses.add((output.ctypes.data, gradient.ctypes.data))
        del output, gradient
    assert len(addresses) == 1


def test_a_loop_that_gives_up_each_output_for_the_next_needs_two_arrays(model, dtype):
    addresses = []
    for seed in range(6):
        output = model(draw((7, 5), dtype, seed))
        addresses.append(output.ctypes.data)
    assert len(set(addresses)) == 2


@pytest.mark.parametrize("kind", ["Linear", "Tanh", "Sequential", "Sequential with a module of its own"])
def test_outputs_that_somebody_holds_keep_their_numbers(kind):
    module, other = SQUARE[kind](), SQUARE[kind]()
    batches = [draw((n, 4), numpy.float32, seed) for seed, n in enumerate((7, 7, 7, 3, 7, 50, 7))]
    outputs = [module(x) for x in batches]
    parts = [module(x)[1:, ::2] for x in batches]
    for x, output, part in zip(batches, outputs, parts, strict=True):
        expected = other.predict(x)
        numpy.testing.assert_array_equal(output, expected)
        numpy.testing.assert_array_equal(part, expected[1:, ::2])
    del outputs, parts, output, part
    gradients = [module.backward(module(x)) for x in batches]
    for x, gradient in zip(batches, gradients, strict=True):
        numpy.testing.assert_array_equal(gradient, other.backward(other(x)))


@pytest.mark.parametrize("kind", ["Linear", "Tanh", "Sequential", "Sequential with a module of its own"])
def test_an_output_is_to_be_read_and_a_prediction_and_a_gradient_are_the_callers(kind):
    module, x = SQUARE[kind](), draw((7, 4), numpy.float32)
    output = module(x)
    with pytest.raises((RuntimeError, ValueError), match=r"would write into a tensor|read-only"):
        output[...] = 1
    with pytest.raises(ValueError, match="read-only"):
        numpy.asarray(output)[...] = 1
    gradient = module.backward(output)
    for array in (module.predict(x), gradient):
        array += 1


def test_no_buffer_aliases_the_input_or_a_parameter(model, dtype):
    x = draw((7, 5), dtype)
    output = model(x)
    grad_input = model.backward(output)
    assert not numpy.shares_memory(output, x)
    assert not numpy.shares_memory(output, grad_input)
    for parameter in model.parameters():
        for array in (output, grad_input):
            assert not numpy.shares_memory(array, owner(parameter.data))
            assert not numpy.shares_memory(array, owner(parameter.grad))


def test_predict_returns_a_new_array_equal_to_forward(model, dtype):
    x = draw((7, 5), dtype)
    output = model(x)
    predictions = [model.predict(x), model.predict(x)]
    assert not numpy.shares_memory(*predictions)
    assert not any(numpy.shares_memory(prediction, output) for prediction in predictions)
    for prediction in predictions:
        numpy.testing.assert_array_equal(prediction, output)
        assert prediction.flags.writeable


BUILDERS = [lambda: nn.Linear(5, 3), nn.ReLU, nn.Tanh, nn.Sigmoid, lambda: nn.Sequential(nn.ReLU()), nn.Sequential]


@pytest.mark.parametrize("build", BUILDERS)
def test_predict_of_every_module_returns_a_new_array(build):
    module, x = build(), draw((7, 5), numpy.float32)
    first = module.predict(x)
    kept = first.copy()
    module.predict(-x)
    module(-x)
    numpy.testing.assert_array_equal(first, kept)


def test_predict_between_forward_and_backward_does_not_disturb_the_gradients(model, dtype):
    x, grad_output = draw((7, 5), dtype), draw((7, 3), dtype, seed=1)
    model(x)
    expected = model.backward(grad_output).copy()
    gradients = [parameter.grad.copy() for parameter in model.parameters()]
    model.zero_grad()
    model(x)
    model.predict(draw((7, 5), dtype, seed=2))
    numpy.testing.assert_array_equal(model.backward(grad_output), expected)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        numpy.testing.assert_array_equal(parameter.grad, gradient)


def through_pickle(module):
    return pickle.loads(pickle.dumps(module))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle])
def test_a_copied_model_is_equal_and_trains_apart(model, duplicate, dtype):
    x = draw((7, 5), dtype)
    model(x)
    other = duplicate(model)
    before = model.predict(x)
    numpy.testing.assert_array_equal(other.predict(x), before)
    opt = optim.SGD(other.parameters(), lr=0.1)
    other.backward(other(x))
    opt.step()
    assert not numpy.array_equal(other.predict(x), before)
    numpy.testing.assert_array_equal(model.predict(x), before)
    assert numpy.shares_memory(owner(other[0][0].weight.data), other[2].bias.data), "the copy is flat as well"


def test_a_parameter_tells_its_shape_dtype_and_size():
    for dtype in DTYPES:
        parameter = nn.Linear(5, 3, dtype=dtype).weight
        assert (parameter.shape, parameter.dtype, parameter.size) == ((3, 5), dtype, 15)


def test_linear_is_float32_unless_told_otherwise():
    assert nn.Linear(5, 3).weight.dtype == numpy.float32
    assert nn.Linear(5, 3).bias.dtype == numpy.float32


class OwnReLU(nn.ReLU):
    """A module that the compiled calls do not know."""


SQUARE = {
    "Linear": lambda: nn.Linear(4, 4, rng=0),
    "Tanh": nn.Tanh,
    "Sequential of one": lambda: nn.Sequential(nn.Linear(4, 4, rng=0)),
    "Sequential": lambda: mlp(4, 4, 4),
    "Sequential with a module of its own": lambda: nn.Sequential(
        nn.Linear(4, 4, rng=0), OwnReLU(), nn.Linear(4, 4, rng=1)
    ),
}


@pytest.mark.parametrize("kind", SQUARE)
def test_a_module_may_be_given_what_it_handed_out(kind):
    module, other, x = SQUARE[kind](), SQUARE[kind](), draw((23, 4), numpy.float32)
    for _ in range(3):
        output, expected = module(module(x)), other(other(x).copy())
        numpy.testing.assert_array_equal(output, expected)
        numpy.testing.assert_array_equal(module.backward(output[:, ::-1]), other.backward(expected[:, ::-1]))
        numpy.testing.assert_array_equal(
            module(module.backward(module(x))), other(other.backward(other(x).copy()).copy())
        )
        ours = module.backward(module.backward(module(x), retain_graph=True).copy().view(numpy.ndarray))
        theirs = other.backward(other.backward(other(x).copy(), retain_graph=True).copy())
        numpy.testing.assert_array_equal(ours, theirs)
    for mine, their in zip(module.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_array_equal(mine.grad, their.grad)
