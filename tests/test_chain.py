"""A model that runs in one call gives the bits of its modules called one by one, and hides their forwards."""

import numpy
import pytest
from chains import assert_bits, backward_one_by_one, batch, gradients, in_one, nested, one_by_one, refused
from helpers import LAYOUTS, draw
from hypothesis import given
from hypothesis import strategies as st
from same_bits import ORIGINAL, SMOOTH, Network
from strategies import dtypes, examples, rows, widths

import fastbp
from fastbp import nn
from fastbp.nn.activations import activation_classes

F32 = numpy.float32
NETWORKS = {
    "the original": ORIGINAL,
    "smooth": SMOOTH,
    "one number": Network((1, 1), ("ReLU",)),
    "one Linear": Network((4, 3), (None,)),
    "activation last": Network((3, 15, 3), ("Sigmoid", "Tanh")),
    "no activation": Network((5, 6, 7, 2), (None, None, None)),
    "wider than a stretch of k": Network((300, 20, 257, 12), ("ReLU", "Tanh", None)),
    "wide hidden": Network((10, 530, 6), ("Sigmoid", "ReLU")),
    "without bias": Network((5, 17, 9, 3), ("ReLU", "Tanh", None), bias=False),
}
EVERY_ACTIVATION = [kind.__name__ for kind in activation_classes()]
SHAPES = [(), (0,), (1,), (50,), (257,), (600,), (3, 5), (2, 0), (2, 1, 3)]


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_model_gives_the_bits_of_its_modules_one_by_one(network, count, dtype):
    for shape in SHAPES:
        x, grad_output = batch(network, shape, dtype)
        fastbp.set_num_threads(1)
        expected = one_by_one(network.build(dtype), x, grad_output)
        fastbp.set_num_threads(count)
        model = network.build(dtype)
        assert_bits(in_one(model, x, grad_output), expected)
        model.zero_grad()
        model.backward_parameters(grad_output)
        assert_bits(gradients(model), expected[2:])


@examples(max_examples=150)
@given(st.data(), dtypes, rows, st.integers(1, 4))
def test_any_network_gives_the_bits_of_its_modules_one_by_one(data, dtype, n, layers):
    network = Network(
        tuple(data.draw(widths(dtype)) for _ in range(layers + 1)),
        tuple(data.draw(st.sampled_from([None, *EVERY_ACTIVATION])) for _ in range(layers)),
        data.draw(st.booleans()),
    )
    x, grad_output = batch(network, (n,), dtype)
    assert_bits(in_one(network.build(dtype), x, grad_output), one_by_one(network.build(dtype), x, grad_output))


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, -numpy.inf, 1e-40, 3e38, -0.0])
def test_numbers_that_are_not_finite_go_through_alike(value, dtype):
    for network in (SMOOTH, NETWORKS["activation last"], ORIGINAL):
        x, grad_output = batch(network, (40,), dtype)
        x[17, 1] = grad_output[5, 0] = value
        assert_bits(in_one(network.build(dtype), x, grad_output), one_by_one(network.build(dtype), x, grad_output))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_of_what_is_handed_in_does_not_change_a_bit(name, dtype):
    x, grad_output = (LAYOUTS[name](array) for array in batch(SMOOTH, (40,), dtype))
    expected = one_by_one(SMOOTH.build(dtype), numpy.array(x, order="C"), numpy.array(grad_output, order="C"))
    assert_bits(in_one(SMOOTH.build(dtype), x, grad_output), expected)


def test_batches_of_changing_sizes_are_not_mixed(dtype):
    model, other = SMOOTH.build(dtype), SMOOTH.build(dtype)
    for shape in [(50,), (13,), (50,), (3, 30), (), (0,), (90,), (257,), (1,)]:
        x, grad_output = batch(SMOOTH, shape, dtype)
        assert_bits(in_one(model, x, grad_output), one_by_one(other, x, grad_output))


def test_a_backward_is_that_of_the_last_forward(dtype):
    model = SMOOTH.build(dtype)
    x, grad_output = batch(SMOOTH, (40,), dtype)
    expected = one_by_one(SMOOTH.build(dtype), x, grad_output)
    for before in (-x, x[:7], x):
        model.forward(before)
        model.zero_grad()
        assert_bits(in_one(model, x.copy(), grad_output), expected)


def test_gradients_accumulate_over_two_backwards_of_one_forward(dtype):
    model, other = SMOOTH.build(dtype), SMOOTH.build(dtype)
    x, grad_output = batch(SMOOTH, (40,), dtype)
    in_one(model, x, grad_output)
    one_by_one(other, x, grad_output, retain_graph=True)
    for again in (grad_output, 3 * grad_output):
        expected = backward_one_by_one(other, again, retain_graph=True)
        assert_bits([model.backward(again, retain_graph=True), *gradients(model)], expected)


def test_forward_and_backward_take_their_argument_by_name():
    model = SMOOTH.build(F32)
    x, grad_output = batch(SMOOTH, (5,), F32)
    model.forward(input=x)
    model.backward(grad_output=grad_output, retain_graph=True)
    model.backward_parameters(grad_output=grad_output)


@pytest.mark.parametrize("network", [ORIGINAL, SMOOTH, NETWORKS["without bias"]], ids=["original", "smooth", "no bias"])
def test_no_module_has_a_backward_of_its_own_after_the_models_forward(network, dtype):
    x, grad_output = batch(network, (50,), dtype)
    model = network.build(dtype)
    model(x)
    for module, width in zip(model, [w for w in network.widths[1:] for _ in range(2)], strict=False):
        refused(module, draw((50, width), dtype), r"\.backward needs a forward before it")
    model.backward(grad_output)


def test_a_model_goes_back_through_its_own_forward_whatever_its_modules_were_called_on_since(dtype):
    x, grad_output = batch(SMOOTH, (40,), dtype)
    expected = one_by_one(SMOOTH.build(dtype), x, grad_output)
    model = SMOOTH.build(dtype)
    model(x)
    h = -x[:7]
    for module in model:
        h = module(h)
    assert_bits([model.backward(grad_output), *gradients(model)], expected[1:])


def test_a_model_of_models_gives_the_same_bits_and_so_do_its_parts(dtype):
    x, grad_output = draw((40, 4), dtype), draw((40, 3), dtype, 1)
    flat = [module for model in (nested(dtype)[0][0], nested(dtype)[1]) for module in model]
    expected = one_by_one(flat, x, grad_output)
    model = nested(dtype)
    assert_bits(in_one(model, x, grad_output), expected)
    model.zero_grad()
    assert_bits(one_by_one(model, x, grad_output, retain_graph=True), expected)
    model.zero_grad()
    assert_bits([model.backward(grad_output), *gradients(model)], expected[1:])


def test_the_output_of_a_module_called_on_its_own_is_not_overwritten_by_the_model(dtype):
    model, x = SMOOTH.build(dtype), draw((40, 4), dtype)
    model.forward(x)
    outputs = [x]
    for module in model:
        outputs.append(module.forward(outputs[-1]))
    kept = [output.copy() for output in outputs]
    model.forward(-x)
    model.backward(model.forward(-x))
    assert_bits(outputs, kept)


def test_a_module_called_on_its_own_leaves_the_models_output(dtype):
    model, x = SMOOTH.build(dtype), draw((40, 4), dtype)
    output = model.forward(x)
    kept = output.copy()
    model[-1].forward(draw((40, 16), dtype))
    assert_bits([output], [kept])


class Doubling(nn.ReLU):
    def forward(self, input):
        return 2 * super().forward(input)


def test_a_module_of_the_users_own_is_called(dtype):
    x, grad_output = draw((40, 4), dtype), draw((40, 3), dtype, 1)

    def build():
        return nn.Sequential(nn.Linear(4, 5, rng=0, dtype=dtype), Doubling(), nn.Linear(5, 3, rng=1, dtype=dtype))

    expected = one_by_one(build(), x, grad_output)
    model = build()
    assert_bits([model.forward(x), model.backward(grad_output), *gradients(model)], expected)


@pytest.mark.parametrize("place", [0, 1, "inner"])
def test_methods_that_one_module_was_given_are_called(place, dtype):
    model = nn.Sequential(SMOOTH.build(dtype))
    x, grad_output = batch(SMOOTH, (40,), dtype)
    model.backward(model.forward(x))
    part = model[0] if place == "inner" else model[0][place]
    calls = []

    def noting(name, original):
        return lambda array: (calls.append(name), original(array))[1]

    for name in ("forward", "backward", "predict"):
        setattr(part, name, noting(name, getattr(part, name)))
    model.zero_grad()
    actual = [model.forward(x).copy(), model.backward(grad_output).copy(), *gradients(model)]
    model.predict(x)
    assert calls == ["forward", "backward", "predict", "forward"], "the library's predict goes through a user's forward"
    assert_bits(actual, one_by_one(SMOOTH.build(dtype), x, grad_output))
    for name in ("forward", "backward", "predict"):
        delattr(part, name)
    in_one(model, x, grad_output)
    assert len(calls) == 4
