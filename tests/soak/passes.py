"""Forwards, losses and backwards of models and their parts, in any order, with arrays that come from one another."""

from __future__ import annotations

import copy

import hypothesis.strategies as st
import numpy
import oracles
from calls import assert_near, tame
from hypothesis.stateful import precondition, rule
from kinds import (
    KINKS,
    backward_one_by_one,
    dtype_of,
    forward_one_by_one,
    has_modes,
    has_own,
    in_features,
    is_known,
    is_own,
    leaves,
    linears,
    network,
    out_features,
    owners,
    predicts_otherwise,
    takes_batches,
)
from models import SEEDS, Models
from remembered import REFUSED, TAKEN, Handed
from strange import READ, VALUES, WILD, fill
from strange import REFUSED as REFUSED_ARRAYS

from fastbp import nn


class Passes(Models):
    """What may follow what: see :mod:`remembered`."""

    def __init__(self):
        super().__init__()
        self.criteria = [nn.MSELoss(), nn.MSELoss("sum")]

    # ------------------------------------------------------------------ forward
    def run_forward(self, module, x, source=None):
        """Call forward and return whether it was taken: there are no statistics of one row."""
        if len(x) == 1 and takes_batches(module):
            self.must_not(module.forward, x)
            self.memory.note_structure(*leaves(module))  # the first ones have taken it
            return False
        twin = None if is_known(module) or has_own(module) else copy.deepcopy(module)
        prediction = self.must(module.predict, x)
        if twin is not None:
            expected = forward_one_by_one(copy.deepcopy(twin).eval(), numpy.array(x))
            numpy.testing.assert_array_equal(prediction, expected)
        output = self.must(module.forward, x)
        if twin is not None:
            numpy.testing.assert_array_equal(output, forward_one_by_one(twin, numpy.array(x)))
        if not (predicts_otherwise(module) or has_modes(module)):
            numpy.testing.assert_array_equal(prediction, output)
        assert prediction.flags.writeable, "a prediction is the caller's"
        self.note_statistics(module)
        parameters = (parameter.data for parameter in module.parameters())
        values = None
        if tame(x, *parameters) and linears(module) and is_known(module):
            values = oracles.forward(network(module), x.astype("f8"))
            assert_near(output, values[-1])
        forward = self.memory.note_forward(module, values, x, output, source, twin)
        self.memory.inputs = [*self.memory.inputs[-3:], Handed.of(x, source)]
        self.memory.outputs = [*self.memory.outputs[-4:], Handed.of(output, forward, output.ravel().copy())]
        return True

    @rule(
        number=SEEDS, n=st.sampled_from([1, 2, 7, 12]), seed=SEEDS, layout=st.sampled_from(sorted(READ)),
        values=st.sampled_from(["normal"] * 4 + [*VALUES, *WILD]),
    )  # fmt: skip
    def forward(self, number, n, seed, layout, values):
        self.draw_forward(self.pick(number), n, seed, layout, values)

    def draw_forward(self, model, n, seed, layout, values):
        x = {**VALUES, **WILD}[values]((n, in_features(model)), dtype_of(model), seed)
        return self.run_forward(model, READ[layout](x))

    @rule(number=SEEDS, place=SEEDS, n=st.sampled_from([1, 7, 12]), seed=SEEDS)
    def forward_of_a_module(self, number, place, n, seed):
        """A layer of a model on its own: the model's next backward is refused."""
        own = linears(self.pick(number))
        leaf = own[place % len(own)]
        self.run_forward(leaf, VALUES["normal"]((n, leaf.in_features), leaf.dtype, seed))

    @rule(number=SEEDS)
    def forward_of_what_came_out(self, number):
        """An output or a gradient of any model as the input of any other or of the same."""
        given = [
            (handed, model)
            for handed in (*self.memory.outputs, *self.gradients)
            for model in self.models
            if handed.array.ndim == 2 and handed.array.shape[1] == in_features(model)
            and handed.array.dtype == dtype_of(model)
        ]  # fmt: skip
        if given:
            handed, model = given[number % len(given)]
            is_output = handed.numbers is not None and handed.forward.has_token
            self.run_forward(model, handed.array, handed.token if is_output else None)

    @rule(number=SEEDS, case=st.sampled_from(sorted(REFUSED_ARRAYS)),
          where=st.sampled_from(["forward", "predict", "backward"]))  # fmt: skip
    def call_badly(self, number, case, where):
        model = self.pick(number)
        features = out_features(model) if where == "backward" else in_features(model)
        if where == "backward" and has_own(model):
            return  # what their methods do with it is their user's
        self.must_not(getattr(model, where), REFUSED_ARRAYS[case]((4, features), dtype_of(model)))
        if where == "forward" and not isinstance(leaves(model)[0], nn.Linear):
            self.memory.note_structure(*leaves(model))  # the first ones may have taken it

    # ------------------------------------------------------------------ backward
    @precondition(lambda self: self.memory.outputs)
    @rule(number=SEEDS, seed=SEEDS, retain=st.booleans())
    def loss_of_an_output(self, number, seed, retain):
        """The gradient of a loss belongs to the output that the loss was of."""
        handed = self.memory.outputs[-1 - number % min(3, len(self.memory.outputs))]
        output, criterion = handed.array, self.criteria[seed % len(self.criteria)]
        if not output.size:
            return
        target = VALUES["normal"](output.shape, output.dtype, seed)
        value = self.must(criterion, output, target)
        gradient = self.must(criterion.backward, retain_graph=retain)
        (self.must if retain else self.must_not)(criterion.backward)
        if tame(output):
            expected = oracles.mse(output, target, criterion.reduction)
            assert_near(numpy.asarray(value, output.dtype), numpy.asarray(expected[0]))
            assert_near(gradient, expected[1])
        token = handed.token if handed.forward.has_token else None
        self.gradients = [*self.gradients[-3:], Handed.of(gradient, token)]

    def gradient(self, module, number, seed, layout):
        """A gradient for the module's last output: of those that came out, if one fits, or of the user's own."""
        forward, _ = self.memory.verdict(module, Handed.of(numpy.empty(0), None))
        shape = (4, out_features(module)) if forward is None else forward.out_shape
        came = [
            handed
            for handed in self.gradients
            if handed.array.dtype == dtype_of(module)
            and (handed.array.shape == shape if forward else handed.array.shape[1:] == shape[1:])
        ]
        if came and seed % 4:
            return came[-1 - number % len(came)]
        return Handed.of(READ[layout](VALUES["normal"](shape, dtype_of(module), seed)), None)

    def pick_called(self, number):
        """One of the modules whose forwards something still remembers, or any model."""
        owners = dict.fromkeys(part.forward.owner for part in self.memory.parts.values())
        called = [owner for owner in owners if linears(owner) and set(owner.parameters()) <= self.expected.keys()]
        return called[number // 8 % len(called)] if called and number % 8 else self.pick(number)

    @rule(
        number=SEEDS, place=st.sampled_from([None] * 8 + [0, 1, 2]), seed=SEEDS,
        layout=st.sampled_from(sorted(READ)), parameters_only=st.booleans(), retain=st.booleans(),
    )  # fmt: skip
    def backward(self, number, place, seed, layout, parameters_only, retain):
        module = self.pick_called(number)
        if place is not None:
            module = linears(module)[place % len(linears(module))]
        self.run_backward(module, self.gradient(module, number, seed, layout), parameters_only, retain)

    @precondition(lambda self: self.memory.outputs)
    @rule(number=SEEDS, place=st.sampled_from([1, 1, 2, 3]), seed=SEEDS, retain=st.booleans(), again=st.booleans())
    def backward_of_a_loss(self, number, place, seed, retain, again):
        """The gradient for the last output or an earlier one goes to the module whose output it is."""
        outputs = self.memory.outputs
        handed = outputs[-min(place, len(outputs))]
        if handed.array.size:
            self.loss_of_an_output(len(outputs) - outputs.index(handed) - 1, seed, retain)
            gradient = self.gradients[-1]
            for _ in range(1 + again):
                self.run_backward(handed.forward.owner, gradient, False, retain)

    @rule(number=SEEDS, n=st.sampled_from([1, 7]), seed=SEEDS, way=st.sampled_from(["loss", "hand", "chain"]))
    def step_of_a_loop(self, number, n, seed, way):
        """Forward, loss and backward of a model, or of one behind it that gives it its gradient."""
        model = self.pick(number)
        if not self.draw_forward(model, n, seed, "contiguous", "normal"):
            return
        last = self.memory.outputs[-1]
        if way == "loss":
            self.loss_of_an_output(0, seed, False)
        elif way == "hand":
            self.gradients.append(self.gradient(model, 0, 0, "contiguous"))
        else:
            behind = [other for other in self.models if in_features(other) == out_features(model)]
            behind = [other for other in behind if dtype_of(other) == dtype_of(model)]
            if not behind:
                return
            other = behind[seed % len(behind)]
            if not self.run_forward(other, last.array, last.token if last.forward.has_token else None):
                return
            self.loss_of_an_output(0, seed, False)
            self.run_backward(other, self.gradients[-1], False, False)
        if self.gradients and self.gradients[-1].array.shape == last.shape:
            self.run_backward(model, self.gradients[-1], bool(seed % 2), False)

    def run_backward(self, module, handed, parameters_only, retain):
        forward, verdict = self.memory.verdict(module, handed)
        before = {parameter: parameter.kernel_grad.astype("f8") for parameter in module.parameters()}
        retain &= not (parameters_only and is_own(module))
        options = {"retain_graph": True} if retain else {}
        function = module.backward_parameters if parameters_only else module.backward
        numbers = handed.array.copy()
        result, error = self.call(function, handed.array, **options)
        if error is not None:
            assert verdict != TAKEN, f"refused: {error}"
            if has_own(module):
                self.note(module)  # a module before one with methods of its user's may have taken it
                self.memory.note_structure(*leaves(module))
            return
        assert verdict != REFUSED, "taken"
        self.memory.note_backward(module, retain)
        if retain and has_own(module):
            self.memory.note_structure(*leaves(module))
        if forward is not None and forward.values is not None and forward.is_whole and (
            len(forward.values) == 1 + len(network(module))  # not those of a model that doubles around its only layer
        ):  # fmt: skip
            self.compare_gradients(module, forward.values, numbers, before, None if parameters_only else result)
        if forward is not None and forward.twin is not None and forward.is_whole and forward.owner is module:
            self.compare_with_twin(module, forward.twin, numbers, before, None if parameters_only else result)
        self.note(module)
        if forward is not None and not parameters_only:
            assert result.flags.writeable, "a gradient is the caller's"
            self.gradients = [*self.gradients[-3:], Handed.of(result, forward.source)]

    @rule(number=SEEDS, seed=SEEDS)
    def backward_one_by_one(self, number, seed):
        """The modules' own backward after their model's forward."""
        model = self.pick_called(number)
        handed = self.gradient(model, number, seed, "contiguous")
        forward, verdict = self.memory.verdict(model, handed)
        containers = [part for part in model.modules() if isinstance(part, nn.Sequential | nn.Residual)]
        if verdict != TAKEN or any(is_own(part) or isinstance(part, nn.Residual) for part in containers):
            return
        before = {parameter: parameter.kernel_grad.astype("f8") for parameter in model.parameters()}
        grad, numbers = handed.array, handed.array.copy()
        for leaf in reversed(leaves(model)):
            grad = self.must(leaf.backward, grad)
        self.memory.note_backward(model, False)
        if forward.values is not None:
            self.compare_gradients(model, forward.values, numbers, before, grad)
        if forward.twin is not None and forward.is_whole and forward.owner is model:
            self.compare_with_twin(model, forward.twin, numbers, before, grad)
        self.note(model)

    def compare_with_twin(self, module, twin, grad_output, before, grad_input):
        """Compare with a copy whose modules were called one by one."""
        twin.zero_grad()
        expected_input = backward_one_by_one(twin, grad_output)
        for parameter, copied in zip(module.parameters(), twin.parameters(), strict=True):
            if tame(before[parameter], copied.kernel_grad):
                assert_near(parameter.kernel_grad, before[parameter] + copied.kernel_grad)
        if grad_input is not None and tame(expected_input):
            assert_near(grad_input, expected_input)

    def compare_gradients(self, model, values, grad_output, before, grad_input):
        layers = network(model)
        pairs = [(layer, v) for layer, v in zip(layers, values, strict=False) if isinstance(layer, str)]
        distances = [numpy.abs(v - kink) for layer, v in pairs for kink in KINKS.get(layer, ())]
        weights = (array for layer in layers if not isinstance(layer, str) for array in layer)
        near_a_kink = any(((distance != 0) & (distance < 1e-4)).any() for distance in distances)
        if near_a_kink or not tame(grad_output, *before.values(), *weights):
            return
        gradients, expected_input = oracles.backward(layers, values, grad_output.astype("f8"))
        total = dict(before)
        for leaf, pair in zip(owners(model), gradients, strict=True):
            for parameter, gradient in zip((leaf.weight, leaf.bias) if leaf else (), pair, strict=False):
                if parameter is not None:
                    total[parameter] = total[parameter] + gradient
        for parameter, expected in total.items():
            assert_near(parameter.kernel_grad, expected)
        if grad_input is not None:
            assert_near(grad_input, expected_input)

    # ------------------------------------------------------------------ arrays of both
    @precondition(lambda self: self.memory.outputs)
    @rule(number=SEEDS, way=st.sampled_from(["part", "part", "give up", "write", "thaw", "reshape"]))
    def use_an_output(self, number, way):
        """Keep a part of it only, give it up, or try to write into it."""
        outputs = self.memory.outputs
        handed = outputs[number % len(outputs)]
        if way == "part" and handed.array.ndim == 2:
            part = handed.array[number % 2 :, ::2]
            if part.size == handed.array.size:
                return  # all of it
            outputs[number % len(outputs)] = Handed(part, handed.forward, (), part.ravel().copy())
        elif way == "give up":
            del outputs[number % len(outputs)]
        elif way == "reshape" and handed.array.flags.c_contiguous:
            handed.array.shape = handed.array.shape[::-1]
        elif not handed.array.flags.writeable:
            try:
                handed.array.setflags(write=True) if way == "thaw" else handed.array.fill(0)
            except ValueError:
                return
            assert way != "write", "an output was written"

    @rule(number=SEEDS, way=st.sampled_from(["reshape", "resize", "freeze", "fill", "reverse"]))
    def mutate(self, number, way):
        """Change an array that the library was handed, or a gradient that it handed out, behind its back."""
        arrays = [
            handed.array
            for handed in (*self.memory.inputs, *self.gradients)
            if not any(numpy.may_share_memory(handed.array, output.array) for output in self.memory.outputs)
        ]
        if not arrays:
            return
        array = arrays[number % len(arrays)]
        if way == "reshape" and array.flags.c_contiguous:
            array.shape = array.shape[::-1]
        elif way == "resize" and array.flags.owndata and array.flags.writeable:
            array.resize((1, *array.shape[1:]), refcheck=False)
        elif way == "freeze":
            array.flags.writeable = False
        elif fill(array, 0.5 if way == "fill" else array[::-1].copy()):
            self.memory.forget_values(array)
