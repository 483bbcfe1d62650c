"""Inner kernels that are compiled by themselves, at their first call: what most networks do without.

Kernels that call them take no longer to compile for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

from llvmlite import ir
from numba import extending, types

from fastbp_kernels.compiler.decorators import kernel_by_itself
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values
from fastbp_kernels.compiler.late_function import LateFunction
from fastbp_kernels.compiler.numba_internals import cpu_target

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
        kernel = _LateKernel(function, arguments)
        define = _definition(kernel, function)
        intrinsic: Callable[P, Any] = extending.intrinsic(define)
        return intrinsic

    return decorate


class _LateKernel(LateFunction):
    def __init__(self, function: Callable[..., None], arguments: Callable[[types.CPointer], tuple[Any, ...]]) -> None:
        self._kernel, self._arguments = kernel_by_itself(function), arguments
        super().__init__(function.__name__)

    def signature(self, element: types.Float) -> Any:
        return types.void(*self._arguments(types.CPointer(element)))

    def function_type(self, element: ir.Type) -> ir.FunctionType:
        signature = self.signature(_FLOATS[str(element)])
        convention = cpu_target.target_context.call_conv
        return convention.get_function_type(signature.return_type, signature.args)

    def compiled(self, element: ir.Type) -> tuple[Any, str]:
        arguments = self.signature(_FLOATS[str(element)]).args
        self._kernel.compile(arguments)
        result = self._kernel.overloads[arguments]
        return result.library, result.fndesc.llvm_func_name


def _definition(kernel: _LateKernel, function: Callable[..., None]) -> Callable[..., Definition]:
    """Return the intrinsic that calls the kernel, with the parameters of the function."""

    def define(typing_context: Context, *given: types.Type) -> Definition:
        element = next(each.dtype for each in given if isinstance(each, types.CPointer))

        def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
            callee = kernel.caller(builder.module, context.get_value_type(element))
            context.call_conv.call_function(builder, callee, types.void, signature.args, arguments)
            return context.get_dummy_value()

        return kernel.signature(element), codegen

    context = inspect.Parameter("typing_context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([context, *inspect.signature(function).parameters.values()])
    define.__signature__ = signature  # type: ignore[attr-defined]
    define.__name__, define.__doc__, define.__module__ = function.__name__, function.__doc__, function.__module__
    return define
