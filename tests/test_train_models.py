"""Many models in one call: each with the bits of its own training."""

from dataclasses import replace

import numpy
import pytest
from helpers import assert_unchanged, draw, snapshot
from same_bits import NETWORKS, Network, OwnSGD, assert_same_bits, outcome

import fastbp
from fastbp import nn, optim
from fastbp.optim import lr_scheduler
from fastbp.runtime import threads
from fastbp.training import many

SMALL = Network((4, 9, 3), ("Tanh", None))
OPTIMIZERS = {
    "SGD": lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.9),
    "Adam": lambda parameters: optim.Adam(parameters, lr=0.01),
    "AdamW": lambda parameters: optim.AdamW(parameters, lr=0.01),
    "own": lambda parameters: OwnSGD(parameters, lr=0.05),
}


@pytest.fixture(params=[1, 2, 3])
def many_threads(request):
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(request.param)
    yield request.param
    fastbp.set_num_threads(before)


@pytest.fixture
def two_threads():
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(2)
    yield
    fastbp.set_num_threads(before)


def job_of(network=SMALL, dtype=numpy.float32, seed=0, n=40, val=None, *, opt="SGD", epochs=4, size=7, **options):
    model = network.build(dtype, seed)
    names = "train_input", "train_target", "val_input", "val_target"
    data = dict(zip(names, network.data(dtype, n, val), strict=True))
    optimizer = OPTIMIZERS[opt](model.parameters())
    settings = {"criterion": nn.MSELoss(), **data, **options}
    return fastbp.TrainingJob(model=model, opt=optimizer, epochs=epochs, mini_batch_size=size, **settings)


def alone(job, **changes):
    """What train_model makes of the job's parts on the rows that it chooses, copied by the test."""
    options = {name: getattr(job, name) for name in (
        "shuffle", "rng", "on_nonfinite", "metrics", "early_stopping", "scheduler", "scheduler_interval",
        "clip_grad_norm",
    )} | changes  # fmt: skip
    train, val = (job.train_input, job.train_target, job.sample_weight), (job.val_input, job.val_target, None)
    if job.val_rows is not None:
        source = train if job.val_input is None else val
        val = source[0][job.val_rows], source[1][job.val_rows], None
    if job.rows is not None:
        train = [None if array is None else array[job.rows] for array in train]
    history = fastbp.train_model(
        job.model, *train[:2], *val[:2], job.criterion, job.opt, job.epochs, job.mini_batch_size,
        sample_weight=train[2], progress=False, **options,
    )  # fmt: skip
    return outcome(job.model, history)


def assert_as_alone(make, order=None):
    """Train what ``make`` makes in one call, in any order, and each anew alone."""
    jobs, expected = make(), [alone(job) for job in make()]
    places = list(range(len(jobs))) if order is None else order
    histories = fastbp.train_models([jobs[place] for place in places])
    for place, history in zip(places, histories, strict=True):
        assert_same_bits(outcome(jobs[place].model, history), expected[place])
        assert history.stopped_by == expected[place].history.stopped_by
        assert history.backend == expected[place].history.backend


def test_models_of_all_shapes_have_the_bits_of_each_alone(many_threads, dtype):
    assert_as_alone(lambda: [job_of(network, dtype, seed) for seed, network in enumerate(NETWORKS.values())])


def test_the_order_of_the_jobs_changes_no_bit(two_threads):
    def make():
        return [job_of(seed=seed, epochs=1 + seed, shuffle=True, rng=seed, val=11) for seed in range(6)]

    assert_as_alone(make, [3, 0, 5, 1, 4, 2])


def test_optimizers_losses_and_options_may_differ_from_job_to_job(many_threads):
    def make():
        jobs = [job_of(opt=name, seed=seed, shuffle=True, rng=seed) for seed, name in enumerate(OPTIMIZERS)]
        jobs += [job_of(criterion=loss, val=9) for loss in (nn.L1Loss(), nn.HuberLoss(), nn.MSELoss(reduction="sum"))]
        classes = numpy.arange(40) % 3
        jobs.append(job_of(criterion=nn.CrossEntropyLoss(), train_target=classes, metrics=None))
        jobs.append(job_of(clip_grad_norm=0.1, sample_weight=numpy.linspace(0, 2, 40, dtype=numpy.float32)))
        stopping = fastbp.EarlyStopping(patience=1, min_delta=0.05)
        jobs.append(job_of(val=20, epochs=30, early_stopping=stopping, metrics=["mae"]))
        job = job_of()
        settings = {**vars(job), "scheduler": lr_scheduler.StepLR(job.opt, 1, gamma=0.5)}
        jobs.append(fastbp.TrainingJob(**settings))
        return jobs

    assert_as_alone(make)


def test_rows_choose_folds_and_bootstrap_samples_of_shared_arrays(many_threads, dtype):
    data, rng = SMALL.data(dtype, 50), numpy.random.default_rng(0)
    shared = {"train_input": data[0], "train_target": data[1]}
    folds = [(numpy.flatnonzero(numpy.arange(50) % 5 != fold), numpy.arange(fold, 50, 5)) for fold in range(5)]
    samples = [(rng.integers(0, 50, 50), None) for _ in range(3)]
    chosen = [*folds, *samples, (numpy.array([7, 7, 3]), numpy.array([1]))]

    def make():
        return [
            job_of(dtype=dtype, seed=seed, **shared, rows=rows, val_rows=val, shuffle=seed % 2 == 0,
                   rng=seed if seed % 2 == 0 else None, sample_weight=numpy.linspace(1, 2, 50, dtype=dtype))
            for seed, (rows, val) in enumerate(chosen)
        ]  # fmt: skip

    assert_as_alone(make)


def test_val_rows_choose_of_the_validation_data_where_there_are_some():
    assert_as_alone(lambda: [job_of(val=30, val_rows=numpy.array([2, 5, 5, 29]), metrics=["mae"]) for _ in range(2)])


def test_a_loss_may_serve_all_jobs(two_threads):
    loss = nn.MSELoss()
    assert_as_alone(lambda: [job_of(seed=seed, criterion=loss, opt="own" if seed % 2 else "SGD") for seed in range(4)])


@pytest.mark.parametrize(
    ("epochs", "whole"), [((5, 5, 5), 3), ((5, 20, 5), 2), ((5, 40, 1), 0)], ids=["none", "one", "all"]
)
def test_a_model_for_which_all_others_would_wait_is_shared_among_the_threads(two_threads, monkeypatch, epochs, whole):
    """As 20 of 30 epochs are more than a thread's half, and 5 of the other 10 are not."""
    monkeypatch.setattr(threads, "FLOP_PER_THREAD", 1.0)
    shared_out, share_out = [], many.share_out
    monkeypatch.setattr(many, "share_out", lambda work, *rest: shared_out.append(len(work)) or share_out(work, *rest))
    network = Network((40, 64, 3), ("Tanh", None))
    assert_as_alone(
        lambda: [job_of(network, seed=seed, n=600, size=600, epochs=count) for seed, count in enumerate(epochs)]
    )
    assert shared_out[0] == whole


def test_a_small_model_of_many_epochs_keeps_to_one_thread(two_threads, monkeypatch):
    shared_out, share_out = [], many.share_out
    monkeypatch.setattr(many, "share_out", lambda work, *rest: shared_out.append(len(work)) or share_out(work, *rest))
    assert_as_alone(lambda: [job_of(seed=seed, epochs=40 if seed else 2) for seed in range(2)])
    assert shared_out[0] == 2


def test_small_integers_of_numpy_do_not_overflow(two_threads):
    def job(seed):
        made = job_of(seed=seed, n=1000, epochs=numpy.int8(100), size=numpy.int8(7))
        schedule = lr_scheduler.StepLR(made.opt, 300)
        return replace(made, scheduler=schedule, scheduler_interval="batch")

    assert [history.epochs for history in fastbp.train_models([job(0), job(1)])] == [100, 100]


def test_no_jobs_are_no_histories():
    assert fastbp.train_models([]) == []


def test_scratch_is_held_by_no_model_that_waits_or_is_trained(two_threads):
    seen, jobs = [], []

    def look(history):
        seen.append(sum(job.model._session is not None for job in jobs))

    jobs += [job_of(seed=seed, progress=look, epochs=2) for seed in range(5)]
    fastbp.train_models(jobs)
    assert seen
    assert max(seen) <= 2
    assert all(job.model._session is None for job in jobs)


def test_diverged_jobs_are_named_and_leave_the_others_whole(many_threads):
    def make():
        return [job_of(seed=seed, name="bad" if seed == 1 else "", on_nonfinite="ignore") for seed in range(3)]

    expected, jobs = [alone(job) for job in make()], make()
    bad = numpy.full((40, 4), numpy.nan, numpy.float32)
    jobs[1] = job_of(seed=1, name="bad", train_input=bad)
    with pytest.warns(fastbp.DivergenceWarning, match=r"^job 1 \(bad\): the loss became NaN") as caught:
        histories = fastbp.train_models(jobs)
    assert [warning.filename for warning in caught] == [__file__]
    jobs[1] = job_of(seed=1, name="bad", train_input=bad, on_nonfinite="raise")
    for place in (0, 2):
        assert_same_bits(outcome(jobs[place].model, histories[place]), expected[place])
    with pytest.raises(fastbp.TrainingsFailed, match=r"^1 of 2 jobs failed.*job 0 \(bad\): DivergenceError") as raised:
        fastbp.train_models([jobs[1], job_of(seed=2)])
    assert list(raised.value.errors) == [0]
    assert raised.value.histories[1].epochs == 4


def test_a_raising_progress_fails_its_own_job_which_then_goes_on(many_threads):
    class Stop(Exception):
        pass

    def stop(history):
        if history.epochs == 2 and raises:
            raise Stop("enough")

    expected = [alone(job_of(seed=seed)) for seed in range(3)]
    raises, jobs = [True], [job_of(seed=seed, progress=stop if seed == 1 else None) for seed in range(3)]
    with pytest.raises(fastbp.TrainingsFailed, match=r"job 1: Stop: enough") as raised:
        fastbp.train_models(jobs)
    assert [history.epochs for history in raised.value.histories] == [4, 2, 4]
    raises.clear()
    histories = fastbp.train_models(jobs, histories=raised.value.histories)
    for job, history, one in zip(jobs, histories, expected, strict=True):
        assert_same_bits(outcome(job.model, history), one)


def test_a_job_that_its_progress_ended_stays_ended(two_threads):
    jobs = [job_of(seed=seed, progress=lambda history: history.epochs == 2) for seed in range(3)]
    histories = fastbp.train_models(jobs)
    assert fastbp.train_models(jobs, histories=histories) == histories
    assert [(history.epochs, history.stopped_by) for history in histories] == [(2, "progress")] * 3


def test_more_epochs_go_on_from_fewer(two_threads):
    def make(epochs):
        return [job_of(seed=seed, epochs=epochs, shuffle=True, rng=seed, opt="Adam") for seed in range(3)]

    few, more = make(2), make(5)
    expected = [alone(job) for job in make(5)]
    histories = fastbp.train_models(few)
    again = [fastbp.TrainingJob(**{**vars(job), "model": old.model, "opt": old.opt}) for job, old in zip(more, few)]
    for job, history, one in zip(again, fastbp.train_models(again, histories=histories), expected, strict=True):
        assert_same_bits(outcome(job.model, history), one)


@pytest.mark.parametrize("share", ["model", "opt", "parameter", "module", "rng", "criterion", "history"])
def test_jobs_with_a_part_in_common_are_refused_before_anything_changes(share):
    generator = numpy.random.default_rng(0)
    one = job_of(seed=0, shuffle=True, rng=generator)
    other = job_of(seed=1, shuffle=True, rng=generator if share == "rng" else 1)
    histories = [fastbp.History()] * 2 if share == "history" else None
    changes = {}
    if share in ("model", "opt"):
        changes = {share: getattr(one, share)}
    if share == "parameter":
        other.model[0].weight = one.model[0].weight
    if share == "module":
        model = nn.Sequential(one.model[0], nn.Linear(9, 3))
        changes = {"model": model, "opt": optim.SGD(model.parameters(), lr=0.1)}
    if share == "criterion":
        changes = {"criterion": Own()}
        one = fastbp.TrainingJob(**{**vars(one), **changes})
    other = fastbp.TrainingJob(**{**vars(other), **changes})
    before = snapshot(one.model)
    with pytest.raises(ValueError, match=r"got jobs 0 and 1 with one"):
        fastbp.train_models([one, other], histories=histories)
    assert_unchanged(one.model, before)


class Own(nn.MSELoss):
    """A loss of the user's."""


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"epochs": -1}, ValueError, "epochs of 0 or more"),
        ({"mini_batch_size": 0}, ValueError, "mini_batch_size of 1 or more"),
        ({"train_input": draw((40, 5), numpy.float32)}, ValueError, r"shape \(n, ..., 4\)"),
        ({"train_input": draw((40, 4), numpy.float64)}, TypeError, "float32 data"),
        ({"rows": numpy.array([0, 40])}, ValueError, "rows from 0 to 39 for arrays of 40 rows, got 0 to 40"),
        ({"rows": numpy.array([-1])}, ValueError, "got -1 to -1"),
        ({"rows": numpy.arange(0)}, ValueError, "one training row or more"),
        ({"rows": numpy.ones(40, bool)}, TypeError, r"pass numpy.flatnonzero\(rows\)"),
        ({"rows": [1, 2]}, TypeError, r"rows as an array of integers of shape \(k,\), got \[1, 2\]"),
        ({"progress": True}, TypeError, "progress as a callable or None, got True"),
        ({"rng": 3}, ValueError, "rng with shuffle=True"),
        ({"on_nonfinite": "cry"}, ValueError, "on_nonfinite"),
        ({"metrics": ["mae"]}, ValueError, "val_input"),
        ({"early_stopping": fastbp.EarlyStopping(3)}, ValueError, "early_stopping by a series"),
        ({"model": 3}, TypeError, "fastbp.nn.Module as model"),
        ({"opt": None}, TypeError, "opt as an object with step"),
    ],
)  # fmt: skip
def test_bad_arguments_name_the_job_before_anything_changes(changes, kind, text):
    good, bad = job_of(seed=0), job_of(seed=1, name="shop 3")
    bad = fastbp.TrainingJob(**{**vars(bad), **changes})
    before = snapshot(good.model)
    with pytest.raises(kind, match=rf"^job 1 \(shop 3\): .*{text}"):
        fastbp.train_models([good, bad])
    assert_unchanged(good.model, before)


def test_histories_are_checked_before_anything_changes():
    good, other = job_of(seed=0), job_of(seed=1)
    before = snapshot(good.model)
    with pytest.raises(ValueError, match=r"a history for each of 2 jobs, got 1"):
        fastbp.train_models([good, other], histories=[fastbp.History()])
    with pytest.raises(TypeError, match=r"histories as fastbp\.History, got dict as 1"):
        fastbp.train_models([good, other], histories=[fastbp.History(), {}])
    with pytest.raises(TypeError, match=r"jobs as fastbp\.TrainingJob, got int as job 1"):
        fastbp.train_models([good, 3])
    history = alone(job_of(size=9)).history
    with pytest.raises(ValueError, match=r"job 1: this history is of a training with mini_batch_size 9"):
        fastbp.train_models([good, other], histories=[fastbp.History(), history])
    assert_unchanged(good.model, before)


def test_a_bar_counts_the_models(two_threads, capsys):
    fastbp.train_models([job_of(seed=seed) for seed in range(3)], progress=True)
    assert "3/3" in capsys.readouterr().err


def test_one_job_is_trained_and_its_errors_are_told_as_those_of_many():
    assert_as_alone(lambda: [job_of(shuffle=True, rng=3, val=9)])
    bad = fastbp.TrainingJob(**{**vars(job_of()), "epochs": -1})
    with pytest.raises(ValueError, match=r"^job 0: train_model takes epochs of 0 or more"):
        fastbp.train_models([bad])
    job = job_of(on_nonfinite="raise", train_input=numpy.full((40, 4), numpy.nan, numpy.float32))
    with pytest.raises(fastbp.TrainingsFailed, match="job 0: DivergenceError"):
        fastbp.train_models([job])
    with pytest.raises(TypeError, match="job 0: TrainingJob takes progress as a callable"):
        fastbp.train_models([fastbp.TrainingJob(**{**vars(job_of()), "progress": True})])
