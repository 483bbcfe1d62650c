"""Functions that kernels call by a name: compiled at their first call, whatever comes between."""

import signal
import subprocess
import sys

import numpy
import pytest
from helpers import child_environment
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target

from fastbp_kernels.compiler.decorators import kernel
from fastbp_kernels.compiler.intrinsics import intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.pointers import pointer

FAILING = """
import numpy
from llvmlite import ir
from fastbp_kernels.compiler import native
from fastbp_kernels import relu_forward
def fail(self, *others):
    raise MemoryError("no room for code")
native.NativeFunction._compile = fail
x = numpy.ones((2, 2), "f")
relu_forward(x, x.copy())
from fastbp_kernels import linear_forward
linear_forward(x, x, x[0], x.copy())
"""


def storing(name, number, meanwhile=lambda: None):
    """A kernel that has a native function store a number, and a list of the types that this was compiled for."""
    compiled = []

    def emit(function, element):
        compiled.append(str(element))
        meanwhile()
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        builder.store(ir.Constant(element, number), function.args[0])
        builder.ret_void()

    native = NativeFunction(name, lambda element: [element.as_pointer()], emit)

    @intrinsic
    def store(typing_context, out: types.CPointer):
        return types.void(out), native.call(out)

    def run(out):
        store(pointer(out))

    run.__qualname__ = name  # under which it is kept
    return kernel(run), compiled


@pytest.fixture
def place(monkeypatch, tmp_path):
    """Nothing is kept from one test, or session, to the next."""
    monkeypatch.setattr("fastbp_kernels.compiler.cache._Store.folders", lambda self: [])


def test_a_function_is_compiled_at_its_first_call_for_the_type_that_is_called(place):
    run, compiled = storing("first_call", 3.0)
    single, double = numpy.zeros(1, "f"), numpy.zeros(1)
    run.compile("void(float32[::1])")
    assert compiled == []
    run(single)
    run(single)
    assert (single[0], compiled) == (3, ["float"])
    run(double)
    assert (double[0], compiled) == (3, ["float", "double"])


def test_a_ctrl_c_while_a_function_is_compiled_comes_when_the_kernel_has_returned(place):
    once = iter([signal.SIGINT])  # a warm-up in this process compiles the function for floats, too
    run, compiled = storing("interrupted", 5.0, lambda: [signal.raise_signal(number) for number in once])
    out = numpy.zeros(1)
    with pytest.raises(KeyboardInterrupt):
        run(out)
    assert (out[0], compiled) == (5, ["double"])
    out[0] = 0
    run(out)
    assert (out[0], compiled) == (5, ["double"])


def test_a_ctrl_c_while_llvm_calls_python_is_not_lost(place, monkeypatch):
    engine = cpu_target.target_context.codegen()._engine._ee
    notify, times = engine._object_cache_notify, iter([signal.SIGINT])

    def interrupted(*arguments):
        for number in times:
            signal.raise_signal(number)
        notify(*arguments)

    @kernel
    def run(out):
        out[0] = 7

    monkeypatch.setattr(engine, "_object_cache_notify", interrupted)
    out = numpy.zeros(1)
    with pytest.raises(KeyboardInterrupt):
        run(out)
    run(out)
    assert out[0] == 7


def test_where_a_function_cannot_be_compiled_the_process_ends_and_tells_why(tmp_path):
    environment = child_environment(FASTBP_CACHE_DIR=str(tmp_path / "cache"))
    done = subprocess.run([sys.executable, "-c", FAILING], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGABRT
    assert "MemoryError: no room for code" in done.stderr
