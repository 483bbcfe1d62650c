"""Bad input to modules, losses, initialisers and optimisers: the rule, what came, the remedy, and nothing changed."""

import copy
import re

import numpy
import pytest
import torch
from helpers import assert_unchanged, draw, mlp, snapshot

from fastbp import nn, optim

FLOAT32, FLOAT64 = numpy.float32, numpy.float64


def ones(*shape, dtype=FLOAT32):
    return numpy.ones(shape, dtype)


class Own(nn.Module):
    def forward(self, input):
        return input

    def backward(self, grad_output):
        return grad_output


WRONG_DTYPES = [numpy.int64, numpy.int32, numpy.uint8, numpy.bool_, numpy.float16, numpy.complex64, object, ">f4"]


@pytest.mark.parametrize("shape", [(50, 24), (24,), (2, 3, 26), ()], ids=str)
@pytest.mark.parametrize("call", ["forward", "predict", "__call__"])
def test_a_wrong_feature_count_names_the_rule_and_what_came(call, shape):
    expected = re.escape(f"Linear(25, 10) takes inputs of shape (..., 25), got {shape}")
    with pytest.raises(ValueError, match=expected):
        getattr(nn.Linear(25, 10), call)(ones(*shape))


def test_a_layer_that_does_not_fit_the_one_before_it_is_named():
    with pytest.raises(ValueError, match=r"Linear\(6, 2\) takes inputs of shape \(\.\.\., 6\), got \(7, 4\)"):
        nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(6, 2))(ones(7, 5))


@pytest.mark.parametrize("wrong", WRONG_DTYPES, ids=str)
@pytest.mark.parametrize("build", [lambda: nn.Linear(5, 3), nn.ReLU, nn.Tanh, nn.Sigmoid, lambda: mlp(5, 3)])
def test_an_input_that_is_not_float_names_the_remedy(build, wrong):
    match = rf"takes .*float32.*got {numpy.dtype(wrong)}; .*\.astype\(numpy\.float32\)"
    for call in (build().forward, build().predict):
        with pytest.raises(TypeError, match=match):
            call(ones(7, 5).astype(wrong))


@pytest.mark.parametrize("wrong", [[[1.0] * 5], 1.0, None, "text"], ids=str)
@pytest.mark.parametrize("build", [lambda: nn.Linear(5, 3), nn.ReLU, lambda: mlp(5, 3)])
def test_an_input_that_is_no_array_names_the_remedy(build, wrong):
    with pytest.raises(TypeError, match=rf"takes a NumPy array, got {type(wrong).__name__}; .*numpy\.asarray"):
        build()(wrong)


@pytest.mark.parametrize(("model_dtype", "wrong"), [(FLOAT32, FLOAT64), (FLOAT64, FLOAT32)])
def test_the_other_float_dtype_is_never_cast_silently(model_dtype, wrong):
    expected, came = numpy.dtype(model_dtype), numpy.dtype(wrong)
    model = mlp(5, 3, dtype=model_dtype)
    rule = rf"takes {expected} arrays, got {came}; .*\.astype\(numpy\.{expected}\)"
    with pytest.raises(TypeError, match=rf"Linear\(5, 3\) {rule}"):
        model(ones(7, 5, dtype=wrong))
    model(ones(7, 5, dtype=model_dtype))
    with pytest.raises(TypeError, match=rf"Linear\.backward {rule}"):
        model.backward(ones(7, 3, dtype=wrong))
    with pytest.raises(TypeError, match=rf"MSELoss.* {rule}"):
        nn.MSELoss()(ones(7, 3, dtype=model_dtype), ones(7, 3, dtype=wrong))


@pytest.mark.parametrize("build", [lambda: nn.Linear(5, 3), nn.ReLU, nn.Tanh, nn.Sigmoid, lambda: mlp(5, 4, 3)])
def test_backward_before_forward_names_the_remedy_and_changes_nothing(build):
    module = build()
    before = snapshot(module)
    with pytest.raises(RuntimeError, match=r"\.backward needs a forward before it: call"):
        module.backward(ones(7, 3))
    module.predict(ones(7, 5))
    with pytest.raises(RuntimeError, match=r"\.backward needs a forward before it: call"):
        module.backward(ones(7, 3))
    assert_unchanged(module, before)


def test_backward_of_a_loss_before_its_forward_names_the_remedy():
    with pytest.raises(RuntimeError, match=r"MSELoss\.backward needs a forward before it: call"):
        nn.MSELoss().backward()


def test_a_copy_needs_a_forward_of_its_own():
    layer = nn.Linear(5, 3)
    layer(ones(7, 5))
    with pytest.raises(RuntimeError, match="needs a forward"):
        copy.deepcopy(layer).backward(ones(7, 3))


@pytest.mark.parametrize("shape", [(7, 2), (6, 3), (7, 1), (3,), (7, 3, 1), ()], ids=str)
@pytest.mark.parametrize("last", [lambda: nn.Linear(4, 3), nn.Tanh, nn.ReLU, nn.Sigmoid])
def test_grad_output_of_another_shape_is_refused_before_gradients_change(last, shape):
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3), last()) if last in (nn.Tanh, nn.ReLU, nn.Sigmoid) else None
    model = model or nn.Sequential(nn.Linear(5, 4), nn.ReLU(), last())
    model(ones(7, 5))
    model.backward(ones(7, 3))
    before = snapshot(model)
    with pytest.raises(ValueError, match=rf"backward takes .* shape \(7, 3\), got {re.escape(str(shape))}"):
        model.backward(ones(*shape))
    assert_unchanged(model, before)


def test_a_forward_that_raises_leaves_the_last_forward_in_place():
    model, x, grad_output = mlp(5, 4, 3), draw((7, 5), FLOAT32), ones(7, 3)
    output = model(x)
    kept, grad_input = output.copy(), model.backward(grad_output, retain_graph=True).copy()
    for wrong, error in [(ones(7, 4), ValueError), (ones(7, 5, dtype=FLOAT64), TypeError)]:
        with pytest.raises(error):
            model(wrong)
    numpy.testing.assert_array_equal(output, kept)
    numpy.testing.assert_array_equal(model.backward(grad_output), grad_input)


@pytest.mark.parametrize("shape", [(7,), (7, 1), (1, 3), (3, 7), (6, 3), (7, 3, 1), ()], ids=str)
def test_a_target_of_another_shape_is_refused_instead_of_broadcast(shape):
    criterion = nn.MSELoss()
    criterion(draw((7, 3), FLOAT32), ones(7, 3))
    grad = criterion.backward(retain_graph=True).copy()
    expected = re.escape(f"MSELoss takes a target of the prediction's shape (7, 3), got {shape}")
    with pytest.raises(ValueError, match=expected):
        criterion(ones(7, 3), ones(*shape))
    numpy.testing.assert_array_equal(criterion.backward(), grad)


@pytest.mark.parametrize("wrong", WRONG_DTYPES, ids=str)
def test_a_loss_takes_floats_only(wrong):
    for arrays in [(ones(7, 3).astype(wrong), ones(7, 3)), (ones(7, 3), ones(7, 3).astype(wrong))]:
        with pytest.raises(TypeError, match=rf"MSELoss.*got {numpy.dtype(wrong)}; .*\.astype\(numpy\.float32\)"):
            nn.MSELoss()(*arrays)


@pytest.mark.parametrize("reduction", ["None", "Sum", "", None, 1])
def test_an_unknown_reduction_names_the_known_ones(reduction):
    with pytest.raises(ValueError, match=rf"MSELoss takes reduction 'mean', 'sum' or 'none', got {reduction!r}"):
        nn.MSELoss(reduction=reduction)


def test_an_unknown_initialiser_names_the_known_ones():
    with pytest.raises(ValueError, match=r"Linear takes init .*'xavier_normal'.*'kaiming_uniform'.*got 'xavier'"):
        nn.Linear(5, 3, init="xavier")
    with pytest.raises(ValueError, match=r"gain .*'tanh', 'relu'.*got 'gelu'"):
        nn.init.gain("gelu")


def test_an_initialiser_must_return_what_it_was_asked_for():
    for made in (ones(5, 3), ones(3, 5, dtype=FLOAT64), ones(1)):
        expected = re.escape(f"float32 of shape (3, 5), got {made.dtype} {made.shape}")
        with pytest.raises(ValueError, match=expected):
            nn.Linear(5, 3, init=lambda shape, rng, dtype, made=made: made)
    with pytest.raises(TypeError, match=r"Linear takes init as a name or a callable.*got 3"):
        nn.Linear(5, 3, init=3)


@pytest.mark.parametrize("sizes", [(0, 3), (5, 0), (-1, 3), (2.5, 3), (5, "3"), (None, 3)], ids=str)
def test_a_linear_of_no_features_is_refused(sizes):
    wrong = next(size for size in sizes if size not in (3, 5))
    with pytest.raises(ValueError, match=rf"Linear takes (in|out)_features .*1 or more, got {wrong!r}"):
        nn.Linear(*sizes)


@pytest.mark.parametrize("dtype", [numpy.float16, int, complex, object], ids=str)
def test_a_linear_of_another_dtype_is_refused(dtype):
    with pytest.raises(TypeError, match=rf"Linear .*float32 or float64, got .*{numpy.dtype(dtype)}"):
        nn.Linear(5, 3, dtype=dtype)


def test_a_dtype_of_torch_is_refused_with_the_one_to_take():
    with pytest.raises(TypeError, match=r"Linear takes dtype numpy\.float32 or numpy\.float64, got torch\.float32"):
        nn.Linear(5, 3, dtype=torch.float32)


@pytest.mark.parametrize("device", ["cuda", "meta", torch.device("cuda", 0), 0], ids=repr)
def test_a_device_that_is_not_the_cpu_is_refused(device):
    with pytest.raises(ValueError, match=rf"Linear computes on the CPU, got device={re.escape(repr(device))}"):
        nn.Linear(5, 3, device=device)


def test_what_torch_writes_out_and_changes_nothing_is_taken():
    for device in (None, "cpu", torch.device("cpu")):
        assert nn.Linear(5, 3, device=device, dtype=None).dtype == FLOAT32
    x = draw((7, 5), FLOAT32)
    numpy.testing.assert_array_equal(nn.ReLU(inplace=False)(x), nn.ReLU()(x))


def test_a_relu_in_place_is_refused():
    with pytest.raises(ValueError, match=r"ReLU leaves its input as it is and does not support inplace=True"):
        nn.ReLU(inplace=True)


def test_a_parameter_takes_floats_of_its_own_shape():
    with pytest.raises(TypeError, match=r"Parameter takes float32 or float64 arrays, got int64; .*\.astype"):
        nn.Parameter(numpy.ones(3, numpy.int64))
    parameter = nn.Parameter(ones(2, 3))
    for name in ("data", "grad"):
        with pytest.raises(ValueError, match=rf"Parameter\.{name} has shape \(2, 3\), got \(3,\)"):
            setattr(parameter, name, ones(3))
        with pytest.raises(TypeError, match=rf"Parameter\.{name} takes float32 arrays, got float64"):
            setattr(parameter, name, ones(2, 3, dtype=FLOAT64))
    assert (parameter.data == 1).all()
    assert parameter.grad is None


def test_a_sequential_of_mixed_dtypes_names_both():
    layers = [nn.Linear(5, 4), nn.Linear(4, 3, dtype=FLOAT64)]
    with pytest.raises(TypeError, match=r"Sequential takes modules of one dtype, got float32 and float64; .*dtype="):
        nn.Sequential(*layers)
    for layer, dtype in zip(layers, (FLOAT32, FLOAT64), strict=True):
        assert layer.weight.dtype == dtype
        assert layer.weight.data.base is not None


@pytest.mark.parametrize("build", [nn.ReLU, lambda: nn.Linear(3, 3), Own], ids=["ReLU", "Linear", "Own"])
def test_the_same_module_twice_is_refused_wherever_it_stands(build):
    module = build()
    with pytest.raises(ValueError, match=rf"same {type(module).__name__} .*positions? 0 and 2.*second"):
        nn.Sequential(module, nn.Tanh(), module)
    with pytest.raises(ValueError, match=rf"same {type(module).__name__} "):
        nn.Sequential(module, nn.Sequential(nn.Tanh(), module))


@pytest.mark.parametrize("wrong", [nn.ReLU, "ReLU", None, numpy.tanh, [nn.ReLU()], nn.MSELoss()], ids=repr)
def test_a_sequential_takes_modules_only(wrong):
    with pytest.raises(TypeError, match=rf"Sequential takes modules, got {type(wrong).__name__} at position 1"):
        nn.Sequential(nn.Linear(5, 3), wrong)


@pytest.mark.parametrize("lr", [-1e-3, -1, numpy.nan, numpy.inf, -numpy.inf, numpy.float32(-1)], ids=repr)
def test_a_learning_rate_below_zero_or_not_finite_is_refused(lr):
    layer = nn.Linear(5, 3)
    with pytest.raises(ValueError, match=rf"SGD takes a finite lr of 0 or more, got {re.escape(repr(lr))}"):
        optim.SGD(layer.parameters(), lr=lr)
    opt = optim.SGD(layer.parameters(), lr=0.5)
    with pytest.raises(ValueError, match=r"SGD takes a finite lr of 0 or more"):
        opt.lr = lr
    assert opt.lr == 0.5


@pytest.mark.parametrize("lr", ["0.1", None, True, [0.1], 1j], ids=repr)
def test_a_learning_rate_that_is_no_number_is_refused(lr):
    with pytest.raises(TypeError, match=rf"SGD takes lr as a number, got {re.escape(repr(lr))}"):
        optim.SGD(nn.Linear(5, 3).parameters(), lr=lr)


NEUTRAL = {
    "foreach": None, "differentiable": False, "fused": False,
}  # fmt: skip


def test_options_of_torch_that_change_nothing_are_taken():
    layer = nn.Linear(5, 3)
    torch.optim.SGD([torch.ones(1)], lr=0.1, **NEUTRAL)
    assert repr(optim.SGD(layer.parameters(), lr=0.1, **NEUTRAL)) == repr(optim.SGD(layer.parameters(), lr=0.1))


@pytest.mark.parametrize("name", NEUTRAL)
def test_an_option_that_would_change_the_step_is_named_with_its_value(name):
    match = rf"SGD has one compiled step and does not support {name}=0\.9; leave it out$"
    with pytest.raises(ValueError, match=match):
        optim.SGD(nn.Linear(5, 3).parameters(), lr=0.1, **{**NEUTRAL, name: 0.9})


def test_an_option_that_torch_has_not_either_is_named():
    with pytest.raises(TypeError, match=r"SGD takes params and lr, momentum, .*, maximize, got learning_rate$"):
        optim.SGD(nn.Linear(5, 3).parameters(), learning_rate=0.1)


WRONG_SETTINGS = [
    ("SGD", {"momentum": -0.1}, r"SGD takes a finite momentum of 0 or more, got -0\.1"),
    (
        "SGD",
        {"nesterov": True},
        r"SGD takes nesterov=True with a momentum and no dampening, got momentum=0, dampening=0",
    ),
    ("SGD", {"weight_decay": numpy.nan}, r"SGD takes a finite weight_decay of 0 or more, got nan"),
    ("Adam", {"amsgrad": 1}, r"Adam takes amsgrad as True or False, got 1"),
    ("AdamW", {"betas": (0.9, 1.0)}, r"AdamW takes betas below 1, got \(0\.9, 1\.0\)"),
    ("NAdam", {"momentum_decay": -1}, r"NAdam takes a finite momentum_decay of 0 or more, got -1"),
    ("RMSprop", {"alpha": "a"}, r"RMSprop takes alpha as a number, got 'a'"),
    ("Adadelta", {"rho": 1.5}, r"Adadelta takes rho from 0 to 1, got 1\.5"),
    ("Rprop", {"etas": (0.5, 1)}, r"Rprop takes etas as one between 0 and 1 and one above 1, got \(0\.5, 1\)"),
    ("Rprop", {"step_sizes": 1}, r"Rprop takes step_sizes as a tuple of two numbers, got 1"),
    ("Adagrad", {"lr": 1e300}, r"Adagrad takes an lr that float32 holds, the parameters' dtype, got 1e\+300"),
]


@pytest.mark.parametrize(("name", "options", "match"), WRONG_SETTINGS)
def test_a_setting_out_of_range_is_refused_by_its_name(name, options, match):
    parameters = list(nn.Linear(5, 3).parameters())
    with pytest.raises((TypeError, ValueError), match=f"^{match}$"):
        getattr(optim, name)(parameters, **options)
    opt = getattr(optim, name)(parameters)
    before = dict(opt.param_groups[0])
    if "nesterov" not in options:
        with pytest.raises((TypeError, ValueError), match=f"^{match}$"):
            opt.param_groups[0].update(options)
    assert dict(opt.param_groups[0]) == before


def test_the_default_learning_rate_is_that_of_torch():
    layer = nn.Linear(5, 3)
    assert optim.SGD(layer.parameters()).lr == torch.optim.SGD([torch.ones(1)]).defaults["lr"]


def test_an_optimiser_without_parameters_is_refused():
    exhausted = nn.Linear(5, 3).parameters()
    list(exhausted)
    for empty in ([], nn.ReLU().parameters(), exhausted):
        with pytest.raises(ValueError, match=r"SGD takes one parameter or more, got none"):
            optim.SGD(empty, lr=0.1)


def test_an_optimiser_over_a_parameter_in_no_module_is_refused():
    stray = nn.Parameter(ones(2, 3))
    match = r"SGD takes parameters of a module, got one of shape \(2, 3\).*in none; .*Module"
    with pytest.raises(ValueError, match=match):
        optim.SGD([*nn.Linear(5, 3).parameters(), stray], lr=0.1)


WRONG_PARAMETERS = {
    "an array": lambda: [ones(3)],
    "a module in a list": lambda: [nn.Linear(5, 3)],
    "a model": lambda: mlp(5, 4, 3),
    "a layer": lambda: nn.Linear(5, 3),
    "a parameter": lambda: nn.Linear(5, 3).weight,
    "names": lambda: nn.Linear(5, 3).state_dict(),
    "pairs": lambda: nn.Linear(5, 3).named_parameters(),
    "a method": lambda: nn.Linear(5, 3).parameters,
}


@pytest.mark.parametrize("wrong", WRONG_PARAMETERS)
def test_an_optimiser_over_anything_but_parameters_names_the_remedy(wrong):
    with pytest.raises(TypeError, match=r"SGD takes .*got .*model\.parameters\(\)"):
        optim.SGD(WRONG_PARAMETERS[wrong](), lr=0.1)
