"""The same training again for other rows: it goes past the checks of the first, and nobody can tell."""

import copy
import threading
from importlib import import_module

import numpy as np
import pytest
from helpers import draw

import fastbp
from fastbp import nn, optim
from fastbp.engine.session import Session
from fastbp.training import progress as progress_module

F32 = np.float32
train_module = import_module("fastbp.training.train_model")  # whose name in fastbp is that of the function

KINDS = {
    "sgd": (
        lambda: nn.Sequential(nn.Linear(4, 5, rng=0), nn.ReLU(), nn.Linear(5, 3, rng=1)),
        lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9), nn.MSELoss,
    ),
    "layers": (
        lambda: nn.Sequential(
            nn.Linear(4, 5, rng=0), nn.BatchNorm1d(5), nn.PReLU(), nn.Dropout(0.3, rng=2), nn.Linear(5, 3, rng=1)
        ),
        lambda parameters: optim.Adam(parameters, lr=0.01), lambda: nn.HuberLoss(delta=0.1),
    ),
    "classes": (
        lambda: nn.Sequential(nn.Linear(4, 5, rng=0), nn.GELU(), nn.Linear(5, 3, rng=1)),
        lambda parameters: optim.AdamW(parameters, lr=0.01), nn.CrossEntropyLoss,
    ),
}  # fmt: skip


class OwnAdam(optim.Adam):
    """Trains module by module."""


def learner(kind="sgd"):
    model, opt, criterion = KINDS[kind]
    model, criterion = model(), criterion()
    return model, opt(model.parameters()), criterion


def rows(turn, n=6, classes=False):
    target = np.arange(turn, turn + n) % 3 if classes else draw((n, 3), F32, seed=100 + turn)
    return draw((n, 4), F32, seed=turn), target


def learn(model, opt, criterion, data, *, epochs=1, size=3, **options):
    return fastbp.train_model(model, *data, None, None, criterion, opt, epochs, size, **options)


@pytest.fixture
def no_checks(monkeypatch):
    """Makes what a first call looks for fail from when it is called."""

    def refuse(*arguments):
        raise AssertionError("the parts are looked through again")

    return lambda: monkeypatch.setattr(train_module, "require_number_of", refuse)


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_calls_that_follow_one_like_them_give_the_same_bits_and_history(kind, epochs, no_checks):
    model, opt, criterion = learner(kind)
    twin, its_opt = copy.deepcopy((model, opt))
    data = [rows(turn, classes=kind == "classes") for turn in range(5)]
    expected = [learn(twin, its_opt, criterion, each, epochs=epochs, progress=lambda history: None) for each in data]
    for turn, (each, one) in enumerate(zip(data, expected, strict=True)):
        if turn == 1:
            no_checks()
        history = learn(model, opt, criterion, each, epochs=epochs)
        assert dict(history) == dict(one)
        assert (history.backend, history.stopped_by, history.setting) == ("engine", "epochs", one.setting)
        assert history.position == one.position
        assert history.seconds > 0
    for mine, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert opt.steps == its_opt.steps == 10 * epochs


def test_a_history_of_such_a_call_goes_on_like_any_other():
    model, opt, criterion = learner()
    learn(model, opt, criterion, rows(0))
    history = learn(model, opt, criterion, rows(1))
    assert learn(model, opt, criterion, rows(1), epochs=2, history=history).epochs == 2


def test_small_integers_of_numpy_do_not_overflow_in_a_later_call_either():
    model, opt, criterion = learner()
    sizes = {"epochs": np.int8(100), "size": np.int8(3)}
    for turn in range(3):
        assert learn(model, opt, criterion, rows(turn), **sizes).epochs == 100


def freeze(model, opt, criterion):
    model[0].weight.requires_grad = False


def change_a_layer(model, opt, criterion):
    model[1] = nn.Tanh()


def convert(model, opt, criterion):
    model.double()
    model.float()


def sum_losses(model, opt, criterion):
    criterion.reduction = "sum"


def learn_slower(model, opt, criterion):
    opt.lr = 0.001


def group(model, opt, criterion):
    opt.param_groups[0]["momentum"] = 0.0


def evaluate(model, opt, criterion):
    model.eval()


def load(model, opt, criterion):
    model.load_state_dict({name: value / 2 for name, value in model.state_dict().items()})


def double_the_loss(model, opt, criterion):
    criterion.backward = lambda: 2 * type(criterion).backward(criterion)


def keep_still(model, opt, criterion):
    opt.step = lambda: None


def double_the_output(model, opt, criterion):
    model.forward = lambda x: 2 * type(model).forward(model, x)


CHANGES = [
    freeze, change_a_layer, convert, sum_losses, learn_slower, group, evaluate, load, double_the_loss, keep_still,
    double_the_output,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_is_changed_between_two_calls_counts(change):
    ends = []
    for progress in (False, lambda history: None):
        model, opt, criterion = learner()
        for turn in range(4):
            if turn == 2:
                change(model, opt, criterion)
            history = learn(model, opt, criterion, rows(turn), progress=progress)
        ends.append((dict(history), history.backend, [value.tolist() for value in model.state_dict().values()]))
    assert ends[0] == ends[1]


def test_a_method_set_on_a_class_of_the_library_counts(monkeypatch):
    model, opt, criterion = learner()
    for turn in range(2):
        assert learn(model, opt, criterion, rows(turn)).backend == "engine"
    backward = nn.MSELoss.backward
    monkeypatch.setattr(nn.MSELoss, "backward", lambda self: 0 * backward(self), raising=False)
    before = model.state_dict()
    opt.param_groups[0]["momentum"] = 0.0
    assert learn(model, opt, criterion, rows(2)).backend == "modules"
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_class_attributes_that_cannot_be_compared_are_others(monkeypatch):
    model, opt, criterion = learner()
    for number in range(3):
        monkeypatch.setattr(nn.MSELoss, "note", np.zeros(2 + number), raising=False)
        assert learn(model, opt, criterion, rows(number)).backend == "engine"


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ((rows(0)[0], None), TypeError, "train_target"),
        ((rows(0)[0].astype(float), rows(0)[1]), TypeError, "float32 data for this model, got train_input of float64"),
        ((rows(0)[0][:, :3], rows(0)[1]), ValueError, "train_input of shape"),
        ((rows(0)[0], rows(0)[1][:4]), ValueError, "train_target"),
        ((rows(0)[0][:0], rows(0)[1][:0]), ValueError, "one training row or more"),
        ((rows(0)[0].tolist(), rows(0)[1]), TypeError, "train_input"),
    ],
)
def test_bad_rows_are_refused_as_by_the_first_call(data, error, text):
    model, opt, criterion = learner()
    for turn in range(2):
        learn(model, opt, criterion, rows(turn))
    before = model.state_dict()
    with pytest.raises(error, match=text) as one:
        learn(model, opt, criterion, data)
    with pytest.raises(error) as other:
        learn(*learner(), data)
    assert str(one.value) == str(other.value)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert learn(model, opt, criterion, rows(2)).epochs == 1


@pytest.mark.parametrize("options", [{"epochs": 1.0}, {"size": True}, {"on_nonfinite": "raises"}, {"rng": 1}])
def test_bad_arguments_after_good_ones_are_refused(options):
    model, opt, criterion = learner()
    for turn in range(2):
        learn(model, opt, criterion, rows(turn))
    with pytest.raises((TypeError, ValueError), match="train_model takes"):
        learn(model, opt, criterion, rows(2), **options)


def test_rows_as_they_come_are_taken(no_checks):
    model, opt, criterion = learner()
    twin, its_opt = copy.deepcopy((model, opt))
    learn(model, opt, criterion, rows(0))
    learn(twin, its_opt, criterion, rows(0))
    no_checks()
    x, target = rows(1)
    learn(model, opt, criterion, (np.asfortranarray(x), target[::-1].copy()[::-1]))
    learn(twin, its_opt, criterion, (x, target))
    for mine, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_loss_that_is_not_finite_is_told_each_time():
    model, opt, criterion = learner()
    for turn in range(2):
        learn(model, opt, criterion, rows(turn))
    x, target = rows(2)
    x[4, 1] = np.nan
    with pytest.warns(fastbp.DivergenceWarning, match="in epoch 1, mini-batch 2: train_input held NaN"):
        learn(model, opt, criterion, (x, target))
    with pytest.warns(fastbp.DivergenceWarning, match="check the model's parameters"):
        learn(model, opt, criterion, rows(3))
    model.load_state_dict(learner()[0].state_dict())
    opt = optim.SGD(model.parameters(), lr=0.1)
    for turn in range(2):
        learn(model, opt, criterion, rows(turn), on_nonfinite="raise")
    with pytest.raises(fastbp.DivergenceError, match="mini-batch 2") as error:
        learn(model, opt, criterion, (x, target), on_nonfinite="raise")
    assert error.value.history.seconds > 0


def test_a_bar_is_shown_where_somebody_watches(monkeypatch):
    model, opt, criterion = learner()
    for turn in range(2):
        learn(model, opt, criterion, rows(turn))
    bars = []
    monkeypatch.setattr(progress_module, "_someone_watches", lambda: True)
    monkeypatch.setattr(train_module, "ProgressBar", lambda *arguments: bars.append(arguments) or closed)
    closed = progress_module.ProgressBar(False, 1)
    learn(model, opt, criterion, rows(2))
    learn(model, opt, criterion, rows(3), progress=False)
    assert [wanted for wanted, *_ in bars] == [None]


def test_ctrl_c_leaves_the_history_and_no_lock(monkeypatch):
    model, opt, criterion = learner()
    for turn in range(2):
        learn(model, opt, criterion, rows(turn))

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "call", interrupted)
        with pytest.raises(fastbp.TrainingInterrupted, match="after 0 epochs") as error:
            learn(model, opt, criterion, rows(2))
    assert error.value.history.epochs == 0
    found = []
    thread = threading.Thread(target=lambda: found.append(learn(model, opt, criterion, rows(3)).epochs))
    thread.start()
    thread.join()
    assert found == [1]


def test_another_thread_in_the_model_is_an_error():
    model, opt, criterion = learner()
    for turn in range(2):
        learn(model, opt, criterion, rows(turn))
    errors = []

    def other():
        try:
            learn(model, opt, criterion, rows(3))
        except RuntimeError as error:
            errors.append(str(error))

    def progress(history):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    learn(model, opt, criterion, rows(2), progress=progress)
    assert len(errors) == 1
    assert errors[0].startswith("another thread is using this model")


@pytest.mark.parametrize("in_between", ["between two calls", "in progress"])
def test_an_optimiser_of_a_part_may_serve_the_part_and_the_whole_in_turn(in_between):
    ends = []
    for kind in (optim.Adam, OwnAdam):
        model = KINDS["sgd"][0]()
        part, criterion = model[:2], nn.MSELoss()
        opt = kind(model[0].parameters(), lr=0.1)

        def train_the_part(history=None, part=part, opt=opt):
            learn(part, opt, nn.MSELoss(), (rows(9)[0], draw((6, 5), F32, seed=9)))

        for turn in range(4):
            if in_between == "in progress":
                learn(model, opt, criterion, rows(turn), epochs=3, progress=train_the_part)
            else:
                learn(model, opt, criterion, rows(turn))
                train_the_part()
        ends.append([value.copy() for value in model.state_dict().values()])
    for mine, theirs in zip(*ends, strict=True):
        np.testing.assert_array_equal(mine, theirs)
