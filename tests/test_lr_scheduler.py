"""Schedules of the learning rate: torch's values to the last bit, its state, and errors before anything changes."""

import copy
import pickle

import numpy
import pytest
import torch
from helpers import mlp, twin

from fastbp import optim
from fastbp.optim import lr_scheduler

STEPS = 1000


class Halving:
    """A function with attributes, which a scheduler's state keeps."""

    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return 0.5 ** (step / 100)


CASES = {
    "StepLR": lambda s, o: s.StepLR(o, 30, gamma=0.7),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [5, 80, 80, 500], gamma=0.3),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.99),
    "ConstantLR": lambda s, o: s.ConstantLR(o, factor=0.3, total_iters=40),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, 0.9, total_iters=700),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, total_iters=900, power=1.7),
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda step: 0.97**step, lambda step: 1 / (1 + step)]),
    "LambdaLR of an object": lambda s, o: s.LambdaLR(o, Halving()),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda step: 0.99 if step % 3 else 1.01),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 90, eta_min=1e-4),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 10, 2, eta_min=1e-4),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, [0.1, 0.3], 20, 35),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 50, mode="triangular2", cycle_momentum=False),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(o, [0.01, 0.02], 0.1, 50, mode="exp_range", gamma=0.999),
    "CyclicLR of a function": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 9, scale_fn=lambda x: 1 / x, scale_mode="cycle"),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.3, total_steps=STEPS),
    "OneCycleLR of three phases": lambda s, o: s.OneCycleLR(
        o, [0.3, 0.1], epochs=10, steps_per_epoch=100, three_phase=True, anneal_strategy="linear", pct_start=0.4
    ),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=20), s.CosineAnnealingLR(o, 400), s.ExponentialLR(o, 0.999)], [20, 420]
    ),
    "SequentialLR of others": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 10), s.LambdaLR(o, lambda step: 0.99**step), s.StepLR(o, 7)], [15, 50]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 20), s.ExponentialLR(o, 0.998)]),
}


def optimizers(name="SGD", **options):
    model = mlp(5, 4, 3)
    pair = []
    for library, one in ((optim, model), (torch.optim, twin(model))):
        groups = [{"params": one[0].parameters(), "lr": 0.2}, {"params": one[2].parameters()}]
        pair.append(getattr(library, name)(groups, lr=0.05, **options))
    return pair


def watched(opt):
    return [(group["lr"], group.get("momentum"), group.get("betas")) for group in opt.param_groups]


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.parametrize(("name", "options"), [("SGD", {"momentum": 0.9}), ("AdamW", {})])
@pytest.mark.parametrize("case", CASES)
def test_a_thousand_values_are_torchs_to_the_last_bit(case, name, options):
    ours, theirs = optimizers(name, **options)
    mine = CASES[case](lr_scheduler, ours)
    their = CASES[case](torch.optim.lr_scheduler, theirs)
    for step in range(STEPS + 1):
        assert watched(ours) == watched(theirs), step
        assert mine.get_last_lr() == their.get_last_lr()
        if "Chained" not in case:
            assert mine.last_epoch == their.last_epoch
        if step < STEPS:
            mine.step()
            their.step()


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.parametrize(
    "options", [{}, {"mode": "max", "threshold_mode": "abs", "cooldown": 3, "min_lr": [0.1, 0.01]}]
)
def test_a_plateau_is_noticed_as_in_torch(options):
    ours, theirs = optimizers()
    mine = lr_scheduler.ReduceLROnPlateau(ours, patience=4, factor=0.5, **options)
    their = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, patience=4, factor=0.5, **options)
    losses = numpy.random.default_rng(3).standard_normal(STEPS) + numpy.linspace(5, 0, STEPS)
    losses[100] = numpy.nan
    for loss in losses:
        mine.step(loss)
        their.step(loss)
        assert watched(ours) == watched(theirs)
        assert (mine.best, mine.num_bad_epochs) == (their.best, their.num_bad_epochs)
    with pytest.raises(TypeError, match=r"ReduceLROnPlateau\.step takes the epoch's loss, got None"):
        mine.step()


@pytest.mark.parametrize("case", CASES)
def test_a_schedule_goes_on_from_its_state_in_a_new_process(case):
    whole, first, second = (optimizers(momentum=0.9)[0] for _ in range(3))
    schedule, before = CASES[case](lr_scheduler, whole), CASES[case](lr_scheduler, first)
    for _ in range(120):
        schedule.step()
    for _ in range(60):
        before.step()
    after = CASES[case](lr_scheduler, second)
    state = copy.deepcopy(before.state_dict())
    if "Lambda" not in case and "others" not in case and "function" not in case:
        state = pickle.loads(pickle.dumps(state))
    second.load_state_dict(first.state_dict())
    after.load_state_dict(state)
    for _ in range(60):
        after.step()
    assert watched(second) == watched(whole)


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_a_schedule_goes_on_from_torchs_state():
    ours, theirs = optimizers("Adam")
    their = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.3, total_steps=100)
    for _ in range(40):
        their.step()
    mine = lr_scheduler.OneCycleLR(ours, 0.3, total_steps=100)
    ours.load_state_dict(theirs.state_dict())
    mine.load_state_dict(their.state_dict())
    for _ in range(60):
        mine.step()
        their.step()
        assert watched(ours) == watched(theirs)


def test_a_scheduler_goes_on_at_last_epoch_as_in_torch():
    ours, theirs = optimizers()
    for opt in (ours, theirs):
        for group in opt.param_groups:
            group["initial_lr"] = 0.5
    for make in (
        lambda s, o: s.StepLR(o, 3, last_epoch=7),
        lambda s, o: s.CosineAnnealingLR(o, 30, last_epoch=7),
        lambda s, o: s.LambdaLR(o, lambda step: 0.9**step, last_epoch=7),
    ):
        make(lr_scheduler, ours), make(torch.optim.lr_scheduler, theirs)
        assert watched(ours) == watched(theirs)
    with pytest.raises(
        KeyError, match=r"StepLR with last_epoch=7 takes groups with 'initial_lr', and group 0 has none"
    ):
        lr_scheduler.StepLR(optimizers()[0], 3, last_epoch=7)


def test_beyond_the_end_of_one_cycle_nothing_changes():
    opt = optimizers(momentum=0.9)[0]
    schedule = lr_scheduler.OneCycleLR(opt, 0.3, total_steps=5)
    for _ in range(5):
        schedule.step()
    before, state = watched(opt), schedule.state_dict()
    with pytest.raises(ValueError, match=r"OneCycleLR takes 5 steps in all, its total_steps, got step 6$"):
        schedule.step()
    assert watched(opt) == before
    assert schedule.state_dict() == state


def test_a_function_that_gives_no_learning_rate_changes_nothing():
    opt = optimizers()[0]
    schedule = lr_scheduler.LambdaLR(opt, lambda step: 1.0 if step < 2 else -1.0)
    schedule.step()
    state = schedule.state_dict()
    with pytest.raises(ValueError, match=r"SGD takes a finite lr of 0 or more, got -0\.2"):
        schedule.step()
    assert schedule.state_dict() == state


S = lr_scheduler
WRONG = [
    (lambda o: S.StepLR(torch.optim.SGD([torch.ones(1)]), 3), "StepLR takes an optimiser of fastbp.optim, got SGD"),
    (lambda o: S.StepLR(o, 0), "StepLR takes step_size as an int of 1 or more, got 0"),
    (lambda o: S.ConstantLR(o, 1.5), r"ConstantLR takes factor from 0 to 1, got 1\.5"),
    (lambda o: S.LinearLR(o, 0), "LinearLR takes start_factor above 0, got 0"),
    (lambda o: S.LambdaLR(o, [len]), "LambdaLR takes lr_lambda for 2 groups, got 1"),
    (lambda o: S.LambdaLR(o, 0.5), "LambdaLR takes lr_lambda as a function, got float"),
    (lambda o: S.CosineAnnealingWarmRestarts(o, 1.5), r"takes T_0 as an int of 1 or more, got 1\.5"),
    (lambda o: S.CyclicLR(o, 0.1, 0.2, mode="square"), "CyclicLR takes mode 'triangular', .*, got 'square'"),
    (lambda o: S.OneCycleLR(o, 0.1), "OneCycleLR takes total_steps, or epochs and steps_per_epoch, got neither"),
    (lambda o: S.OneCycleLR(o, 0.1, 10, pct_start=2), "OneCycleLR takes pct_start from 0 to 1, got 2"),
    (lambda o: S.OneCycleLR(o, 0.1, 10, anneal_strategy="x"), "takes anneal_strategy 'cos' or 'linear', got 'x'"),
    (
        lambda o: S.SequentialLR(o, [S.StepLR(o, 3)], [4]),
        "takes a milestone between two schedulers each, 0 for 1, got 1",
    ),
    (lambda o: S.SequentialLR(o, [S.ReduceLROnPlateau(o)], []), "whose step takes no loss, got ReduceLROnPlateau"),
    (lambda o: S.ChainedScheduler([]), "ChainedScheduler takes one scheduler or more, got none"),
    (
        lambda o: S.ChainedScheduler([S.StepLR(optimizers()[0], 3)], o),
        "schedulers of its optimiser, got one of another",
    ),
    (lambda o: S.ReduceLROnPlateau(o, factor=1), "ReduceLROnPlateau takes a factor below 1, got 1"),
    (lambda o: S.ReduceLROnPlateau(o, mode="best"), "takes mode 'min' or 'max', got 'best'"),
    (lambda o: S.StepLR(o, 3).load_state_dict({}), "takes last_epoch, _last_lr, got none for last_epoch, _last_lr"),
    (lambda o: S.StepLR(o, 3).load_state_dict(5), r"StepLR\.load_state_dict takes a mapping, got int"),
]


@pytest.mark.parametrize(("make", "match"), WRONG)
def test_what_does_not_fit_is_named(make, match):
    opt = optimizers()[0]
    with pytest.raises((TypeError, ValueError), match=match):
        make(opt)
    assert [group["lr"] for group in opt.param_groups] == [0.2, 0.05]


def test_a_cycle_of_the_momentum_takes_an_optimiser_with_one():
    for make in (lambda o, **k: S.OneCycleLR(o, 0.1, 10, **k), lambda o, **k: S.CyclicLR(o, 0.1, 0.2, **k)):
        with pytest.raises(
            ValueError, match="takes an optimiser with momentum or betas, got Adagrad; pass cycle_momentum"
        ):
            make(optimizers("Adagrad")[0])
        make(optimizers("Adagrad")[0], cycle_momentum=False)


def test_a_schedule_of_ones_own_defines_its_learning_rates():
    class Own(S.LRScheduler):
        def get_lr(self):
            return [base_lr / (1 + self.last_epoch) for base_lr in self.base_lrs]

    opt = optimizers()[0]
    schedule = Own(opt)
    schedule.step()
    assert schedule.get_last_lr() == [0.1, 0.025]
    with pytest.raises(NotImplementedError, match=r"LRScheduler does not define get_lr\(\)"):
        S.LRScheduler(opt)


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.parametrize("milestones", [[0, 0], [0, 3], [3, 3], [5, 2], [-2, 0], [1, 2.5]], ids=str)
@pytest.mark.parametrize("second", [case for case in CASES if case[:5] not in ("Seque", "Chain")])
def test_schedules_that_follow_at_odd_milestones_report_torchs_rates(second, milestones):
    traces = []
    for library, opt in zip((lr_scheduler, torch.optim.lr_scheduler), optimizers(momentum=0.9), strict=True):
        parts = [library.LinearLR(opt, 0.1, total_iters=4), CASES[second](library, opt), library.StepLR(opt, 2)]
        schedule = library.SequentialLR(opt, parts, milestones)
        traces.append([])
        for _ in range(8):
            traces[-1].append((watched(opt), schedule.get_last_lr(), schedule.last_epoch))
            schedule.step()
    assert traces[0] == traces[1]


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_a_count_may_be_numpys_integer():
    ours, theirs = optimizers()
    for library, opt in ((lr_scheduler, ours), (torch.optim.lr_scheduler, theirs)):
        library.StepLR(opt, numpy.int64(1)).step()
    assert watched(ours) == watched(theirs)
