"""Studies of Optuna: pruned by its median pruner, kept in SQLite, and many trials trained in one call."""

import numpy
import optuna
import pytest
from same_bits import SMOOTH

import fastbp
from fastbp import nn, optim
from fastbp.integrations.optuna import PruningCallback, optimize

States = optuna.trial.TrialState
optuna.logging.set_verbosity(optuna.logging.WARNING)


def job_of(trial, epochs=6):
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    model = SMOOTH.build(numpy.float32, 0)
    input, target, *_ = SMOOTH.data(numpy.float32, 40)
    return fastbp.TrainingJob(
        model=model, criterion=nn.MSELoss(), opt=optim.Adam(model.parameters(), lr=lr), epochs=epochs,
        mini_batch_size=8, train_input=input, train_target=target, val_rows=numpy.arange(10), name="",
    )  # fmt: skip


def new_study(path):
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    sampler = optuna.samplers.RandomSampler(seed=1)
    return optuna.create_study(
        storage=f"sqlite:///{path}", study_name="s", sampler=sampler, pruner=pruner, load_if_exists=True
    )


def alone(trial):
    arguments = job_of(optuna.trial.FixedTrial(trial.params)).arguments()
    return fastbp.train_model(**arguments | {"progress": False})["val_loss_mean"]


def test_many_trials_are_trained_in_one_call_and_the_median_pruner_ends_some(tmp_path):
    study = new_study(tmp_path / "study.db")
    optimize(study, job_of, 10, at_once=4)
    trials = study.get_trials()
    assert len(trials) == 10
    assert {trial.state for trial in trials} == {States.COMPLETE, States.PRUNED}
    for trial in trials:
        values = alone(trial)
        assert list(trial.intermediate_values.values()) == values[: len(trial.intermediate_values)]
        if trial.state == States.COMPLETE:
            assert trial.value == values[-1]
        else:
            assert len(trial.intermediate_values) < 6
    again = new_study(tmp_path / "study.db")
    assert again.best_value == study.best_value
    optimize(again, job_of, 1)
    assert len(new_study(tmp_path / "study.db").trials) == 11


def test_the_callback_prunes_trials_of_study_optimize_in_threads(tmp_path):
    def objective(trial):
        arguments = job_of(trial).arguments() | {"progress": PruningCallback(trial)}
        return fastbp.train_model(**arguments)["val_loss_mean"][-1]

    study = new_study(tmp_path / "study.db")
    study.optimize(objective, n_trials=10, n_jobs=2)
    assert {trial.state for trial in study.trials} == {States.COMPLETE, States.PRUNED}


def test_a_trial_that_diverges_fails_and_the_others_are_told():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def build(trial):
        job = job_of(trial)
        if trial.number == 1:
            raise optuna.TrialPruned
        changes = {"train_input": numpy.full_like(job.train_input, numpy.nan), "on_nonfinite": "raise"}
        return fastbp.TrainingJob(**vars(job) | (changes if trial.number == 0 else {}))

    with pytest.warns(RuntimeWarning, match=r"^trial 0 failed: DivergenceError: the loss became NaN") as caught:
        optimize(study, build, 3, at_once=3)
    assert [warning.filename for warning in caught] == [__file__]
    assert [trial.state for trial in study.trials] == [States.FAIL, States.PRUNED, States.COMPLETE]


def test_trials_of_a_job_that_cannot_be_trained_fail():
    study = optuna.create_study()

    def build(trial):
        return fastbp.TrainingJob(**vars(job_of(trial)) | {"epochs": -1})

    with pytest.raises(ValueError, match=r"job 0 \(trial 0\): .*epochs of 0 or more"):
        optimize(study, build, 4, at_once=2)
    assert [trial.state for trial in study.trials] == [States.FAIL, States.FAIL]


def test_a_series_that_is_not_recorded_is_named():
    study = optuna.create_study()
    with pytest.raises(ValueError, match=r"a series that the training records, .*, got 'val_mae'"):
        PruningCallback(study.ask(), "val_mae")(fastbp.History())
    with pytest.raises(ValueError, match=r"records, train_loss, .*val_loss_mean, got 'val_mae'"):
        optimize(study, job_of, 4, at_once=2, monitor="val_mae")
    assert [trial.state for trial in study.trials[1:]] == [States.FAIL, States.FAIL]


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"n_trials": -1}, ValueError, "n_trials of 0 or more, got -1"),
        ({"n_trials": 1.5}, TypeError, "n_trials as an int, got 1.5"),
        ({"at_once": 0}, ValueError, "at_once of 1 or more, got 0"),
        ({"at_once": True}, TypeError, "at_once as an int, got True"),
        ({"study": optuna.create_study(directions=["minimize"] * 2)}, ValueError, "one objective, got one of 2"),
    ],
)
def test_arguments_that_do_not_fit_are_told_before_a_trial(changes, kind, text):
    arguments = {"study": optuna.create_study(), "build": job_of, "n_trials": 2} | changes
    with pytest.raises(kind, match=f"^optimize takes .*{text}"):
        optimize(**arguments)
    assert arguments["study"].trials == []


def test_what_build_returns_is_a_job_without_a_progress_of_its_own():
    study = optuna.create_study()
    with pytest.raises(TypeError, match=r"returns a fastbp\.TrainingJob, got 3 for trial 0"):
        optimize(study, lambda trial: 3, 1)
    with pytest.raises(ValueError, match="takes jobs without, got <built-in function print>"):
        optimize(study, lambda trial: fastbp.TrainingJob(**vars(job_of(trial)) | {"progress": print}), 1)
    assert [trial.state for trial in study.trials] == [States.FAIL, States.FAIL]
