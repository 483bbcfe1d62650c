"""What makes a training the same as the last one is the whole list of arguments: each of them is changed in turn."""

from dataclasses import MISSING, fields
from inspect import Parameter, signature

import numpy as np
import pytest
from helpers import draw

import fastbp
from fastbp import nn, optim

F32 = np.float32
ROWS = draw((6, 4), F32, seed=1), draw((6, 3), F32, seed=101)
VALIDATION = draw((5, 4), F32, seed=2), draw((5, 3), F32, seed=102)
# Another value of each argument, made of the model's optimiser where it is one of it, with what it needs beside it.
ARGUMENTS = {
    "model": lambda opt: {},
    "train_input": lambda opt: {"train_input": ROWS[0][:5], "train_target": ROWS[1][:5]},
    "train_target": lambda opt: {"train_target": ROWS[1] + 1},
    "val_input": lambda opt: {"val_input": VALIDATION[0], "val_target": VALIDATION[1]},
    "val_target": lambda opt: {"val_input": VALIDATION[0], "val_target": VALIDATION[1] + 1},
    "criterion": lambda opt: {"criterion": nn.HuberLoss(delta=0.1)},
    "opt": lambda opt: {"opt": optim.SGD(opt.parameters, lr=0.3)},
    "epochs": lambda opt: {"epochs": 3},
    "mini_batch_size": lambda opt: {"mini_batch_size": 4},
    "sample_weight": lambda opt: {"sample_weight": np.arange(1, 7, dtype=F32)},
    "val_sample_weight": lambda opt: dict(zip(("val_input", "val_target"), VALIDATION))
    | {"val_sample_weight": np.arange(1, 6, dtype=F32)},
    "shuffle": lambda opt: {"shuffle": True, "rng": 3},
    "rng": lambda opt: {"shuffle": True, "rng": np.random.default_rng(4)},
    "progress": lambda opt: {"progress": lambda history: True, "epochs": 2},
    "history": lambda opt: {"history": fastbp.History()},
    "on_nonfinite": lambda opt: {"on_nonfinite": "raise"},
    "metrics": lambda opt: dict(zip(("val_input", "val_target"), VALIDATION)) | {"metrics": ["mae"]},
    "early_stopping": lambda opt: {"early_stopping": fastbp.EarlyStopping(1, monitor="train_loss"), "epochs": 2},
    "max_seconds": lambda opt: {"max_seconds": 1e-9, "epochs": 100},
    "scheduler": lambda opt: {"scheduler": optim.lr_scheduler.ExponentialLR(opt, 0.5), "epochs": 2},
    "scheduler_interval": lambda opt: {
        "scheduler": optim.lr_scheduler.ExponentialLR(opt, 0.5), "scheduler_interval": "batch",
    },
    "clip_grad_norm": lambda opt: {"clip_grad_norm": 0.01},
}  # fmt: skip


def learner():
    model = nn.Sequential(nn.Linear(4, 5, rng=0), nn.ReLU(), nn.Linear(5, 3, rng=1))
    return model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), nn.MSELoss()


def test_each_argument_of_train_model_is_changed_here_in_turn():
    assert list(ARGUMENTS) == list(signature(fastbp.train_model).parameters)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_call_with_another_argument_is_that_of_a_fresh_training(name):
    ends = []
    for is_fresh in (True, False):
        model, opt, criterion = learner()
        arguments = dict(
            zip(signature(fastbp.train_model).parameters, (model, *ROWS, None, None, criterion, opt, 1, 3))
        )
        for turn in range(5):
            if is_fresh:
                model._session = None
            own = arguments | ARGUMENTS[name](opt) if turn in (2, 3) else dict(arguments)
            if name == "model" and turn in (2, 3):
                own |= dict(zip(("model", "opt"), learner()[:2]))
            history = fastbp.train_model(**own)
            ends.append((turn, dict(history), history.stopped_by, history.setting, opt.steps, opt.lr))
            ends += [value.tolist() for each in (model, own["model"]) for value in each.state_dict().values()]
    assert ends[: len(ends) // 2] == ends[len(ends) // 2 :]


def test_a_job_of_many_has_the_arguments_of_train_model():
    arguments = signature(fastbp.train_model).parameters
    own = {field.name: field.default for field in fields(fastbp.TrainingJob)}
    assert own.keys() - arguments.keys() == {"rows", "val_rows", "name"}
    assert arguments.keys() - own.keys() == {"history"}
    for name, argument in arguments.items():
        if name != "history" and argument.default is not Parameter.empty:
            assert own[name] == argument.default, name
        elif name not in ("history", "train_target", "val_input", "val_target"):
            assert own[name] is MISSING, name
