"""What was found of a network serves others of its kind: they train as if no other had been there before."""

import gc
import threading
import weakref

import numpy as np
import pytest
from test_many_kinds import FIRST, INPUT, REFUSED, TARGET, TRAINED, end_of, job, network

import fastbp
from fastbp import nn, optim
from fastbp.engine import network_table
from fastbp.engine.plan import plan_of


def train_alone(one):
    return end_of(one, fastbp.train_model(**one.arguments()))


@pytest.fixture
def nothing_found(monkeypatch):
    monkeypatch.setattr(network_table, "_tables", {})
    return network_table._tables


def test_a_network_trains_behind_all_others_as_it_would_first(nothing_found):
    expected = {}
    for name, make in TRAINED.items():
        nothing_found.clear()
        expected[name] = train_alone(make())
    for _ in range(2):
        for name, make in TRAINED.items():
            assert train_alone(make()) == expected[name], name


def test_an_argument_is_refused_behind_others_in_the_words_of_the_first(nothing_found):
    expected, makes = {}, {name: make for name, make in REFUSED.items() if name != "progress"}  # a rule of jobs alone
    for name, make in makes.items():
        nothing_found.clear()
        with pytest.raises((TypeError, ValueError)) as refused:
            train_alone(make())
        expected[name] = str(refused.value)
    for make in FIRST:
        train_alone(make())
    for name, make in makes.items():
        one = make()
        before = one.model.state_dict()
        with pytest.raises((TypeError, ValueError)) as refused:
            train_alone(one)
        assert str(refused.value) == expected[name]
        for key, value in one.model.state_dict().items():
            np.testing.assert_array_equal(value, before[key])


def test_networks_alike_share_a_table_and_others_do_not(nothing_found):
    def table(*modules):
        return plan_of(nn.Sequential(*modules)).table

    first = table(nn.Linear(4, 5), nn.LeakyReLU(0.0), nn.Linear(5, 3))
    assert table(nn.Linear(4, 5), nn.LeakyReLU(0.0), nn.Linear(5, 3)) is first
    frozen = nn.Linear(4, 5)
    frozen.bias.requires_grad = False
    for others in (
        (nn.Linear(4, 5), nn.LeakyReLU(-0.0), nn.Linear(5, 3)),
        (nn.Linear(4, 5), nn.LeakyReLU(0.5), nn.Linear(5, 3)),
        (nn.Linear(4, 5), nn.Linear(5, 3), nn.LeakyReLU(0.0)),
        (nn.Linear(4, 5, bias=False), nn.LeakyReLU(0.0), nn.Linear(5, 3)),
        (frozen, nn.LeakyReLU(0.0), nn.Linear(5, 3)),
        (nn.Linear(4, 6), nn.LeakyReLU(0.0), nn.Linear(6, 3)),
        tuple(module.double() for module in (nn.Linear(4, 5), nn.LeakyReLU(0.0), nn.Linear(5, 3))),
    ):
        assert table(*others) is not first


def test_what_is_kept_of_a_kind_keeps_no_model_and_no_data_alive(nothing_found):
    one, data = job(), INPUT.copy()
    fastbp.train_model(**one.arguments() | {"train_input": data})
    gone = [weakref.ref(thing) for thing in (one.model, one.model[0], one.opt, one.criterion, data)]
    del one, data
    gc.collect()  # an optimiser and its groups refer to each other
    assert [reference() for reference in gone] == [None] * len(gone)
    assert nothing_found


def test_many_kinds_leave_few_tables(nothing_found):
    for hidden in range(1, 60):
        plan_of(network(hidden=hidden))
    assert len(nothing_found) == network_table._KINDS


def test_a_method_set_on_one_optimiser_is_what_runs_in_its_training_alone(nothing_found):
    steps = []
    for number in range(3):
        one = job()
        if number == 1:
            step = one.opt.step
            one.opt.step = lambda step=step: steps.append(1) or step()
        history = fastbp.train_model(**one.arguments())
        assert history.backend == ("modules" if number == 1 else "engine")
    assert len(steps) == 6


def test_networks_of_a_kind_train_in_several_threads_at_once(nothing_found):
    alone = [train_alone(job(network(seed=n), epochs=40)) for n in range(4)]
    found = [[] for _ in alone]

    def train(number):
        for _ in range(5):
            found[number].append(train_alone(job(network(seed=number), epochs=40)))

    threads = [threading.Thread(target=train, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, ends in enumerate(found):
        assert ends == [alone[number]] * 5


def everything():
    """A network of every layer that keeps something for its backward."""
    inside = nn.Residual(nn.LayerNorm(8), nn.Linear(8, 8, rng=1), nn.GELU(), nn.Dropout(0.2, rng=2))
    return nn.Sequential(
        nn.Linear(4, 8, rng=0), nn.BatchNorm1d(8), nn.PReLU(), inside, nn.RMSNorm(8), nn.Linear(8, 10, rng=3), nn.GLU(),
        nn.Softmax(dim=-1), nn.Linear(5, 3, rng=4),
    )  # fmt: skip


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, 1e38])
def test_memory_of_a_training_that_diverged_serves_the_next_as_new_memory_does(nothing_found, spoilt):
    def adam(model):
        return optim.Adam(model.parameters(), lr=0.01)

    def good():
        return job(everything(), opt=adam, val_input=INPUT[:3], val_target=TARGET[:3])

    expected = train_alone(good())
    bad = job(everything(), opt=adam, on_nonfinite="ignore")
    assert plan_of(bad.model).table in nothing_found.values()
    arguments = bad.arguments() | {"train_input": np.full_like(INPUT, spoilt)}
    fastbp.train_model(**arguments | {"val_input": INPUT[:3] * spoilt, "val_target": TARGET[:3]})
    assert train_alone(good()) == expected
