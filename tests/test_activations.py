"""Activations with settings: torch's, in the engine and by themselves, converted, saved, and refused."""

import numpy
import pytest
import torch
from helpers import draw, leaf
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim
from fastbp.nn.activations import activation_classes

CASES = {
    "LeakyReLU": [{"negative_slope": 0.3}, {"negative_slope": -0.5}, {"negative_slope": 2}],
    "ELU": [{"alpha": 0.4}, {"alpha": -1.5}],
    "CELU": [{"alpha": 0.4}, {"alpha": -2.0}],
    "Softplus": [{"beta": 0.5, "threshold": 1.0}, {"beta": 3, "threshold": -1}, {"beta": -1.0}],
    "Hardtanh": [{"min_val": -0.3, "max_val": 1.7}, {"min_val": 0.5, "max_val": 0.75}],
    "Hardshrink": [{"lambd": 1.25}, {"lambd": 0}, {"lambd": -0.5}],
    "Softshrink": [{"lambd": 1.25}, {"lambd": 0}],
    "Threshold": [{"threshold": -1, "value": 2.0}, {"threshold": 0.5, "value": 0.5}],
}
BUILT = [(name, settings) for name, cases in CASES.items() for settings in cases]
# Where formulas change, and numbers between.
PLACES = numpy.concatenate([numpy.arange(-8, 8.25, 0.25), draw(200, numpy.float64) * 4])


def test_every_activation_with_a_number_has_a_case():
    with_numbers = [kind.__name__ for kind in activation_classes() if float in kind.settings.values()]
    assert sorted(CASES) == sorted(with_numbers)


def others():
    return [(kind.__name__, kind.example) for kind in activation_classes()]


@pytest.mark.parametrize(("name", "settings"), [*BUILT, *others()])
def test_values_and_derivatives_are_torchs(name, settings, dtype):
    x = PLACES.astype(dtype)
    ours, inputs = getattr(nn, name)(**settings), leaf(x.astype("f8"))
    expected, grad = getattr(torch.nn, name)(**settings)(inputs), draw(x.shape, dtype, seed=4)
    expected.backward(torch.tensor(grad, dtype=torch.float64))
    tolerance = max(1e-8, 16 * numpy.finfo(dtype).eps)  # a sixth of torch's is one of float32, in float64 too
    numpy.testing.assert_allclose(ours(x), expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    numpy.testing.assert_allclose(ours.backward(grad), inputs.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("normalises", [True, False])
def test_layers_with_other_settings_train_with_the_bits_of_the_modules(last, normalises, dtype):
    x, target = draw((23, 5), dtype), draw((23, 3), dtype, seed=8)
    own = type("Own", (nn.MSELoss,), {})
    for shuffle, size, threads in ((True, 7, 1), (True, 23, 2), (False, 7, 2), (False, 23, 1)):
        fastbp.set_num_threads(threads)
        ends = []
        for kind in (nn.MSELoss, own):
            layers = [nn.Linear(i, o, rng=i, dtype=dtype) for i, o in ((5, 33), (33, 16), (16, 3))]
            between = [nn.LayerNorm(33, dtype=dtype)] if normalises else []
            end = [nn.Softplus(0.5, 1.0)] if last else []
            model = nn.Sequential(
                layers[0], nn.LeakyReLU(0.3), *between, nn.LeakyReLU(0.7), layers[1], nn.Hardtanh(-0.3, 0.9),
                layers[2], *end,
            )  # fmt: skip
            opt = optim.SGD(model.parameters(), lr=0.01)
            history = fastbp.train_model(
                model, x, target, x, target, kind(), opt, 3, size, shuffle=shuffle, rng=4 if shuffle else None
            )
            ends.append(outcome(model, history))
            assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
        assert_same_bits(*ends)


@pytest.mark.parametrize(("name", "settings"), [*BUILT, *others()])
def test_a_network_called_as_one_gives_the_bits_of_its_modules(name, settings, dtype):
    parts = [nn.Linear(5, 19, rng=0, dtype=dtype), getattr(nn, name)(**settings)]
    parts += [nn.Linear(19, 3, rng=1, dtype=dtype), getattr(nn, name)(**settings)]
    model, x, grad = nn.Sequential(*parts), draw((11, 5), dtype), draw((11, 3), dtype, seed=2)
    output, grad_input = model(x).copy(), model.backward(grad).copy()
    gradients = [parameter.grad.copy() for parameter in model.parameters()]
    model.zero_grad()
    expected = x
    for part in parts:
        expected = part(expected)
    for part in reversed(parts):
        grad = part.backward(grad)
    numpy.testing.assert_array_equal(output, expected)
    numpy.testing.assert_array_equal(model.predict(x), expected)
    numpy.testing.assert_array_equal(grad_input, grad)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        numpy.testing.assert_array_equal(parameter.grad, gradient)


@pytest.mark.parametrize(("name", "settings"), [*BUILT, *others()])
def test_settings_come_through_torch_and_a_checkpoint(name, settings, tmp_path):
    model = nn.Sequential(nn.Linear(5, 3, rng=0), getattr(nn, name)(**settings))
    x = draw((7, 5), numpy.float32) * 3
    theirs = fastbp.to_torch(model)
    for setting, value in settings.items():
        assert getattr(theirs[1], setting) == value
    fastbp.save(tmp_path / "c", model)
    for copy in (fastbp.from_torch(theirs), fastbp.load(tmp_path / "c").model):
        assert repr(copy) == repr(model)
        numpy.testing.assert_array_equal(copy.predict(x), model.predict(x))


@pytest.mark.parametrize(
    "name",
    ["ReLU", "LeakyReLU", "ReLU6", "ELU", "CELU", "SELU", "SiLU", "Mish", "Hardtanh", "Hardsigmoid", "Hardswish"],
)
def test_in_place_is_refused(name):
    getattr(nn, name)(inplace=False)
    with pytest.raises(ValueError, match=rf"^{name} leaves its input as it is and does not support inplace=True$"):
        getattr(nn, name)(inplace=True)


REFUSED = {
    "a bool": (lambda: nn.LeakyReLU(True), "LeakyReLU takes negative_slope as a finite number, got True"),
    "a word": (lambda: nn.ELU("1"), "ELU takes alpha as a finite number, got '1'"),
    "NaN": (lambda: nn.Softplus(threshold=numpy.nan), "Softplus takes threshold as a finite number, got nan"),
    "infinity": (lambda: nn.Hardtanh(0, numpy.inf), "Hardtanh takes max_val as a finite number, got inf"),
    "zero": (lambda: nn.CELU(0), "CELU divides by alpha and takes any number but 0, got 0"),
    "a width below zero": (lambda: nn.Softshrink(-1), "Softshrink takes lambd as a number of 0 or more, got -1"),
    "limits": (lambda: nn.Hardtanh(1, 1), "Hardtanh takes max_val above min_val, got min_val=1 and max_val=1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_are_none_are_refused(case):
    build, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{message}$"):
        build()


def test_a_setting_stays_as_it_was_built():
    leaky = nn.LeakyReLU(numpy.float32(0.5))
    with pytest.raises(AttributeError, match=r"negative_slope of a LeakyReLU is set when it is built"):
        leaky.negative_slope = 0.1
    assert leaky.negative_slope == 0.5
    assert repr(leaky) == "LeakyReLU(negative_slope=0.5)"
