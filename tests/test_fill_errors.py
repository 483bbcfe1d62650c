"""What the initialisers that fill in place refuse, before anything is written."""

import math
import re

import numpy
import pytest
import torch
from fills import ARGUMENTS, DRAWING, FILLS, fill, weight
from helpers import leaf

from fastbp import nn

init = nn.init


def refused(error, match, call):
    parameter = weight(shape=(3, 4))
    with pytest.raises(error, match=match):
        call(parameter)
    assert (parameter.data == 7).all()


@pytest.mark.parametrize("name", [name for name in FILLS if name.startswith(("xavier", "kaiming", "orthogonal"))])
def test_a_bias_has_no_fans_as_in_torch(name):
    bias = numpy.zeros(3, numpy.float32)
    with pytest.raises(ValueError, match="2"):
        getattr(torch.nn.init, name)(leaf(bias))
    with pytest.raises(ValueError, match=rf"nn\.init\.{name} takes .*2 dimensions or more, got shape \(3,\)"):
        fill(name, bias)


@pytest.mark.parametrize("name", ["eye_", "sparse_"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_a_fill_for_matrices_takes_no_other_shape_as_in_torch(name, shape):
    with pytest.raises(ValueError, match="2 dimensions"):
        getattr(torch.nn.init, name)(torch.empty(shape), *ARGUMENTS.get(name, ()))
    with pytest.raises(ValueError, match=rf"nn\.init\.{name} takes .*2 dimensions, got shape {re.escape(str(shape))}"):
        fill(name, weight(shape=shape))


WRONG = {
    "a list": [[1.0]],
    "a layer": nn.Linear(3, 2),
    "a number": numpy.float32(1),
    "a shape": (3, 4),
    "a tensor": torch.ones(3, 4),
    "None": None,
}


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_filled_is_refused(name, wrong):
    match = rf"nn\.init\.{name} fills a Parameter or a NumPy array, .*, got {type(WRONG[wrong]).__name__}"
    with pytest.raises(TypeError, match=match):
        fill(name, WRONG[wrong])


@pytest.mark.parametrize("name", FILLS)
def test_an_array_of_another_dtype_or_read_only_is_refused(name):
    with pytest.raises(TypeError, match=rf"nn\.init\.{name} takes float32 or float64 arrays, got int64"):
        fill(name, numpy.ones((3, 4), numpy.int64))
    frozen = numpy.ones((3, 4))
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match=rf"nn\.init\.{name} writes .* got one that is read-only"):
        fill(name, frozen)


@pytest.mark.parametrize("name", DRAWING)
def test_generator_and_rng_together_and_a_torch_generator_are_refused(name):
    match = rf"nn\.init\.{name} takes generator or rng, .*got both"
    refused(TypeError, match, lambda w: fill(name, w, generator=1, rng=1))
    match = rf"nn\.init\.{name} takes rng as a numpy\.random\.Generator.*got <torch"
    refused(TypeError, match, lambda w: fill(name, w, generator=torch.Generator()))


NUMBERS = [
    ("constant_", "val"), ("uniform_", "a"), ("uniform_", "b"), ("normal_", "mean"), ("normal_", "std"),
    ("trunc_normal_", "mean"), ("trunc_normal_", "std"), ("trunc_normal_", "a"), ("trunc_normal_", "b"),
    ("xavier_uniform_", "gain"), ("xavier_normal_", "gain"), ("orthogonal_", "gain"),
    ("sparse_", "sparsity"), ("sparse_", "std"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "argument"), NUMBERS)
def test_what_is_no_number_is_refused_by_name(name, argument):
    required = {"sparsity": 0.5} if name == "sparse_" else {}
    for wrong in ("1", None, True, 1j, numpy.ones(3)):
        match = rf"nn\.init\.{name} takes {argument} as a number, got {re.escape(repr(wrong))}"
        refused(TypeError, match, lambda w, wrong=wrong: getattr(init, name)(w, **{**required, argument: wrong}))


OUT_OF_RANGE = {
    "a constant beyond float32": (lambda w: init.constant_(w, 1e300), r"constant_ takes val .*float32.*got 1e\+300"),
    "bounds the wrong way round": (lambda w: init.uniform_(w, 1, 0), r"uniform_ takes a <= b .*got a=1 and b=0"),
    "an interval without end": (lambda w: init.uniform_(w, 0, math.inf), r"uniform_ takes a finite b, got inf"),
    "a bound beyond float32": (lambda w: init.uniform_(w, 0, 4e38), r"uniform_ takes b within .* float32, got 4e\+38"),
    "an int beyond all floats": (lambda w: init.constant_(w, 10**400), r"constant_ takes a finite val, got 10"),
    "a negative deviation": (lambda w: init.normal_(w, 0, -1), r"normal_ takes a finite std of 0 or more, got -1"),
    "a negative gain": (lambda w: init.xavier_uniform_(w, -1), r"xavier_uniform_ takes a finite gain of 0 or more"),
    "a gain that is not a number": (lambda w: init.xavier_normal_(w, math.nan), r"xavier_normal_ takes a finite gain"),
    "a gain beyond float32": (lambda w: init.xavier_uniform_(w, 1e300), r"xavier_uniform_ takes .*float32"),
    "a mode": (lambda w: init.kaiming_normal_(w, mode="fan"), r"kaiming_normal_ takes mode .*got 'fan'"),
    "a nonlinearity": (lambda w: init.kaiming_normal_(w, nonlinearity="gelu"), r"calculate_gain knows .*, got 'gelu'"),
    "a slope": (lambda w: init.kaiming_uniform_(w, a=math.inf), r"calculate_gain takes a finite param, got inf"),
    "sparsity above 1": (lambda w: init.sparse_(w, 1.5), r"sparse_ takes sparsity from 0 to 1, got 1\.5"),
    "sparsity below 0": (lambda w: init.sparse_(w, -0.1), r"sparse_ takes .*sparsity.* got -0\.1"),
    "a deviation of 0": (lambda w: init.trunc_normal_(w, 0, 0), r"trunc_normal_ takes a std above 0, got 0"),
    "bounds out of reach": (lambda w: init.trunc_normal_(w, 0, 1, 40, 41), r"trunc_normal_ draws within 38 .*\[40"),
    "truncation the wrong way": (lambda w: init.trunc_normal_(w, a=1, b=-1), r"trunc_normal_ takes a <= b, got a=1"),
    "truncation at NaN": (lambda w: init.trunc_normal_(w, a=math.nan), r"trunc_normal_ takes a <= b, got a=nan"),
}  # fmt: skip


@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_numbers_out_of_range_are_refused_before_anything_is_written(case):
    call, match = OUT_OF_RANGE[case]
    refused(ValueError, rf"nn\.init\.{match}", call)


def test_an_interval_wider_than_all_floats_is_refused():
    with pytest.raises(ValueError, match=r"uniform_ takes .* a finite b - a, got a=-1e\+308 and b=1e\+308"):
        init.uniform_(numpy.ones(3), -1e308, 1e308)


def test_a_refused_fill_draws_nothing():
    rng = numpy.random.default_rng(0)
    before = rng.bit_generator.state
    refused(ValueError, "sparse_ takes sparsity", lambda w: init.sparse_(w, 2, rng=rng))
    refused(ValueError, "uniform_ takes a <= b", lambda w: init.uniform_(w, 2, 1, rng=rng))
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("param", [True, "0.1", [1]], ids=repr)
def test_a_slope_that_is_no_number_is_refused(param):
    with pytest.raises(TypeError, match=r"calculate_gain takes param as a number"):
        init.calculate_gain("leaky_relu", param)
