"""What passes keep, and when they let go of it: memory, locks, models and inputs."""

import gc
import threading
import tracemalloc
import weakref

import numpy
import pytest
from helpers import draw, mlp
from test_passes import F32, F64, MODELS, S2, TARGET, S

import fastbp
from fastbp import nn, optim


@pytest.fixture(params=MODELS)
def build(request):
    return MODELS[request.param]


@pytest.fixture
def model(build):
    return build()


def test_steps_of_a_loop_allocate_no_array(model):
    """Each output, gradient and loss gradient lies where the last but one lay."""
    criterion, opt, seen = nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(8):
        output = model(S)
        loss = criterion(output, TARGET)
        grad = criterion.backward()
        grad_input = model.backward(grad)
        opt.step()
        seen.append(tuple(array.ctypes.data for array in (output, grad, grad_input)))
    assert float(loss) > 0
    assert len(set(seen[2:])) == 2
    assert seen[2] == seen[4] == seen[6]


def test_a_loop_of_losses_does_not_grow_and_leaves_nothing_to_the_collector(model):
    criterion, opt = nn.MSELoss(), optim.Adam(model.parameters())

    def steps(count):
        for _ in range(count):
            opt.zero_grad()
            (criterion(model(S), TARGET) + 0.1 * (model(S2) ** 2).mean()).backward()
            opt.step()

    steps(10)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        steps(1200)  # Python and NumPy keep some freed objects to be used again
        before = tracemalloc.get_traced_memory()[0]
        steps(1200)
        assert tracemalloc.get_traced_memory()[0] - before < 12_000, "less than 10 bytes a step"
        tracemalloc.stop()
        assert gc.collect() == 0
    finally:
        tracemalloc.stop()
        gc.enable()


def test_a_model_and_its_input_die_with_their_last_holder(build):
    gc.disable()
    try:
        model, inputs = build(), S.copy()
        first, given = next(iter(model.modules())), weakref.ref(inputs)
        held = weakref.ref(first)
        loss = model(inputs).sum()
        del inputs, model, first
        assert held() is None
        loss.backward()
        assert given() is None
    finally:
        gc.enable()


def test_fifty_losses_may_be_held_and_give_their_memory_back(model):
    inputs = [draw((6, 4), F32, seed) for seed in range(50)]
    losses = [model(x).sum() for x in inputs]
    for loss in losses[::-1]:
        loss.backward()
    together = [parameter.grad.copy() for parameter in model.parameters()]
    model.zero_grad()
    for x in inputs[::-1]:
        model(x).sum().backward()
    for one, parameter in zip(together, model.parameters(), strict=True):
        numpy.testing.assert_array_equal(one, parameter.grad)
    del losses, loss
    addresses = {model(S).ctypes.data for _ in range(20)}
    assert len(addresses) <= 4


def test_two_threads_that_go_back_through_one_model_add_their_gradients_up():
    model, count = mlp(4, 5, 3, dtype=F64), 40
    inputs = [draw((6, 4), F64, seed) for seed in range(2)]
    for x in inputs:
        model(x).sum().backward()
    expected = [count * parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    errors = []

    def work(x):
        try:
            for _ in range(count):
                model(x).sum().backward()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(x,)) for x in inputs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors
    for parameter, sum_of in zip(model.parameters(), expected, strict=True):
        numpy.testing.assert_allclose(parameter.grad, sum_of, rtol=1e-12, atol=1e-12)


def test_an_interrupt_within_a_backward_leaves_no_lock_taken(monkeypatch):
    layer = nn.Linear(4, 3, rng=0)
    loss = layer(S).sum()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nn.linear, "whole_or_shared", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loss.backward()
    outcome = []
    worker = threading.Thread(target=lambda: outcome.append(layer(S2)), daemon=True)
    worker.start()
    worker.join(30)
    assert len(outcome) == 1


def test_a_network_that_is_laid_out_anew_lets_go_of_its_last_input_at_once():
    model, inputs = mlp(4, 5, 3), draw((6, 4), F32, 7)
    given = weakref.ref(inputs)
    model(inputs)
    del inputs
    assert given() is not None
    gc.disable()
    try:
        model[0].bias = None
        model(S)
        assert given() is None
    finally:
        gc.enable()


def test_a_training_that_is_refused_is_in_nobodys_way(model):
    opt = optim.SGD(model.parameters(), lr=0.1)
    model(S)
    with pytest.raises(ValueError, match="train_target"):
        fastbp.train_model(model, S, TARGET[:, :2].copy(), None, None, nn.MSELoss(), opt, 1, 2)
    if "OwnReLU" not in repr(model):
        model.backward(TARGET)
