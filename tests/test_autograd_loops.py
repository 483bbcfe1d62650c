"""Passes as they are used: memory, threads, and everyday loops from one text for both libraries."""

import gc
import threading

import numpy
import pytest
import torch

import fastbp


def leaf(values):
    return fastbp.tensor(numpy.asarray(values, numpy.float64), requires_grad=True)


# Memory and threads


def test_a_backward_leaves_nothing_to_the_garbage_collector():
    x = leaf(numpy.ones((2, 3)))
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            numpy.concatenate([numpy.tanh(x), x * 2]).sum().backward()
            numpy.einsum("ij,kj->ik", x, x).mean()
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("with_backward", [True, False])
def test_a_pass_of_300_000_operations_is_freed_without_recursion(with_backward):
    one = start = leaf(1.0)
    for _ in range(300_000):
        one = one + 1e-6
    if with_backward:
        one.backward()
        assert start.grad == 1
    del one


def test_two_threads_have_passes_of_their_own_and_may_share_one():
    shared = leaf(numpy.ones(8))
    root = (shared * 3).sum()
    errors = []

    def work():
        try:
            own = leaf(numpy.ones(4))
            for _ in range(200):
                with fastbp.no_grad():
                    assert not (own * 2).requires_grad
                (own * 2).sum().backward()
                root.backward(retain_graph=True)
            numpy.testing.assert_array_equal(own.grad, 400)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    numpy.testing.assert_array_equal(shared.grad, 1200)


# Loops, from one text for both libraries

RNG = numpy.random.default_rng(0)
INPUTS, TARGETS = RNG.normal(size=(40, 4)), RNG.integers(0, 2, 40).astype(float)


def logistic_regression(xp, w, b):
    logits = INPUTS_OF[xp] @ w + b
    return (xp.log1p(xp.exp(-xp.abs(logits))) + xp.maximum(logits, 0 * logits) - logits * TARGETS_OF[xp]).mean()


def perceptron(xp, w, b, v, c):
    h = xp.tanh(INPUTS_OF[xp] @ w.T + b)
    return (((h @ v + c)[:, 0] - TARGETS_OF[xp]) ** 2).mean()


def clipped_policy(xp, w, b):
    logits = INPUTS_OF[xp] @ w + b
    ratio = xp.exp(logits - xp.log1p(xp.exp(logits)) + 0.5)
    advantage = TARGETS_OF[xp] - 0.4
    loss = -xp.minimum(ratio * advantage, xp.clip(ratio, 0.8, 1.2) * advantage).mean()
    return loss + 0.5 * ((logits - TARGETS_OF[xp]) ** 2).mean()


def variational(xp, w, b):
    mean, log_var = INPUTS_OF[xp] @ w, b * 1
    divergence = -0.5 * (1 + log_var - mean**2 - xp.exp(log_var)).sum()
    return divergence / 40 + ((mean + xp.exp(0.5 * log_var) * 0.3 - TARGETS_OF[xp]) ** 2).mean()


INPUTS_OF = {numpy: INPUTS, torch: torch.tensor(INPUTS)}
TARGETS_OF = {numpy: TARGETS, torch: torch.tensor(TARGETS)}
LOOPS = [
    (logistic_regression, [(4,), ()]), (perceptron, [(8, 4), (8,), (8, 1), (1,)]), (clipped_policy, [(4,), ()]),
    (variational, [(4,), ()]),
]  # fmt: skip


@pytest.mark.parametrize(("loss_of", "shapes"), LOOPS, ids=lambda value: getattr(value, "__name__", ""))
def test_fifty_steps_are_those_of_torch(loss_of, shapes):
    rng = numpy.random.default_rng(1)
    start = [0.3 * rng.normal(size=shape) for shape in shapes]
    results = []
    for xp, make, no_grad in ((numpy, leaf, fastbp.no_grad), (torch, their_leaf, torch.no_grad)):
        weights = [make(array) for array in start]
        for _ in range(50):
            loss = loss_of(xp, *weights)
            loss.backward()
            with no_grad():
                for weight in weights:
                    weight -= 0.1 * weight.grad
                    weight.grad = None
        results.append([*(numpy.asarray(weight.detach()) for weight in weights), loss.item()])
    for mine, theirs in zip(*results, strict=True):
        numpy.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-10)


def their_leaf(array):
    return torch.tensor(array, requires_grad=True)
