"""Public kernels refuse arguments that they are not written for, before anything is compiled or read from the cache.

Shapes: n samples, i inputs of a layer, o outputs, w twice as many.
"""

import inspect

import numpy
import pytest
from helpers import draw
from numba import njit
from numba.core.errors import TypingError

import fastbp_kernels
from fastbp_kernels import linear_forward, linear_forward_share, mse_forward, relu_forward, sgd_step

SIZES = {"n": 3, "i": 4, "o": 5, "w": 10}
FORWARD = ({"input": "no"}, {"output": "no"})
BACKWARD = ({"grad_output": "no", "output": "no"}, {"grad_input": "no"})
INPUT_BACKWARD = ({"grad_output": "no", "input": "no"}, {"grad_input": "no"})
LINEAR_FORWARD = ({"input": "ni", "weight": "oi", "bias": "o"}, {"output": "no"})
LINEAR_BACKWARD_INPUT = ({"grad_output": "no", "weight": "oi"}, {"grad_input": "ni"})
LINEAR_BACKWARD_PARAMETERS = ({"grad_output": "no", "input": "ni"}, {"grad_weight": "oi", "grad_bias": "o"})
LINEAR_BACKWARD = (
    {"grad_output": "no", "input": "ni", "weight": "oi"},
    {"grad_weight": "oi", "grad_bias": "o", "grad_input": "ni"},
)

# The arrays that each kernel reads, and those that it writes. Where it takes any shape, here are two dimensions.
ARRAYS = {
    "activation_backward": ({"grad_output": "no", "saved": "no", "scalars": "i"}, {"grad_input": "no"}),
    "activation_forward": ({"input": "no", "scalars": "i"}, {"output": "no"}),
    "batch_norm_backward": (
        {"grad_output": "ni", "weight": "i", "normalized": "ni", "rstd": "i"},
        {"grad_input": "ni"},
    ),
    "batch_norm_forward": (
        {"input": "ni", "weight": "i", "bias": "i"},
        {"running_mean": "i", "running_variance": "i", "normalized": "ni", "rstd": "i", "output": "ni"},
    ),
    "cross_entropy_forward": ({"logits": "no", "weight": "o"}, {}),
    "cross_entropy_forward_backward": ({"logits": "no", "weight": "o"}, {"grad": "no"}),
    "dropout_forward": FORWARD,
    "embedding_backward": ({"grad_output": "no"}, {"grad_weight": "io"}),
    "embedding_forward": ({"weight": "io"}, {"output": "no"}),
    "exp_forward": FORWARD,
    "gelu_backward": INPUT_BACKWARD,
    "gelu_forward": FORWARD,
    "gelu_tanh_backward": INPUT_BACKWARD,
    "gelu_tanh_forward": FORWARD,
    "glu_backward": ({"grad_output": "no", "input": "nw"}, {"grad_input": "nw"}),
    "glu_forward": ({"input": "nw"}, {"output": "no"}),
    "layer_norm_backward": (
        {"grad_output": "ni", "weight": "i", "normalized": "ni", "rstd": "n"},
        {"grad_input": "ni"},
    ),
    "layer_norm_backward_parameters": (
        {"grad_output": "ni", "normalized": "ni"},
        {"grad_weight": "i", "grad_bias": "i"},
    ),
    "layer_norm_forward": (
        {"input": "ni", "weight": "i", "bias": "i"},
        {"normalized": "ni", "rstd": "n", "output": "ni"},
    ),
    "linear_backward": LINEAR_BACKWARD,
    "linear_backward_input": LINEAR_BACKWARD_INPUT,
    "linear_backward_input_share": LINEAR_BACKWARD_INPUT,
    "linear_backward_parameters": LINEAR_BACKWARD_PARAMETERS,
    "linear_backward_parameters_share": LINEAR_BACKWARD_PARAMETERS,
    "linear_backward_share": LINEAR_BACKWARD,
    "linear_forward": LINEAR_FORWARD,
    "linear_forward_share": LINEAR_FORWARD,
    "log_softmax_backward": BACKWARD,
    "log_softmax_forward": FORWARD,
    "mse_forward": ({"prediction": "no", "target": "no"}, {}),
    "mse_forward_backward": ({"prediction": "no", "target": "no"}, {"grad": "no"}),
    "prelu_backward": ({"grad_output": "ni", "input": "ni", "weight": "i"}, {"grad_input": "ni"}),
    "prelu_backward_parameters": (
        {"grad_output": "ni", "input": "ni"},
        {"terms": "ni", "sums": "i", "grad_weight": "i"},
    ),
    "prelu_forward": ({"input": "ni", "weight": "i"}, {"output": "ni"}),
    "relu_backward": BACKWARD,
    "relu_forward": FORWARD,
    "rms_norm_backward": (
        {"grad_output": "ni", "weight": "i", "normalized": "ni", "rstd": "n"},
        {"grad_input": "ni"},
    ),
    "rms_norm_forward": ({"input": "ni", "weight": "i"}, {"normalized": "ni", "rstd": "n", "output": "ni"}),
    "sgd_step": ({"grad": "oi"}, {"parameter": "oi"}),
    "sigmoid_backward": BACKWARD,
    "sigmoid_forward": FORWARD,
    "softmax_backward": BACKWARD,
    "softmax_forward": FORWARD,
    "tanh_backward": BACKWARD,
    "tanh_forward": FORWARD,
}
INDICES = {name: numpy.zeros(SIZES["n"], numpy.int64) for name in ("classes", "index")}
NUMBERS = INDICES | {"rank": 0, "ranks": 1, "lr": 0.1, "factor": 2.0} | {
    "activation": 6, "eps": 1e-5, "momentum": 0.1, "takes_batch": 1,
    "seed": 1, "forwards": 2, "threshold": 3, "scale": 1.0, "kept": 0.0, "dropped": 0.0
}  # fmt: skip

# What takes the place of a good array, and what the error says of it.
BAD = {
    "Fortran order": (numpy.asfortranarray, "takes {} as a C-contiguous array.*, got a Fortran-ordered one; .*copy"),
    "strides": (lambda array: array.repeat(2, -1)[..., ::2], "takes {} as a C-contiguous array.*, got a strided one"),
    "one dimension more": (lambda array: array[None], r"takes .*shape.*\b[23] dimensions.*; reshape"),
    "one dimension less": (lambda array: array[0, ...], r"takes .*shape.*\b[01] dimension.*; reshape"),
    "another dtype": (lambda array: array.astype(numpy.float64), "takes arrays of one dtype, got .*{} of float64.*;"),
    "int32": (lambda array: array.astype(numpy.int32), "takes {} as an array of float32 or float64, got int32; "),
    "float16": (lambda array: array.astype(numpy.float16), "takes {} as an array of float32 or float64, got float16; "),
    "complex64": (lambda array: array.astype(numpy.complex64), "takes {} as an array of .*, got complex64; "),
    "bool": (lambda array: array.astype(bool), "takes {} as an array of float32 or float64, got bool; "),
    "objects": (lambda array: array.astype(object), "takes {} as an array of float32 or float64, got pyobject; "),
    "list": (lambda array: array.tolist(), "takes {} as an array.*, got a list; hand over a NumPy array"),
    "tuple": (lambda array: tuple(array), "takes {} as an array.*, got a tuple; hand over a NumPy array"),
    "None": (lambda array: None, "takes {} as an array.*, got None; hand over a NumPy array"),
    "number": (lambda array: 1.0, "takes {} as an array.*, got float64; hand over a NumPy array"),
    "buffer": (memoryview, "takes {} as an array.*, got memoryview.*; hand over a NumPy array"),
    "object": (lambda array: object(), "takes {} as an array.*, got an object that numba has no type for; "),
}


def named(name):
    return getattr(fastbp_kernels, name)


def arguments_of(name):
    """Good arguments by name, in the order in which the kernel takes them."""
    reads, writes = ARRAYS[name]
    shapes = {array: [SIZES[letter] for letter in letters] for array, letters in (reads | writes).items()}
    parameters = inspect.signature(named(name).py_func).parameters
    return {p: draw(shapes[p], numpy.float32) if p in shapes else NUMBERS[p] for p in parameters}


def work_done(kernel):
    """What was compiled and what was looked for in the cache."""
    return kernel.signatures, dict(kernel.stats.cache_hits), dict(kernel.stats.cache_misses)


def assert_refused(name, arguments, sentence):
    before = work_done(named(name))
    with pytest.raises(TypeError, match=f"^{name} {sentence}"):
        named(name)(*arguments.values())
    assert work_done(named(name)) == before


def test_every_public_kernel_is_in_the_table_of_this_file():
    assert set(ARRAYS) == set(fastbp_kernels.__all__)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_kernel_takes_what_it_documents_and_compiled_code_calls_it_too(name):
    kernel, (reads, writes) = named(name), ARRAYS[name]
    before, ours, of_compiled_code = (arguments_of(name) for _ in range(3))
    for arguments in (before, ours, of_compiled_code):
        for array in writes:
            arguments[array].fill(7)
    result = kernel(*ours.values())
    assert njit(lambda *arguments: kernel(*arguments))(*of_compiled_code.values()) == result
    for array in reads | writes:
        numpy.testing.assert_array_equal(ours[array], of_compiled_code[array])
    for array in reads.keys() - writes.keys():
        numpy.testing.assert_array_equal(ours[array], before[array])
    changed = [array for array in writes if not numpy.array_equal(ours[array], before[array])]
    assert changed or result is not None


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ARRAYS)
def test_each_array_that_does_not_fit_is_refused_with_its_name_and_a_remedy(name, bad):
    spoil, sentence = BAD[bad]
    reads, writes = ARRAYS[name]
    for argument, letters in (reads | writes).items():
        if bad == "Fortran order" and len(letters) == 1:  # which is C order too
            continue
        if bad == "another dtype" and len(reads | writes) == 1:  # which is that of all arrays
            continue
        arguments = arguments_of(name)
        assert_refused(name, arguments | {argument: spoil(arguments[argument])}, sentence.format(argument))


@pytest.mark.parametrize("name", ARRAYS)
def test_a_read_only_array_is_refused_where_a_kernel_writes(name):
    for argument in ARRAYS[name][1]:
        arguments = arguments_of(name)
        arguments[argument].flags.writeable = False
        assert_refused(name, arguments, f"writes to {argument}, got a read-only array; hand over a writeable one")


@pytest.mark.parametrize("name", ARRAYS)
def test_what_is_no_number_is_refused_where_a_kernel_takes_one(name):
    arguments = arguments_of(name)
    for argument in arguments.keys() & NUMBERS.keys() - INDICES.keys():
        wrong = [None, 1j, numpy.ones(2)] + [1.5] * argument.startswith("rank")
        for number in wrong:
            assert_refused(name, arguments | {argument: number}, f"takes {argument} as an? (int|number), got ")


def test_the_sentences_read_like_this():
    x, weight, bias, y = arguments_of("linear_forward").values()
    with pytest.raises(TypeError) as raised:
        linear_forward(numpy.asfortranarray(x), weight, bias, y)
    assert str(raised.value) == (
        "linear_forward takes input as a C-contiguous array of shape (n, i), got a Fortran-ordered one; "
        "copy it: numpy.ascontiguousarray(input)"
    )
    with pytest.raises(TypeError) as raised:
        linear_forward(x, weight, None, y)
    assert str(raised.value) == (
        "linear_forward takes bias as an array of shape (o,) or (0,), got None; "
        "hand over a NumPy array of float32 or float64, for none numpy.empty(0, dtype)"
    )
    with pytest.raises(TypeError) as raised:
        relu_forward(x, x[0].copy())
    assert str(raised.value) == (
        "relu_forward takes arrays of one shape, got input of 2 dimensions and output of 1 dimension; "
        "reshape one of them"
    )


def test_read_only_arrays_are_read_and_numbers_of_either_kind_taken():
    x, y = numpy.array([-1, 2], numpy.float32), numpy.zeros(2, numpy.float32)
    x.flags.writeable = False
    relu_forward(x, y)
    sgd_step(y, x, 1)
    sgd_step(y, x, 0.5)
    assert y.tolist() == [1.5, -1.0]


def test_a_call_with_types_that_are_compiled_is_not_checked_again(monkeypatch):
    x = numpy.ones(2, numpy.float32)
    relu_forward(x, x)

    def fail(signature):
        raise AssertionError(signature)

    monkeypatch.setattr(relu_forward, "compile", fail)
    relu_forward(x, x)
    with pytest.raises(AssertionError):
        relu_forward(x[None], x[None, None])


def test_code_that_is_there_is_not_used_for_arrays_that_do_not_fit_it():
    x, y = numpy.ones((3, 3), numpy.float32), numpy.zeros((3, 3), numpy.float32)
    relu_forward(x, y)
    frozen = y.copy()
    frozen.flags.writeable = False
    for input, output in ((x.T, y), (x[:, ::2], y), (x, y.T), (x[0], y), (x, frozen), (x.astype(int), y)):
        with pytest.raises(TypeError, match=r"relu_forward (takes|writes)"):
            relu_forward(input, output)


@njit
def transposed(x, weight, bias, y):
    linear_forward(x.T, weight, bias, y)


@njit
def every_other(x, weight, bias, y):
    linear_forward_share(0, 1, x, weight[:, ::2], bias, y)


@njit
def of_a_list(x, weight, bias, y):
    linear_forward(x, weight, [1.0, 2.0], y)


@njit
def of_nothing(x, weight, bias, y):
    linear_forward(x, weight, None, y)


@njit
def of_two_dtypes(x, weight, bias, y):
    mse_forward(x, x.astype(numpy.float64))


@njit
def of_a_row(x, weight, bias, y):
    relu_forward(x, y[0])


@njit
def by_half_a_thread(x, weight, bias, y):
    linear_forward_share(0.5, 1, x, weight, bias, y)


COMPILED = {
    transposed: "linear_forward takes input as a C-contiguous array .*, got a Fortran-ordered one; copy",
    every_other: "linear_forward_share takes weight as a C-contiguous array .*, got a strided one; copy",
    of_a_list: "linear_forward takes bias as an array .*, got a list; hand over",
    of_nothing: "linear_forward takes bias as an array .*, got None; hand over .*, for none numpy.empty",
    of_two_dtypes: "mse_forward takes arrays of one dtype, got prediction of float32 and target of float64; convert",
    of_a_row: "relu_forward takes arrays of one shape, got input of 2 dimensions and output of 1 dimension; reshape",
    by_half_a_thread: "linear_forward_share takes rank as an int, got float64",
}


@pytest.mark.parametrize("function", COMPILED, ids=lambda function: function.__name__)
def test_compiled_code_that_hands_over_what_does_not_fit_is_told_the_same(function):
    before = work_done(linear_forward), work_done(linear_forward_share)
    with pytest.raises(TypingError, match=COMPILED[function]):
        function(*arguments_of("linear_forward").values())
    assert (work_done(linear_forward), work_done(linear_forward_share)) == before


@pytest.mark.parametrize("name", ["cross_entropy_forward", "cross_entropy_forward_backward"])
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (numpy.zeros(SIZES["n"], numpy.int32), "takes classes as an array of int64, got int32; convert it"),
        (numpy.zeros(SIZES["n"]), "takes classes as an array of int64, got float64; convert it"),
        (numpy.zeros((SIZES["n"], 1), numpy.int64), r"takes classes as an array of shape \(n,\), got one of 2"),
        (numpy.zeros(2 * SIZES["n"], numpy.int64)[::2], "takes classes as a C-contiguous array"),
    ],
    ids=["int32", "float64", "a column", "strides"],
)
def test_class_indices_that_do_not_fit_are_refused_with_a_remedy(name, wrong, sentence):
    assert_refused(name, arguments_of(name) | {"classes": wrong}, sentence)
