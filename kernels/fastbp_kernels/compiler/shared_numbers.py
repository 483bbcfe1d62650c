"""Numbers of the process that kernels read and write at run time: they are no part of the compiled code."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import types

from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.pointers import Pointer
from fastbp_kernels.compiler.vectors import INT64


def shared_numbers(name: str, numbers: Sequence[int]) -> tuple[Any, Callable[[], Pointer]]:
    """Return an array of int64 that holds ``numbers``, and what returns the pointer to it in a kernel.

    Parameters
    ----------
    name : str
        No other array has it.
    numbers : sequence of int
    """
    array, symbol = (ctypes.c_int64 * len(numbers))(*numbers), f"fastbp_{name}"
    binding.add_symbol(symbol, ctypes.addressof(array))

    @intrinsic
    def at(typing_context: Context) -> Definition:
        def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
            module = builder.module
            if symbol not in module.globals:
                ir.GlobalVariable(module, INT64, symbol)  # LLVM finds it by its name when it links a kernel
            return module.globals[symbol]

        return types.CPointer(types.int64)(), codegen

    return array, at
