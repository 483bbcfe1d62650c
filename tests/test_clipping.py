"""Clipped gradients: torch's formula, one number whatever the threads, the engine's bits those of the modules."""

from itertools import product

import numpy
import pytest
import torch
from helpers import draw, mlp, snapshot, twin
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim
from fastbp.nn.utils import clip_grad_norm_, clip_grad_value_

OWN = type("Own", (nn.MSELoss,), {})  # trained module by module


def with_gradients(dtype, scale=1.0):
    model = mlp(5, 65, 33, 3, dtype=dtype)
    other = twin(model)
    for index, (mine, theirs) in enumerate(zip(model.parameters(), other.parameters(), strict=True)):
        mine.grad = draw(mine.shape, dtype, seed=index) * dtype(scale)
        theirs.grad = torch.tensor(mine.grad)
    return model, other


def assert_same_gradients(model, other, dtype):
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_allclose(mine.grad, theirs.grad.numpy(), rtol=8 * numpy.finfo(dtype).eps)


@pytest.mark.parametrize("norm_type", [2, 2.0, 1, 3.5, numpy.inf])
@pytest.mark.parametrize("max_norm", [0, 0.25, 1e9])
def test_a_norm_is_clipped_as_in_torch(norm_type, max_norm, dtype):
    model, other = with_gradients(dtype)
    norm = clip_grad_norm_(model.parameters(), max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(other.parameters(), max_norm, norm_type)
    assert isinstance(norm, float)
    numpy.testing.assert_allclose(norm, expected.item(), rtol=1e-6 if dtype == numpy.float32 else 1e-13)
    assert_same_gradients(model, other, dtype)


def test_values_are_clipped_as_in_torch(dtype):
    model, other = with_gradients(dtype)
    model[2].weight.grad[0, 0] = numpy.nan
    other[2].weight.grad[0, 0] = numpy.nan
    assert clip_grad_value_(model.parameters(), 0.3) is None
    torch.nn.utils.clip_grad_value_(other.parameters(), 0.3)
    assert_same_gradients(model, other, dtype)
    clip_grad_value_(model[0].weight, 0.1)
    assert numpy.abs(model[0].weight.grad).max() == dtype(0.1)
    assert numpy.abs(model[0].bias.grad).max() > 0.1


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_what_is_not_finite_passes_as_in_torch_or_is_refused(value, dtype):
    model, other = with_gradients(dtype)
    model[0].weight.grad[1, 2] = value
    other[0].weight.grad[1, 2] = value
    before = snapshot(model)
    with pytest.raises(RuntimeError, match=rf"takes gradients with a finite norm, got one of {value}"):
        clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
    for name, (_, grad) in snapshot(model).items():
        numpy.testing.assert_array_equal(grad, before[name][1])
    norm = clip_grad_norm_(model.parameters(), 1.0)
    numpy.testing.assert_equal(norm, torch.nn.utils.clip_grad_norm_(other.parameters(), 1.0).item())
    assert_same_gradients(model, other, dtype)


def test_a_norm_does_not_depend_on_the_order_nor_overflow():
    model, _ = with_gradients(numpy.float32, scale=1e30)
    backwards, _ = with_gradients(numpy.float32, scale=1e30)
    norm = clip_grad_norm_(model.parameters(), 1.0)
    assert 1e30 < norm < numpy.inf
    assert norm == clip_grad_norm_(reversed(list(backwards.parameters())), 1.0)
    assert clip_grad_norm_([], 1.0) == 0


@pytest.mark.parametrize("norm_type", [1, 2, 3, numpy.inf])
@pytest.mark.parametrize("scale", [5e-324, 1e-200, 1e-40, 1e-20, 1e20, 1e35, 1e155, 1e200, 1e300])
def test_a_norm_of_any_size_is_told_and_clipped(scale, norm_type, dtype):
    if not float(numpy.finfo(dtype).smallest_subnormal) <= scale < float(numpy.finfo(dtype).max):
        return
    model, other = with_gradients(dtype, scale)
    wide = numpy.abs(numpy.concatenate([p.grad.ravel() for p in model.parameters()]).astype(numpy.longdouble))
    largest = wide.max()
    expected = largest if norm_type == numpy.inf else largest * ((wide / largest) ** norm_type).sum() ** (1 / norm_type)
    norm = clip_grad_norm_(model.parameters(), 0.25, norm_type)
    numpy.testing.assert_allclose(norm, float(expected), rtol=1e-13)
    factor = min(1.0, 0.25 / (norm + 1e-6))
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_allclose(mine.grad, theirs.grad.numpy() * factor, rtol=8 * numpy.finfo(dtype).eps)
    if norm_type in (1, numpy.inf):  # torch's other norms overflow and underflow
        told = torch.nn.utils.clip_grad_norm_(other.parameters(), 0.25, norm_type).item()
        numpy.testing.assert_allclose(norm, told, rtol=1e-6 if dtype == numpy.float32 else 1e-13)
        assert_same_gradients(model, other, dtype)


@pytest.mark.parametrize("scale", [1e160, 1e-200])
def test_the_engine_clips_gradients_whose_squares_are_no_numbers_to_the_bits_of_the_modules(scale):
    own, ends = type("Own", (nn.L1Loss,), {}), []
    rows = draw((600, 5), numpy.float64) * scale, draw((600, 3), numpy.float64, seed=8)
    for kind, threads in product((nn.L1Loss, own), (1, 3)):
        fastbp.set_num_threads(threads)
        model = mlp(5, 65, 33, 3, dtype=numpy.float64, bias=False)
        before = [p.data.copy() for p in model.parameters()]
        opt = optim.SGD(model.parameters(), lr=0.5)
        history = fastbp.train_model(
            model, *rows, None, None, kind(reduction="sum"), opt, 1, 600, clip_grad_norm=scale / 1e3 if scale < 1 else 1
        )
        assert history.backend == ("engine" if kind is nn.L1Loss else "modules")
        steps = [numpy.linalg.norm(p.data - was) for p, was in zip(model.parameters(), before, strict=True)]
        assert (numpy.hypot.reduce(steps) == pytest.approx(0.5, rel=1e-12)) == (scale > 1)
        ends.append(outcome(model, history))
    for end in ends[1:]:
        assert_same_bits(ends[0], end)


@pytest.mark.parametrize("opt", ["SGD", "AdamW"])
@pytest.mark.parametrize("max_norm", [0.05, 1e9])
def test_the_engine_gives_the_bits_of_the_modules(max_norm, opt, dtype):
    rows = draw((600, 5), dtype), draw((600, 3), dtype, seed=8)
    for size, widths in ((7, (5, 3)), (23, (5, 65, 33, 3)), (600, (5, 65, 33, 3))):
        ends = []
        for kind, threads in product((nn.MSELoss, OWN), (1, 3)):
            fastbp.set_num_threads(threads)
            model = mlp(*widths, dtype=dtype)
            history = fastbp.train_model(
                model, *rows, *rows, kind(), getattr(optim, opt)(model.parameters(), lr=0.01), 2, size,
                clip_grad_norm=max_norm,
            )  # fmt: skip
            assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
            ends.append(outcome(model, history))
        for end in ends[1:]:
            assert_same_bits(ends[0], end)


def test_a_clipped_training_follows_torch():
    x, target = draw((40, 5), numpy.float64), draw((40, 3), numpy.float64, seed=8)
    model = mlp(5, 16, 3, dtype=numpy.float64)
    other = twin(model)
    theirs = torch.optim.SGD(other.parameters(), lr=0.1)
    for step in range(1000):
        rows = slice(step % 4 * 10, step % 4 * 10 + 10)
        theirs.zero_grad()
        torch.nn.functional.mse_loss(other(torch.tensor(x[rows])), torch.tensor(target[rows])).backward()
        torch.nn.utils.clip_grad_norm_(other.parameters(), 0.2)
        theirs.step()
    opt = optim.SGD(model.parameters(), lr=0.1)
    fastbp.train_model(model, x, target, None, None, nn.MSELoss(), opt, 250, 10, clip_grad_norm=0.2)
    for mine, expected in zip(model.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_allclose(mine.data, expected.detach().numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda p: clip_grad_norm_(p, -1), "clip_grad_norm_ takes max_norm of 0 or more, got -1"),
        (lambda p: clip_grad_norm_(p, numpy.nan), "clip_grad_norm_ takes max_norm of 0 or more, got nan"),
        (lambda p: clip_grad_norm_(p, "1"), "clip_grad_norm_ takes max_norm as a number, got '1'"),
        (lambda p: clip_grad_norm_(p, 1, 0), "clip_grad_norm_ takes norm_type as a number above 0, got 0"),
        (lambda p: clip_grad_norm_([numpy.ones(3)], 1), r"takes parameters such as model\.parameters\(\), got ndarray"),
        (lambda p: clip_grad_value_(p, None), "clip_grad_value_ takes clip_value as a number, got None"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(call, match):
    model, _ = with_gradients(numpy.float32)
    before = snapshot(model)
    with pytest.raises((TypeError, ValueError), match=match):
        call(model.parameters())
    for name, (_, grad) in snapshot(model).items():
        numpy.testing.assert_array_equal(grad, before[name][1])
