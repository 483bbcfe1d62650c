"""A barrier for threads that run the same kernel side by side.

All threads call the kernel with one array ``sync`` of ``SYNC_SIZE`` int64, zeros at first. No threading layer of numba
is involved: what the threads share is this array and what the kernel writes.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.vectors import INT64

SYNC_SIZE = 16  # arrivals at 0, generation at 8: on cache lines of their own
_ARRIVALS, _GENERATION = 0, 8
_SPINS = 40000  # looks at the generation before the core is offered to another thread; about 10 microseconds
_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"


@intrinsic
def barrier(typing_context: Context, ranks: types.Integer, sync: types.CPointer) -> Definition:
    """Wait until all ``ranks`` threads have come here; what each wrote before is then visible to all.

    Parameters
    ----------
    ranks : int
    sync : pointer to int64
    """

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        ranks, sync = arguments
        with builder.if_then(builder.icmp_signed(">", ranks, INT64(1)), likely=False):
            arrivals = builder.gep(sync, [INT64(_ARRIVALS)])
            generation = builder.gep(sync, [INT64(_GENERATION)])
            current = builder.load_atomic(generation, "acquire", 8)
            before = builder.atomic_rmw("add", arrivals, INT64(1), "acq_rel")
            last = builder.icmp_signed("==", builder.add(before, INT64(1)), ranks)
            with builder.if_else(last) as (release, wait):
                with release:
                    builder.store_atomic(INT64(0), arrivals, "monotonic", 8)
                    builder.store_atomic(builder.add(current, INT64(1)), generation, "release", 8)
                with wait:
                    _emit_wait(builder, generation, current)
        return context.get_dummy_value()

    return types.void(types.intp, sync), codegen


@intrinsic
def offer_core(typing_context: Context) -> Definition:
    """Let another thread have the core, if one waits for it."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        _emit_yield(builder)
        return context.get_dummy_value()

    return types.void(), codegen


def _emit_yield(builder: ir.IRBuilder) -> None:
    builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), _YIELD), [])


def _emit_wait(builder: ir.IRBuilder, generation: ir.Value, current: ir.Value) -> None:
    """Emit a loop that looks at ``generation`` until it differs from ``current``."""
    before, look, again, after = builder.block, *(builder.append_basic_block(name) for name in ("look", "again", "go"))
    builder.branch(look)
    builder.position_at_end(look)
    spins = builder.phi(INT64)
    unchanged = builder.icmp_signed("==", builder.load_atomic(generation, "acquire", 8), current)
    builder.cbranch(unchanged, again, after)

    builder.position_at_end(again)
    with builder.if_then(builder.icmp_signed(">", spins, INT64(_SPINS)), likely=False):
        _emit_yield(builder)
    spins.add_incoming(INT64(0), before)
    spins.add_incoming(builder.add(spins, INT64(1)), builder.block)
    builder.branch(look)
    builder.position_at_end(after)
