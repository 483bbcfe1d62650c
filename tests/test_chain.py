"""A model that runs in one call leaves everything as its modules called one by one would: the same bits, and errors."""

import copy
import itertools
import pickle
import threading
import tracemalloc

import numpy
import pytest
from helpers import LAYOUTS, assert_unchanged, draw, mlp, snapshot
from hypothesis import given
from hypothesis import strategies as st
from memory import Fence, assert_survives
from same_bits import Network
from strategies import dtypes, examples, rows, widths

import fastbp
from fastbp import chain, nn, threads
from fastbp.plan import Plan
from fastbp_kernels.barrier import SYNC_SIZE
from fastbp_kernels.chain import chain_backward, chain_forward

F32 = numpy.float32
ORIGINAL = Network((2, 25, 25, 25, 2), ("ReLU", "ReLU", "ReLU", None))
SMOOTH = Network((4, 32, 16, 4), ("Tanh", "Sigmoid", None))
SQUARE = Network((6, 9, 6), ("Tanh", None))
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
SHAPES = [(), (0,), (1,), (50,), (257,), (600,), (3, 5), (2, 0), (2, 1, 3)]


def one_by_one(modules, x, grad_output):
    """Copies of the output, the gradient of the input and all parameters' gradients."""
    for module in modules:
        x = module.forward(x)
    return [x.copy(), *backward_one_by_one(modules, grad_output)]


def backward_one_by_one(modules, grad_output):
    for module in reversed(list(modules)):
        grad_output = module.backward(grad_output)
    return [grad_output.copy(), *gradients(modules)]


def gradients(modules):
    return [parameter.grad.copy() for module in modules for parameter in module.parameters()]


def in_one(model, x, grad_output):
    output = model.forward(x).copy()
    assert model._chain.is_last_forward, "the modules were not called one by one"
    return [output, model.backward(grad_output).copy(), *gradients(model)]


def assert_bits(actual, expected):
    """The signs of zeros included; NaN equals NaN."""
    for one, two in zip(actual, expected, strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        numpy.testing.assert_array_equal(one, two)
        numpy.testing.assert_array_equal(numpy.signbit(one) & (one == 0), numpy.signbit(two) & (two == 0))


def batch(network, shape, dtype):
    return draw((*shape, network.widths[0]), dtype, 1), draw((*shape, network.widths[-1]), dtype, 2)


@pytest.fixture(params=[1, 3], ids=["1 thread", "3 threads"])
def count(request, monkeypatch):
    """So many threads for the smallest work."""
    before = fastbp.get_num_threads()
    monkeypatch.setattr(threads, "FLOP_PER_START", 1.0)
    fastbp.set_num_threads(request.param)
    yield request.param
    fastbp.set_num_threads(before)


# The same bits


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_model_gives_the_bits_of_its_modules_one_by_one(network, shape, count, dtype):
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
        tuple(data.draw(st.sampled_from([None, "ReLU", "Tanh", "Sigmoid"])) for _ in range(layers)),
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
    one_by_one(other, x, grad_output)
    for again in (grad_output, 3 * grad_output):
        assert_bits([model.backward(again), *gradients(model)], backward_one_by_one(other, again))


def test_forward_and_backward_take_their_argument_by_name():
    model = SMOOTH.build(F32)
    x, grad_output = batch(SMOOTH, (5,), F32)
    model.forward(input=x)
    model.backward(grad_output=grad_output)
    model.backward_parameters(grad_output=grad_output)


# The modules go on by themselves


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_modules_may_be_called_backward_one_by_one_after_the_models_forward(network, shape, dtype):
    x, grad_output = batch(network, shape, dtype)
    expected = one_by_one(network.build(dtype), x, grad_output)
    model = network.build(dtype)
    model.forward(x)
    assert_bits(backward_one_by_one(model, grad_output), expected[1:])
    model.zero_grad()
    model.backward(grad_output)
    assert_bits(gradients(model), expected[2:])


def test_a_model_may_be_called_backward_after_its_modules_forward_one_by_one(dtype):
    x, grad_output = batch(SMOOTH, (40,), dtype)
    expected = one_by_one(SMOOTH.build(dtype), x, grad_output)
    model = SMOOTH.build(dtype)
    model.forward(-x)
    for module in model:
        x = module.forward(x)
    assert_bits([model.backward(grad_output), *gradients(model)], expected[1:])


def nested(dtype, seed=0):
    first, second = SMOOTH.build(dtype, seed), Network((4, 7, 3), ("ReLU", "Tanh")).build(dtype, seed + 1)
    return nn.Sequential(nn.Sequential(first), second)


def test_a_model_of_models_gives_the_same_bits_and_so_do_its_parts(dtype):
    x, grad_output = draw((40, 4), dtype), draw((40, 3), dtype, 1)
    flat = [module for model in (nested(dtype)[0][0], nested(dtype)[1]) for module in model]
    expected = one_by_one(flat, x, grad_output)
    model = nested(dtype)
    assert_bits(in_one(model, x, grad_output), expected)
    model.zero_grad()
    assert_bits(backward_one_by_one(model, grad_output), expected[1:])
    model.zero_grad()
    model[0].backward_parameters(model[1].backward(grad_output))
    assert_bits(gradients(model), expected[2:])
    model.zero_grad()
    assert_bits(one_by_one(model, x, grad_output), expected)
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
    inner = ["forward"] if place != "inner" else []  # the library's predict goes through a forward of the user's own
    assert calls == ["forward", "backward", "predict", *inner]
    assert_bits(actual, one_by_one(SMOOTH.build(dtype), x, grad_output))
    for name in ("forward", "backward", "predict"):
        delattr(part, name)
    in_one(model, x, grad_output)
    assert len(calls) == 3 + len(inner)


# What is refused, and that nothing has changed then


def refused(model, grad_output, match):
    before = snapshot(model)
    for call in (model.backward, model.backward_parameters):
        with pytest.raises(RuntimeError, match=match):
            call(grad_output)
    assert_unchanged(model, before)


class Named(nn.Sequential):
    """A subclass, of which the engine knows nothing."""


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kind", [nn.Sequential, Named])
def test_a_backward_after_a_part_was_called_elsewhere_is_refused(kind, place):
    for parts in (SMOOTH.build(F32), nested(F32)):
        model = kind(*parts)
        grad_output = model.forward(draw((40, 4), F32)).copy()
        model[place].forward(draw((7, 4), F32))
        refused(model, grad_output, r"^Sequential\.backward needs the last forward of each module to be its own")


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
    refused(model, grad_output, r"Linear\.backward needs the array of the last forward as it was, float32 of shape")


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
    one_by_one(other, x, grad_output)
    other.zero_grad()
    x *= 2
    assert_bits([model.backward(grad_output), *gradients(model)], backward_one_by_one(other, grad_output))


def test_a_backward_needs_a_forward_of_the_model_or_of_its_modules():
    model = SMOOTH.build(F32)
    refused(model, draw((4, 4), F32), r"Linear\.backward needs a forward before it: call")
    model.predict(draw((4, 4), F32))
    refused(model, draw((4, 4), F32), r"Linear\.backward needs a forward before it: call")


@pytest.mark.parametrize("last", ["Linear", "Tanh"])
def test_a_gradient_that_does_not_fit_is_refused_in_the_name_of_the_last_module(last):
    model = Network((4, 5, 3), ("ReLU", "Tanh" if last == "Tanh" else None)).build(F32)
    model.forward(draw((6, 4), F32))
    before = snapshot(model)
    with pytest.raises(ValueError, match=rf"^{last}\.backward takes a gradient .* shape \(6, 3\), got \(3, 6\)"):
        model.backward(draw((3, 6), F32))
    with pytest.raises(TypeError, match=rf"^{last}\.backward takes float32 arrays, got float64"):
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


CHANGES = [
    rid_of_a_bias, given_another_weight, written_to, loaded, built_into_another, built_in_part_into_another,
    beside_another,
]  # fmt: skip


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


# Memory


def test_what_is_handed_out_is_contiguous_and_reused(dtype):
    model = SMOOTH.build(dtype)
    handed_out = []
    for shape in [(50,), (50,), (13,), (2, 5)]:
        x, grad_output = batch(SMOOTH, shape, dtype)
        handed_out.append((model.forward(x), model.backward(grad_output)))
        for array, like in zip(handed_out[-1], (grad_output, x), strict=True):
            assert array.shape == like.shape
            assert array.flags.carray
    for output, grad_input in handed_out[1:]:
        assert numpy.shares_memory(output, handed_out[0][0])
        assert numpy.shares_memory(grad_input, handed_out[0][1])
        assert not numpy.may_share_memory(output, grad_input)


@pytest.mark.filterwarnings("ignore:Setting the shape")
def test_what_was_handed_out_may_be_reshaped_and_frozen(dtype):
    model, other = SMOOTH.build(dtype), SMOOTH.build(dtype)
    x, grad_output = batch(SMOOTH, (40,), dtype)
    expected = one_by_one(other, x, grad_output)
    for _ in range(2):
        model.zero_grad()
        handed_out = [model.forward(x), model.backward(grad_output)]
        assert_bits([*handed_out, *gradients(model)], expected)
        for array in handed_out:
            array.shape = array.shape[::-1]
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
        model.forward(x)
        model.forward(expected[0])
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
    parameter, grad, scratch, input, grad_output = (Fence() for _ in range(5))
    sync = numpy.zeros(SYNC_SIZE, numpy.int64)
    for at_end in (True, False):
        for n, i, o, last in itertools.product((1, 5, 16, 21), (1, 5, 16, 21), (1, 3, 16, 17), (None, "Tanh")):
            plan = Plan(Network((i, 18, o), ("ReLU", last)).build(dtype))
            layers, size = plan.layout(n, padded=False)
            p, g = (fence.array(plan.parameter.shape, dtype, at_end) for fence in (parameter, grad))
            s = scratch.array((size,), dtype, at_end)
            x, grad_y = input.array((n, i), dtype, at_end), grad_output.array((n, o), dtype, at_end)
            chain_forward(0, 1, sync, layers, p, s, x)
            chain_backward(0, 1, sync, layers, p, g, s, x, grad_y, True)
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
        criterion(model.forward(x), target)
        model.backward(criterion.backward())
        model.backward_parameters(criterion.backward())

    step()
    step()
    tracemalloc.start()
    for _ in range(10):
        step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5000


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
    "no memory": ("aligned_zeros", MemoryError(), 0, 100),
    "before memory is divided": ("prod", KeyboardInterrupt(), 0, 100),
    "while more memory is divided": ("prod", KeyboardInterrupt(), 1, 100),
    "while memory is divided": ("prod", KeyboardInterrupt(), 1, 7),
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
        worker = threading.Thread(target=lambda: outcomes.append(model.forward(x)))
        worker.start()
        worker.join()
    assert len(outcomes) == 3


def test_a_plan_that_is_stopped_is_made_again(monkeypatch):
    model, x = SMOOTH.build(F32), draw((40, 4), F32)
    model.forward(x)
    built_into_another(model)
    model[0].weight.data[...] += 1

    def stop(plan):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nn.sequential, "Chain", stop)
        with pytest.raises(KeyboardInterrupt):
            model.forward(x)
    numpy.testing.assert_array_equal(model.forward(x), model.predict(x))
