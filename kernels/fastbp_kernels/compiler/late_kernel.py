"""Inner kernels that are compiled by themselves, at their first call: what most networks do without.

Kernels that call them take no longer to compile for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from llvmlite import ir
from numba import extending, types

from fastbp_kernels.compiler.decorators import kernel_by_itself
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values
from fastbp_kernels.compiler.late_function import LateFunction
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cpu_target
from fastbp_kernels.compiler.switch import emit_switch

P = ParamSpec("P")

TABLE = types.Array(types.int64, 2, "C", readonly=True)
_FLOATS = {"float": types.float32, "double": types.float64}  # by LLVM's names for them


def late_kernel(
    arguments: Callable[[types.CPointer], tuple[Any, ...]],
) -> Callable[[Callable[P, None]], Callable[P, Any]]:
    """Compile a function that returns nothing for use by other kernels, once for each float type, at its first call.

    Parameters
    ----------
    arguments : callable
        ``arguments(pointer)`` returns numba's types of the function's arguments, given that of a pointer to floats.
    """

    def decorate(function: Callable[P, None]) -> Callable[P, Any]:
        define = _definition(_LateKernel(function, arguments), inspect.signature(function), function.__name__)
        intrinsic: Callable[P, Any] = extending.intrinsic(define)
        return intrinsic

    return decorate


def late_switch(
    name: str, arguments: Callable[[types.CPointer], tuple[Any, ...]], functions: Sequence[Callable[..., None] | None]
) -> Callable[..., Any]:
    """Return what calls one of several functions, each compiled as by ``late_kernel``.

    It takes the place of the function among ``functions``, and then what that takes. Nothing happens where the function
    is None.

    Parameters
    ----------
    name : str
    arguments : callable
        As ``late_kernel`` takes it.
    functions : sequence of callable or None
        One may be there several times.
    """
    distinct = [function for function in dict.fromkeys(functions) if function is not None]
    kernels = {function: _LateKernel(function, arguments) for function in distinct}
    switch = _LateSwitch(name, arguments, [function and kernels[function] for function in functions])
    code = inspect.Parameter("code", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([code, *inspect.signature(distinct[0]).parameters.values()])
    intrinsic: Callable[..., Any] = extending.intrinsic(_definition(switch, signature, name))
    return intrinsic


class _LateKernel(LateFunction):
    def __init__(self, function: Callable[..., None], arguments: Callable[[types.CPointer], tuple[Any, ...]]) -> None:
        self._kernel, self._arguments = kernel_by_itself(function), arguments
        super().__init__(f"{function.__module__}.{function.__name__}")

    def signature(self, element: types.Float) -> Any:
        return types.void(*self._arguments(types.CPointer(element)))

    def function_type(self, element: ir.Type) -> ir.FunctionType:
        return _numbas_type(self.signature(_FLOATS[str(element)]))

    def compiled(self, element: ir.Type) -> tuple[Any, str]:
        arguments = self.signature(_FLOATS[str(element)]).args
        self._kernel.compile(arguments)
        result = self._kernel.overloads[arguments]
        return result.library, result.fndesc.llvm_func_name


class _LateSwitch(NativeFunction):
    """Calls one of some late kernels with the arguments behind the first one, which is its place among them."""

    def __init__(
        self, name: str, arguments: Callable[[types.CPointer], tuple[Any, ...]], kernels: Sequence[_LateKernel | None]
    ) -> None:
        self._of_kernels, self._kernels = arguments, kernels
        super().__init__(name, lambda element: [], self._emit_calls)

    def signature(self, element: types.Float) -> Any:
        return types.void(types.intp, *self._of_kernels(types.CPointer(element)))

    def function_type(self, element: ir.Type) -> ir.FunctionType:
        return _numbas_type(self.signature(_FLOATS[str(element)]))

    def _emit_calls(self, function: ir.Function, element: ir.Type) -> None:
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        result, exception, code, *arguments = function.args  # the first two are numba's

        def case(kernel: _LateKernel | None) -> None:
            if kernel is not None:
                builder.call(kernel.caller(function.module, element), [result, exception, *arguments])

        emit_switch(builder, code, self._kernels, case)
        builder.ret(function.function_type.return_type(0))


def _numbas_type(signature: Any) -> ir.FunctionType:
    """Return the LLVM type of a function that numba compiles for a signature."""
    return cpu_target.target_context.call_conv.get_function_type(signature.return_type, signature.args)


def _definition(
    kernel: _LateKernel | _LateSwitch, parameters: inspect.Signature, name: str
) -> Callable[..., Definition]:
    """Return the intrinsic that calls the kernel, with these parameters."""

    def define(typing_context: Context, *given: types.Type) -> Definition:
        element = next(each.dtype for each in given if isinstance(each, types.CPointer))

        def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
            callee = kernel.caller(builder.module, context.get_value_type(element))
            context.call_conv.call_function(builder, callee, types.void, signature.args, arguments)
            return context.get_dummy_value()

        return kernel.signature(element), codegen

    context = inspect.Parameter("typing_context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    define.__signature__ = inspect.Signature([context, *parameters.parameters.values()])  # type: ignore[attr-defined]
    define.__name__ = name
    return define
