"""Late functions: called by kernels by their name, compiled by themselves at their first call.

numba compiles each kernel together with everything that it calls. What is large, such as the tile, would be compiled
anew in every kernel, and what few networks use would be compiled for all of them. Such functions are compiled by
themselves, once for each float type::

    kernel --call--> fastbp_tile_float  =  a stub, which has the function compiled, or read from the cache, the first
                                           time, and jumps to it

LLVM looks names up when it links a kernel. The stubs are there from the import on, so that a kernel also links where a
user's own cache brings it back before anything else has run.
"""

from __future__ import annotations

import ctypes
import os
import threading
from abc import ABC, abstractmethod
from typing import Any

from llvmlite import binding, ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastbp_kernels.compiler.compiling_thread import in_compiling_thread
from fastbp_kernels.compiler.libraries import AsWritten

ELEMENTS = (ir.FloatType(), ir.DoubleType())
_BOOL, _INT32, _INT64 = (ir.IntType(bits) for bits in (1, 32, 64))

_waiting: list[LateFunction] = []  # for their stubs
_with_stubs: list[tuple[LateFunction, ir.Type]] = []  # by the numbers that the stubs give them
_libraries: list[Any] = []  # code that is in memory, which must stay there
_is_imported = False


class LateFunction(ABC):
    """A function for each element type, float and double, that is compiled at its first call.

    Parameters
    ----------
    name : str
        No other has it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.cells = {str(element): ctypes.c_void_p() for element in ELEMENTS}  # addresses, which the stubs read
        _waiting.append(self)
        if _is_imported:
            install_stubs()

    @abstractmethod
    def function_type(self, element: ir.Type) -> ir.FunctionType:
        """Return the type of the function for ``element``."""

    @abstractmethod
    def compiled(self, element: ir.Type) -> tuple[Any, str]:
        """Return a library, from the cache or compiled, and the function's name in it."""

    def symbol(self, element: ir.Type) -> str:
        return f"fastbp_{self.name}_{element}"

    def declare(self, module: ir.Module, element: ir.Type) -> ir.Function:
        name = self.symbol(element)
        return module.globals.get(name) or ir.Function(module, self.function_type(element), name)

    def load(self, element: ir.Type) -> None:
        """Have the function for ``element`` in memory."""
        cell = self.cells[str(element)]
        with global_compiler_lock:
            if cell.value is None:
                library, name = self.compiled(element)
                _libraries.append(library)
                cell.value = library.get_pointer_to_function(name)


def install_stubs() -> None:
    """Give the symbols of all functions an address that works already, and from now on those of each new one."""
    global _is_imported
    _is_imported = True
    first = len(_with_stubs)
    _with_stubs.extend((function, element) for function in _waiting for element in ELEMENTS)
    _waiting.clear()
    with global_compiler_lock:
        library = AsWritten(cpu_target.target_context.codegen(), "fastbp_stubs")
        module = library.create_ir_module(library.name)
        wait = _emit_wait(module)
        for number, (function, element) in enumerate(_with_stubs[first:], first):
            place = ctypes.addressof(function.cells[str(element)])
            _emit_stub(module, function.function_type(element), function.symbol(element), wait, place, number)
        library.add_ir_module(module)
        library.finalize()
        for function, element in _with_stubs[first:]:
            symbol = function.symbol(element)
            binding.add_symbol(symbol, library.get_pointer_to_function(f"{symbol}_stub"))
    _libraries.append(library)


@in_compiling_thread
def load_all() -> None:
    """Have all functions in memory, for both types."""
    for function, element in _with_stubs:
        function.load(element)


def _emit_stub(
    module: ir.Module, kind: ir.FunctionType, symbol: str, wait: ir.Function, place: int, number: int
) -> None:
    """Emit a jump to the address at ``place``, and where there is none to what waits for it.

    That is another function, so that the first has no arguments to save.
    """
    stub, first = ir.Function(module, kind, f"{symbol}_stub"), ir.Function(module, kind, f"{symbol}_at_first")
    builder = ir.IRBuilder(stub.append_basic_block("entry"))
    address = builder.load(_at(builder, place, kind.as_pointer().as_pointer()))
    with builder.if_then(_is_null(builder, address), likely=False):
        _emit_jump(builder, first, stub)
    _emit_jump(builder, address, stub)

    builder = ir.IRBuilder(first.append_basic_block("entry"))
    builder.call(wait, [_INT64(place), _INT32(number)])
    _emit_jump(builder, builder.load(_at(builder, place, kind.as_pointer().as_pointer())), first)


def _emit_wait(module: ir.Module) -> ir.Function:
    """Emit ``wait(place, number)``, which calls ``_resolve`` until there is an address at ``place``.

    A Ctrl-C meanwhile is handed on to Python, which raises it when the kernel has returned.
    """
    wait = ir.Function(module, ir.FunctionType(ir.VoidType(), [_INT64, _INT32]), "fastbp_wait")
    wait.linkage = "internal"
    entry, again, after = (wait.append_basic_block(name) for name in ("entry", "again", "after"))
    place, number = wait.args
    builder = ir.IRBuilder(entry)
    cell = builder.inttoptr(place, _INT64.as_pointer())
    builder.branch(again)
    builder.position_at_end(again)
    before = builder.phi(_BOOL)
    resolve = _at(builder, _RESOLVE, ir.FunctionType(_INT32, [_INT32]).as_pointer())
    outcome = builder.call(resolve, [number])
    disturbed = builder.or_(before, builder.icmp_signed("!=", outcome, _INT32(_UNDISTURBED)))
    before.add_incoming(_BOOL(0), entry)
    before.add_incoming(disturbed, again)
    builder.cbranch(builder.icmp_signed("==", builder.load(cell), _INT64(0)), again, after)
    builder.position_at_end(after)
    with builder.if_then(disturbed, likely=False):
        builder.call(_at(builder, _SET_INTERRUPT, ir.FunctionType(ir.VoidType(), []).as_pointer()), [])
    builder.ret_void()
    return wait


def _emit_jump(builder: ir.IRBuilder, target: ir.Value, function: ir.Function) -> None:
    """Emit ``return target(arguments of the function)``, for which LLVM leaves them where they are."""
    result = builder.call(target, function.args, tail=True)
    if isinstance(function.function_type.return_type, ir.VoidType):
        builder.ret_void()
    else:
        builder.ret(result)


def _is_null(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return builder.icmp_unsigned("==", address, ir.Constant(address.type, None))


def _at(builder: ir.IRBuilder, address: int, kind: ir.PointerType) -> ir.Value:
    return builder.inttoptr(ir.Constant(_INT64, address), kind)


def _resolve(number: int) -> int:
    """Load a function, for its stub; return ``_UNDISTURBED``, or 0 if a Ctrl-C came.

    Another thread loads it, since Ctrl-C comes to the main one, and no exception can pass the kernel that waits.
    """
    function, element = _with_stubs[number]
    outcome = _UNDISTURBED
    while True:
        try:
            loader = threading.Thread(target=function.load, args=(element,))
            loader.start()
            loader.join()
            break
        except KeyboardInterrupt:
            outcome = 0
    if function.cells[str(element)].value is None:
        os.abort()  # the thread has told why; there is no code for the kernel to go on with
    return outcome


_UNDISTURBED = 1
_resolver = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(_resolve)
_RESOLVE, _SET_INTERRUPT = (
    ctypes.cast(function, ctypes.c_void_p).value or 0 for function in (_resolver, ctypes.pythonapi.PyErr_SetInterrupt)
)
