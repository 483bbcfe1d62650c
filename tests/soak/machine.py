"""The whole public interface as a machine with drawn steps: to ``models`` come losses, optimisers and trainings."""

from __future__ import annotations

import copy
import pickle

import hypothesis.strategies as st
import numpy
import oracles
from calls import assert_near, tame, written
from hypothesis.stateful import precondition, rule
from kinds import (
    KINKS,
    dtype_of,
    has_own,
    in_features,
    is_known,
    is_tame,
    linears,
    may_train,
    network,
    out_features,
    owners,
    shares,
    takes_batches,
)
from models import DTYPES, SEEDS
from passes import Passes
from recipes import LOSSES, OPTIMIZERS, SCHEDULERS, draw_options
from strange import READ, REFUSED, VALUES, WILD

import fastbp
from fastbp import nn, optim

BAD_TRAINING = {
    "model": [None, [], 3, nn.Linear],
    "criterion": [None, "mean", nn.MSELoss],
    "opt": [None, nn.ReLU(), 0.1],
    "epochs": [-1, 1.5, None, "1", True],
    "mini_batch_size": [0, -3, 2.5, None, numpy.float32(2)],
    "val_input": ["no target"],
    "rng": ["a", -1, object()],
}
NO_NUMBERS = ("None", "text", "number", "scalar", "bool", "complex", "object", "structured", "text array")
SMALL = numpy.int8(1)  # in whose dtype products would overflow
BAD_LR = (-1, numpy.nan, numpy.inf, 10**400, "0.1", None, True, [0.1], 1e300j)


class OwnSGD(optim.SGD):
    """Trains module by module."""


class Machine(Passes):
    """Every rule is a call or two; the invariant of ``Models`` holds between them."""

    def __init__(self):
        super().__init__()
        self.learners = []  # an optimiser and a loss, with which models or their parts go on learning

    # ------------------------------------------------------------------ losses, parameters, optimisers
    @rule(shape=st.sampled_from([(3, 2), (1, 1), (0, 4), (5,), (), (2, 3, 4), (0, 3, 0)]), seed=SEEDS,
          dtype=st.sampled_from(DTYPES), reduction=st.sampled_from(["mean", "sum"]),
          case=st.sampled_from(sorted(set(REFUSED) - {"no dimension"})))  # fmt: skip
    def loss(self, shape, seed, dtype, reduction, case):
        criterion = self.must(nn.MSELoss, reduction)
        one, two = (numpy.asarray(VALUES["normal"](shape, dtype, seed + k)) for k in (0, 1))
        value = self.must(criterion, one, two)
        assert self.must(criterion.evaluate, one, two) == value or one.size == 0
        if one.size:
            expected, gradient = oracles.mse(one, two, reduction)
            assert_near(numpy.asarray(value, dtype), numpy.asarray(expected))
            assert_near(self.must(criterion.backward, retain_graph=True), gradient)
        if one.size != 1 or case not in ("number", "scalar"):  # which are targets of one sample
            self.must_not(criterion.forward, one, REFUSED[case]((7, 2), dtype))
        assert_near(self.must(criterion.backward), oracles.mse(one, two, reduction)[1] if one.size else one)
        self.must_not(criterion.backward)
        self.must_not(setattr, criterion, "reduction", case)

    @rule(number=SEEDS, place=SEEDS, what=st.sampled_from(["data", "grad"]), seed=SEEDS,
          case=st.sampled_from([*sorted(REFUSED), "good", "good", "view"]))  # fmt: skip
    def assign(self, number, place, what, seed, case):
        parameters = list(self.pick(number).parameters())
        parameter = parameters[place % len(parameters)]
        if (what, case) == ("grad", "None"):
            self.must(setattr, parameter, what, None)
            self.expected[parameter] = (self.expected[parameter][0], numpy.zeros(parameter.shape, parameter.dtype))
            return
        if case in REFUSED:
            shape = parameter.shape if len(parameter.shape) == 2 else (2, 2)
            self.must_not(setattr, parameter, what, REFUSED[case](shape, parameter.dtype))
            return
        values = VALUES["normal"](parameter.shape, parameter.dtype, seed)
        view = getattr(parameter, what)
        if case == "view" and view is not None:
            self.memory.note_unsure([parameter] if what == "data" else [])
            view[...] = values
            view.shape = view.shape[::-1]
            view.flags.writeable = False
        else:
            self.must(setattr, parameter, what, values)
            self.memory.note_change([parameter] if what == "data" else [])
        kept = list(self.expected[parameter])
        kept[what == "grad"] = values
        self.expected[parameter] = tuple(kept)

    @rule(number=SEEDS, lr=st.sampled_from([0, 0.1, 1e-3, numpy.float32(0.5), 1]))
    def optimiser(self, number, lr):
        parameters = list(self.pick(number).parameters())
        self.opts = [*self.opts[-3:], self.must(optim.SGD, parameters[: 1 + number % len(parameters)], lr)]
        (group,) = self.opts[-1].param_groups
        wrong = BAD_LR[number % len(BAD_LR)]
        self.must_not(setattr, self.opts[-1], "lr", wrong)
        self.must_not(group.__setitem__, "lr", wrong)
        self.must(group.__setitem__, "lr", group["lr"] / 2)
        assert self.opts[-1].lr == lr / 2
        wrong = (None, [], [None], 3, [parameters[0].data], self.pick(number))
        self.must_not(optim.SGD, wrong[number % len(wrong)], 0.1)

    @precondition(lambda self: self.opts)
    @rule(number=SEEDS, zero=st.booleans())
    def step(self, number, zero):
        opt = self.opts[number % len(self.opts)]
        before = [(p.data.astype("f8"), p.kernel_grad.astype("f8")) for p in opt.parameters]
        other = copy.deepcopy(opt)
        for mine, theirs in zip(opt.parameters, other.parameters, strict=True):
            theirs.grad = mine.grad
        self.must(opt.zero_grad if zero else opt.step)
        if not zero:
            self.memory.note_change(parameter for parameter in opt.parameters if parameter.has_grad)
        for parameter, (data, grad) in zip(opt.parameters, before, strict=True):
            if zero:
                assert parameter.grad is None
                assert not parameter.kernel_grad.any()
            elif not parameter.has_grad:
                numpy.testing.assert_array_equal(parameter.data, data)
            elif type(opt) is optim.SGD and len(opt.param_groups) == 1 and not opt.momentum and tame(data, grad):
                assert_near(parameter.data, data - opt.lr * (grad + opt.weight_decay * data))
            if parameter in self.expected:
                self.expected[parameter] = (parameter.data.copy(), parameter.kernel_grad.copy())
        if not zero:
            other.step()
            for mine, theirs in zip(opt.parameters, other.parameters, strict=True):
                numpy.testing.assert_array_equal(mine.data, theirs.data)

    @precondition(lambda self: self.opts)
    @rule(number=SEEDS, way=st.sampled_from(["state_dict", "pickle", "step", "wrong"]))
    def state_of_an_optimiser(self, number, way):
        opt = self.opts[number % len(self.opts)]
        state, before = self.must(opt.state_dict), written(opt)
        if way == "wrong":
            self.must_not(opt.load_state_dict, {**state, "param_groups": []})
            self.must_not(opt.load_state_dict, {"state": state["state"]})
        elif way == "pickle":
            assert written(pickle.loads(pickle.dumps(opt))) == before
        else:
            self.must(opt.load_state_dict, state)
        assert written(opt) == before

    @rule(number=SEEDS, limit=st.sampled_from([0.01, 0.5, 1e9, -1.0, numpy.nan, None, "1"]), norm=st.booleans())
    def clip(self, number, limit, norm):
        model = self.pick(number)
        function = nn.utils.clip_grad_norm_ if norm else nn.utils.clip_grad_value_
        if not isinstance(limit, float) or not limit > 0:
            self.must_not(function, model.parameters(), limit)
            return
        before = [parameter.kernel_grad.astype("f8") for parameter in model.parameters()]
        self.must(function, model.parameters(), limit)
        if tame(*before):
            size = numpy.sqrt(sum((grad**2).sum() for grad in before))
            for parameter, grad in zip(model.parameters(), before, strict=True):
                clipped = grad * min(1, limit / (size + 1e-6)) if norm else grad.clip(-limit, limit)
                assert_near(parameter.kernel_grad, clipped)
        self.note(model)

    @rule(number=SEEDS)
    def zero_grad(self, number):
        model = self.pick(number)
        self.must(model.zero_grad)
        assert all(parameter.grad is None for parameter in model.parameters())
        self.note(model)

    @rule(number=SEEDS, seed=SEEDS, values=st.sampled_from(["normal", "normal", "zeros", "NaN", "huge"]),
          case=st.sampled_from(["good", "good", "missing", "unexpected", *sorted(REFUSED)]))  # fmt: skip
    def load(self, number, seed, values, case):
        model = self.pick(number)
        state = self.must(model.state_dict)
        floats = [name for name, value in state.items() if value.dtype.kind == "f"]
        for name in floats:
            state[name] = {**VALUES, **WILD}[values](state[name].shape, numpy.dtype("f8"), seed)
        name = sorted(floats)[seed % len(floats)]
        if case == "good":
            self.memory.note_change(model.parameters())
            self.must(model.load_state_dict, state)
            with numpy.errstate(all="ignore"):
                for key, value in model.state_dict().items():
                    numpy.testing.assert_array_equal(value, state[key].astype(value.dtype))
            self.note_all()
        elif case in ("missing", "unexpected"):
            changed = {**state, "more": 1.0} if case == "unexpected" else {k: v for k, v in state.items() if k != name}
            self.must_not(model.load_state_dict, changed)
            self.memory.note_unsure(model.parameters())
            keys = self.must(model.load_state_dict, changed, strict=False)
            assert keys == ([], ["more"]) if case == "unexpected" else keys == ([name], [])
            self.note_all()
        elif case in NO_NUMBERS:
            self.must_not(model.load_state_dict, {**state, name: REFUSED[case]((3, 2), numpy.dtype("f4"))})
            self.must_not(model.load_state_dict, REFUSED[case]((3, 2), numpy.dtype("f4")))

    # ------------------------------------------------------------------ train
    def training(self, model, n, seed, layout):
        dtype = dtype_of(model)
        x = VALUES["normal"]((n, in_features(model)), dtype, seed)
        target = VALUES["normal"]((n, out_features(model)), dtype, seed + 1)
        return {"train_input": READ[layout](x), "train_target": READ[layout](target)}

    @rule(number=SEEDS, n=st.sampled_from([1, 3, 10]), seed=SEEDS, layout=st.sampled_from(sorted(READ)),
          size=st.sampled_from([1, 4, 10, 10**30, numpy.uint8(3), numpy.int8(100)]), epochs=st.integers(0, 2),
          shuffle=st.booleans(), own=st.booleans(), reduction=st.sampled_from(["mean", "sum"]))  # fmt: skip
    def train(self, number, n, seed, layout, size, epochs, shuffle, own, reduction):
        model = self.pick(number)
        if not may_train(model):
            return
        data = self.training(model, n, seed, layout)
        opt = (OwnSGD if own else optim.SGD)(model.parameters(), lr=1e-3)
        if 1 in (n % min(int(size), n), size, n) and takes_batches(model):
            self.must_not(
                fastbp.train_model, model, **data, val_input=None, val_target=None, criterion=nn.MSELoss(reduction),
                opt=opt, epochs=epochs, mini_batch_size=size,
            )  # fmt: skip
            self.note_training(model)
            return
        compared = is_known(model) and not (shares(model) or has_own(model))
        layers, losses, order = network(model) if compared else [], [], numpy.random.default_rng(seed)
        compared = compared and KINKS.keys().isdisjoint(layer for layer in layers if isinstance(layer, str))
        history = self.must(
            fastbp.train_model, model, **data, val_input=None, val_target=None, criterion=nn.MSELoss(reduction),
            opt=opt, epochs=epochs, mini_batch_size=size, shuffle=shuffle, rng=seed if shuffle else None,
            progress=False,
        )  # fmt: skip
        assert history.backend == "modules" if own or has_own(model) else history.backend
        self.note_training(model)
        x, target = (array.astype("f8") for array in data.values())
        for _ in range(epochs if compared else 0):
            rows = order.permutation(n) if shuffle else numpy.arange(n)
            layers, course = oracles.train(
                layers, (x[rows], target[rows]), None, reduction=reduction, lr=1e-3, epochs=1,
                mini_batch_size=min(int(size), n),
            )  # fmt: skip
            losses += course["train_loss"]
        if compared:
            assert_near(numpy.asarray(history["train_loss"], dtype_of(model)), numpy.asarray(losses))
            pairs = (layer for layer in layers if not isinstance(layer, str))
            for leaf, pair in zip(owners(model), pairs, strict=True):
                for parameter, expected in zip((leaf.weight, leaf.bias), pair, strict=True):
                    assert parameter is None or assert_near(parameter.data, expected) is None
        self.note(model)

    def note_training(self, model):
        """A training without a step, or one that is refused late, may have called modules and changed nothing."""
        self.memory.note_calls(model)
        self.memory.note_unsure(model.parameters())

    @rule(number=SEEDS, n=st.sampled_from([4, 10]), seed=SEEDS)
    def train_by_any_parts(self, number, n, seed):
        """With a drawn loss, optimiser, schedule and options: with the bits of a copy that trains module by module."""
        model, rng = self.pick(number), numpy.random.default_rng(seed)
        if has_own(model) or not is_tame(model):
            return
        dtype, o = dtype_of(model), out_features(model)
        loss = LOSSES[rng.integers(len(LOSSES))]
        if loss.end or o != 3:
            loss = LOSSES[0]
        x, target = VALUES["normal"]((n, in_features(model)), dtype, seed), loss.targets(rng.standard_normal((n, o)))
        target = target.astype(dtype) if target.ndim == 2 else target
        options, kinds = draw_options(rng, n, dtype, False), (rng.integers(len(OPTIMIZERS)), rng.integers(9))
        ends = []
        for trained in (model, copy.deepcopy(model)):
            criterion, opt = loss.make(reduction="mean"), OPTIMIZERS[kinds[0]](trained.parameters())
            if trained is not model:
                criterion.forward = criterion.forward
            scheduler = SCHEDULERS[kinds[1]](opt, 4) if kinds[1] < len(SCHEDULERS) else None
            ends.append(self.must(
                fastbp.train_model, trained, x, target, None, None, criterion, opt, 2, 2, scheduler=scheduler,
                progress=False, on_nonfinite="ignore", **options,
            ))  # fmt: skip
            self.opts = [*self.opts[-3:], opt] if trained is model else self.opts
        numpy.testing.assert_array_equal(*(history["train_loss"] for history in ends))
        for mine, theirs in zip(model.state_dict().values(), trained.state_dict().values(), strict=True):
            numpy.testing.assert_array_equal(mine, theirs)
        self.note_training(model)
        self.note(model)

    @rule(number=SEEDS, n=st.sampled_from([1, 4]), seed=SEEDS, times=st.integers(1, 3), batches=st.booleans())
    def learn_online(self, number, n, seed, times, batches):
        """The same call again for other rows, also after whatever was done between: with the bits of one unlike it."""
        if seed % 3 == 0 or not self.learners:
            learning = self.pick(number)
            if seed % 2:
                learning = linears(learning)[seed % len(linears(learning))]
            self.learners = [*self.learners[-2:], (optim.Adam(learning.parameters(), lr=1e-3), nn.SmoothL1Loss())]
        opt, criterion = self.learners[-1 - seed % len(self.learners)]
        fitting = [model for model in self.models if set(opt.parameters) <= set(model.parameters())]
        if not fitting:
            return
        model = fitting[number % len(fitting)]
        if has_own(model) or not is_tame(model):
            return
        for turn in range(times):
            data = self.training(model, n, seed + turn, "contiguous").values()
            options = {"epochs": SMALL, "mini_batch_size": 2 if batches else SMALL}
            if takes_batches(model) and (n == 1 or not batches):
                self.must_not(fastbp.train_model, model, *data, None, None, criterion, opt, **options, progress=False)
                continue
            twin, its_opt = copy.deepcopy((model, opt))
            ends = [
                self.must(fastbp.train_model, trained, *data, None, None, criterion, its, **options, progress=progress)
                for trained, its, progress in ((model, opt, False), (twin, its_opt, lambda history: None))
            ]
            assert dict(ends[0]) == dict(ends[1])
            for mine, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
                numpy.testing.assert_array_equal(mine, theirs)
        self.note_training(model)
        self.note(model)

    @rule(number=SEEDS, seed=SEEDS, data=st.data())
    def train_badly(self, number, seed, data):
        model = self.pick(number)
        arguments = {
            "model": model, **self.training(model, 4, seed, "contiguous"), "val_input": None, "val_target": None,
            "criterion": nn.MSELoss(), "opt": optim.SGD(model.parameters(), lr=0.1), "epochs": 1, "mini_batch_size": 2,
        }  # fmt: skip
        name = data.draw(st.sampled_from([*sorted(BAD_TRAINING), "train_input", "train_target"]))
        if name in BAD_TRAINING:
            wrong = data.draw(st.sampled_from(BAD_TRAINING[name]))
        else:
            case = data.draw(st.sampled_from(sorted(REFUSED)))
            wrong = REFUSED[case](arguments[name].shape, arguments[name].dtype)
        self.must_not(fastbp.train_model, **{**arguments, name: wrong})
        self.note_training(model)
        if name == "train_input":
            self.must_not(fastbp.compute_accuracy, model, wrong, arguments["train_target"])

    @rule(number=st.sampled_from([1, 2, 3, 0, -1, 1.5, None, True]))
    def threads(self, number):
        good = type(number) is int and number > 0
        (self.must if good else self.must_not)(fastbp.set_num_threads, number)
