"""Models that are built, copied, changed and taken apart in a drawn order, and what must be left behind each time.

After each call every parameter and gradient must be what the references of :mod:`oracles` say, or what it was before
where the call raised; nothing else may have changed, and outputs keep their numbers for as long as they are held.
"""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy
from calls import Caller
from duplicates import WAYS
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from kinds import (
    OVERRIDES,
    OwnLinear,
    OwnSequential,
    OwnTanh,
    Twice,
    dtype_of,
    dtypes,
    in_features,
    is_own,
    leaves,
    linears,
    out_features,
)
from recipes import between
from remembered import Remembered

from fastbp import nn

DTYPES = (numpy.dtype("f4"), numpy.dtype("f8"))
WIDTHS = st.sampled_from([1, 2, 3, 5, 8, 16, 17])
SEEDS = st.integers(0, 1000)
BAD_LINEAR = {
    "in_features": [0, -1, 2.5, None, "3", 2**40, [2]],
    "bias": [None, numpy.ones(3), "yes", 2],
    "dtype": ["f2", "abc", int, object, [("a", "f4")]],
    "init": ["xavier", 3, lambda *_: None, lambda shape, rng, dtype: numpy.zeros(shape, "f2")],
    "rng": ["a", -1, 1.5, object()],
}


class Models(Caller, RuleBasedStateMachine):
    """Up to six models; a module may be in several, a parameter in several modules."""

    def __init__(self):
        super().__init__()
        self.models, self.opts = [], []
        self.expected = {}  # by parameter: its bits and its gradient's
        self.statistics = {}  # by BatchNorm1d: its running ones
        self.memory = Remembered()
        self.gradients = []  # Handed

    def note(self, model):
        for parameter in model.parameters():
            self.expected[parameter] = (parameter.data.copy(), parameter.kernel_grad.copy())
        self.note_statistics(model)

    def note_statistics(self, model):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                self.statistics[module] = [array.copy() for _, array in module.named_buffers()]

    def note_all(self):
        for model in self.models:
            self.note(model)

    def add(self, model):
        self.models = [*self.models[-5:], model]
        known = {parameter for model in self.models for parameter in model.parameters()}
        self.expected = {parameter: values for parameter, values in self.expected.items() if parameter in known}
        modules = {module for model in self.models for module in model.modules()}
        self.statistics = {module: values for module, values in self.statistics.items() if module in modules}
        self.note(model)

    def pick(self, number):
        return self.models[number % len(self.models)]

    def changing(self, function, *arguments, **options):
        """Call what may lay parameters out anew; the values must stay, and what was found out before is over."""
        result = self.must(function, *arguments, **options)
        self.memory.note_structure()
        return result

    @invariant()
    def nothing_else_has_changed(self):
        for parameter, (data, grad) in self.expected.items():
            numpy.testing.assert_array_equal(parameter.data, data)
            numpy.testing.assert_array_equal(parameter.kernel_grad, grad)
        for module, arrays in self.statistics.items():
            for (_, array), values in zip(module.named_buffers(), arrays, strict=True):
                numpy.testing.assert_array_equal(array, values)
        for handed in self.memory.outputs:
            numbers = numpy.asarray(handed.array).ravel()
            numpy.testing.assert_array_equal(numbers, handed.numbers, "an output lost its numbers")

    # ------------------------------------------------------------------ construct
    @initialize(widths=st.lists(WIDTHS, min_size=2, max_size=4), dtype=st.sampled_from(DTYPES), seed=SEEDS)
    def first(self, widths, dtype, seed):
        self.build(widths, dtype, seed, "default", True, "library", False)

    @rule(
        widths=st.lists(WIDTHS, min_size=2, max_size=4), dtype=st.sampled_from(DTYPES), seed=SEEDS, bias=st.booleans(),
        init=st.sampled_from(["default", "zeros", "xavier_normal", "kaiming_uniform", None]),
        own=st.sampled_from(["library", "library", "first", "activation", "model"]), layers=st.booleans(),
    )  # fmt: skip
    def build(self, widths, dtype, seed, init, bias, own, layers):
        """With ``layers`` from everything that the library has."""
        kinds = (None, nn.ReLU, OwnTanh if own == "activation" else nn.Tanh, nn.Sigmoid, nn.Identity)
        made, rng = [], numpy.random.default_rng(seed)
        for place, (i, o) in enumerate(pairwise(widths)):
            linear = OwnLinear if own == "first" and place == 0 else nn.Linear
            made.append(self.must(linear, i, o, bias, init=init, rng=seed + place, dtype=dtype))
            kind = kinds[(seed + place) % len(kinds)]
            made += between(rng, o, dtype) if layers else [kind()] if kind else []
        named = {f"part{place}": module for place, module in enumerate(made)}
        arguments = (named,) if seed % 3 == 0 else made
        self.add(self.must(OwnSequential if own == "model" else nn.Sequential, *arguments))

    @rule(data=st.data(), name=st.sampled_from(sorted(BAD_LINEAR)))
    def build_badly(self, data, name):
        wrong = data.draw(st.sampled_from(BAD_LINEAR[name]))
        self.must_not(nn.Linear, **{"in_features": 2**40, "out_features": 2**40 if wrong == 2**40 else 3, name: wrong}
                      if name == "in_features" else {"in_features": 5, "out_features": 3, name: wrong})  # fmt: skip

    @rule(number=SEEDS, other=SEEDS, whole=st.booleans(), wrong=st.sampled_from([None, "ReLU", nn.ReLU, 3]))
    def build_of_others(self, number, other, whole, wrong):
        """Modules that are in another model already, or that model itself, also twice; and what is no module."""
        model, behind = self.pick(number), self.pick(other)
        mine, theirs = ([model], [behind]) if whole else (list(model), list(behind))
        self.must_not(nn.Sequential, *mine, wrong)
        if dtypes(model) != dtypes(behind):
            self.must_not(nn.Sequential, *mine, *theirs)
        elif out_features(model) == in_features(behind) and len(leaves(model)) < 12:
            self.add(self.changing(nn.Sequential, *mine, *theirs))
        else:
            self.slice(number, 0, 1 + number % len(model))

    @rule(number=SEEDS, way=st.sampled_from(sorted(WAYS)))
    def duplicate(self, number, way):
        model = self.pick(number)
        duplicate, takes = WAYS[way]
        if not takes(model):
            return
        twin = self.must(duplicate, model)
        with numpy.errstate(over="ignore"):  # beyond float32 is infinity
            for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
                numpy.testing.assert_array_equal(theirs.data, mine.data.astype(theirs.dtype))
                if way != "copy":
                    assert not numpy.shares_memory(mine.data, theirs.data)
                    assert theirs.data.flags.writeable
                    assert theirs.storage.data.ctypes.data % 64 == 0
        names = model.state_dict().keys()
        assert names == twin.state_dict().keys() or way == "dtype"
        self.add(twin)

    # ------------------------------------------------------------------ change
    @rule(number=SEEDS, other=SEEDS, place=SEEDS, name=st.sampled_from(["weight", "bias"]))
    def share_a_parameter(self, number, other, place, name):
        mine, theirs = (linears(self.pick(n))[place % len(linears(self.pick(n)))] for n in (number, other))
        value, own = getattr(theirs, name), getattr(mine, name)
        if None not in (value, own) and (value.dtype, value.shape) == (own.dtype, own.shape):
            self.changing(setattr, mine, name, value)
            self.note_all()
        elif value is not None:
            self.must_not(setattr, mine, "weight", nn.Parameter(numpy.zeros((mine.out_features, 99), mine.dtype)))
        self.must_not(delattr, mine, name)

    @rule(number=SEEDS, place=SEEDS, what=st.sampled_from(sorted(OVERRIDES)))
    def override(self, number, place, what):
        """Set methods on one module, or take them back: what runs from now on is what it has."""
        own = leaves(self.pick(number))
        leaf = own[place % len(own)]
        if is_own(leaf):
            for name in set(vars(leaf)) & {"forward", "backward", "predict"}:
                self.must(delattr, leaf, name)
        else:
            for name in OVERRIDES[what]:
                self.must(setattr, leaf, name, Twice(leaf, name))
        self.memory.note_structure()

    @rule(number=SEEDS, seed=SEEDS, way=st.sampled_from(["append", "setattr", "insert", "setitem", "delitem"]))
    def change_in_place(self, number, seed, way):
        model = self.pick(number)
        if any(model in list(other.modules())[1:] for other in self.models) or len(leaves(model)) > 10:
            return  # the model around it might no longer fit
        dtype, places = dtype_of(model), [place for place, part in enumerate(model) if isinstance(part, nn.Linear)]
        linear = nn.Linear(out_features(model), 1 + seed % 5, rng=seed, dtype=dtype)
        other = nn.Linear(2, 2, dtype=DTYPES[dtype == DTYPES[0]])
        activation = (nn.ReLU, nn.Tanh, nn.Identity)[seed % 3]()
        if way == "append":
            self.must_not(model.append, other)
            again = seed % 3 == 0 and in_features(model) == out_features(model)
            if str(len(model)) in dict(model.named_children()):  # in a part of another model
                self.must_not(model.append, linear)
            else:
                self.changing(model.append, next(iter(model)) if again else linear)
        elif way == "setattr":
            self.must_not(setattr, model, "forward", linear)
            self.changing(setattr, model, f"more{len(model)}{seed}", linear)
        elif way == "insert":
            self.changing(model.insert, seed % (len(model) + 1), activation)
        elif places and way == "setitem":
            place = places[seed % len(places)]
            old = model[place]
            if len(linears(model)) > 1:
                self.must_not(model.__setitem__, place, other)
            new = nn.Linear(old.in_features, old.out_features, rng=seed, dtype=dtype)
            self.changing(model.__setitem__, place, new)
        elif way == "delitem":
            with_linears = (nn.Linear, nn.Sequential, nn.Residual)
            passing = [place for place, part in enumerate(model) if not isinstance(part, with_linears)]
            if passing:
                self.changing(model.__delitem__, passing[seed % len(passing)])
            self.must_not(model.__delitem__, len(model))
        self.note(model)

    @rule(number=SEEDS, start=SEEDS, length=st.integers(1, 3))
    def slice(self, number, start, length):
        """A part of a model as a model of its own, with the same modules."""
        model = self.pick(number)
        start %= len(model)
        part = self.changing(model.__getitem__, slice(start, start + length))
        assert list(part) == list(model)[start : start + length]
        if linears(part):
            self.add(part)

    @rule(number=SEEDS, training=st.booleans())
    def switch(self, number, training):
        model = self.pick(number)
        assert self.must(model.train, training) is model
        assert all(module.training == training for module in model.modules())

    @rule(number=SEEDS, to=st.sampled_from(DTYPES), way=st.sampled_from(["float", "to"]))
    def convert(self, number, to, way):
        model = self.pick(number)
        before = {parameter: parameter.data.copy() for parameter in model.parameters()}
        function = {"f": model.float, "d": model.double}[to.char] if way == "float" else lambda: model.to("cpu", to)
        self.memory.note_unsure(model.parameters())
        self.changing(function)
        with numpy.errstate(over="ignore"):
            for parameter, data in before.items():
                numpy.testing.assert_array_equal(parameter.data, data.astype(to))
        self.note_all()
        for other in [other for other in self.models if len(dtypes(other)) > 1]:
            for dtype in DTYPES:  # some of its parameters were another model's too
                self.must_not(other, numpy.ones((2, in_features(other)), dtype))
            self.models.remove(other)

    @rule(number=SEEDS)
    def drop(self, number):
        if len(self.models) > 1:
            del self.models[number % len(self.models)]
