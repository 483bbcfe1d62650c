"""Late functions: called by kernels at an address that is looked up, compiled by themselves at their first call.

numba compiles each kernel together with everything that it calls. What is large, such as the tile, would be compiled
anew in every kernel, and what few networks use would be compiled for all of them. Such functions are compiled by
themselves, once for each float type::

    kernel --call--> the address in the function's cell; where there is none yet, ``wait`` has it compiled, or read
                     from the cache

LLVM finds a cell by its name when it links a kernel. The cells are there from the import on, so that a kernel also
links where a user's own cache brings it back before anything else has run.
"""

from __future__ import annotations

import ctypes
import os
import traceback
from abc import ABC, abstractmethod
from typing import Any

from llvmlite import binding, ir

from fastbp_kernels.compiler.compiling_thread import in_compiling_thread
from fastbp_kernels.compiler.numba_internals import global_compiler_lock

ELEMENTS = (ir.FloatType(), ir.DoubleType())
_BOOL, _INT32, _INT64 = (ir.IntType(bits) for bits in (1, 32, 64))
_IN_EACH = "linkonce_odr"  # modules that have it share it once they are linked into one

_of_cells: dict[int, tuple[LateFunction, ir.Type]] = {}  # by the cells' addresses
_libraries: list[Any] = []  # code that is in memory, which must stay there


class LateFunction(ABC):
    """A function for each element type, float and double, that is compiled at its first call.

    Parameters
    ----------
    name : str
        No other has it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.cells = {str(element): ctypes.c_void_p() for element in ELEMENTS}
        for element in ELEMENTS:
            place = ctypes.addressof(self.cells[str(element)])
            _of_cells[place] = self, element
            binding.add_symbol(f"{self.symbol(element)}_cell", place)

    @abstractmethod
    def function_type(self, element: ir.Type) -> ir.FunctionType:
        """Return the type of the function for ``element``."""

    @abstractmethod
    def compiled(self, element: ir.Type) -> tuple[Any, str]:
        """Return a library, from the cache or compiled, and the function's name in it."""

    def symbol(self, element: ir.Type) -> str:
        return f"fastbp_{self.name}_{element}"

    def caller(self, module: ir.Module, element: ir.Type) -> ir.Function:
        """Return what calls the function for ``element``, of the same type, which ``module`` then defines."""
        name, kind = f"{self.symbol(element)}_call", self.function_type(element)
        if name in module.globals:
            return module.globals[name]
        caller = _function_in_each(module, name, kind)
        cell = ir.GlobalVariable(module, kind.as_pointer(), f"{self.symbol(element)}_cell")
        builder = ir.IRBuilder(caller.append_basic_block("entry"))
        known, before = builder.load(cell), builder.block
        with builder.if_then(builder.icmp_unsigned("==", known, ir.Constant(known.type, None)), likely=False):
            builder.call(_wait(module), [builder.bitcast(cell, _INT64.as_pointer())])
            found, waited = builder.load(cell), builder.block
        address = builder.phi(known.type)
        address.add_incoming(known, before)
        address.add_incoming(found, waited)
        result = builder.call(address, caller.args, tail=True)
        if isinstance(kind.return_type, ir.VoidType):
            builder.ret_void()
        else:
            builder.ret(result)
        return caller

    @in_compiling_thread
    def load(self, element: ir.Type) -> None:
        """Have the function for ``element`` in memory."""
        cell = self.cells[str(element)]
        with global_compiler_lock:
            if cell.value is None:
                library, name = self.compiled(element)
                _libraries.append(library)
                cell.value = library.get_pointer_to_function(name)


def load_all() -> None:
    """Have all functions in memory, for both types."""
    for function, element in list(_of_cells.values()):
        function.load(element)


def _wait(module: ir.Module) -> ir.Function:
    """Return ``wait(cell)``, defined in ``module``: calls ``_resolve`` until there is an address in the cell.

    A Ctrl-C meanwhile is handed on to Python, which raises it when the kernel has returned.
    """
    if "fastbp_wait" in module.globals:
        return module.globals["fastbp_wait"]
    wait = _function_in_each(module, "fastbp_wait", ir.FunctionType(ir.VoidType(), [_INT64.as_pointer()]))
    wait.attributes.add("noinline")
    resolve = ir.Function(module, ir.FunctionType(_INT32, [_INT64.as_pointer()]), "fastbp_resolve")
    set_interrupt = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "fastbp_set_interrupt")
    entry, again, after = (wait.append_basic_block(name) for name in ("entry", "again", "after"))
    (cell,) = wait.args
    builder = ir.IRBuilder(entry)
    builder.branch(again)
    builder.position_at_end(again)
    before = builder.phi(_BOOL)
    disturbed = builder.or_(before, builder.icmp_signed("!=", builder.call(resolve, [cell]), _INT32(_UNDISTURBED)))
    before.add_incoming(_BOOL(0), entry)
    before.add_incoming(disturbed, again)
    builder.cbranch(builder.icmp_signed("==", builder.load(cell), _INT64(0)), again, after)
    builder.position_at_end(after)
    with builder.if_then(disturbed, likely=False):
        builder.call(set_interrupt, [])
    builder.ret_void()
    return wait


def _function_in_each(module: ir.Module, name: str, kind: ir.FunctionType) -> ir.Function:
    function = ir.Function(module, kind, name)
    function.linkage = _IN_EACH
    return function


def _resolve(cell: int) -> int:
    """Load a function, for the kernel that waits; return ``_UNDISTURBED``, or 0 if a Ctrl-C came.

    No exception can pass the kernel. Where there is no code for it to go on with, the process ends.
    """
    function, element = _of_cells[cell]
    outcome = _UNDISTURBED
    while True:
        try:
            function.load(element)
            return outcome
        except KeyboardInterrupt:
            outcome = 0
        except BaseException:
            traceback.print_exc()
            os.abort()


_UNDISTURBED = 1
_resolver = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_resolve)
for _name, _function in (("resolve", _resolver), ("set_interrupt", ctypes.pythonapi.PyErr_SetInterrupt)):
    binding.add_symbol(f"fastbp_{_name}", ctypes.cast(_function, ctypes.c_void_p).value or 0)
