"""Forwards, losses and backwards of models and their parts, in any order, with arrays that come from one another."""

from __future__ import annotations

import copy

import hypothesis.strategies as st
import numpy
import oracles
from calls import assert_near, tame
from hypothesis.stateful import precondition, rule
from kinds import (
    dtype_of,
    forward_one_by_one,
    has_modes,
    has_own,
    in_features,
    is_known,
    leaves,
    linears,
    network,
    out_features,
    predicts_otherwise,
    takes_batches,
)
from models import SEEDS, Models
from remembered import EITHER, REFUSED, TAKEN, Handed
from strange import READ, VALUES, WILD, fill
from strange import REFUSED as REFUSED_ARRAYS

import fastbp
from fastbp import nn


class Passes(Models):
    """What may follow what: see :mod:`remembered`."""

    def __init__(self):
        super().__init__()
        self.criteria = [nn.MSELoss(), nn.MSELoss("sum")]

    # ------------------------------------------------------------------ forward
    def run_forward(self, module, x, source=None, is_recorded=True):
        """Call a module and return whether it took the input: there are no statistics of one row."""
        if len(x) == 1 and takes_batches(module):
            self.must_not(module, x)
            self.memory.note_calls(module)
            return False
        numbers = numpy.array(x)
        twin, start = None, fastbp.tensor(numbers, requires_grad=True)
        if not (is_known(module) or has_own(module)):
            twin = copy.deepcopy(module)
            prediction = forward_one_by_one(copy.deepcopy(twin).eval(), numbers)
            numpy.testing.assert_array_equal(self.must(module.predict, x), prediction)
            twin = (twin, start, forward_one_by_one(twin, start))
        prediction = self.must(module.predict, x)
        with fastbp.enable_grad() if is_recorded else fastbp.no_grad():
            output = self.must(module, x)
        assert output.requires_grad == is_recorded
        if twin is not None:
            numpy.testing.assert_array_equal(output, twin[-1])
        if not (predicts_otherwise(module) or has_modes(module)):
            numpy.testing.assert_array_equal(prediction, output)
        assert prediction.flags.writeable, "a prediction is the caller's"
        self.note_statistics(module)
        values, parameters = None, [parameter.data for parameter in module.parameters()]
        if tame(numbers, *parameters) and linears(module) and is_known(module):
            values = oracles.forward(network(module), numbers.astype("f8"))
            assert_near(numpy.asarray(output), values[-1])
        source = source if is_recorded and source is not None and source.made_by.is_recorded else None
        self.memory.note_pass(module, x, output, source, values, twin, is_recorded)
        return True

    @rule(
        number=SEEDS, n=st.sampled_from([1, 2, 7, 12]), seed=SEEDS, layout=st.sampled_from(sorted(READ)),
        values=st.sampled_from(["normal"] * 4 + [*VALUES, *WILD]), is_recorded=st.sampled_from([True] * 5 + [False]),
    )  # fmt: skip
    def forward(self, number, n, seed, layout, values, is_recorded):
        self.draw_forward(self.pick(number), n, seed, layout, values, is_recorded)

    def draw_forward(self, model, n, seed, layout, values, is_recorded=True):
        x = {**VALUES, **WILD}[values]((n, in_features(model)), dtype_of(model), seed)
        return self.run_forward(model, READ[layout](x), None, is_recorded)

    @rule(number=SEEDS, place=SEEDS, n=st.sampled_from([1, 7, 12]), seed=SEEDS)
    def forward_of_a_module(self, number, place, n, seed):
        """A layer of a model on its own."""
        own = linears(self.pick(number))
        leaf = own[place % len(own)]
        self.run_forward(leaf, VALUES["normal"]((n, leaf.in_features), leaf.dtype, seed))

    @rule(number=SEEDS, is_recorded=st.sampled_from([True] * 5 + [False]))
    def forward_of_what_came_out(self, number, is_recorded):
        """An output or a gradient of any model as the input of any other or of the same."""
        given = [
            (handed, model)
            for handed in (*self.memory.outputs, *self.gradients)
            for model in self.models
            if handed.array.shape[1:] == (in_features(model),) and handed.array.dtype == dtype_of(model)
        ]  # fmt: skip
        if given:
            handed, model = given[number % len(given)]
            self.run_forward(model, handed.array, handed if handed.made_by else None, is_recorded)

    @rule(number=SEEDS, case=st.sampled_from(sorted(REFUSED_ARRAYS)),
          where=st.sampled_from(["__call__", "predict", "backward"]))  # fmt: skip
    def call_badly(self, number, case, where):
        model = self.pick(number)
        features = out_features(model) if where == "backward" else in_features(model)
        if where == "backward" and has_own(model):
            return  # what their methods do with it is their user's
        self.must_not(getattr(model, where), REFUSED_ARRAYS[case]((4, features), dtype_of(model)))
        if has_own(model) or (where == "__call__" and not isinstance(leaves(model)[0], nn.Linear)):
            self.memory.note_calls(model)  # the first ones may have taken it

    # ------------------------------------------------------------------ backward
    def loss_of(self, handed, seed):
        """Return a loss of an output, what computed it, and its gradient."""
        output, criterion = handed.array, self.criteria[seed % len(self.criteria)]
        target = VALUES["normal"](output.shape, output.dtype, seed)
        loss = self.must(criterion, output, target)
        gradient = self.must(criterion.backward, retain_graph=True)
        numbers = numpy.array(output)
        if tame(numbers):
            expected = oracles.mse(numbers, target, criterion.reduction)
            assert_near(numpy.asarray(loss, output.dtype), numpy.asarray(expected[0]))
            assert_near(numpy.asarray(gradient), expected[1])
        return loss, criterion, gradient

    @precondition(lambda self: self.memory.outputs)
    @rule(number=SEEDS, seed=SEEDS, retain=st.booleans())
    def loss_of_an_output(self, number, seed, retain):
        """The gradient of a loss belongs to the output that the loss was of."""
        handed = self.memory.outputs[-1 - number % min(3, len(self.memory.outputs))]
        if handed.array.size:
            _, criterion, _ = self.loss_of(handed, seed)
            gradient = self.must(criterion.backward, retain_graph=retain)
            (self.must if retain else self.must_not)(criterion.backward)
            of = handed if handed.made_by.is_recorded else None
            self.gradients = [*self.gradients[-3:], Handed(gradient, of=of)]

    def gradient(self, module, number, seed, layout):
        """A gradient for the module's last output: of those that came out, if one fits, or of the user's own."""
        last = self.memory.last.get(module)
        shape = last.out_shape if last else (4, out_features(module))
        came = [
            handed
            for handed in self.gradients
            if handed.array.dtype == dtype_of(module)
            and (handed.array.shape == shape if last else handed.array.shape[1:] == shape[1:])
        ]
        if came and seed % 4:
            return came[-1 - number % len(came)]
        return Handed(READ[layout](VALUES["normal"](shape, dtype_of(module), seed)))

    def pick_called(self, number):
        """One of the modules whose last pass is known, or any model."""
        called = [owner for owner in self.memory.last if {*owner.parameters()} <= self.expected.keys()]
        return called[number // 8 % len(called)] if called and number % 8 else self.pick(number)

    @rule(
        number=SEEDS, place=st.sampled_from([None] * 8 + [0, 1, 2]), seed=SEEDS,
        layout=st.sampled_from(sorted(READ)), parameters_only=st.booleans(), retain=st.booleans(),
    )  # fmt: skip
    def backward_of_a_module(self, number, place, seed, layout, parameters_only, retain):
        module = self.pick_called(number)
        if place is not None:
            module = linears(module)[place % len(linears(module))]
        self.run_backward(module, self.gradient(module, number, seed, layout), parameters_only, retain)

    def run_backward(self, module, handed, parameters_only, retain):
        """Go back by the module's own ``backward``, from its last output to its input."""
        last, verdict = self.memory.verdict_of_module(module, handed)
        numbers = numpy.array(handed.array)
        function = module.backward_parameters if parameters_only else module.backward
        is_comparable = last is not None and self.memory.is_comparable(last)
        before = {parameter: parameter.kernel_grad.astype("f8") for parameter in (last.changes if last else ())}
        result, error = self.call(function, handed.array, **({"retain_graph": True} if retain else {}))
        passes = [last] if last else []
        if not self.judge(module, passes, verdict, error, retain):
            return
        found = last.gradients(numbers) if is_comparable else None
        if found is not None:
            self.compare(before, found[0])
            if not parameters_only:
                assert_near(numpy.asarray(result), found[1])
        self.note_gradients(passes)
        if last is not None and result is not None:
            assert result.flags.writeable, "a gradient is the caller's"
            self.gradients = [*self.gradients[-3:], Handed(result, of=EITHER if last.is_own else last.source)]

    def run_backward_of_an_output(self, handed, numbers, function, retain, *arguments):
        """Go back by ``function`` from an output, whose gradient is ``numbers``, to everything that it is made of."""
        passes = list(handed.made_by.along())
        is_comparable = all(self.memory.is_comparable(each) for each in passes)
        before = {parameter: parameter.kernel_grad.astype("f8") for each in passes for parameter in each.changes}
        verdict = self.memory.verdict(passes)
        _, error = self.call(function, *arguments, **({"retain_graph": True} if retain else {}))
        if not self.judge(handed.made_by.owner, passes, verdict, error, retain):
            return
        added = handed.gradients(numbers) if is_comparable else None
        if added is not None:
            self.compare(before, added)
        self.note_gradients(passes)

    def judge(self, module, passes, verdict, error, retain):
        """Hold a backward against the verdict, note what it did, and return whether it was taken."""
        if error is not None:
            assert verdict != TAKEN, f"refused: {error}"
            for each in passes:
                if each.is_own:  # a module before one with methods of its user's may have taken it
                    self.memory.tear(each.owner)
            if has_own(module) or any(each.is_own for each in passes):
                self.note_gradients(passes)
            return False
        assert verdict != REFUSED, "taken"
        self.memory.note_backward(passes, retain)
        if not passes or any(each.is_own for each in passes):
            self.memory.tear(module)
        return True

    def compare(self, before, added):
        if tame(*before.values(), *added.values()):
            for parameter, gradient in before.items():
                assert_near(parameter.kernel_grad, gradient + added[parameter])

    def note_gradients(self, passes):
        """Take the gradients as they are: all of them, where nobody knows which pass it was."""
        reached = {parameter for each in passes for parameter in each.changes}
        for parameter in reached & self.expected.keys() if passes else list(self.expected):
            self.expected[parameter] = (self.expected[parameter][0], parameter.kernel_grad.copy())

    @precondition(lambda self: self.memory.outputs)
    @rule(number=SEEDS, place=st.sampled_from([1, 1, 2, 3]), seed=SEEDS, retain=st.booleans(), again=st.booleans(),
          by=st.sampled_from(["loss", "hand", "module"]))  # fmt: skip
    def backward_of_an_output(self, number, place, seed, retain, again, by):
        """A loss of the last output or an earlier one, or a gradient for it, goes back by itself or by the module."""
        outputs = self.memory.outputs
        handed = outputs[-min(place, len(outputs))]
        if not handed.array.size:
            return
        loss, _, gradient = self.loss_of(handed, seed)
        numbers = numpy.array(gradient)
        for _ in range(1 + again):
            if by == "loss":
                self.run_backward_of_an_output(handed, numbers, loss.backward, retain)
            elif by == "hand":
                self.run_backward_of_an_output(handed, numbers, handed.array.backward, retain, numbers)
            else:
                of = handed if handed.made_by.is_recorded else None
                self.run_backward(handed.made_by.owner, Handed(gradient, of=of), False, retain)

    @rule(number=SEEDS, n=st.sampled_from([1, 7]), seed=SEEDS,
          way=st.sampled_from(["loss", "hand", "chain", "modules"]))  # fmt: skip
    def step_of_a_loop(self, number, n, seed, way):
        """Forward, loss and backward of a model, or of one behind it that gives it its gradient."""
        model = self.pick(number)
        if not self.draw_forward(model, n, seed, "contiguous", "normal"):
            return
        last = self.memory.outputs[-1]
        if way in ("chain", "modules"):
            behind = [other for other in self.models if in_features(other) == out_features(model)]
            behind = [other for other in behind if dtype_of(other) == dtype_of(model)]
            other = behind[seed % len(behind)] if behind else None
            if other is None or not self.run_forward(other, last.array, last):
                return
        loss, _, gradient = self.loss_of(self.memory.outputs[-1], seed)
        if way in ("loss", "chain"):
            self.run_backward_of_an_output(self.memory.outputs[-1], numpy.array(gradient), loss.backward, False)
            return
        handed = Handed(gradient, of=self.memory.outputs[-1])
        if way == "modules":
            self.run_backward(other, handed, False, False)
            handed = self.gradients[-1] if self.gradients else handed
        if handed.array.shape == last.array.shape:
            self.run_backward(model, handed, bool(seed % 2), False)

    @rule(number=SEEDS, seed=SEEDS, by=st.sampled_from(["output", "module"]), whole=st.booleans())
    def change_before_backward(self, number, seed, by, whole):
        """Write the parameters, or one of them, with the numbers that they have."""
        model = self.pick(number)
        if not self.draw_forward(model, 7, seed, "contiguous", "normal"):
            return
        handed, parameters = self.memory.outputs[-1], list(model.parameters())
        numbers = VALUES["normal"](handed.array.shape, handed.array.dtype, seed)
        if whole:
            self.must(model.load_state_dict, model.state_dict())
            self.memory.note_change(parameters)
        else:
            parameter = parameters[seed % len(parameters)]
            self.must(setattr, parameter, "data", parameter.data.copy())
            self.memory.note_change([parameter])
        if by == "output":
            self.run_backward_of_an_output(handed, numbers, handed.array.backward, False, numbers)
        else:
            self.run_backward(model, Handed(numbers), False, False)

    # ------------------------------------------------------------------ arrays of both
    @precondition(lambda self: self.memory.outputs)
    @rule(number=SEEDS, way=st.sampled_from(["part", "part", "give up", "write", "thaw", "reshape", "resize"]))
    def use_an_output(self, number, way):
        """Keep a part of it only, give it up, or try to write into it."""
        outputs = self.memory.outputs
        handed = outputs[number % len(outputs)]
        if way == "part" and not handed.index:
            index = (slice(number % 2, None), slice(None, None, 2))
            part = handed.array[index]
            if part.size < handed.array.size:
                outputs[number % len(outputs)] = Handed(part, handed.made_by, index, numbers=numpy.array(part).ravel())
        elif way == "give up":
            del outputs[number % len(outputs)]
        elif way in WRITES and not (way == "write" and not handed.made_by.is_recorded):
            try:
                WRITES[way](handed.array)
            except (AttributeError, RuntimeError, ValueError):
                return
            assert way == "thaw", "an output was written"

    @rule(number=SEEDS, way=st.sampled_from(["reshape", "resize", "freeze", "fill", "reverse"]))
    def mutate(self, number, way):
        """Change an array that the library was handed, or a gradient that it handed out, behind its back."""
        arrays = [
            array
            for array in (*self.memory.inputs, *(handed.array for handed in self.gradients))
            if not any(numpy.may_share_memory(array, output.array) for output in self.memory.outputs)
            and not isinstance(array, fastbp.Tensor)
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


def _reshape(tensor):
    tensor.shape = tensor.shape[::-1]


WRITES = {
    "write": lambda tensor: tensor.fill(0),
    "thaw": lambda tensor: tensor.setflags(write=True),
    "reshape": _reshape,
    "resize": lambda tensor: tensor.resize((1, 1), refcheck=False),
}
