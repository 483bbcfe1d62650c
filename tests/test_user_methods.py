"""What a user defined is what runs: in training, validation, prediction and accuracy, for every public class."""

import functools
import inspect
from types import MethodType

import numpy
import pytest
from helpers import draw, mlp
from numba import njit

import fastbp
from fastbp import nn, optim
from fastbp.validation.user_methods import own_methods

F32 = numpy.float32
X, TARGET = draw((12, 4), F32), numpy.eye(4, dtype=F32)[draw((12,), F32, 1).argsort() % 4]


@njit
def _twice(x):
    return 2 * x


@njit
def _two(x):
    return 2.0


# One object of each public class, and the methods that a user may redefine; a new class has to be added here.
WITHOUT_ARGUMENTS = (
    "ReLU", "Tanh", "Sigmoid", "GELU", "Identity", "LeakyReLU", "ReLU6", "ELU", "CELU", "SELU", "SiLU", "Mish",
    "Softplus", "Softsign", "Hardtanh", "Hardsigmoid", "Hardswish", "LogSigmoid", "Hardshrink", "Softshrink",
    "Tanhshrink", "PReLU", "Flatten",
)  # fmt: skip
MODULES = {
    **dict.fromkeys(WITHOUT_ARGUMENTS, lambda cls: cls()),
    "Linear": lambda cls: cls(4, 4, rng=0),
    "BatchNorm1d": lambda cls: cls(4).eval(),  # which would take other statistics in forward than in predict
    "LayerNorm": lambda cls: cls(4),
    "RMSNorm": lambda cls: cls(4),
    "Dropout": lambda cls: cls(0.5, rng=0).eval(),  # which would drop in forward, and nothing in predict
    "AlphaDropout": lambda cls: cls(0.5, rng=0).eval(),
    "Threshold": lambda cls: cls(-2.0, 1.0),
    "Elementwise": lambda cls: cls(_twice, _two),
    "Softmax": lambda cls: cls(-1),
    "LogSoftmax": lambda cls: cls(-1),
    "Residual": lambda cls: cls(nn.Linear(4, 4, rng=0), nn.Tanh()),
    "Sequential": lambda cls: cls(nn.Linear(4, 4, rng=0), nn.Tanh()),
}
# Without a forward of their own, or tested below.
OTHERS = {"Module", "ModuleDict", "ModuleList", "functional", "Parameter", "init", "GLU", "Embedding"}
OTHERS |= {name for name in nn.__all__ if name.endswith("Loss")}
METHODS = ("forward", "__call__", "predict", "backward")


def test_every_public_class_is_among_those_that_are_tested():
    classes = {name for name in nn.__all__ if inspect.isclass(getattr(nn, name))}
    assert classes <= MODULES.keys() | OTHERS


def counting(cls, name, calls):
    """A subclass whose method notes that it was called and doubles what it returns."""

    def method(self, *arguments, **options):
        calls.append(name)
        result = getattr(super(own, self), name)(*arguments, **options)
        return None if result is None else result * F32(2)

    own = type(f"Own{cls.__name__}", (cls,), {name: method})
    return own


def as_class(name, method, calls):
    cls = getattr(nn, name)
    return MODULES[name](counting(cls, method, calls))


def as_mixin(name, method, calls):
    """The method comes from a class that is no module."""

    class Mixin:
        pass

    def redefined(self, *arguments, **options):
        calls.append(method)
        result = getattr(super(Mixin, self), method)(*arguments, **options)
        return None if result is None else result * F32(2)

    setattr(Mixin, method, redefined)
    return MODULES[name](type("Mixed", (Mixin, getattr(nn, name)), {}))


def as_instance(name, method, calls):
    module = MODULES[name](getattr(nn, name))
    original = getattr(module, method)

    def redefined(self, *arguments, **options):
        calls.append(method)
        result = original(*arguments, **options)
        return None if result is None else result * F32(2)

    setattr(module, method, MethodType(redefined, module))
    return module


WAYS = {"subclass": as_class, "mixin": as_mixin, "instance": as_instance}
# Each method of each class once in each way, and at one of the places, in turn.
CASES = [
    (way, name, method, ("alone", "first", "last")[(number + place + turn) % 3])
    for turn, way in enumerate(WAYS) for number, name in enumerate(MODULES) for place, method in enumerate(METHODS)
    if not (way == "instance" and method == "__call__")  # which Python itself does not look up there
]  # fmt: skip


@pytest.mark.parametrize(("way", "name", "method", "place"), CASES)
def test_a_redefined_method_is_what_runs_everywhere(way, name, method, place):
    calls = []
    own = WAYS[way](name, method, calls)
    model = {
        "alone": lambda: own,
        "first": lambda: nn.Sequential(own, nn.Linear(4, 4, rng=1)),
        "last": lambda: nn.Sequential(nn.Linear(4, 4, rng=1), own),
    }[place]()
    library = MODULES[name](getattr(nn, name))
    before = model.predict(X)
    if method in ("forward", "__call__"):
        assert calls, "predict goes through a forward of the user's"
        numpy.testing.assert_array_equal(before, model(X))
        numpy.testing.assert_array_equal(own.predict(X), 2 * library.predict(X))
    elif method == "predict":
        numpy.testing.assert_array_equal(own.predict(X), 2 * library.predict(X))
        numpy.testing.assert_array_equal(own(X), library.predict(X))
    calls.clear()
    parameters = list(model.parameters())
    opt = optim.SGD(parameters, lr=0.01) if parameters else NoOptimizer()
    history = fastbp.train_model(model, X, TARGET, X, TARGET, nn.MSELoss(), opt, 1, 5)
    needs_backward = place == "last" or any(True for _ in own.parameters())  # else there is nothing to go back for
    assert (method in calls) == (method != "backward" or needs_backward)
    assert history.backend == "modules"
    prediction = model.predict(X)
    assert history["val_loss"][-1] == nn.MSELoss()(prediction, TARGET)
    assert history["val_accuracy"][-1] == fastbp.compute_accuracy(model, X, TARGET)


@pytest.mark.parametrize("name", MODULES)
def test_either_backward_of_every_class_lets_another_one_follow_where_it_is_asked_to(name):
    module = MODULES[name](getattr(nn, name))
    module(X)
    expected = module.backward(TARGET, retain_graph=True).copy()
    module.backward_parameters(TARGET, retain_graph=True)
    numpy.testing.assert_array_equal(module.backward(TARGET), expected)


@pytest.mark.parametrize("place", ["class", "instance"])
@pytest.mark.parametrize("name", MODULES)
def test_a_backward_of_the_users_own_is_told_that_another_one_may_follow(name, place):
    base, told = getattr(nn, name), []

    def backward(self, grad_output, *, retain_graph=False):
        told.append(retain_graph)
        return base.backward(self, grad_output, retain_graph=retain_graph)

    module = MODULES[name](type("Own", (base,), {"backward": backward} if place == "class" else {}))
    if place == "instance":
        module.backward = backward.__get__(module)
    module(X)
    module.backward_parameters(TARGET, retain_graph=True)
    module.backward_parameters(TARGET)
    assert told == [True, False]


class NoOptimizer:
    def step(self):
        pass


def test_a_scaled_model_predicts_validates_and_trains_by_its_own_methods():
    class Scaled(nn.Sequential):
        def forward(self, x):
            return super().forward(x) * F32(10)

        def backward(self, g):
            return super().backward(g * F32(10))

    net, plain = Scaled(nn.Linear(4, 4, rng=0)), nn.Sequential(nn.Linear(4, 4, rng=0))
    numpy.testing.assert_array_equal(net.predict(X), net(X))
    numpy.testing.assert_array_equal(net.predict(X), 10 * plain.predict(X))
    net(X)
    net.zero_grad()
    net.backward_parameters(TARGET)
    plain(X)
    plain.backward(TARGET * F32(10))
    numpy.testing.assert_array_equal(net[0].weight.grad, plain[0].weight.grad)


def test_a_subclass_that_redefines_nothing_runs_in_one_call():
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(4, 5, rng=0), nn.ReLU(), nn.Linear(5, 4, rng=1))

        def summary(self):
            return "mine"

    model = Net()
    history = fastbp.train_model(
        model, X, TARGET, None, None, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), 2, 5
    )
    assert history.backend == "engine"


def test_what_a_user_takes_back_is_the_librarys_again():
    model, x = mlp(4, 5, 4), X
    expected = model.predict(x)
    for part in (model, model[0], model[1]):
        original = part.forward
        part.forward = lambda input, original=original: original(input) * F32(3)
        assert not numpy.array_equal(model.predict(x), expected)
        numpy.testing.assert_array_equal(model.predict(x), model(x))
        del part.forward
        numpy.testing.assert_array_equal(model.predict(x), expected)
    assert own_methods(model) == []


def test_modules_set_as_attributes_of_a_sequential_are_a_part_of_it_as_in_torch():
    model = nn.Sequential(nn.Linear(4, 5, rng=0))
    model.act = nn.Tanh()
    model.head = nn.Linear(5, 3, rng=1)
    assert list(model.state_dict()) == ["0.weight", "0.bias", "head.weight", "head.bias"]
    expected = nn.Sequential(nn.Linear(4, 5, rng=0), nn.Tanh(), nn.Linear(5, 3, rng=1)).predict(X)
    numpy.testing.assert_array_equal(model.predict(X), expected)
    numpy.testing.assert_array_equal(model(X), expected)
    assert model.head is model[2]
    target = draw((12, 3), F32)
    before = model.head.weight.data.copy()
    opt = optim.SGD(model.parameters(), lr=0.1)
    history = fastbp.train_model(model, X, target, None, None, nn.MSELoss(), opt, 1, 5)
    assert history.backend == "engine"
    assert not numpy.array_equal(model.head.weight.data, before)
    del model.head
    assert len(model) == 2
    with pytest.raises(AttributeError, match="head"):
        model.head  # noqa: B018


class Labels(nn.Sequential):
    def predict(self, x):
        return super().predict(x).argmax(axis=1)


def test_a_users_own_predict_stays_and_sees_a_newer_forward():
    class Negative(Labels):
        def forward(self, x):
            return -super().forward(x)

    plain, labels, negative = (kind(nn.Linear(4, 4, rng=0)) for kind in (nn.Sequential, Labels, Negative))
    numpy.testing.assert_array_equal(labels.predict(X), plain.predict(X).argmax(axis=1))
    numpy.testing.assert_array_equal(negative.predict(X), plain.predict(X).argmin(axis=1))


def test_a_class_that_redefines_both_knows_what_it_does():
    class Doubled(nn.Sequential):
        def forward(self, x):
            return super().forward(x) * F32(2)

        def predict(self, x):
            return super().predict(x) * F32(2)

    model = Doubled(nn.Linear(4, 4, rng=0))
    numpy.testing.assert_array_equal(model.predict(X), model(X))


@pytest.mark.parametrize("decorated", [False, True])
def test_a_method_that_was_set_on_a_class_of_the_library_is_called(monkeypatch, decorated):
    calls, original = [], nn.ReLU.forward

    def counted(self, input):
        calls.append(1)
        return original(self, input)

    monkeypatch.setattr(nn.ReLU, "forward", functools.wraps(original)(counted) if decorated else counted)
    model = mlp(4, 5, 4)
    model(X)
    fastbp.train_model(model, X, TARGET, None, None, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), 1, 12)
    assert len(calls) >= 2


def test_a_method_that_is_set_on_a_users_class_later_is_called():
    class Net(nn.Sequential):
        pass

    Net.forward = lambda self, x: -nn.Sequential.forward(self, x)
    model = Net(nn.Linear(4, 4, rng=0))
    numpy.testing.assert_array_equal(model.predict(X), model(X))


def test_attributes_of_a_class_may_be_arrays_that_are_set_anew():
    class Net(nn.Sequential):
        mean = numpy.zeros(3)

    Net(nn.Linear(4, 4))(X)
    Net.mean = numpy.ones(3)
    assert Net(nn.Linear(4, 4))(X).shape == (12, 4)


class Square(nn.Module):
    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, g):
        return g * 2 * self.x


class Twice(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(4, 4, rng=0)

    def forward(self, x):
        return self.fc(x) * F32(2)

    def backward(self, g):
        return self.fc.backward(g * F32(2))


@pytest.mark.parametrize("build", [
    lambda: nn.Sequential(nn.Linear(4, 4, rng=0), Square(), nn.Linear(4, 4, rng=1)),
    Twice,
    lambda: nn.Sequential(Twice()),
])  # fmt: skip
def test_a_prediction_through_a_users_forward_is_followed_by_no_backward_of_an_earlier_one(build):
    model, criterion = build(), nn.MSELoss()
    criterion(model(X), TARGET)
    model.predict(-X)
    with pytest.raises(RuntimeError, match=r"is that of its last call|needs a forward before it"):
        model.backward(criterion.backward())
    criterion(model(X), TARGET)
    model.backward(criterion.backward())


def test_a_method_that_nothing_would_call_is_refused():
    with pytest.raises(TypeError, match=r"Own\.backward_parameters would be called by nothing: .*define that"):
        type("Own", (nn.Linear,), {"backward_parameters": lambda self, grad_output: None})
    with pytest.raises(TypeError, match=r"ReLU\.backward_parameters would be called by nothing"):
        nn.ReLU().backward_parameters = lambda grad_output: None
