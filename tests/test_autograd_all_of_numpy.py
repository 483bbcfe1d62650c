"""Whatever of NumPy is called on tensors gives NumPy's numbers, and the right gradient or an error: no silent zero."""

import inspect
import warnings

import numpy
import pytest

import fastbp

RNG = numpy.random.default_rng(0)
A = RNG.normal(size=(3, 3)) + 2 * numpy.eye(3)
B = RNG.uniform(0.5, 2, size=(3, 3))
V = RNG.uniform(0.2, 0.8, size=3)
STEP = 1e-6

# Arguments of a function: tensors among them, and what else it may take.
FORMS = {
    "a matrix": lambda f, a, b, v: f(a),
    "a vector": lambda f, a, b, v: f(v),
    "two matrices": lambda f, a, b, v: f(a, b),
    "a matrix and a vector": lambda f, a, b, v: f(b, v),
    "a matrix and 1": lambda f, a, b, v: f(a, 1),
    "a matrix and 0.3": lambda f, a, b, v: f(a, 0.3),
    "two numbers": lambda f, a, b, v: f(a, 0.2, 0.8),
    "axes": lambda f, a, b, v: f(a, (1, 0)),
    "an axis": lambda f, a, b, v: f(a, axis=0),
    "an axis that is kept": lambda f, a, b, v: f(b, axis=1, keepdims=True),
    "some elements": lambda f, a, b, v: f(a, where=numpy.eye(3) > 0),
    "three arguments": lambda f, a, b, v: f(a > 0, a, b),
    "indices first": lambda f, a, b, v: f(numpy.array([0, 2]), a),
    "indices": lambda f, a, b, v: f(a, numpy.array([[0, 1, 2]]), 1),
    "subscripts": lambda f, a, b, v: f("ij,jk->ik", a, b),
}
# What NumPy computes without asking a tensor: the numbers alone, as the class says.
NUMBERS_ALONE = {
    "array", "asanyarray", "asarray", "asarray_chkfinite", "ascontiguousarray", "asfortranarray", "asmatrix", "bmat",
    "cond", "from_dlpack", "frombuffer", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd", "ix_",
}  # fmt: skip
# What reads or writes files, sets NumPy itself up, or returns memory that nobody has written.
OTHERS = {
    "empty_like", "fromregex", "genfromtxt", "info", "load", "loadtxt", "save", "savetxt", "savez", "savez_compressed",
    "set_printoptions", "setbufsize", "seterr", "seterrcall", "show_config", "show_runtime", "test",
}  # fmt: skip


def functions():
    for module in (numpy, numpy.linalg, numpy.fft):
        for name in sorted(set(dir(module)) - OTHERS):
            function = getattr(module, name)
            if callable(function) and not inspect.isclass(function) and not name.startswith("_"):
                yield pytest.param(function, id=f"{module.__name__}.{name}")


def parts(result):
    """The arrays and numbers of a result, whatever it is."""
    if isinstance(result, tuple | list):
        return [part for each in result for part in parts(each)]
    return [result] if isinstance(result, numpy.ndarray | numpy.generic | float | int) else []


def numbers(part):
    return numpy.array(part)


@pytest.mark.parametrize("function", list(functions()))
def test_a_function_has_the_right_gradient_or_says_that_it_has_none(function):
    with warnings.catch_warnings(), numpy.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for form, call in FORMS.items():
            if (form == "subscripts") != (function is numpy.einsum):
                continue
            try:
                expected = parts(call(function, A.copy(), B.copy(), V.copy()))
            except Exception:
                continue  # no way to call it
            check(function, form, call, expected)


def check(function, form, call, expected):
    leaves = [fastbp.tensor(array, requires_grad=True) for array in (A, B, V)]
    try:
        made = parts(call(function, *leaves))
    except (RuntimeError, TypeError) as error:
        require_ours(error, ("fastbp", "tensor", "pass", "'float' object cannot be interpreted as an integer"), form)
        return
    assert len(made) == len(expected), form
    is_unwritten = form == "some elements" and isinstance(function, numpy.ufunc)
    for place, (part, plain) in enumerate(zip(made, expected, strict=True)):
        if not is_unwritten:
            numpy.testing.assert_allclose(numbers(part), plain, rtol=1e-12, err_msg=form)
        if numpy.asarray(plain).dtype.kind == "f" and function.__name__ not in NUMBERS_ALONE and not is_unwritten:
            check_gradient(form, lambda *arrays, n=place: parts(call(function, *arrays))[n], leaves, part)


def require_ours(error, words, form):
    if not any(word in str(error) for word in words):
        raise AssertionError(form) from error


def check_gradient(form, compute, leaves, part):
    weights = RNG.normal(size=numpy.shape(part))
    directions = [RNG.normal(size=leaf.shape) for leaf in leaves]
    ends = [
        (numbers(compute(*(a + side * STEP * d for a, d in zip((A, B, V), directions, strict=True)))) * weights).sum()
        for side in (1, -1)
    ]
    slope = (ends[0] - ends[1]) / (2 * STEP)
    if not numpy.isfinite(slope):
        return
    if not (isinstance(part, fastbp.Tensor) and part.requires_grad):
        assert abs(slope) < 1e-4, f"{form}: numbers alone, with a slope of {slope}"
        return
    try:
        part.backward(weights, retain_graph=True)
    except RuntimeError as error:
        require_ours(error, ("has no gradient in fastbp",), form)
        return
    grads = [(leaf.grad, d) for leaf, d in zip(leaves, directions, strict=True) if leaf.grad is not None]
    numpy.testing.assert_allclose(sum((grad * d).sum() for grad, d in grads), slope, rtol=1e-4, atol=1e-4, err_msg=form)
    for leaf in leaves:
        leaf.grad = None
