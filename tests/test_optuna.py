"""Studies of Optuna: pruned by its median pruner, kept in SQLite, and many trials trained in one call."""

import numpy
import optuna
import pytest
from same_bits import SMOOTH

import fastbp
from fastbp import nn, optim
from fastbp.integrations.optuna import PruningCallback, optimize
from fastbp.sklearn import MLPClassifier

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
        ({"timeout": "1"}, TypeError, "timeout as a number, got '1'"),
        ({"catch": 3}, TypeError, "catch as a class of exceptions or several, got 3"),
        ({"catch": [int]}, TypeError, "catch as a class of exceptions or several, got <class 'int'>"),
        ({"callbacks": [3]}, TypeError, "callbacks as functions of a study and a trial, got .3."),
        ({"callbacks": print}, TypeError, "callbacks as functions of a study and a trial, got <built-in"),
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


def estimator_of(trial, **options):
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    return MLPClassifier((8,), max_iter=12, learning_rate_init=lr, random_state=0, validation_fraction=0.5, **options)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("monitor", [None, "loss_curve_", "validation_scores_"])
def test_the_callback_prunes_estimators(monitor):
    x = numpy.random.default_rng(0).standard_normal((300, 4))
    y, fits = x[:, 0] > 0, []

    def objective(trial):
        fits.append(estimator_of(trial, early_stopping=True, progress=PruningCallback(trial, monitor)))
        fits[-1].fit(x, y)
        return fits[-1].validation_scores_[-1] if monitor == "validation_scores_" else fits[-1].loss_

    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1)
    direction = "maximize" if monitor == "validation_scores_" else "minimize"
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), pruner=pruner, direction=direction)
    study.optimize(objective, n_trials=8)
    assert {trial.state for trial in study.trials} == {States.COMPLETE, States.PRUNED}
    for trial, fit in zip(study.trials, fits, strict=True):
        assert list(trial.intermediate_values.values()) == getattr(fit, monitor or "loss_curve_")
        assert len(trial.intermediate_values) > 9 or trial.state == States.PRUNED


def test_a_series_that_an_estimator_does_not_record_is_named():
    trial = optuna.create_study().ask()
    fit = estimator_of(trial, progress=PruningCallback(trial, "validation_scores_"))
    with pytest.raises(ValueError, match=r"a series that the training records, loss_curve_, got 'validation_scores_'"):
        fit.fit(numpy.eye(4), [0, 1, 0, 1])


def test_callbacks_come_after_each_trial_and_may_stop_the_study():
    study, seen = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), []

    def build(trial):
        if trial.number == 1:
            raise optuna.TrialPruned
        return job_of(trial, epochs=1)

    optimize(study, build, 3, at_once=2, callbacks=[lambda study, trial: seen.append((trial.number, trial.state))])
    assert seen == [(1, States.PRUNED), (0, States.COMPLETE), (2, States.COMPLETE)]
    optimize(study, build, at_once=2, callbacks=[optuna.study.MaxTrialsCallback(5, states=None)])
    assert len(study.trials) == 5

    def stopping(trial):
        trial.study.stop()
        return job_of(trial, epochs=1)

    optimize(study, stopping, 10, at_once=1)
    assert len(study.trials) == 6
    with pytest.raises(RuntimeError, match=r"Study\.stop"):
        study.stop()


def test_no_call_begins_behind_the_time():
    study = optuna.create_study()
    optimize(study, job_of, 5, timeout=0)
    assert study.trials == []
    optimize(study, lambda trial: job_of(trial, epochs=1), at_once=2, timeout=0.05)
    assert len(study.trials) >= 2


def test_errors_that_are_caught_fail_their_trials_and_the_study_goes_on():
    study, seen = optuna.create_study(), []

    def build(trial):
        if trial.number == 0:
            raise KeyError("no data")
        return fastbp.TrainingJob(**vars(job_of(trial, epochs=1)) | ({"epochs": -1} if trial.number == 3 else {}))

    with pytest.warns(RuntimeWarning, match=r"^trial \d failed: (KeyError: 'no data'|ValueError: .*epochs)") as caught:
        optimize(study, build, 5, at_once=2, catch=(KeyError, ValueError), callbacks=[lambda *told: seen.append(told)])
    states = [States.FAIL, States.COMPLETE, States.FAIL, States.FAIL, States.COMPLETE]
    assert [trial.state for trial in study.trials] == states
    assert [warning.filename for warning in caught] == [__file__] * 3
    assert len(seen) == 5
    with pytest.raises(KeyError):
        optimize(optuna.create_study(), build, 5, catch=ValueError)
