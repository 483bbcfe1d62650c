"""Functions written in LLVM that all kernels share.

numba compiles each kernel together with everything that it calls. What is large, such as the tile, would be compiled
anew in every kernel; so it is compiled by itself, once for each float type, and kernels call it by its name::

    kernel --call--> fastbp_tile_float  =  the function itself, once it is there
                                        =  before that: a stub that has it compiled or read from the cache, and calls it

LLVM looks names up when it links a kernel. The stubs are there from the import on, so that a kernel also links where a
user's own cache brings it back before anything else has run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastbp_kernels.compiler import cache
from fastbp_kernels.compiler.intrinsics import Codegen, Context, Values

ELEMENTS = (ir.FloatType(), ir.DoubleType())

_libraries: dict[str, Any] = {}  # by symbol: code that is in memory, which must stay there
_stubs: list[Any] = []  # likewise


class NativeFunction:
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
        self._name, self._arguments, self._emit = name, arguments, emit
        with global_compiler_lock:
            _install_stubs(self)

    def call(self, pointer: types.CPointer) -> Codegen:
        """Return the code of an intrinsic that calls the function for the element type of ``pointer``."""

        def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
            element = context.get_value_type(pointer.dtype)
            self.load(element)
            builder.call(self.declare(builder.module, element), arguments)
            return context.get_dummy_value()

        return codegen

    def declare(self, module: ir.Module, element: ir.Type) -> ir.Function:
        name = self.symbol(element)
        if name in module.globals:
            return module.globals[name]
        return ir.Function(module, ir.FunctionType(ir.VoidType(), self._arguments(element)), name)

    def load(self, element: ir.Type) -> None:
        """Have the function for ``element`` in memory and under its name, from the cache or compiled."""
        symbol = self.symbol(element)
        with global_compiler_lock:
            if symbol in _libraries:
                return
            codegen = cpu_target.target_context.codegen()
            entry = cache.entry_name(f"native.{self._name}-{element}", codegen)
            library = cache.rebuilt(entry, codegen.unserialize_library) or self._compile(element, codegen, entry)
            _cells[symbol].value = library.get_pointer_to_function(symbol)
            binding.add_symbol(symbol, _cells[symbol].value)
            _libraries[symbol] = library

    def _compile(self, element: ir.Type, codegen: Any, entry: str) -> Any:
        library = codegen.create_library(self.symbol(element))
        library.enable_object_caching()
        module = library.create_ir_module(library.name)
        self._emit(self.declare(module, element), element)
        library.add_ir_module(module)
        library.finalize()
        cache.keep(entry, library.serialize_using_object_code())
        return library

    def symbol(self, element: ir.Type) -> str:
        return f"fastbp_{self._name}_{element}"


_cells: dict[str, ctypes.c_void_p] = {}  # by symbol: the function's address, which the stubs read


def _install_stubs(function: NativeFunction) -> None:
    """Give both symbols of ``function`` an address that works already."""
    codegen = cpu_target.target_context.codegen()
    library = codegen.create_library(f"fastbp_stubs_{function.symbol(ELEMENTS[0])}")
    module = library.create_ir_module(library.name)
    for element in ELEMENTS:
        symbol = function.symbol(element)
        cell = _cells[symbol] = ctypes.c_void_p()
        resolve = ctypes.CFUNCTYPE(None)(lambda element=element: function.load(element))
        address = ctypes.cast(resolve, ctypes.c_void_p).value
        assert address is not None
        stub = ir.Function(module, function.declare(module, element).function_type, f"{symbol}_stub")
        _emit_stub(stub, ctypes.addressof(cell), address)
        _stubs.append((cell, resolve))
    library.add_ir_module(module)
    library.finalize()
    for element in ELEMENTS:
        symbol = function.symbol(element)
        binding.add_symbol(symbol, library.get_pointer_to_function(f"{symbol}_stub"))
    _stubs.append(library)


def _emit_stub(stub: ir.Function, cell: int, resolve: int) -> None:
    """Emit: call ``resolve`` if there is no address in ``cell``, then the function at that address."""
    pointer = stub.function_type.as_pointer()
    builder = ir.IRBuilder(stub.append_basic_block("entry"))
    place = builder.inttoptr(ir.Constant(ir.IntType(64), cell), pointer.as_pointer())
    with builder.if_then(builder.icmp_unsigned("==", builder.load(place), ir.Constant(pointer, None)), likely=False):
        resolver_type = ir.FunctionType(ir.VoidType(), []).as_pointer()
        builder.call(builder.inttoptr(ir.Constant(ir.IntType(64), resolve), resolver_type), [])
    builder.call(builder.load(place), stub.args, tail=True)
    builder.ret_void()
