"""Jobs that are alike are checked once, and what differs between them is never taken from another."""

import threading

import numpy as np
import pytest
from helpers import draw

import fastbp
from fastbp import nn, optim
from fastbp.training import many

F32 = np.float32
INPUT, TARGET, CLASSES = draw((12, 4), F32, seed=1), draw((12, 3), F32, seed=2), np.arange(12) % 3


class Doubled(nn.Sequential):
    """A network of the user's."""

    def forward(self, x):
        return 2 * super().forward(x)


class OwnSGD(optim.SGD):
    """An optimiser of the user's."""

    def step(self, closure=None):
        super().step(closure)
        super().step(closure)


class OwnLoss(nn.MSELoss):
    """A loss of the user's."""

    def forward(self, prediction, target, sample_weight=None):
        return super().forward(prediction, 0 * target)


def network(kind=nn.Sequential, *, seed=0, hidden=5, p=0.3, dtype=F32):
    drop = nn.Dropout(p, rng=seed + 2)
    first, last = nn.Linear(4, hidden, rng=seed, dtype=dtype), nn.Linear(hidden, 3, rng=seed + 1, dtype=dtype)
    return kind(first, nn.Tanh(), drop, nn.LayerNorm(hidden, dtype=dtype), last)


def normalized(*, training=True):
    return nn.Sequential(nn.Linear(4, 5, rng=0), nn.BatchNorm1d(5), nn.Linear(5, 3, rng=1)).train(training)


def job(model=None, *, criterion=None, opt=None, **options):
    """One like all others, but for what is given; ``opt`` makes the optimiser of the model."""
    model = network() if model is None else model
    opt = optim.SGD(model.parameters(), lr=0.1) if opt is None else opt(model)
    data = {"train_input": INPUT, "train_target": TARGET, "epochs": 2, "mini_batch_size": 5}
    return fastbp.TrainingJob(model=model, criterion=criterion or nn.MSELoss(), opt=opt, **data | options)


def of_classes(**options):
    return job(criterion=nn.CrossEntropyLoss(), train_target=CLASSES, **options)


def frozen():
    model = network()
    model[0].weight.requires_grad = False
    return model


def tied():
    model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Tanh(), nn.Linear(4, 4, rng=1), nn.Linear(4, 3, rng=2))
    model[2].weight = model[0].weight
    return model


def with_method_of_its_own():
    model = network()
    forward = model[1].forward
    model[1].forward = lambda x: -forward(x)
    return model


def two_groups(model):
    return optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[4].parameters(), "momentum": 0.9}], lr=0.1
    )


# Jobs that are trained, each like the first but for one thing.
TRAINED = {
    "alike": job,
    "seeds": lambda: job(network(seed=7)),
    "sizes": lambda: job(network(hidden=6)),
    "dropout": lambda: job(network(p=0.6)),
    "evaluation": lambda: job(network().eval()),
    "frozen": lambda: job(frozen()),
    "ties": lambda: job(tied()),
    "class of the user's": lambda: job(network(Doubled)),
    "method of the user's": lambda: job(with_method_of_its_own()),
    "loss of the user's": lambda: job(criterion=OwnLoss()),
    "sum": lambda: job(
        criterion=nn.MSELoss(reduction="sum"), opt=lambda model: optim.SGD(model.parameters(), lr=0.001)
    ),
    "other loss": lambda: job(criterion=nn.HuberLoss(delta=0.1)),
    "setting of the loss": lambda: job(criterion=nn.HuberLoss(delta=0.2)),
    "optimiser of the user's": lambda: job(opt=lambda model: OwnSGD(model.parameters(), lr=0.1)),
    "other optimiser": lambda: job(opt=lambda model: optim.Adam(model.parameters(), lr=0.1)),
    "lr": lambda: job(opt=lambda model: optim.SGD(model.parameters(), lr=0.2)),
    "groups": lambda: job(opt=two_groups),
    "part": lambda: job(opt=lambda model: optim.SGD(model[4].parameters(), lr=0.1)),
    "float64": lambda: job(
        network(dtype=float), train_input=INPUT.astype(float), train_target=TARGET.astype(float)
    ),
    "batch norm": lambda: job(normalized()),
    "batch norm in evaluation": lambda: job(normalized(training=False), mini_batch_size=11),
    "classes": of_classes,
    "weights of classes": lambda: job(
        criterion=nn.CrossEntropyLoss(weight=np.array([1, 2, 3], F32)), train_target=CLASSES
    ),
    "epochs": lambda: job(epochs=3),
    "size": lambda: job(mini_batch_size=4),
    "rows": lambda: job(rows=np.array([3, 1, 1, 5, 7])),
    "other rows": lambda: job(rows=np.array([0, 2, 4, 6, 8]), val_rows=np.array([1, 3])),
    "rows of classes": lambda: of_classes(rows=np.arange(9)),
    "validation": lambda: job(val_input=INPUT[:3], val_target=TARGET[:3]),
    "shuffle": lambda: job(shuffle=True, rng=3),
    "other seed": lambda: job(shuffle=True, rng=4),
    "generator": lambda: job(shuffle=True, rng=np.random.default_rng(3)),
    "clip": lambda: job(clip_grad_norm=0.01),
    "sample_weight": lambda: job(sample_weight=np.arange(12, dtype=F32)),
    "metrics": lambda: job(val_rows=np.arange(4), metrics=["mae"]),
    "progress": lambda: job(progress=lambda history: True),
}  # fmt: skip


def end_of(one, history):
    state = [value.tolist() for value in one.model.state_dict().values()]
    return dict(history), history.setting, history.backend, history.fallback_reason, history.stopped_by, state


def test_jobs_of_many_kinds_in_one_call_are_trained_as_each_alone(count):
    jobs = [make() for make in TRAINED.values()] + [make() for make in TRAINED.values()]
    alone = [make() for make in TRAINED.values()]
    histories = fastbp.train_models(jobs)
    for number, (one, history) in enumerate(zip(jobs, histories, strict=True)):
        if number < len(alone):
            expected = end_of(alone[number], fastbp.train_model(**alone[number].arguments()))
            alone[number] = expected
        assert end_of(one, history) == alone[number % len(alone)], list(TRAINED)[number % len(alone)]


def test_a_kind_is_checked_once(monkeypatch):
    tried, train = [], many.train_model
    monkeypatch.setattr(many, "train_model", lambda **given: tried.append(given["epochs"]) or train(**given))
    shared = nn.MSELoss()
    jobs = [job(network(seed=n), criterion=shared if n % 2 else nn.MSELoss(), shuffle=True, rng=n) for n in range(6)]
    fastbp.train_models([*jobs, *(of_classes(rows=np.roll(CLASSES, n)) for n in range(4))])
    assert tried == [0, 0] + [2] * 10


# Jobs that are refused, each like the first but for one thing.
REFUSED = {
    "optimiser": lambda: job(opt=lambda model: optim.SGD(network().parameters(), lr=0.1)),
    "dtype": lambda: job(network(dtype=float)),
    "inputs": lambda: job(nn.Sequential(nn.Linear(5, 3, rng=0))),
    "outputs": lambda: job(nn.Sequential(nn.Linear(4, 2, rng=0))),
    "batch norm": lambda: job(normalized(), mini_batch_size=11),
    "weights of classes": lambda: job(
        criterion=nn.CrossEntropyLoss(weight=np.array([1, 2], F32)), train_target=CLASSES
    ),
    "classes": lambda: job(criterion=nn.CrossEntropyLoss(), train_target=CLASSES + 1),
    "rows of classes": lambda: job(
        criterion=nn.CrossEntropyLoss(), train_target=BEYOND, rows=np.array([0, 1, 2, 11, 4])
    ),
    "validation rows of classes": lambda: job(
        criterion=nn.CrossEntropyLoss(), train_target=BEYOND, rows=np.arange(5), val_rows=np.array([11])
    ),
    "rows": lambda: job(rows=np.array([0, 1, 2, 3, 12])),
    "no rows": lambda: job(rows=np.array([], int)),
    "epochs": lambda: job(epochs=True),
    "size": lambda: job(mini_batch_size=5.0),
    "shuffle": lambda: job(rng=3),
    "rng": lambda: job(shuffle=True, rng=-1),
    "on_nonfinite": lambda: job(on_nonfinite="no"),
    "seconds": lambda: job(max_seconds=0),
    "clip": lambda: job(clip_grad_norm=-1.0),
    "progress": lambda: job(progress=3),
    "none": lambda: job(criterion=nn.MSELoss(reduction="none")),
    "rows as a list": lambda: job(rows=[0, 1, 2, 3, 4]),
}  # fmt: skip
BEYOND = np.where(np.arange(12) == 11, 3, CLASSES)
FIRST = [
    *(TRAINED[name] for name in ("alike", "sum", "shuffle", "rows", "batch norm", "classes", "weights of classes")),
    lambda: job(criterion=nn.CrossEntropyLoss(), train_target=BEYOND, rows=np.arange(5)),
    lambda: job(criterion=nn.CrossEntropyLoss(), train_target=BEYOND, rows=np.arange(5), val_rows=np.array([1])),
]


@pytest.mark.parametrize("name", REFUSED)
def test_a_job_that_is_refused_alone_is_refused_beside_others_before_anything_changes(name):
    with pytest.raises((TypeError, ValueError)) as alone:
        fastbp.train_models([REFUSED[name]()])
    jobs = [make() for make in FIRST]
    before = [one.model.state_dict() for one in jobs]
    with pytest.raises(type(alone.value)) as beside:
        fastbp.train_models([*jobs, REFUSED[name]()])
    assert str(beside.value).replace(f"job {len(jobs)}: ", "job 0: ") == str(alone.value)
    for one, state in zip(jobs, before, strict=True):
        for key, value in one.model.state_dict().items():
            np.testing.assert_array_equal(value, state[key])


def test_a_model_that_another_thread_uses_is_refused_beside_others_of_its_kind():
    errors, other = [], job()

    def train_both(history):
        def call():
            try:
                fastbp.train_models([job(), other])
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    fastbp.train_model(**other.arguments() | {"progress": train_both, "epochs": 1})
    assert len(errors) == 1
    assert errors[0].startswith("job 1: another thread is using this model")
