"""Functions written in LLVM that all kernels share; see ``late_function``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler import cache
from fastbp_kernels.compiler.intrinsics import Codegen, Context, Values
from fastbp_kernels.compiler.late_function import LateFunction
from fastbp_kernels.compiler.numba_internals import cpu_target


class NativeFunction(LateFunction):
    """A function of LLVM for each element type, float and double.

    Parameters
    ----------
    name : str
    arguments : callable
        ``arguments(element)`` returns the LLVM types of the function's arguments; its result is void.
    emit : callable
        ``emit(function, element)`` writes the body into an ``ir.Function``.
    """

    def __init__(
        self, name: str, arguments: Callable[[ir.Type], list[ir.Type]], emit: Callable[[ir.Function, ir.Type], None]
    ) -> None:
        self._arguments, self._emit = arguments, emit
        super().__init__(name)

    def function_type(self, element: ir.Type) -> ir.FunctionType:
        return ir.FunctionType(ir.VoidType(), self._arguments(element))

    def call(self, pointer: types.CPointer) -> Codegen:
        """Return the code of an intrinsic that calls the function for the element type of ``pointer``."""

        def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
            builder.call(self.caller(builder.module, context.get_value_type(pointer.dtype)), arguments)
            return context.get_dummy_value()

        return codegen

    def compiled(self, element: ir.Type) -> tuple[Any, str]:
        codegen = cpu_target.target_context.codegen()
        entry = cache.entry_name(f"native.{self.name}-{element}", codegen)
        library = cache.rebuilt(entry, codegen.unserialize_library)
        return library or self._compile(element, codegen, entry), self.symbol(element)

    def _compile(self, element: ir.Type, codegen: Any, entry: str) -> Any:
        library = codegen.create_library(self.symbol(element))
        library.enable_object_caching()
        module = library.create_ir_module(library.name)
        self._emit(ir.Function(module, self.function_type(element), self.symbol(element)), element)
        library.add_ir_module(module)
        library.finalize()
        cache.keep(entry, library.serialize_using_object_code())
        return library
