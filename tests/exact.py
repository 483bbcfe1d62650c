"""How near a sum of products must come to the exact one, for any numbers and any order of summation."""

import numpy
import oracles

RTOL = {numpy.dtype(numpy.float32): 1.3e-6, numpy.dtype(numpy.float64): 1e-7}  # torch.testing.assert_close's


class ExactProduct:
    """``start + a @ b`` for matrices a and b, exactly, and the test of what a library makes of it.

    Each addition and multiplication is off by at most half a unit in the last place. In any order, a sum of k products
    is therefore off by at most ``(k + 2) eps / 2`` of the sum of its terms' absolute values (Higham, "Accuracy and
    stability of numerical algorithms", 2002, section 3.1; one for the start, one for the reference's own rounding), and
    by half the smallest number for each term that underflows. Where terms cancel nothing relative to the result can be
    asked: there ``assert_close`` compares rounding errors. Its rtol is the limit all the same, however long the sum.

    What comes of a sum whose partial sums may overflow depends on their order: it may be infinite or NaN, but no finite
    number that is wrong, and it is infinite if all terms have one sign. Terms that are infinite or NaN themselves give
    the same in every order.
    """

    def __init__(self, start, a, b):
        info, terms = numpy.finfo(a.dtype), a.shape[1] + 2
        start = numpy.broadcast_to(start, (len(a), b.shape[1]))
        self.value, size, one_sign = oracles.exact_product(start, a, b)
        with numpy.errstate(over="ignore", invalid="ignore"):
            self.bound = min(terms * info.eps / 2, RTOL[a.dtype]) * size + terms * float(info.smallest_subnormal)
            self.is_safe = size + self.bound <= info.max
            self.overflows = one_sign & (numpy.isinf(self.value) | (abs(self.value) - self.bound > info.max))

    def assert_near(self, actual):
        actual = numpy.asarray(actual, float)
        with numpy.errstate(invalid="ignore"):
            near = (abs(actual - self.value) <= self.bound) | (actual == self.value)
        infinite = numpy.isinf(actual) & (numpy.signbit(actual) == numpy.signbit(self.value))
        unsafe = numpy.where(self.overflows, infinite, near | ~numpy.isfinite(actual))
        right = numpy.where(numpy.isnan(self.value), numpy.isnan(actual), numpy.where(self.is_safe, near, unsafe))
        assert right.all(), f"{actual[~right][0]!r} for {self.value[~right][0]!r} ± {self.bound[~right][0]!r}"


def assert_gradient_near(name, grad_input, grad_output, output):
    """Whether ``grad_input`` is ``grad_output`` times the derivative of an activation that gave ``output``.

    Relative to the result there are three roundings. The tanh's derivative 1 - output**2 cancels near 1: the rounding
    of the square, half an eps, remains there relative to ``grad_output``.
    """
    info = numpy.finfo(output.dtype)
    grad_input, grad_output, y = (numpy.asarray(array, float) for array in (grad_input, grad_output, output))
    with numpy.errstate(over="ignore", invalid="ignore"):
        slope = {"ReLU": numpy.ones_like(y), "Tanh": (1 - y) * (1 + y), "Sigmoid": (1 - y) * y}[name]
        expected = numpy.where((name == "ReLU") & (y <= 0), 0, grad_output * slope)
        bound = 3 * info.eps * abs(expected) + 2 * float(info.smallest_subnormal)
        if name == "Tanh":
            bound += 0.5 * info.eps * abs(grad_output)
        near = numpy.isfinite(expected) & (abs(grad_input - expected) <= bound)
    right = near | (grad_input == expected) | (numpy.isnan(grad_input) & numpy.isnan(expected))
    assert right.all(), f"{grad_input[~right][0]!r} for {expected[~right][0]!r} ± {bound[~right][0]!r}"
