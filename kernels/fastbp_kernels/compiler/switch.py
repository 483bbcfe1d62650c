"""One branch for each row of a registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from llvmlite import ir

from fastbp_kernels.compiler.vectors import INT64

Row = TypeVar("Row")


def emit_switch(builder: ir.IRBuilder, code: ir.Value, rows: Sequence[Row], emit: Callable[[Row], None]) -> None:
    """Emit ``emit(rows[code])``; nothing happens for any other code."""
    after = builder.append_basic_block("switched")
    choice = builder.switch(code, after)
    for number, row in enumerate(rows):
        block = builder.append_basic_block(f"case_{number}")
        choice.add_case(INT64(number), block)
        builder.position_at_end(block)
        emit(row)
        builder.branch(after)
    builder.position_at_end(after)
