"""nn.functional: forward and backward of each function beside the one of its name in torch.nn.functional."""

import gc
import threading
import weakref

import numpy
import pytest
import torch
from helpers import assert_close, draw

import fastbp
import fastbp.nn.functional as F
from fastbp import nn

X = draw((6, 4), numpy.float64)
TARGET = draw((6, 4), numpy.float64, 1)
INSIDE = 1 / (1 + numpy.exp(-TARGET))  # probabilities
CLASSES = numpy.array([0, 3, 1, 2, 2, 0])
MATRIX = draw((3, 4), numpy.float64, 2)
WEIGHT = numpy.array([0.5, 1.0, 2.0, 0.25])

# A function, what it takes beside its input, and by which names.
CASES = {
    "relu": [((), {})], "relu6": [((), {})], "selu": [((), {})], "silu": [((), {})], "mish": [((), {})],
    "softsign": [((), {})], "logsigmoid": [((), {})], "hardsigmoid": [((), {})], "hardswish": [((), {})],
    "tanhshrink": [((), {})], "sigmoid": [((), {})], "tanh": [((), {})],
    "elu": [((), {}), ((0.5,), {})], "celu": [((), {}), ((0.5,), {})],
    "leaky_relu": [((), {}), ((0.2,), {})], "gelu": [((), {}), ((), {"approximate": "tanh"})],
    "softplus": [((), {}), ((2.0, 1.0), {})], "hardtanh": [((), {}), ((-0.5, 0.2), {})],
    "hardshrink": [((), {}), ((0.1,), {})], "softshrink": [((), {}), ((0.1,), {})],
    "threshold": [((0.1, 2.0), {})], "glu": [((), {}), ((0,), {})],
    "softmax": [((-1,), {}), ((), {"dim": 0})], "log_softmax": [((-1,), {}), ((), {"dim": 0})],
    "dropout": [((0.5,), {"training": False})], "alpha_dropout": [((), {})],
    "linear": [((MATRIX,), {}), ((MATRIX, MATRIX[:, 0]), {})],
    "mse_loss": [((TARGET,), {}), ((TARGET,), {"reduction": "sum"}), ((TARGET,), {"reduction": "none"})],
    "l1_loss": [((TARGET,), {})], "smooth_l1_loss": [((TARGET,), {"beta": 0.3})],
    "huber_loss": [((TARGET,), {"delta": 0.3})], "kl_div": [((INSIDE,), {"reduction": "batchmean"})],
    "cross_entropy": [
        ((CLASSES,), {}), ((CLASSES, WEIGHT), {}), ((CLASSES,), {"ignore_index": 2, "label_smoothing": 0.1}),
    ],
    "nll_loss": [((CLASSES,), {}), ((CLASSES,), {"weight": WEIGHT})],
    "binary_cross_entropy": [((INSIDE,), {})],
    "binary_cross_entropy_with_logits": [((INSIDE,), {}), ((INSIDE,), {"pos_weight": WEIGHT})],
    "gaussian_nll_loss": [((TARGET, INSIDE), {})],
    "poisson_nll_loss": [((INSIDE,), {}), ((INSIDE, False), {"full": True})],
}  # fmt: skip
NOT_OF_FLOATS = {"one_hot"}


def torchs(values):
    return torch.tensor(values) if isinstance(values, numpy.ndarray) else values


INPUTS = {
    "binary_cross_entropy": INSIDE, "poisson_nll_loss": INSIDE,
    "hardsigmoid": X.astype("f4"),  # whose slope in torch is the float32 next to 1/6 in float64 too
}  # fmt: skip


@pytest.mark.parametrize(("name", "place"), [(name, n) for name, cases in CASES.items() for n in range(len(cases))])
def test_a_function_and_its_gradient_are_as_in_torch(name, place):
    arguments, named = CASES[name][place]
    x = INPUTS.get(name, X)
    ours, theirs = fastbp.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    output = getattr(F, name)(ours, *arguments, **named)
    expected = getattr(torch.nn.functional, name)(
        theirs, *map(torchs, arguments), **{key: torchs(value) for key, value in named.items()}
    )
    assert_close(numpy.asarray(output), expected)
    grad = draw(output.shape, output.dtype, 5)
    output.backward(grad)
    expected.backward(torch.tensor(grad))
    assert_close(ours.grad, theirs.grad)


def test_every_function_is_compared_with_torch():
    assert CASES.keys() | NOT_OF_FLOATS == set(F.__all__)


def test_a_class_with_functions_in_its_forward_trains_as_in_torch():
    class Net(nn.Module):
        def __init__(self):
            self.one, self.two = nn.Linear(4, 8, rng=0, dtype="f8"), nn.Linear(8, 4, rng=1, dtype="f8")

        def forward(self, x):
            return self.two(F.relu(self.one(x)) + F.relu(self.one(x) - 1))

    class Torch(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.one, self.two = fastbp.to_torch(net.one), fastbp.to_torch(net.two)

        def forward(self, x):
            relu = torch.nn.functional.relu
            return self.two(relu(self.one(x)) + relu(self.one(x) - 1))

    net = Net()
    theirs = Torch(net)
    opt, torch_opt = fastbp.optim.SGD(net.parameters(), lr=0.1), torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(5):
        opt.zero_grad()
        torch_opt.zero_grad()
        F.cross_entropy(net(X), CLASSES).backward()
        torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(CLASSES)).backward()
        opt.step()
        torch_opt.step()
    for mine, other in zip(net.parameters(), theirs.parameters(), strict=True):
        assert_close(mine.data, other)


def test_several_calls_before_a_backward_keep_their_own_numbers():
    x = fastbp.tensor(X, requires_grad=True)
    outputs = [F.relu(x * k) for k in (1.0, -1.0, 2.0)]
    for k, output in zip((1.0, -1.0, 2.0), outputs, strict=True):
        numpy.testing.assert_array_equal(output, numpy.maximum(X * k, 0))
    sum(output.sum() for output in outputs).backward()
    assert_close(x.grad, torch.tensor(1.0 * (X > 0) - 1.0 * (X < 0) + 2.0 * (X > 0)))


def test_a_function_keeps_no_pass_once_its_output_is_gone():
    layer, x = nn.Linear(4, 4, dtype="f8"), X.copy()
    kept = weakref.ref(x)
    F.mse_loss(F.tanh(layer(x)), TARGET)
    del x
    layer(X)  # whose last pass is this one now
    gc.collect()
    assert kept() is None


def test_threads_call_functions_side_by_side():
    failed = []

    def work(k):
        x = numpy.full((50, 20), float(k))
        for _ in range(200):
            if not (F.relu(x) == x).all():
                failed.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_class_indices_become_ones_at_their_places():
    expected = torch.nn.functional.one_hot(torch.tensor(CLASSES))
    numpy.testing.assert_array_equal(F.one_hot(CLASSES), expected.numpy())
    numpy.testing.assert_array_equal(F.one_hot(CLASSES[:, None], 5).shape, (6, 1, 5))
    with pytest.raises(ValueError, match="class indices from 0 to 2, got 0 to 3"):
        F.one_hot(CLASSES, 3)
    with pytest.raises(TypeError, match="class indices as integers, got float64"):
        F.one_hot(X)
    with pytest.raises(ValueError, match="needs num_classes"):
        F.one_hot(numpy.zeros(0, int))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.relu(X, inplace=True), ValueError, "does not support inplace=True"),
        (lambda: F.mse_loss(X, TARGET[:3]), ValueError, "MSELoss"),
        (lambda: F.elu(X.tolist()), TypeError, "ELU takes a NumPy array"),
        (lambda: F.mse_loss(X, TARGET, reduction="average"), ValueError, "reduction"),
        (lambda: F.max_pool2d, AttributeError, "max_pool2d is not there"),
    ],
)
def test_what_a_module_refuses_its_function_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
