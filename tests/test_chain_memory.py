"""The memory of a model that runs in one call: what it hands out, what it may be given, what it does not touch."""

import itertools
import tracemalloc

import numpy
import pytest
from chains import assert_bits, batch, gradients, in_one, one_by_one
from helpers import draw
from memory import Fence, assert_survives
from same_bits import ORIGINAL, SMOOTH, Network

from fastbp import nn
from fastbp.engine.plan import Plan
from fastbp_kernels.network.chain import chain_backward, chain_forward
from fastbp_kernels.parallel.barrier import SYNC_SIZE

F32 = numpy.float32
SQUARE = Network((6, 9, 6), ("Tanh", None))


def test_what_is_handed_out_is_contiguous_and_reused(dtype):
    model = SMOOTH.build(dtype)
    addresses = []
    for shape in [(50,), (50,), (13,), (2, 5)]:
        x, grad_output = batch(SMOOTH, shape, dtype)
        output, grad_input = model.forward(x), model.backward(grad_output)
        for array, like in zip((output, grad_input), (grad_output, x), strict=True):
            assert array.shape == like.shape
            assert array.flags.c_contiguous
        assert not numpy.may_share_memory(output, grad_input)
        assert grad_input.flags.writeable
        assert not output.flags.writeable, "backward may need it"
        addresses.append((output.ctypes.data, grad_input.ctypes.data))
        del output, grad_input, array
    assert len(set(addresses)) == 1, "what nobody holds is used again"


@pytest.mark.filterwarnings("ignore:Setting the shape")
def test_what_was_handed_out_may_be_reshaped_and_frozen(dtype):
    model, other = SMOOTH.build(dtype), SMOOTH.build(dtype)
    x, grad_output = batch(SMOOTH, (40,), dtype)
    expected = one_by_one(other, x, grad_output)
    for _ in range(2):
        model.zero_grad()
        handed_out = [model.forward(x), model.backward(grad_output)]
        assert_bits([*handed_out, *gradients(model)], expected)
        handed_out[1].shape = handed_out[1].shape[::-1]
        for array in handed_out:
            array.flags.writeable = False


@pytest.mark.parametrize("rows", [slice(None), slice(16, None), slice(5, 45), slice(0, 7)], ids=str)
def test_an_output_may_be_the_next_input_or_the_gradient(rows, count, dtype):
    for network in (SQUARE, Network((6, 6, 6, 6), ("ReLU", None, "Sigmoid"))):
        x = draw((60, 6), dtype)
        model, other = network.build(dtype), network.build(dtype)
        output = other.forward(x)[rows].copy()
        expected = in_one(other, output, output)
        output = model.forward(model.forward(x)[rows])
        assert_bits([output], expected[:1])
        del output
        again = other.forward(expected[0]).copy()
        assert_bits([model.backward(model.forward(expected[0]))], [other.backward(again)])


@pytest.mark.parametrize("rows", [slice(None), slice(16, None), slice(5, 45)], ids=str)
def test_the_gradient_of_the_input_may_be_the_next_input_or_gradient(rows, count, dtype):
    for network in (SQUARE, Network((6, 6), (None,)), Network((40, 40), ("Tanh",))):
        model, other = network.build(dtype), network.build(dtype)
        x, grad_output = batch(network, (60,), dtype)
        model.forward(x)
        given = model.backward(grad_output)[rows]
        kept = given.copy()
        model.forward(x[rows].copy())
        other.forward(x[rows].copy())
        model.zero_grad()
        assert_bits([model.backward(given), *gradients(model)], [other.backward(kept), *gradients(other)])
        model.zero_grad()
        other.zero_grad()
        model.forward(x)
        given = model.backward(grad_output)[rows]
        kept = given.copy()
        model.zero_grad()
        output = model.forward(given).copy()
        expected = in_one(other, kept, kept)
        assert_bits([output, model.backward(kept), *gradients(model)], expected)


def run_beside_forbidden_pages(dtype):
    """All sizes of a batch, and the last parameters so near that they leave no room behind the weight before."""
    parameter, grad, scratch, input, output, grad_output, grad_input = (Fence() for _ in range(7))
    sync = numpy.zeros(SYNC_SIZE, numpy.int64)
    sizes = [*itertools.product((1, 5, 16, 21), (1, 5, 16, 21), (1, 3, 16, 17)), *((5, 3, o) for o in range(4, 8))]
    for at_end in (True, False):
        for (n, i, o), last in itertools.product(sizes, (None, "Tanh")):
            for hidden in ((18,), (18, 5)):
                network = Network((i, *hidden, o), ("ReLU",) * len(hidden) + (last,))
                plan = Plan(network.build(dtype))
                layers, size = plan.layout(n, padded=False)
                p, g = (fence.array(plan.parameter.shape, dtype, at_end) for fence in (parameter, grad))
                s = scratch.array((size,), dtype, at_end)
                x, grad_y = input.array((n, i), dtype, at_end), grad_output.array((n, o), dtype, at_end)
                y, grad_x = output.array((n, o), dtype, at_end), grad_input.array((n, i), dtype, at_end)
                chain_forward(0, 1, layers, p, plan.scalars, s, x, y)
                chain_backward(0, 1, sync, layers, p, plan.scalars, g, s, x, y, grad_y, grad_x, True)
                assert last or (g[-o:] == 1 + n).all()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_nothing_is_read_or_written_beside_the_arrays(dtype):
    """A stray access is a segmentation fault."""
    model = SMOOTH.build(dtype)
    model.backward(model.forward(draw((3, 4), dtype)))
    assert_survives(run_beside_forbidden_pages, dtype)


def test_a_step_allocates_nothing_that_stays_and_nothing_large():
    model, criterion = ORIGINAL.build(F32), nn.MSELoss()
    x, target = batch(ORIGINAL, (1000,), F32)

    def step():
        nonlocal output, grad_input
        output = model.forward(x)
        criterion(output, target)
        grad_input = model.backward(criterion.backward(retain_graph=True), retain_graph=True)
        model.backward_parameters(criterion.backward())

    output = grad_input = None  # held while the next step runs, as in a loop
    for _ in range(3):
        step()
    tracemalloc.start()
    for _ in range(10):
        step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5000
