"""The engine's L2 penalty: a part of each mini-batch's loss, and of its gradient."""

import numpy
import pytest
from helpers import draw

import fastbp
from fastbp import nn, optim
from fastbp.engine.parallelism import divide
from fastbp.engine.plan import plan_of
from fastbp.engine.workspace import new_workspace
from fastbp.runtime.threads import Team
from fastbp_kernels.functions.gradient_clipping import NORM_SLAB
from fastbp_kernels.functions.penalty import Penalty
from fastbp_kernels.network import arguments
from fastbp_kernels.network.train import train

N, SIZE, STEPS = 41, 9, 10


def network(dtype, hidden):
    return nn.Sequential(nn.Linear(5, hidden, rng=0, dtype=dtype), nn.Tanh(), nn.Linear(hidden, 3, rng=1, dtype=dtype))


def spans_of(model):
    weights = [model[0].weight, model[2].weight]
    return numpy.array([[w.offset - weights[0].offset, w.offset - weights[0].offset + w.size] for w in weights])


def run(model, factors, steps=STEPS):
    """Train by SGD without more than the penalty says; return the losses' sums and the last gradient."""
    x, y = draw((N, 5), model[0].dtype), draw((N, 3), model[0].dtype, seed=1)
    plan = plan_of(model)
    workspace = new_workspace(plan, divide(plan.flop, plan.parameter.size, SIZE, N, 0))
    opt, none = optim.SGD(model.parameters(), lr=0.05), numpy.empty(0, x.dtype)
    call = nn.MSELoss().call(y, 3, x.dtype, False)
    penalty = Penalty(spans_of(model), factors, numpy.empty(-(-plan.parameter.size // NORM_SLAB)))
    scalars = opt.scalars(steps).astype(x.dtype)
    step = arguments.Step(call, opt.code, scalars, opt.spans(plan.parameters), 0.0, numpy.empty(0), penalty)
    classes, results = numpy.empty(0, numpy.int64), arguments.Results(
        numpy.zeros((2, 2)), numpy.zeros(2, numpy.int64), numpy.zeros(2), numpy.zeros(2, numpy.int64)
    )
    with Team(workspace.division.ranks) as team:
        team.run(
            train, 0, steps,
            arguments.Network(
                workspace.layers, plan.parameter, plan.grad, opt.state(plan.dtype), plan.scalars
            ),
            arguments.Batches(arguments.Rows(x, y, classes, none), numpy.empty((0, 0), numpy.int64), SIZE),
            arguments.Rows(x[:0], y[:0], classes, none),
            step, workspace.for_a_call(workspace.division.mode, False), results,
        )  # fmt: skip
    return results.train_losses[:, 0], plan.grad.copy()


def expected(model, factors, steps=STEPS):
    """The same module by module, with the penalty written out."""
    x, y = draw((N, 5), model[0].dtype), draw((N, 3), model[0].dtype, seed=1)
    criterion, opt, losses = nn.MSELoss(), optim.SGD(model.parameters(), lr=0.05), numpy.zeros(2)
    for step in range(steps):
        start = step % 5 * SIZE
        factor = factors[min(step, len(factors) - 1)]
        opt.zero_grad()
        loss = float(criterion(model(x[start : start + SIZE]), y[start : start + SIZE]))
        model.backward_parameters(criterion.backward())
        for linear in (model[0], model[2]):
            loss += factor * float(numpy.square(linear.weight.data.astype("f8")).sum())
            linear.weight.grad = linear.weight.grad + linear.weight.dtype.type(2 * factor) * linear.weight.data
        losses[step // 5] += loss
        opt.step()
    return losses


@pytest.mark.parametrize("hidden", [6, 400])
@pytest.mark.parametrize("factors", [numpy.array([0.03]), numpy.linspace(0, 0.2, STEPS)], ids=["one", "each"])
def test_it_is_added_to_loss_and_gradient_of_each_mini_batch(hidden, factors, dtype):
    ours, theirs = network(dtype, hidden), network(dtype, hidden)
    losses, grad = run(ours, factors)
    tolerance = 64 * numpy.finfo(dtype).eps
    numpy.testing.assert_allclose(losses, expected(theirs, factors), rtol=tolerance)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        numpy.testing.assert_allclose(mine.data, other.data, rtol=0, atol=tolerance)
        numpy.testing.assert_allclose(mine.kernel_grad, other.grad, rtol=0, atol=tolerance)
    assert grad.any()


def test_its_bits_do_not_depend_on_the_number_of_threads(dtype, monkeypatch):
    monkeypatch.setattr("fastbp.runtime.threads.FLOP_PER_THREAD", 1.0)
    ends = []
    for threads in (1, 2, 3):
        fastbp.set_num_threads(threads)
        model = network(dtype, 400)
        ends.append((*run(model, numpy.array([0.1])), *(p.data.copy() for p in model.parameters())))
    for other in ends[1:]:
        for mine, theirs in zip(ends[0], other, strict=True):
            numpy.testing.assert_array_equal(mine, theirs)


def test_what_is_not_finite_shows_in_the_loss(dtype):
    model = network(dtype, 6)
    values = model[2].weight.data
    values[0, 0] = numpy.inf
    losses, _ = run(model, numpy.array([0.1]), steps=1)
    assert not numpy.isfinite(losses[0])
