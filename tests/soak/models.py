"""Models that are built, called, changed and exchanged in a drawn order, and what each call must leave behind.

After each call every parameter and gradient must be what the references of :mod:`oracles` say, or what it was before
where the call raised; nothing else may have changed.
"""

from __future__ import annotations

import copy
import pickle
from itertools import count, pairwise

import hypothesis.strategies as st
import numpy
import oracles
from calls import Caller, assert_near, network, out_features, tame
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from strange import READ, REFUSED, VALUES, WILD, fill

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
        self.memory = {}  # by leaf: which forward it remembers, and of what
        self.handed = []  # arrays that went in or came out: (array, forward)
        self.tokens = count()

    def note(self, model):
        for parameter in model.parameters():
            self.expected[parameter] = (parameter.data.copy(), parameter.grad.copy())

    def add(self, model):
        self.models = [*self.models[-5:], model]
        known = {parameter for model in self.models for parameter in model.parameters()}
        self.expected = {parameter: values for parameter, values in self.expected.items() if parameter in known}
        self.note(model)

    def pick(self, number):
        return self.models[number % len(self.models)]

    @invariant()
    def nothing_else_has_changed(self):
        for parameter, (data, grad) in self.expected.items():
            numpy.testing.assert_array_equal(parameter.data, data)
            numpy.testing.assert_array_equal(parameter.grad, grad)

    # ------------------------------------------------------------------ construct
    @initialize(widths=st.lists(WIDTHS, min_size=2, max_size=4), dtype=st.sampled_from(DTYPES), seed=SEEDS)
    def first(self, widths, dtype, seed):
        self.build(widths, dtype, seed, "default", True)

    @rule(
        widths=st.lists(WIDTHS, min_size=2, max_size=4), dtype=st.sampled_from(DTYPES), seed=SEEDS, bias=st.booleans(),
        init=st.sampled_from(["default", "zeros", "xavier_normal", "kaiming_uniform", None]),
    )  # fmt: skip
    def build(self, widths, dtype, seed, init, bias):
        kinds = (None, nn.ReLU, nn.Tanh, nn.Sigmoid)
        leaves = []
        for place, (i, o) in enumerate(pairwise(widths)):
            leaves.append(self.must(nn.Linear, i, o, bias, init=init, rng=seed + place, dtype=dtype))
            kind = kinds[(seed + place) % 4]
            leaves += [kind()] if kind else []
        self.add(self.must(nn.Sequential, *leaves))

    @rule(data=st.data(), name=st.sampled_from(sorted(BAD_LINEAR)))
    def build_badly(self, data, name):
        wrong = data.draw(st.sampled_from(BAD_LINEAR[name]))
        self.must_not(nn.Linear, **{"in_features": 2**40, "out_features": 2**40 if wrong == 2**40 else 3, name: wrong}
                      if name == "in_features" else {"in_features": 5, "out_features": 3, name: wrong})  # fmt: skip

    @rule(number=SEEDS, other=SEEDS, wrong=st.sampled_from([None, "ReLU", nn.ReLU, 3]))
    def build_of_others(self, number, other, wrong):
        """Modules that are in another model already, twice the same, and what is no module."""
        model, behind = self.pick(number), self.pick(other)
        leaves, more = list(model), list(behind)
        self.must_not(nn.Sequential, *leaves, leaves[0])
        self.must_not(nn.Sequential, *leaves, wrong)
        if next(model.parameters()).dtype != next(behind.parameters()).dtype:
            self.must_not(nn.Sequential, *leaves, *more)
        elif leaves[0] is not more[0] and not set(leaves) & set(more) and out_features(model) == more[0].in_features:
            self.add(self.must(nn.Sequential, *leaves, *more))
        else:
            self.add(self.must(nn.Sequential, *leaves[: 1 + number % len(leaves)]))

    @rule(number=SEEDS, way=st.sampled_from(["copy", "deepcopy", "pickle", "dtype"]))
    def duplicate(self, number, way):
        model = self.pick(number)
        if way == "dtype":
            own = next(model.parameters()).dtype
            other = DTYPES[own == DTYPES[0]]
            leaves = [
                nn.Linear(leaf.in_features, leaf.out_features, leaf.bias is not None, dtype=other)
                if isinstance(leaf, nn.Linear) else type(leaf)()
                for leaf in model
            ]  # fmt: skip
            twin = self.must(nn.Sequential, *leaves)
            self.must(twin.load_state_dict, model.state_dict())
        else:
            ways = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m))}
            twin = self.must(ways[way], model)
        with numpy.errstate(over="ignore"):  # beyond float32 is infinity
            for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
                numpy.testing.assert_array_equal(theirs.data, mine.data.astype(theirs.dtype))
        self.add(twin)

    @rule(number=SEEDS, other=SEEDS, place=SEEDS, name=st.sampled_from(["weight", "bias"]))
    def share_a_parameter(self, number, other, place, name):
        linears = [[leaf for leaf in self.pick(n) if isinstance(leaf, nn.Linear)] for n in (number, other)]
        mine, theirs = (leaves[place % len(leaves)] for leaves in linears)
        value = getattr(theirs, name)
        fits = mine.weight.dtype == theirs.weight.dtype and (
            getattr(mine, name) is not None and value is not None and getattr(mine, name).shape == value.shape
        )
        if fits:
            self.must(setattr, mine, name, value)
            self.memory.pop(mine, None)
            for model in self.models:
                self.note(model)
        elif value is not None:
            self.call(setattr, mine, "weight", theirs.bias)
            self.must_not(setattr, mine, "weight", nn.Parameter(numpy.zeros((mine.out_features, 99), mine.dtype)))
        self.must_not(delattr, mine, name)

    @rule(number=SEEDS)
    def drop(self, number):
        if len(self.models) > 1:
            del self.models[number % len(self.models)]

    # ------------------------------------------------------------------ forward and backward
    def rows(self, model, n, seed, values, layout):
        leaf = next(iter(model))
        x = {**VALUES, **WILD}[values]((n, leaf.in_features), leaf.weight.dtype, seed)
        return READ[layout](x)

    @rule(
        number=SEEDS, n=st.sampled_from([1, 2, 7, 12]), seed=SEEDS, layout=st.sampled_from(sorted(READ)),
        values=st.sampled_from(["normal"] * 4 + [*VALUES, *WILD]),
    )  # fmt: skip
    def forward(self, number, n, seed, layout, values):
        model = self.pick(number)
        x = self.rows(model, n, seed, values, layout)
        prediction, output = self.must(model.predict, x), self.must(model.forward, x)
        numpy.testing.assert_array_equal(prediction, output)
        token = next(self.tokens)
        check = tame(x, *(parameter.data for parameter in model.parameters()))
        remembered = oracles.forward(network(model), x.astype("f8")) if check else None
        if check:
            assert_near(output, remembered[-1])
        for leaf in model:
            self.memory[leaf] = (token, model, remembered, (x, x.shape))
        self.handed = [*self.handed[-5:], (x, token), (output, token)]

    @rule(number=SEEDS, case=st.sampled_from(sorted(REFUSED)),
          where=st.sampled_from(["forward", "predict", "backward"]))  # fmt: skip
    def call_badly(self, number, case, where):
        model = self.pick(number)
        features = out_features(model) if where == "backward" else next(iter(model)).in_features
        self.must_not(getattr(model, where), REFUSED[case]((4, features), next(model.parameters()).dtype))

    @rule(number=SEEDS, seed=SEEDS, layout=st.sampled_from(sorted(READ)), parameters_only=st.booleans())
    def backward(self, number, seed, layout, parameters_only):
        model = self.pick(number)
        token, owner, values, (x, shape) = self.memory.get(next(iter(model)), (None, None, None, (None, None)))
        if owner is not model:
            shape = (4,)
        own = next(model.parameters()).dtype
        grad_output = READ[layout](VALUES["normal"]((shape[0], out_features(model)), own, seed))
        before = {parameter: parameter.grad.astype("f8") for parameter in model.parameters()}
        function = model.backward_parameters if parameters_only else model.backward
        result, error = self.call(function, grad_output)
        whole = owner is model and all(self.memory.get(leaf, [None])[0] == token for leaf in model)
        if error is not None:
            assert not whole or x.shape != shape or x.dtype != own, f"refused: {error}"
            return
        if whole and values is not None and x.shape == shape:
            self.compare_gradients(model, values, grad_output, before, None if parameters_only else result)
        self.note(model)

    @rule(number=SEEDS, place=SEEDS, n=st.sampled_from([1, 7, 12]), seed=SEEDS)
    def forward_of_a_module(self, number, place, n, seed):
        """A module of a model on its own: the model's next backward refuses it, or takes it for its own."""
        leaves = list(self.pick(number))
        place %= len(leaves)
        leaf = leaves[place]
        features = leaf.in_features if isinstance(leaf, nn.Linear) else leaves[place - 1].out_features
        x = VALUES["normal"]((n, features), leaves[0].weight.dtype, seed)
        output, token = self.must(leaf.forward, x), next(self.tokens)
        if tame(*(parameter.data for parameter in leaf.parameters())):
            assert_near(output, oracles.forward(network([leaf]), x.astype("f8"))[-1])
        self.memory[leaf] = (token, None, None, (x, x.shape))
        self.handed = [*self.handed[-5:], (x, token), (output, token)]

    @rule(number=SEEDS, seed=SEEDS)
    def backward_one_by_one(self, number, seed):
        """The modules' own backward after their model's forward."""
        model = self.pick(number)
        leaves, own = list(model), next(model.parameters()).dtype
        token, owner, values, (x, shape) = self.memory.get(leaves[0], (None, None, None, (None, None)))
        whole = owner is model and all(self.memory.get(leaf, [None])[0] == token for leaf in leaves)
        if not whole or (x.shape, x.dtype) != (shape, own):
            return
        grad_output = grad = VALUES["normal"]((shape[0], out_features(model)), own, seed)
        before = {parameter: parameter.grad.astype("f8") for parameter in model.parameters()}
        for leaf in reversed(leaves):
            grad = self.must(leaf.backward, grad)
        if values is not None:
            self.compare_gradients(model, values, grad_output, before, grad)
        self.note(model)

    def compare_gradients(self, model, values, grad_output, before, grad_input):
        layers = network(model)
        pre = [v for layer, v in zip(layers, values, strict=False) if layer == "ReLU"]
        weights = (array for layer in layers if not isinstance(layer, str) for array in layer)
        if any(((v != 0) & (numpy.abs(v) < 1e-4)).any() for v in pre) or not tame(*before.values(), *weights):
            return
        gradients, expected_input = oracles.backward(layers, values, grad_output.astype("f8"))
        total = dict(before)
        for leaf, pair in zip((leaf for leaf in model if isinstance(leaf, nn.Linear)), gradients, strict=True):
            for parameter, gradient in zip((leaf.weight, leaf.bias), pair, strict=True):
                if parameter is not None:
                    total[parameter] = total[parameter] + gradient
        for parameter, expected in total.items():
            assert_near(parameter.grad, expected)
        if grad_input is not None:
            assert_near(grad_input, expected_input)

    @precondition(lambda self: self.handed)
    @rule(number=SEEDS, way=st.sampled_from(["reshape", "resize", "freeze", "fill", "reverse"]))
    def mutate(self, number, way):
        """Change an array that the library was handed, or handed out, behind its back."""
        array, token = self.handed[number % len(self.handed)]
        if way == "reshape" and array.flags.c_contiguous:
            array.shape = array.shape[::-1]
        elif way == "resize" and array.flags.owndata and array.flags.writeable:
            array.resize((1, *array.shape[1:]), refcheck=False)
        elif way == "freeze":
            array.flags.writeable = False
        elif fill(array, 0.5 if way == "fill" else array[::-1].copy()):
            # The memory of an old output may hold a new one: modules use theirs again.
            touched = {token}
            for leaf, remembered in self.memory.items():
                if numpy.shares_memory(array, leaf._last_forward.output):
                    touched.add(remembered[0])
            for leaf, remembered in self.memory.items():
                if remembered[0] in touched:
                    self.memory[leaf] = (token, remembered[1], None, remembered[3])
