"""Tensors and passes: leaves, backward, what is refused, no_grad, grad, threads, memory."""

import copy
import math
import operator
import pickle

import numpy
import pytest
import torch

import fastbp
from fastbp.autograd import Leaf, Tensor, wrap


def leaf(values, dtype=numpy.float64):
    return fastbp.tensor(numpy.asarray(values, dtype), requires_grad=True)


@pytest.fixture
def x():
    return leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


# Backward


def test_gradients_accumulate_until_they_are_cleared(x):
    for count in (1, 2, 3):
        (x * 2).sum().backward()
        numpy.testing.assert_array_equal(x.grad, 2.0 * count)
    x.grad = None
    assert x.grad is None
    ((x * x).sum() + (x**3).mean()).backward()
    numpy.testing.assert_allclose(x.grad, 2 * x.data + 3 * x.data**2 / 6)


def test_a_value_that_is_used_several_times_gets_the_sum(x):
    h = numpy.tanh(x)
    (h * h + h.T.T * x - numpy.exp(h)).sum().backward()
    theirs = torch.tensor(x.data, requires_grad=True)
    their_h = torch.tanh(theirs)
    (their_h * their_h + their_h * theirs - torch.exp(their_h)).sum().backward()
    numpy.testing.assert_allclose(x.grad, theirs.grad.numpy(), rtol=1e-13)


def test_a_second_backward_needs_retain_graph(x):
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    numpy.testing.assert_array_equal(x.grad, 4 * x.data)
    with pytest.raises(RuntimeError, match=r"second time.*retain_graph=True"):
        loss.backward()
    numpy.testing.assert_array_equal(x.grad, 4 * x.data)


def test_a_backward_from_more_than_one_number_needs_its_gradient(x):
    with pytest.raises(RuntimeError, match=r"begins at one number, got a tensor of shape \(2, 3\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient of shape \(2, 3\), got \(3,\)"):
        (x * 2).backward(numpy.ones(3))
    assert x.grad is None


def test_what_was_not_recorded_has_no_backward(x):
    with fastbp.no_grad():
        loss = (x * x).sum()
    assert isinstance(loss, Tensor)
    assert not loss.requires_grad
    for output in (loss, fastbp.tensor([1.0]).sum() * 2):
        with pytest.raises(RuntimeError, match="from numbers alone, or under fastbp"):
            output.backward()


def test_a_function_without_a_gradient_gives_its_numbers_and_raises_in_backward_alone(x):
    value = numpy.percentile(x, 30)
    assert float(value) == numpy.percentile(x.data, 30)
    with pytest.raises(RuntimeError, match=r"numpy\.percentile has no gradient.*detach\(\)"):
        (value + x.sum()).backward()
    assert x.grad is None


def test_what_has_no_derivative_is_a_plain_array(x):
    for value in (x.argmax(1), x > 2, numpy.round(x), numpy.isnan(x), numpy.zeros_like(x), x.astype(int), x // 2):
        assert type(value) is numpy.ndarray


def test_gradients_of_computed_tensors_are_kept_where_that_is_asked_for(x):
    h = x * 3
    assert h.grad is None
    h.retain_grad()
    (h * h).sum().backward()
    numpy.testing.assert_array_equal(h.grad, 6 * x.data)
    numpy.testing.assert_array_equal(x.grad, 18 * x.data)


def test_a_backward_after_a_leaf_was_changed_raises_where_it_reads_the_leaf(x):
    product, total = (x.T @ numpy.ones((2, 2))).sum(), (x.T @ x).sum()
    with fastbp.no_grad():
        x *= 2
    product.backward()
    before = x.grad.copy()
    with pytest.raises(RuntimeError, match=r"leaf of shape \(2, 3\) that changed after the forward"):
        total.backward()
    numpy.testing.assert_array_equal(x.grad, before)
    (x.T @ x).sum().backward()


def test_grad_gives_gradients_of_inputs_and_adds_nothing(x):
    h = x * 2
    unused = leaf(1.0)
    (of_h, of_x) = fastbp.grad((h * h).sum(), [h, x])
    numpy.testing.assert_array_equal(of_h, 4 * x.data)
    numpy.testing.assert_array_equal(of_x, 8 * x.data)
    assert x.grad is None
    assert fastbp.grad(x.sum(), [x, unused], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match="no way from the outputs to input 0"):
        fastbp.grad(x.sum(), unused)


# What writes


def test_recorded_numbers_are_not_written_to(x):
    h = x * 2
    for write in (
        lambda: operator.setitem(h, 0, 1),
        lambda: h.fill(0),
        lambda: h.sort(),
        lambda: h.put(0, 1),
        lambda: h.partition(1),
        lambda: h.resize(6),
        lambda: numpy.copyto(h, 0),
        lambda: numpy.add.at(h, 0, 1),
        lambda: numpy.add(h, 1, out=h),
        lambda: numpy.sum(x.data, 0, out=h[0]),
        lambda: h.sum(0, None, h[0]),
        lambda: numpy.fill_diagonal(h, 0),
    ):
        with pytest.raises(RuntimeError, match=r"detach\(\)"):
            write()
    numpy.testing.assert_array_equal(h.detach(), 2 * x.data)
    with pytest.raises(ValueError, match="read-only"):
        h.detach()[0] = 1


def test_an_array_that_takes_recorded_numbers_in_place_is_refused(x):
    total = numpy.zeros((2, 3))
    with pytest.raises(RuntimeError, match="does not record"):
        total += x
    with pytest.raises(RuntimeError, match="does not record"):
        numpy.copyto(total, x)
    numpy.testing.assert_array_equal(total, 0)


def test_in_place_operators_give_new_tensors(x):
    y = before = x * 1
    y += 1
    y *= 2
    assert before is not y
    numpy.testing.assert_array_equal(y.detach(), 2 * (x.data + 1))
    y.sum().backward()
    numpy.testing.assert_array_equal(x.grad, 2)


def test_a_leaf_is_written_to_under_no_grad_only(x):
    with pytest.raises(RuntimeError, match="no_grad"):
        x += 1
    with pytest.raises(RuntimeError, match="no_grad"):
        x[0] = 1
    same = x
    with fastbp.no_grad():
        x += 1
        x[0] = 0
    assert x is same
    numpy.testing.assert_array_equal(x.data, [[0, 0, 0], [5, 6, 7]])


# no_grad


def test_no_grad_is_a_context_and_a_decorator_and_nests(x):
    @fastbp.no_grad()
    def one():
        with fastbp.enable_grad():
            inner = x * 2
        return inner.requires_grad, (x * 2).requires_grad

    @fastbp.no_grad
    def two():
        return (x * 2).requires_grad

    assert one() == (True, False)
    assert two() is False
    assert fastbp.is_grad_enabled()
    mode = fastbp.no_grad()
    with mode, mode:
        assert not fastbp.is_grad_enabled()
    assert fastbp.is_grad_enabled()
    with pytest.raises(TypeError, match="generator function"):
        fastbp.no_grad(lambda: (yield))


# Arrays, numbers, copies


def test_a_tensor_of_one_number_is_used_as_one(x):
    loss = (x * x).mean()
    expected = float(numpy.mean(x.data * x.data))
    assert float(loss) == loss.item() == expected
    assert f"{loss:.3f}" == f"{expected:.3f}"
    assert round(loss, 1) == round(expected, 1)
    assert math.sqrt(loss) == math.sqrt(expected)
    assert loss < 100
    assert max(loss, loss * 2).requires_grad
    assert sum([loss, loss]).requires_grad
    assert "requires_grad" in repr(loss)


def test_plain_arrays_come_from_detach_asarray_copies_and_pickles(x):
    h = x * 2
    for plain in (
        h.detach(), h.numpy(), numpy.asarray(h), numpy.array(h), copy.copy(h), copy.deepcopy(h),
        pickle.loads(pickle.dumps(h)),
    ):  # fmt: skip
        assert type(plain) is numpy.ndarray
        numpy.testing.assert_array_equal(plain, 2 * x.data)


def test_a_copy_that_numpy_makes_by_itself_raises_in_backward_alone(x):
    copied = numpy.array(x * 2, subok=True)
    assert type(copied) is Tensor
    with pytest.raises(RuntimeError, match="copy or view that NumPy made by itself"):
        (copied + 1).sum().backward()


def test_attributes_that_would_change_a_pass_are_not_set(x):
    h = x * 2
    for name, value in {"shape": (6,), "dtype": numpy.float32, "strides": (8, 8)}.items():
        with pytest.raises(AttributeError, match="cannot be set"):
            setattr(h, name, value)


def test_matplotlib_takes_tensors(x):
    import matplotlib.pyplot as pyplot

    figure, axes = pyplot.subplots()
    axes.plot(x[0] * 2, numpy.tanh(x)[1])
    axes.hist((x * 2).ravel())
    figure.canvas.draw()
    pyplot.close(figure)


def test_scipys_ufuncs_are_recorded():
    special = pytest.importorskip("scipy.special")
    values = numpy.linspace(0.1, 0.9, 7)
    for name, theirs in {
        "expit": torch.sigmoid, "logit": torch.logit, "log_expit": torch.nn.functional.logsigmoid, "erf": torch.erf,
        "erfc": torch.erfc, "ndtr": torch.special.ndtr, "log_ndtr": torch.special.log_ndtr,
        "xlogy": lambda t: torch.xlogy(t, t),
    }.items():  # fmt: skip
        mine, their_leaf = leaf(values), torch.tensor(values, requires_grad=True)
        function = getattr(special, name)
        (function(mine, mine) if name == "xlogy" else function(mine)).sum().backward()
        theirs(their_leaf).sum().backward()
        numpy.testing.assert_allclose(mine.grad, their_leaf.grad.numpy(), rtol=1e-12)


# Leaves of others: what stands for an array and has a leaf


class Weight:
    """As a parameter will: an object with a leaf that adds into memory of its own."""

    class Own(Leaf):
        __slots__ = ("total",)

        def accumulate(self, grad):
            self.total += grad

    def __init__(self, array):
        self.leaf = self.Own(array)
        self.leaf.total = numpy.zeros_like(array)

    def autograd_leaf(self):
        return self.leaf

    def __array__(self, dtype=None, copy=None):
        return self.leaf.array


def test_an_object_with_a_leaf_takes_part(x):
    weight = Weight(numpy.arange(6.0).reshape(3, 2))
    (numpy.matmul(x, weight) ** 2).sum().backward()
    numpy.testing.assert_allclose(weight.leaf.total, 2 * x.data.T @ (x.data @ weight.leaf.array))
    loss = numpy.matmul(x, weight).sum()
    weight.leaf.array *= 2
    weight.leaf.note_change()
    with pytest.raises(RuntimeError, match="changed after the forward"):
        loss.backward()


def test_wrap_gives_a_tensor_of_the_same_memory():
    array = numpy.ones(3)
    assert numpy.shares_memory(wrap(array, None), array)
