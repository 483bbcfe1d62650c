"""Trainings beside PyTorch's, while groups, modes, frozen flags and files change: the same parameters after each."""

from __future__ import annotations

import copy
import pickle
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy
import torch
from calls import Caller, counts, tame
from helpers import draw
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from loss_cases import CASES

import fastbp
from fastbp import nn, optim

SEEDS = st.integers(0, 1000)
OPTIMIZERS = {
    "SGD": [{"lr": 0.02}, {"lr": 0.02, "momentum": 0.9}, {"lr": 0.02, "momentum": 0.5, "nesterov": True}],
    "Adam": [{"lr": 0.01}, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}],
    "AdamW": [{"lr": 0.01}],
    "NAdam": [{"lr": 0.01}],
    "RAdam": [{"lr": 0.01}],
    "Adamax": [{"lr": 0.01}],
    "RMSprop": [{"lr": 0.01}, {"lr": 0.01, "centered": True, "momentum": 0.5}],
    "Adagrad": [{"lr": 0.01, "lr_decay": 0.1}],
    "Adadelta": [{}],
}
ODD_TARGETS = {
    "classes": lambda y: y.argmax(axis=-1),
    "classes beyond": lambda y: y.argmax(axis=-1) + 2,
    "negative": lambda y: y.argmax(axis=-1) - 1,
    "ignored": lambda y: numpy.full(y.shape[:-1], -100),
    "bytes": lambda y: y.argmax(axis=-1).astype(numpy.uint8),
    "float classes": lambda y: y.argmax(axis=-1).astype(y.dtype),
    "huge classes": lambda y: numpy.full(y.shape[:-1], 2**62),
    "column": lambda y: y[..., :1],
    "wide": lambda y: numpy.concatenate([y, y], axis=-1),
    "scalar": lambda y: y.dtype.type(0.5),
    "class": lambda y: numpy.int64(1),
    "number": lambda y: 0.5,
    "row": lambda y: y[0] if len(y) else y,
    "NaN": lambda y: numpy.full_like(y, numpy.nan),
    "empty": lambda y: y[:0],
    "bools": lambda y: y > 0,
    "same": lambda y: y,
    "None": lambda y: None,
}


def _layers(seed, norm):
    rng = numpy.random.default_rng(seed)
    widths = [3, *rng.choice([1, 4, 9], 2).tolist(), 2]
    parts = [("Linear", (widths[0], widths[1], not norm))]
    parts += [("BatchNorm1d", (widths[1],))] if norm else []
    parts += [("Tanh", ()), ("Dropout", (0.0,)), ("Linear", (widths[1], widths[2], True)), ("Sigmoid", ())]
    return [*parts, ("Linear", (widths[2], 2, True))]


class Learners(Caller, RuleBasedStateMachine):
    """A model, an optimiser over some of its parameters, and their twins in PyTorch, in float64."""

    @initialize(seed=SEEDS, norm=st.booleans(), count=st.integers(1, 6), data=st.data())
    def begin(self, seed, norm, count, data):
        kinds = _layers(seed, norm)
        own = {"Linear": {"dtype": "float64", "rng": seed}, "BatchNorm1d": {"dtype": "float64"}}
        self.model = nn.Sequential(*[getattr(nn, kind)(*sizes, **own.get(kind, {})) for kind, sizes in kinds])
        self.twin = torch.nn.Sequential(*[getattr(torch.nn, kind)(*sizes) for kind, sizes in kinds]).double()
        self.twin.load_state_dict({name: torch.tensor(value) for name, value in self.model.state_dict().items()})
        self.optimise(count, data)

    def pairs(self):
        return list(zip(self.model.parameters(), self.twin.parameters(), strict=True))

    def grouped(self):
        return {parameter for group in self.opt.param_groups for parameter in group["params"]}

    @rule(count=st.integers(1, 6), data=st.data())
    def optimise(self, count, data):
        """Take a new optimiser, over the first ``count`` parameters."""
        kind = data.draw(st.sampled_from(sorted(OPTIMIZERS)))
        options = data.draw(st.sampled_from(OPTIMIZERS[kind]))
        ours, theirs = zip(*self.pairs()[:count], strict=True)
        self.opt = self.must(getattr(optim, kind), list(ours), **options)
        self.its = getattr(torch.optim, kind)(list(theirs), **options)

    @rule(count=st.integers(1, 2), lr=st.sampled_from([None, 0.03]))
    def add_group(self, count, lr):
        more = self._group(count, lr)
        if more is None:
            self.must_not(self.opt.add_param_group, {"params": [next(iter(self.grouped()))]})
            return
        self.must(self.opt.add_param_group, more[0])
        self.its.add_param_group(more[1])

    def _group(self, count, lr):
        left = [pair for pair in self.pairs() if pair[0] not in self.grouped()][:count]
        options = {} if lr is None else {"lr": lr}
        return [{"params": list(params), **options} for params in zip(*left, strict=True)] if left else None

    @rule(place=SEEDS, trained=st.booleans())
    def freeze(self, place, trained):
        for parameter in self.pairs()[place % len(self.pairs())]:
            parameter.requires_grad = trained

    @rule(place=SEEDS, training=st.booleans(), whole=st.booleans())
    def mode(self, place, training, whole):
        place %= len(self.model)
        for model in (self.model, self.twin):
            (model if whole else model[place]).train(training)

    def batch(self, n, seed):
        return draw((n, 3), numpy.float64, seed), draw((n, 2), numpy.float64, seed + 1)

    def forward_fails(self, n, model=None):
        """Whether a batch norm would take the statistics of one row."""
        norms = [m for m in (model or self.model).modules() if isinstance(m, nn.BatchNorm1d)]
        return n == 1 and any(norm.takes_batch for norm in norms)

    def twin_step(self, twin, x, y):
        twin.zero_grad()
        loss = torch.nn.functional.mse_loss(twin(torch.tensor(x)), torch.tensor(y))
        if loss.requires_grad:
            loss.backward()
        self.its.step()

    def look(self):
        """Compare all parameters and buffers; begin anew where the numbers are no longer ordinary ones."""
        state, expected = self.model.state_dict(), self.twin.state_dict()
        if not tame(*[value.numpy() for value in expected.values()]):
            self.twin.load_state_dict({name: torch.zeros_like(value) for name, value in expected.items()})
            self.model.load_state_dict({name: numpy.zeros_like(value) for name, value in state.items()})
            return
        for name, value in expected.items():
            counts["compared"] += 1
            numpy.testing.assert_allclose(state[name], value.numpy(), rtol=0, atol=1e-8, err_msg=name)

    @rule(n=st.sampled_from([1, 5, 8]), seed=SEEDS, epochs=st.integers(1, 3), size=st.sampled_from([3, 4, 100]),
          meanwhile=st.sampled_from(["nothing", "nothing", "bar", "group", "freeze", "mode", "predict"]),
          place=SEEDS)  # fmt: skip
    def train(self, n, seed, epochs, size, meanwhile, place):
        """By ``train_model``, with changes after the first epoch."""
        x, y = self.batch(n, seed)
        arguments = (self.model, x, y, None, None, nn.MSELoss(), self.opt, epochs, size)
        if self.forward_fails(n % size or n) or (n > size and self.forward_fails(n % size)):
            self.must_not(fastbp.train_model, *arguments, progress=False)
            return
        changes = [] if meanwhile in ("nothing", "bar") else [meanwhile]

        def progress(history):
            if changes and not (changes == ["mode"] and self.forward_fails_in_any_mode(n, size)):
                self.change_meanwhile(changes.pop(), place, 0)

        self.must(fastbp.train_model, *arguments, progress=False if meanwhile == "nothing" else progress)
        changes = [] if meanwhile in ("nothing", "bar") else [meanwhile]
        for _ in range(epochs):
            for start in range(0, n, size):
                self.twin_step(self.twin, x[start : start + size], y[start : start + size])
            if changes and not (changes == ["mode"] and self.forward_fails_in_any_mode(n, size)):
                self.change_meanwhile(changes.pop(), place, 1)
        self.look()

    def forward_fails_in_any_mode(self, n, size):
        return 1 in (n, n % size, size) and any(isinstance(m, nn.BatchNorm1d) for m in self.model.modules())

    def change_meanwhile(self, what, place, which):
        """Change one of the twins: 0 is fastbp's, 1 PyTorch's."""
        model, opt = ((self.model, self.opt), (self.twin, self.its))[which]
        if what == "group":
            taken = {id(parameter) for group in opt.param_groups for parameter in group["params"]}
            left = [parameter for parameter in model.parameters() if id(parameter) not in taken]
            if left:
                opt.add_param_group({"params": left[:1]})
        elif what == "freeze":
            parameter = list(model.parameters())[place % len(self.pairs())]
            parameter.requires_grad = not parameter.requires_grad
        elif what == "mode":
            module = model[place % len(model)]
            module.train(not module.training)
        else:
            modes = [(module, module.training) for module in model.modules()]
            model.eval()
            if which == 0:
                model.predict(numpy.zeros((2, 3)))
            for module, training in modes:
                module.training = training

    @rule(n=st.sampled_from([2, 5]), seed=SEEDS, start=SEEDS)
    def train_a_part(self, n, seed, start):
        """The optimiser's other parameters, if it has some, are an error."""
        start = start % len(self.model)
        part, twin = self.model[start:], self.twin[start:]
        if not list(part.parameters()):
            return
        features = next(m for m in part.modules() if isinstance(m, nn.Linear)).in_features
        if isinstance(next(iter(part)), nn.BatchNorm1d):
            features = next(iter(part)).num_features
        x, y = draw((n, features), numpy.float64, seed), draw((n, 2), numpy.float64, seed + 1)
        arguments = (part, x, y, None, None, nn.MSELoss(), self.opt, 1, n)
        if not self.grouped() <= set(part.parameters()):
            self.must_not(fastbp.train_model, *arguments, progress=False)
            return
        self.must(fastbp.train_model, *arguments, progress=False)
        self.twin_step(twin, x, y)
        self.look()

    @rule(n=st.sampled_from([2, 5]), seed=SEEDS, times=st.integers(1, 2))
    def step_by_hand(self, n, seed, times):
        criterion = nn.MSELoss()
        for turn in range(times):
            x, y = self.batch(n, seed + turn)
            self.must(criterion, self.must(self.model, x), y)
            self.model.zero_grad()
            self.must(self.model.backward, criterion.backward())
            self.must(self.opt.step)
            self.twin_step(self.twin, x, y)
        self.look()

    @rule(way=st.sampled_from(["state", "pickle", "deepcopy", "file", "file into", "file into new"]))
    def carry_over(self, way):
        """Take the model and its optimiser to somewhere else and go on there."""
        if way == "state":
            self.must(self.opt.load_state_dict, self.must(self.opt.state_dict))
            return
        if way == "pickle":
            self.model, self.opt = pickle.loads(pickle.dumps((self.model, self.opt)))
            return
        if way == "deepcopy":
            self.model, self.opt = copy.deepcopy((self.model, self.opt))
            return
        flags = [parameter.requires_grad for parameter in self.model.parameters()]
        modes = [module.training for module in self.model.modules()]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            self.must(fastbp.save, path, self.model, self.opt)
            into = {}
            if way == "file into":
                into = {"model": self.model, "opt": self.opt}
            elif way == "file into new":
                into = {"model": copy.deepcopy(self.model).train()}
                for parameter in into["model"].parameters():
                    parameter.requires_grad = True
            loaded = self.must(fastbp.load, path, **into)
        self.model, self.opt = loaded.model, loaded.opt
        assert [parameter.requires_grad for parameter in self.model.parameters()] == flags
        assert [module.training for module in self.model.modules()] == modes

    # ------------------------------------------------------------------ odd losses
    @rule(case=st.sampled_from(CASES), odd=st.sampled_from(sorted(ODD_TARGETS)), seed=SEEDS,
          shape=st.sampled_from([(5, 4), (1, 4), (4,), (0, 4), (2, 4, 3), ()]), train=st.booleans(),
          dtype=st.sampled_from(["f4", "f8"]), reduction=st.sampled_from(["mean", "sum", "none"]))  # fmt: skip
    def odd_loss(self, case, odd, seed, shape, train, dtype, reduction):
        """Any loss of any target: numbers, or an error in words, in calls and in trainings."""
        normal = draw(shape or (1,), dtype, seed)
        prediction = case.predictions(normal) if normal.ndim == 2 else normal
        target = ODD_TARGETS[odd](prediction)
        criterion = case.ours(reduction)
        prediction = prediction if shape else prediction[0]
        value, error = self.call(criterion, prediction, target)
        if error is None and reduction != "none" and numpy.ndim(prediction):
            self.must(criterion.backward)
        expected = _by_torch(case, reduction, prediction, target)
        if error is None and expected is not None and tame(expected):
            counts["compared"] += 1
            numpy.testing.assert_allclose(numpy.asarray(value), expected, rtol=1e-4, atol=1e-4)
        if train and normal.ndim == 2:
            model = nn.Sequential(nn.Linear(4, 4, dtype=normal.dtype, rng=seed))
            self.call(
                fastbp.train_model, model, normal, target, None, None, criterion, optim.SGD(model.parameters(), lr=0.0),
                1, 2, progress=False, on_nonfinite="ignore",
            )  # fmt: skip


def _by_torch(case, reduction, prediction, target):
    """The loss that PyTorch computes, None where it refuses."""
    try:
        theirs = case.theirs(reduction, prediction.dtype)
        return numpy.asarray(theirs(torch.as_tensor(prediction), torch.as_tensor(target)))
    except Exception:  # in its own words
        return None
