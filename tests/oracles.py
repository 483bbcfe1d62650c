"""Slow, obvious references in float64. They import nothing from the library under test.

Letters: ``n`` samples, ``i`` inputs of a layer, ``o`` outputs. A network is a list of layers, each
either a pair ``(weight (o, i), bias (o,) or None)`` or the name of an activation.
"""

import math

import numpy


def linear(x, weight, bias):
    """``y[n, o] = bias[o] + sum_i x[n, i] weight[o, i]``, one number at a time."""
    y = numpy.zeros((len(x), len(weight)))
    for n in range(len(x)):
        for o in range(len(weight)):
            total = 0.0 if bias is None else float(bias[o])
            for i in range(len(weight[o])):
                total += float(x[n, i]) * float(weight[o, i])
            y[n, o] = total
    return y


def linear_gradients(x, weight, grad_output):
    """Gradients with respect to input ``(n, i)``, weight ``(o, i)`` and bias ``(o,)``, term by term."""
    grad_input = numpy.zeros(x.shape)
    grad_weight = numpy.zeros(weight.shape)
    grad_bias = numpy.zeros(len(weight))
    for n in range(len(x)):
        for o in range(len(weight)):
            g = float(grad_output[n, o])
            grad_bias[o] += g
            for i in range(x.shape[1]):
                grad_weight[o, i] += g * float(x[n, i])
                grad_input[n, i] += g * float(weight[o, i])
    return grad_input, grad_weight, grad_bias


def exact_product(start, a, b):
    """``start + a @ b`` for every element of a product of float arrays, in integers: nothing is lost on the way.

    Returns
    -------
    value : the float64 nearest to the exact sum, an infinity beyond the range of float64. Where a term is infinite or
        NaN, what any order of summation gives if no partial sum of the finite terms overflows.
    size : the sum of the finite terms' absolute values, a float64.
    one_sign : whether all terms are finite and no two of opposite sign.
    """
    with numpy.errstate(over="ignore", under="ignore", invalid="ignore"):
        start_size, a_size, b_size = (numpy.where(numpy.isfinite(x), abs(x.astype(float)), 0.0) for x in (start, a, b))
        size = start_size + a_size @ b_size
        start_sign, a_sign, b_sign = (numpy.where(numpy.isfinite(x), numpy.sign(x), x) for x in (start, a, b))
        signs = start_sign + a_sign @ b_sign
        one_sign = numpy.isfinite(signs) & (abs(signs) == abs(start_sign) + abs(a_sign) @ abs(b_sign))
    (start, start_scale), (a, a_scale), (b, b_scale) = map(_as_integers, (start, a, b))
    sums = start * (a_scale * b_scale) + (a @ b) * start_scale
    scale = start_scale * a_scale * b_scale
    value = numpy.array([_quotient(total, scale) for total in sums.ravel()]).reshape(sums.shape)
    return numpy.where(numpy.isfinite(signs), value, signs), size, one_sign


def _as_integers(array):
    """An array of Python integers, 0 for numbers that are not finite, and the power of two that divides them."""
    finite = numpy.where(numpy.isfinite(array), array, 0).astype(float)
    ratios = [number.as_integer_ratio() for number in finite.ravel().tolist()]
    scale = max((denominator for _, denominator in ratios), default=1)
    integers = numpy.empty(array.size, object)
    integers[:] = [numerator * (scale // denominator) for numerator, denominator in ratios]
    return integers.reshape(array.shape), scale


def _quotient(numerator, denominator):
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf


def activation(name, x):
    """The activation of an array by its row's name, by the scalar functions of :mod:`math`."""
    return numpy.vectorize(_VALUES[name], otypes=[numpy.float64])(x) if x.size else x.copy()


def activation_derivative(name, x):
    """The derivative at the activation's *input* ``x``."""
    return numpy.vectorize(_DERIVATIVES[name], otypes=[numpy.float64])(x) if x.size else x.copy()


def _sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0.0 else math.exp(x) / (1.0 + math.exp(x))


def _normal(x):
    return math.erfc(-x / math.sqrt(2)) / 2


def _density(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _cubic(x):
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def _gelu_tanh_derivative(x):
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return (1 + math.tanh(_cubic(x)) + x * slope * (1 - math.tanh(_cubic(x)) ** 2)) / 2


def _elu(x, alpha=1.0, scale=1.0):
    return scale * (x if x > 0.0 else alpha * math.expm1(x))


def _elu_derivative(x, alpha=1.0, scale=1.0):
    return scale * (1.0 if x > 0.0 else alpha * math.exp(x))


def _tanh_derivative(x):
    """``1 / cosh(x)**2``, where cosh is beyond what a number holds too."""
    small = math.exp(-2.0 * abs(x))
    return 4.0 * small / (1.0 + small) ** 2


def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _mish_derivative(x):
    t = math.tanh(_softplus(x))
    return t + x * _sigmoid(x) * (1.0 - t * t)


_SELU = 1.6732632423543772, 1.0507009873554805

_VALUES = {
    "Identity": float,
    "ReLU": lambda x: x if x > 0.0 else 0.0,
    "Tanh": math.tanh,
    "Sigmoid": _sigmoid,
    "GELU": lambda x: x * _normal(x),
    "GELU:tanh": lambda x: x / 2 * (1 + math.tanh(_cubic(x))),
    "LeakyReLU": lambda x: x if x > 0.0 else 0.01 * x,
    "ReLU6": lambda x: min(max(x, 0.0), 6.0),
    "ELU": _elu,
    "CELU": _elu,
    "SELU": lambda x: _elu(x, *_SELU),
    "SiLU": lambda x: x * _sigmoid(x),
    "Mish": lambda x: x * math.tanh(_softplus(x)),
    "Softplus": lambda x: x if x > 20.0 else _softplus(x),
    "Softsign": lambda x: x / (1.0 + abs(x)),
    "Hardtanh": lambda x: min(max(x, -1.0), 1.0),
    "Hardsigmoid": lambda x: min(max(x + 3.0, 0.0), 6.0) / 6.0,
    "Hardswish": lambda x: x * min(max(x + 3.0, 0.0), 6.0) / 6.0,
    "LogSigmoid": lambda x: -_softplus(-x),
    "Hardshrink": lambda x: 0.0 if -0.5 <= x <= 0.5 else x,
    "Softshrink": lambda x: x - 0.5 if x > 0.5 else x + 0.5 if x < -0.5 else 0.0,
    "Tanhshrink": lambda x: x - math.tanh(x),
    "Threshold": lambda x: x if x > 0.1 else -0.5,
}
_DERIVATIVES = {
    "Identity": lambda x: 1.0,
    "ReLU": lambda x: 1.0 if x > 0.0 else 0.0,
    "Tanh": _tanh_derivative,
    "Sigmoid": lambda x: _sigmoid(x) * _sigmoid(-x),
    "GELU": lambda x: _normal(x) + x * _density(x),
    "GELU:tanh": _gelu_tanh_derivative,
    "LeakyReLU": lambda x: 1.0 if x > 0.0 else 0.01,
    "ReLU6": lambda x: 1.0 if 0.0 < x < 6.0 else 0.0,
    "ELU": _elu_derivative,
    "CELU": _elu_derivative,
    "SELU": lambda x: _elu_derivative(x, *_SELU),
    "SiLU": lambda x: _sigmoid(x) * (1.0 + x * _sigmoid(-x)),
    "Mish": _mish_derivative,
    "Softplus": lambda x: 1.0 if x > 20.0 else _sigmoid(x),
    "Softsign": lambda x: 1.0 / (1.0 + abs(x)) ** 2,
    "Hardtanh": lambda x: 1.0 if -1.0 < x < 1.0 else 0.0,
    "Hardsigmoid": lambda x: 1.0 / 6.0 if -3.0 < x < 3.0 else 0.0,
    "Hardswish": lambda x: 0.0 if x <= -3.0 else 1.0 if x >= 3.0 else x / 3.0 + 0.5,
    "LogSigmoid": lambda x: _sigmoid(-x),
    "Hardshrink": lambda x: 0.0 if -0.5 <= x <= 0.5 else 1.0,
    "Softshrink": lambda x: 0.0 if -0.5 <= x <= 0.5 else 1.0,
    "Tanhshrink": lambda x: math.tanh(x) ** 2,
    "Threshold": lambda x: 1.0 if x > 0.1 else 0.0,
}


def mse(prediction, target, reduction):
    """``(loss, grad_prediction)``: squared differences summed, or averaged over all elements."""
    loss, grad = 0.0, numpy.zeros(prediction.shape)
    for index in numpy.ndindex(prediction.shape):
        difference = float(prediction[index]) - float(target[index])
        loss += difference * difference
        grad[index] = 2.0 * difference
    if reduction == "mean":
        return loss / prediction.size, grad / prediction.size
    return loss, grad


def cross_entropy(logits, classes, reduction):
    """``(loss, grad_logits)`` for class indices (n,): minus the logarithm of softmax at the class."""
    loss, grad = 0.0, numpy.zeros(logits.shape)
    for n, own in enumerate(classes):
        shifted = [float(x) - float(max(logits[n])) for x in logits[n]]
        total = math.fsum(math.exp(x) for x in shifted)
        loss += math.log(total) - shifted[own]
        grad[n] = [math.exp(x) / total for x in shifted]
        grad[n, own] -= 1.0
    return (loss / len(classes), grad / len(classes)) if reduction == "mean" else (loss, grad)


def element_loss(name, x, y, **settings):
    """The loss of one number by its row's name, by the definition and the scalar functions of :mod:`math`."""
    return _ELEMENT_LOSSES[name](x, y, **settings)


def _huber(x, y, delta=1.0):
    size = abs(x - y)
    return size * size / 2 if size < delta else delta * (size - delta / 2)


def _bce(p, y):
    logs = (max(math.log(q), -100.0) if q > 0 else -100.0 for q in (p, 1 - p))
    return -sum(weight * each for weight, each in zip((y, 1 - y), logs))


def _bce_with_logits(x, y, pos_weight=1.0):
    softplus = math.log1p(math.exp(-abs(x)))
    return pos_weight * y * (softplus + max(-x, 0.0)) + (1 - y) * (softplus + max(x, 0.0))


def _clipped_bce_with_logits(x, y, eps):
    return -y * math.log(max(_sigmoid(x), eps)) - (1 - y) * math.log(max(_sigmoid(-x), eps))


def _stirling(y):
    return y * math.log(y) - y + math.log(2 * math.pi * y) / 2 if y > 1 else 0.0


_ELEMENT_LOSSES = {
    "MSELoss": lambda x, y: (x - y) ** 2,
    "L1Loss": lambda x, y: abs(x - y),
    "SmoothL1Loss": lambda x, y, beta=1.0: _huber(x, y, beta) / beta,
    "HuberLoss": _huber,
    "QuantileLoss": lambda x, y, level=0.5: max(level * (y - x), (level - 1) * (y - x)),
    "BCELoss": _bce,
    "BCEWithLogitsLoss": _bce_with_logits,
    "BCEWithLogitsLoss:clipped": _clipped_bce_with_logits,
    "PoissonNLLLoss": lambda x, y, full=False: math.exp(x) - y * x + (_stirling(y) if full else 0.0),
    "PoissonNLLLoss:rate": lambda x, y, full=False, eps=1e-8: (
        x - y * math.log(x + eps) + (_stirling(y) if full else 0.0)
    ),
    "KLDivLoss": lambda x, y: y * (math.log(y) - x) if y else 0.0,
    "KLDivLoss:log_target": lambda x, y: math.exp(y) * (y - x),
}


def class_loss(x, probabilities, weights=None, smoothing=0.0):
    """Weighted cross entropy of one row of logits for the classes' probabilities, one term at a time."""
    total = math.fsum(math.exp(value - max(x)) for value in x)
    loss = 0.0
    for k, p in enumerate(probabilities):
        mixed = (1 - smoothing) * p + smoothing / len(x)
        loss -= mixed * (1.0 if weights is None else weights[k]) * (x[k] - max(x) - math.log(total))
    return loss


def adam(parameter, grads, lr, betas, eps, weight_decay):
    """One number after steps with ``grads``, by the equations of Kingma and Ba."""
    average = square = 0.0
    for step, grad in enumerate(grads, 1):
        grad += weight_decay * parameter
        average = betas[0] * average + (1 - betas[0]) * grad
        square = betas[1] * square + (1 - betas[1]) * grad * grad
        size = math.sqrt(square / (1 - betas[1] ** step)) + eps
        parameter -= lr * average / (1 - betas[0] ** step) / size
    return parameter


def forward(network, x):
    """The inputs of every layer and, last, the network's output: ``len(network) + 1`` arrays."""
    values = [numpy.asarray(x, dtype=numpy.float64)]
    for layer in network:
        if isinstance(layer, str):
            values.append(activation(layer, values[-1]))
        else:
            values.append(linear(values[-1], *layer))
    return values


def backward(network, values, grad_output):
    """Gradients of every ``(weight, bias)`` pair in order of the layers, and of the network's input."""
    gradients = []
    for layer, x in zip(reversed(network), reversed(values[:-1]), strict=True):
        if isinstance(layer, str):
            grad_output = grad_output * activation_derivative(layer, x)
        else:
            grad_output, grad_weight, grad_bias = linear_gradients(x, layer[0], grad_output)
            gradients.insert(0, (grad_weight, None if layer[1] is None else grad_bias))
    return gradients, grad_output


def sgd(network, gradients, lr):
    """A new network, every weight and bias moved by ``-lr`` times its gradient."""
    remaining = iter(gradients)
    moved = []
    for layer in network:
        if isinstance(layer, str):
            moved.append(layer)
        else:
            grad_weight, grad_bias = next(remaining)
            bias = None if layer[1] is None else layer[1] - lr * grad_bias
            moved.append((layer[0] - lr * grad_weight, bias))
    return moved


def accuracy(prediction, one_hot):
    """The share of rows whose largest prediction sits where the target's one sits."""
    hits = 0
    for row, target in zip(prediction, one_hot, strict=True):
        largest = max(range(len(row)), key=row.__getitem__)
        hits += target[largest] == 1.0
    return hits / len(prediction)


def train(network, data, validation, *, reduction, lr, epochs, mini_batch_size):
    """Mini-batch SGD in order. Returns ``(network, history)``; the last batch may be short."""
    x, target = data
    history = {"train_loss": [], "val_loss": [], "val_accuracy": [], "train_loss_mean": [], "val_loss_mean": []}
    for _ in range(epochs):
        losses, summed = [], []
        for start in range(0, len(x), mini_batch_size):
            values = forward(network, x[start : start + mini_batch_size])
            loss, grad = mse(values[-1], target[start : start + mini_batch_size], reduction)
            gradients, _ = backward(network, values, grad)
            network = sgd(network, gradients, lr)
            losses.append(loss)
            summed.append(loss * len(values[-1]) if reduction == "mean" else loss)
        history["train_loss"].append(sum(losses))
        history["train_loss_mean"].append(sum(summed) / len(x))
        if validation is not None:
            prediction = forward(network, validation[0])[-1]
            history["val_loss"].append(mse(prediction, validation[1], reduction)[0])
            history["val_loss_mean"].append(history["val_loss"][-1] / (1 if reduction == "mean" else len(prediction)))
            history["val_accuracy"].append(accuracy(prediction, validation[1]))
    return network, history
