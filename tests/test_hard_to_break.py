"""What a user may do between calls: reshape, freeze and exchange what he was handed. Kernels read within arrays."""

import copy
import resource
import warnings
from pathlib import Path

import numpy
import pytest
from helpers import assert_unchanged, draw, mlp, snapshot
from memory import assert_survives

import fastbp
from fastbp import nn, optim

F32 = numpy.float32


def ones(*shape, dtype=F32):
    return numpy.ones(shape, dtype)


def reshape_in_place(array, shape):
    """What ``array.shape = shape`` does, which NumPy is about to deprecate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array.shape = shape


def test_a_backward_behind_an_input_that_was_reshaped_is_refused():
    layer, x = nn.Linear(5, 3), draw((6, 5), F32)
    layer(x)
    reshape_in_place(x, (5, 6))
    before = snapshot(layer)
    with pytest.raises(RuntimeError, match=r"Linear needs .* shape \(6, 5\), got float32 \(5, 6\) since"):
        layer.backward(ones(6, 3))
    assert_unchanged(layer, before)


def test_a_backward_behind_an_input_that_was_resized_is_refused():
    layer, x = nn.Linear(5, 3), draw((600, 5), F32)
    layer(x)
    x.resize((1, 5), refcheck=False)
    with pytest.raises(RuntimeError, match=r"as it was, float32 of shape \(600, 5\), got float32 \(1, 5\) since"):
        layer.backward(ones(600, 3))


def test_an_input_that_was_frozen_since_serves_its_backward():
    layer, x = nn.Linear(5, 3), draw((6, 5), F32)
    layer(x)
    expected = layer.backward(ones(6, 3)).copy()
    layer(x)
    x.flags.writeable = False
    numpy.testing.assert_array_equal(layer.backward(ones(6, 3)), expected)


@pytest.mark.parametrize("build", [lambda: nn.Linear(5, 3), nn.Tanh])
def test_an_output_that_was_reshaped_or_frozen_is_no_matter_to_its_module(build):
    module, x = build(), draw((6, 5), F32)
    expected = module.predict(x)
    output = module(x)
    with pytest.raises(AttributeError, match=r"Tensor\.shape cannot be set"):
        reshape_in_place(output, (output.shape[1], 6))
    reshape_in_place(numpy.asarray(output), (output.shape[1], 6))
    module.backward(ones(*expected.shape))
    numpy.testing.assert_array_equal(module(x), expected)
    output = module(x)
    output.flags.writeable = False
    numpy.testing.assert_array_equal(module(x), expected)


def test_the_gradient_of_a_loss_that_was_reshaped_is_no_matter_to_the_loss():
    criterion = nn.MSELoss()
    criterion(draw((6, 3), F32), ones(6, 3))
    reshape_in_place(criterion.backward(retain_graph=True), (3, 6))
    assert criterion.backward().shape == (6, 3)


@pytest.mark.parametrize("what", ["data", "grad"])
def test_reshaping_a_view_of_a_parameter_leaves_the_parameter(what):
    layer, x = nn.Linear(5, 3), draw((6, 5), F32)
    expected = layer(x).copy()
    layer.weight.note_grad()
    reshape_in_place(getattr(layer.weight, what), (5, 3))
    assert getattr(layer.weight, what).shape == (3, 5)
    numpy.testing.assert_array_equal(layer(x), expected)


WRONG_PARAMETERS = {
    "shape of weight": (
        "weight",
        lambda: nn.Parameter(ones(3, 4)),
        r"weight takes .* \(3, 5\), got float32 .*\(3, 4\)",
    ),
    "shape of bias": ("bias", lambda: nn.Parameter(ones(1)), r"bias takes .* \(3,\), got float32 of shape \(1,\)"),
    "dtype": ("bias", lambda: nn.Parameter(ones(3, dtype="f8")), r"bias takes .*float32 .*got float64"),
    "array": ("weight", lambda: ones(3, 5), r"weight takes a Parameter"),
    "no weight": ("weight", lambda: None, r"weight takes a Parameter.* got None"),
}


@pytest.mark.parametrize("case", WRONG_PARAMETERS)
def test_a_layer_takes_no_parameter_that_does_not_fit(case):
    name, build, match = WRONG_PARAMETERS[case]
    layer = nn.Linear(5, 3)
    before = snapshot(layer)
    with pytest.raises(ValueError, match=r"Linear\(5, 3\)\." + match):
        setattr(layer, name, build())
    assert_unchanged(layer, before)


@pytest.mark.parametrize("name", ["in_features", "out_features", "dtype"])
def test_the_sizes_of_a_layer_are_those_of_its_weight(name):
    layer = nn.Linear(5, 3)
    with pytest.raises(AttributeError, match=name):
        setattr(layer, name, 100)
    with pytest.raises(AttributeError):
        layer.weight.shape = (100, 5)


def test_a_layer_keeps_its_weight_and_may_lose_its_bias():
    model, x = nn.Sequential(nn.Linear(5, 3, rng=0)), draw((6, 5), F32)
    with pytest.raises(AttributeError, match=r"Linear\(5, 3\) needs its weight; set bias to None"):
        del model[0].weight
    without = model.predict(x) - model[0].bias.data
    model[0].bias = None
    numpy.testing.assert_allclose(model.predict(x), without, rtol=1e-5)


def test_a_layer_may_take_another_layers_parameter():
    layer, other, x = nn.Linear(5, 3, rng=0), nn.Linear(5, 3, rng=1), draw((6, 5), F32)
    layer.weight, layer.bias = other.weight, other.bias
    numpy.testing.assert_array_equal(layer(x), other(x))


def test_features_may_be_small_integers_of_numpy():
    layer = nn.Linear(numpy.int8(100), numpy.uint8(200), init="xavier_normal")
    assert layer.weight.shape == (200, 100)


LINEARS = {
    "rng": ({"rng": "a"}, TypeError, r"Linear takes rng as a numpy\.random\.Generator, a seed .*got 'a'"),
    "negative seed": ({"rng": -1}, ValueError, r"Linear takes rng as .*a seed of 0 or more.*got -1"),
    "dtype": ({"dtype": "abc"}, TypeError, r"Linear takes dtype numpy\.float32 or numpy\.float64, got 'abc'"),
    "bias": ({"bias": ones(3)}, TypeError, r"Linear takes bias as True or False, got ndarray"),
    "sizes": ({"in_features": 2**40, "out_features": 2**40}, ValueError, r"larger than any memory"),
}


@pytest.mark.parametrize("case", LINEARS)
def test_a_linear_says_what_it_takes(case):
    arguments, error, match = LINEARS[case]
    with pytest.raises(error, match=match):
        nn.Linear(**{"in_features": 5, "out_features": 3, **arguments})


@pytest.mark.parametrize("lr", [10**400, 1e300], ids=["beyond float64", "beyond float32"])
def test_a_learning_rate_that_the_parameters_dtype_cannot_hold_is_refused(lr):
    opt = optim.SGD(nn.Linear(5, 3).parameters(), lr=0.5)
    with pytest.raises(ValueError, match=r"SGD takes .* lr .*got 1"):
        opt.lr = lr
    assert opt.lr == 0.5
    assert optim.SGD(nn.Linear(5, 3, dtype="f8").parameters(), lr=1e300).lr == 1e300


def test_a_masked_array_is_refused_rather_than_read_behind_its_mask():
    masked = numpy.ma.masked_array(ones(6, 5), mask=numpy.eye(6, 5, dtype=bool))
    one_by_one, leaf = nn.Sequential(nn.Dropout(), nn.Linear(5, 3)), fastbp.tensor(ones(6, 5), requires_grad=True)
    calls = (
        nn.Linear(5, 3), nn.ReLU(), nn.Linear(5, 3).predict, mlp(5, 3).predict, nn.Parameter, one_by_one,
        nn.Residual(nn.Linear(5, 5)), fastbp.tensor, leaf.__add__, leaf.backward,
    )  # fmt: skip
    for call in calls:
        with pytest.raises(TypeError, match=r"takes arrays without a mask, got MaskedArray; fill it"):
            call(masked)


class Own(numpy.ndarray):
    pass


def test_a_subclass_of_ndarray_is_read_as_an_array_and_gives_one():
    x = draw((6, 5), F32)
    for module in (nn.Linear(5, 3, rng=0), nn.ReLU(), mlp(5, 3)):
        for call in (module, module.predict):
            output = call(x.view(Own))
            assert type(output) is (fastbp.Tensor if call is module else numpy.ndarray)
            numpy.testing.assert_array_equal(output, call(x))
    nn.MSELoss()(x.view(Own), x.view(Own))


def test_a_file_mapped_into_memory_serves_as_data(tmp_path):
    x = numpy.memmap(tmp_path / "x", F32, "w+", shape=(20, 5))
    x[...] = draw((20, 5), F32)
    outcomes = []
    for data in (x, numpy.array(x)):
        model = mlp(5, 4, 5)
        opt = optim.SGD(model.parameters(), lr=0.1)
        outcomes.append(fastbp.train_model(model, data, data, None, None, nn.MSELoss(), opt, 2, 5)["train_loss"])
    assert outcomes[0] == outcomes[1]


def test_a_shallow_copy_shares_parameters_and_no_memory_of_its_calls():
    for module in (nn.Linear(5, 3), nn.Tanh()):
        x, other = draw((6, 5), F32), copy.copy(module)
        output = module(x)
        kept = output.copy()
        other(-x)
        numpy.testing.assert_array_equal(output, kept)
    layer = nn.Linear(5, 3)
    assert copy.copy(layer).weight is layer.weight


def test_a_copied_loss_has_no_gradient_until_its_first_forward():
    criterion = nn.MSELoss(reduction="sum")
    criterion(ones(2, 3), ones(2, 3))
    for other in (copy.copy(criterion), copy.deepcopy(criterion)):
        assert other.reduction == "sum"
        with pytest.raises(RuntimeError, match=r"needs a forward before it"):
            other.backward()


def test_two_layers_may_exchange_their_values_in_one_load():
    model = nn.Sequential(nn.Linear(5, 5, rng=0), nn.Linear(5, 5, rng=1))
    before = model.state_dict()
    views = {name: parameter.data for name, parameter in model.named_parameters()}
    model.load_state_dict({name: views[("1" if name[0] == "0" else "0") + name[1:]] for name in views})
    for name, value in model.state_dict().items():
        numpy.testing.assert_array_equal(value, before[("1" if name[0] == "0" else "0") + name[1:]])


def test_a_value_beyond_float32_loads_as_infinity_like_in_pytorch():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": numpy.array([[1e300, 1.0]]), "bias": numpy.zeros(1)})
    assert layer.weight.data.tolist() == [[numpy.inf, 1.0]]


@pytest.mark.parametrize("wrong", [None, [1], "weight"], ids=repr)
def test_a_state_that_is_no_mapping_is_refused(wrong):
    with pytest.raises(TypeError, match=rf"Linear\.load_state_dict takes a mapping .*got {type(wrong).__name__}"):
        nn.Linear(5, 3).load_state_dict(wrong)


def test_a_ragged_list_in_a_state_is_named():
    with pytest.raises(ValueError, match=r"'weight' is no array: list"):
        nn.Linear(2, 1).load_state_dict({"weight": [[1.0], [1.0, 2.0]], "bias": numpy.zeros(1)})


def test_the_loss_of_arrays_with_an_axis_of_no_length_is_that_of_no_elements():
    empty = numpy.ones((0, 3, 0), F32)
    assert nn.MSELoss(reduction="sum")(empty, empty) == 0
    assert numpy.isnan(nn.MSELoss()(empty, empty))


@pytest.mark.parametrize(("index", "error"), [(4, IndexError), ("0", TypeError), (None, TypeError)])
def test_an_index_that_a_sequential_has_not_is_refused_by_name(index, error):
    with pytest.raises(error, match=rf"Sequential of 1 modules takes an index or a slice, got {index!r}"):
        nn.Sequential(nn.ReLU())[index]


def test_a_sequential_of_nothing_takes_arrays_only():
    for call in (nn.Sequential(), nn.Sequential().predict):
        with pytest.raises(TypeError, match=r"Sequential takes a NumPy array, got list"):
            call([1.0])


def test_a_parameter_may_be_changed_through_its_view_or_by_assignment():
    weight = nn.Linear(5, 3, init="zeros").weight
    weight.data += 1
    weight.data[...] *= 2
    assert (weight.data == 2).all()


def test_a_backward_that_is_refused_half_way_has_added_no_gradient():
    """Where the first layer's input was reshaped."""
    for model in (mlp(4, 5, 4, 3), nn.Sequential(mlp(4, 5), nn.LayerNorm(5), nn.Linear(5, 3))):
        x = draw((6, 4), F32)
        output = model(x)
        reshape_in_place(x, (4, 6))
        before = snapshot(model)
        for call in (model.backward, model.backward_parameters, output.backward):
            with pytest.raises(RuntimeError, match="needs the array of its forward as it was"):
                call(ones(6, 3))
        assert_unchanged(model, before)


def _train_few_epochs(model, x):
    target = numpy.zeros((len(x), 3), x.dtype)
    fastbp.train_model(model, x, target, None, None, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), 3, 10**6)


MEMORY_HUNGRY = {
    "forward": lambda model, x: model(x),
    "predict": lambda model, x: model[0].predict(x),
    "single module": lambda model, x: model[0](x),
    "train_model": lambda model, x: _train_few_epochs(nn.Sequential(*model, nn.Softmax(0)), x),
}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("call", MEMORY_HUNGRY)
def test_where_memory_ends_a_model_stays_as_it_was(call):
    """The rows take 4 MB and their outputs gigabytes, in a process that may take 200 MB more."""
    model, small, rows = mlp(1, 2000, 3), draw((5, 1), numpy.float32), numpy.ones((1_000_000, 1), numpy.float32)
    grad_output = draw((5, 3), numpy.float32)
    model.backward(model(small))
    MEMORY_HUNGRY[call](mlp(1, 2000, 3), small)
    before, expected = snapshot(model), copy.deepcopy(model)
    expected.backward(expected(small))
    expected.backward(expected(small) + grad_output)

    def work():
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + (200 << 20), resource.RLIM_INFINITY))
        with pytest.raises(MemoryError):
            MEMORY_HUNGRY[call](model, rows)
        assert_unchanged(model, before)
        model.backward(model(small) + grad_output)
        assert_unchanged(model, snapshot(expected))

    assert_survives(work)
