"""The register tile: the one place where a product of matrices is computed.

A tile is a block of ``C = start + A @ B`` that stays in vector registers while the loop over k runs::

                       B[k, :]   <- two vectors of L lanes, read once a step
                     +--------+--------+
      A[0, k]  --->  |  acc   |  acc   |
      A[1, k]  --->  |  acc   |  acc   |      acc[r][v] += A[r, k] * B[k, v]
        ...          |        |        |
      A[9, k]  --->  |  acc   |  acc   |      one broadcast of A serves the whole row
                     +--------+--------+
        rows of A      up to 2 L columns

Ten rows make twenty accumulators: beside two vectors of B and one broadcast of A, they fit the 32 registers of AVX-512.
Six rows fit the 16 of AVX and SSE, and serve NEON too. The steps of k are in order, in every tile and every lane: what
comes out does not depend on where the tile was cut, and so neither on the number of threads nor on the padding. Every
``STEPS`` of them the accumulators are added to totals, which wait in memory, and begin again: short sums err less.

Rows: a tile of each height from 1 to ``TILE_ROWS`` is compiled. Callers cut ``m`` rows into tiles of nearly equal
height (50 as 5 x 10, 25 as 9 + 8 + 8), because a low tile waits for its few accumulators. Columns: tiles of two, one,
half and a quarter vector, none below 128 bits, so that two outputs do not cost what sixteen do; ``panel_width``
chooses. Beyond the last column of C nothing is read or written: there, loads and stores are masked.

When the loop ends, the tile still holds its values, and the epilogue makes of them what is to be stored:

    STORE                 acc
    ADD                   C + acc       a later k_block, or a gradient that accumulates
    FUSED_SGD             C - acc * lr  parameters that follow their gradient
    VALUE + activation    f(acc)        the layer's activation, where it is cheap
    DERIVATIVE + that     acc * f'      times the derivative of an activation, as a function of its output ``aux``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.vectors import INT64, LANE_BYTES, Vectors, bytes_of
from fastbp_kernels.functions.activations import ACTIVATIONS
from fastbp_kernels.functions.tile_formulas import sgd

Function = Callable[..., ir.Value]

TILE_ROWS = {64: 10, 32: 6, 16: 6}[LANE_BYTES]

STEPS = 128  # another number gives other last digits
# Steps of k, during which C comes to the cache; fewer do not repay asking for it. Row after row is asked for, one each
# ``ROW_STEPS``: all of them at once would hold up what the first steps read.
PREFETCH_FROM = 128
ROW_STEPS = STEPS // (TILE_ROWS + 1)

# Epilogues; ADD may be combined with one of the others but FUSED_SGD.
STORE, FUSED_SGD = range(2)
VALUE, DERIVATIVE, ADD = 1 << 8, 1 << 9, 1 << 10

# By the activations' codes: their epilogues where the tile applies them, else STORE; last that of OWN.
VALUE_EPILOGUES = (*(VALUE + n if row.value_in_tile else STORE for n, row in enumerate(ACTIVATIONS)), STORE)
DERIVATIVE_EPILOGUES = (
    *(DERIVATIVE + n if row.derivative_in_tile else STORE for n, row in enumerate(ACTIVATIONS)), STORE
)  # fmt: skip


def widths(element_bytes: int) -> list[int]:
    """Return the widths of a tile in elements, widest first: two, one, half and a quarter vector if there are."""
    sizes = (2 * LANE_BYTES >> halvings for halvings in range(4))
    return [size // element_bytes for size in sizes if size >= 16]  # below 128 bits, no CPU computes faster


@intrinsic
def panel_width(typing_context: Context, like: types.CPointer, columns: types.Integer) -> Definition:
    """Return the width of the tile for the next of ``columns`` columns that are left, of ``like``'s element type."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        chosen, *narrower = (INT64(width) for width in widths(like.dtype.bitwidth // 8))
        for width in narrower:
            chosen = builder.select(builder.icmp_signed("<=", arguments[1], width), width, chosen)
        return chosen

    return types.intp(like, types.intp), codegen


@intrinsic
def tile(
    typing_context: Context, width: types.Integer, rows: types.Integer, count: types.Integer, columns: types.Integer,
    k: types.Integer, a: types.CPointer, a_tile: types.Integer, a_row: types.Integer, a_k: types.Integer,
    b: types.CPointer, b_row: types.Integer, start: types.CPointer, c: types.CPointer, c_row: types.Integer,
    epilogue: types.Integer, aux: types.CPointer, aux_row: types.Integer, lr: types.Float,
) -> Definition:  # fmt: skip
    """Compute ``count`` tiles of ``C = start + A @ B``, one below the other.

    Parameters
    ----------
    width : int
        One of ``widths``.
    rows, columns : int
        Size of the block of C that each tile writes: 1 to ``TILE_ROWS``, and as many columns as fit ``width`` and no
        smaller one.
    count : int
        1 or more.
    k : int
        Columns of A and rows of B, 0 or more.
    a : pointer; a_tile, a_row, a_k : int
        A[r, j] of tile t is ``a[t * a_tile + r * a_row + j * a_k]``.
    b : pointer; b_row : int
        B[j, c] is ``b[j * b_row + c]`` for c below ``width``: all of them are read.
    start : pointer
        ``width`` numbers that every row of the accumulators starts from.
    c : pointer; c_row : int
        C, written, and read if ``epilogue`` has ADD or is FUSED_SGD.
    epilogue : int
    aux : pointer; aux_row : int
        Output of the activation whose derivative ``epilogue`` asks for, laid out like C; else not read.
    lr : scalar
        Of FUSED_SGD; else not used.
    """
    integer = types.intp
    signature = types.void(
        integer, integer, integer, integer, integer, a, integer, integer, integer, a, integer, a, a, integer, integer,
        a, integer, a.dtype,
    )  # fmt: skip
    return signature, _TILE.call(a)


def _arguments(element: ir.Type) -> list[ir.Type]:
    p = element.as_pointer()
    return [*[INT64] * 5, p, INT64, INT64, INT64, p, INT64, p, p, INT64, INT64, p, INT64, element]


def _emit_tile(function: ir.Function, element: ir.Type) -> None:
    """Emit the function that jumps to the tile of a given width and height, and all those tiles."""
    element_bytes = bytes_of(element)
    width, rows = function.args[:2]
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    impossible = function.append_basic_block("impossible")
    ir.IRBuilder(impossible).unreachable()
    by_width = builder.switch(width, impossible)
    for tile_width in widths(element_bytes):
        block = function.append_basic_block(f"width_{tile_width}")
        by_width.add_case(INT64(tile_width), block)
        by_rows = ir.IRBuilder(block).switch(rows, impossible)
        for height in range(1, TILE_ROWS + 1):
            # The same arguments, and visible from outside, so that LLVM makes the call a jump and moves none of them.
            fixed = ir.Function(function.module, function.function_type, f"{function.name}_{height}x{tile_width}")
            lanes = min(LANE_BYTES // element_bytes, tile_width)
            _FixedTile(fixed, element, height, lanes, tile_width // lanes).emit()
            block = function.append_basic_block(f"tile_{height}x{tile_width}")
            by_rows.add_case(INT64(height), block)
            call = ir.IRBuilder(block)
            call.call(fixed, function.args, tail=True)
            call.ret_void()


_TILE = NativeFunction("tile", _arguments, _emit_tile)


class _FixedTile:
    """Emits the code of the tile of one height and one number of vectors."""

    def __init__(self, function: ir.Function, element: ir.Type, height: int, lanes: int, vectors: int) -> None:
        self.function, self.height, self.vectors = function, height, vectors
        function.attributes.add("noinline")
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.v = Vectors(self.builder, element, lanes)

    def emit(self) -> None:
        _, _, count, columns, k, *inputs, c, c_row, epilogue, aux, aux_row, lr = self.function.args
        a, a_tile, a_row, a_k, b, b_row, start = inputs
        builder, last = self.builder, self.vectors - 1
        with cgutils.for_range(builder, count) as loop:
            top = builder.mul(loop.index, INT64(self.height))
            a_now = builder.gep(a, [builder.mul(loop.index, a_tile)])
            c_now, aux_now = (
                builder.gep(start_of, [builder.mul(top, stride)]) for start_of, stride in ((c, c_row), (aux, aux_row))
            )
            values = self._sum(k, a_now, a_row, a_k, b, b_row, start, c_now, c_row)

            in_last = builder.sub(columns, INT64(last * self.v.lanes))
            full = builder.icmp_signed(">=", in_last, INT64(self.v.lanes))
            with builder.if_else(full, likely=True) as (whole, ragged):
                with whole:
                    self._finish(values, epilogue, c_now, c_row, aux_now, aux_row, lr, None)
                with ragged:
                    mask = self.v.first_lanes(in_last)
                    self._finish(values, epilogue, c_now, c_row, aux_now, aux_row, lr, mask)
        builder.ret_void()

    def _sum(
        self, k: ir.Value, a: ir.Value, a_row: ir.Value, a_k: ir.Value, b: ir.Value, b_row: ir.Value, start: ir.Value,
        c: ir.Value, c_row: ir.Value,
    ) -> Values:  # fmt: skip
        """Emit the sums over all of k, ``STEPS`` at a time, and return them row by row."""
        builder = self.builder
        zeros = [self.v.constant(0.0)] * (self.height * self.vectors)
        initial = [self.v.load(self._vector(start, n)) for n in range(self.vectors)] * self.height
        steps, ask = self._steps(k), partial(self._prefetch_row, c, c_row)
        until = builder.select(builder.icmp_signed(">=", k, INT64(PREFETCH_FROM)), INT64(ROW_STEPS), steps)
        first = self._accumulate(steps, a, a_row, a_k, b, b_row, initial, until, ask)

        before = builder.block
        more, after = (self.function.append_basic_block(name) for name in ("more", "all"))
        builder.cbranch(builder.icmp_signed(">", k, INT64(STEPS)), more, after)
        builder.position_at_end(more)
        done = builder.phi(INT64)
        totals = [builder.phi(self.v.type) for _ in zeros]
        a_now = builder.gep(a, [builder.mul(done, a_k)])
        b_now = builder.gep(b, [builder.mul(done, b_row)])
        steps = self._steps(builder.sub(k, done))
        sums = self._accumulate(steps, a_now, a_row, a_k, b_now, b_row, zeros)
        added = [builder.fadd(total, each) for total, each in zip(totals, sums)]
        next_done = builder.add(done, INT64(STEPS))
        for phi, begin, following in zip([done, *totals], [INT64(STEPS), *first], [next_done, *added]):
            phi.add_incoming(begin, before)
            phi.add_incoming(following, builder.block)
        last = builder.block
        builder.cbranch(builder.icmp_signed("<", next_done, k), more, after)
        builder.position_at_end(after)
        return self._merge([(before, first), (last, added)])

    def _steps(self, left: ir.Value) -> ir.Value:
        return self._least(left, INT64(STEPS))

    def _least(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.builder.select(self.builder.icmp_signed("<", x, y), x, y)

    def _prefetch_row(self, c: ir.Value, c_row: ir.Value, row: ir.Value) -> None:
        """Ask for one row of C, the last one again if there are no more."""
        line = self.builder.gep(c, [self.builder.mul(self._least(row, INT64(self.height - 1)), c_row)])
        for n in range(self.vectors):
            self.v.prefetch(self._vector(line, n))

    def _accumulate(
        self, k: ir.Value, a: ir.Value, a_row: ir.Value, a_k: ir.Value, b: ir.Value, b_row: ir.Value, initial: Values,
        until: ir.Value | None = None, ask: Callable[[ir.Value], None] | None = None,
    ) -> Values:  # fmt: skip
        """Emit the loop over up to ``STEPS`` steps of k and return its accumulators, row by row.

        With ``ask``, the loop pauses after ``until`` steps, up to ``k``, and after each ``ROW_STEPS`` from then on, for
        ``ask(pauses before)``.
        """
        builder, v = self.builder, self.v
        # Three rows of A share a pointer: x86 forms the addresses base, base + stride and base + 2 stride by itself.
        a_rows = [builder.gep(a, [builder.mul(a_row, INT64(row))]) for row in range(0, self.height, 3)]

        before = builder.block
        loop, after = (self.function.append_basic_block(name) for name in ("k", "end"))
        builder.cbranch(builder.icmp_signed(">", k, INT64(0)), loop, after)
        builder.position_at_end(loop)
        step = builder.phi(INT64)
        pointers = [builder.phi(a.type) for _ in a_rows]
        b_now = builder.phi(b.type)
        accumulators = [builder.phi(v.type) for _ in initial]

        b_vectors = [v.load(self._vector(b_now, n)) for n in range(self.vectors)]
        sums = []
        for row in range(self.height):
            place = builder.gep(pointers[row // 3], [builder.mul(a_row, INT64(row % 3))])
            a_value = v.splat(builder.load(place))
            for n, b_vector in enumerate(b_vectors):
                sums.append(v.fma(a_value, b_vector, accumulators[row * self.vectors + n]))
        # Opaque steps keep LLVM from computing each address from the one before, a chain as long as the tile is high,
        # and from unrolling the loop until the addresses no longer fit the registers.
        next_step = v.opaque(builder.add(step, INT64(1)))
        going = [(step, INT64(0), next_step), (b_now, b, v.opaque(builder.gep(b_now, [b_row])))]
        going += [(phi, first, v.opaque(builder.gep(phi, [a_k]))) for phi, first in zip(pointers, a_rows)]
        going += zip(accumulators, initial, sums)
        for phi, first, following in going:
            phi.add_incoming(first, before)
            phi.add_incoming(following, loop)
        last = loop
        if until is None or ask is None:
            builder.cbranch(builder.icmp_signed("<", next_step, k), loop, after)
        else:
            last = self._pause(loop, after, before, going, k, next_step, until, ask)
        builder.position_at_end(after)
        results = [builder.phi(v.type) for _ in initial]
        for result, first, final in zip(results, initial, sums):
            result.add_incoming(first, before)
            result.add_incoming(final, last)
        return results

    def _pause(
        self, loop: ir.Block, after: ir.Block, before: ir.Block, going: list[tuple[ir.Value, ...]], k: ir.Value,
        next_step: ir.Value, until: ir.Value, ask: Callable[[ir.Value], None],
    ) -> ir.Block:  # fmt: skip
        """Emit the end of a loop's step, and the pauses; return the block that leaves the loop."""
        builder = self.builder
        pause, asking = (self.function.append_basic_block(name) for name in ("pause", "asking"))
        builder.position_at_start(loop)
        end, row = builder.phi(INT64), builder.phi(INT64)
        builder.position_at_end(loop)
        builder.cbranch(builder.icmp_signed("<", next_step, end), loop, pause)
        builder.position_at_end(pause)
        builder.cbranch(builder.icmp_signed("<", next_step, k), asking, after)
        builder.position_at_end(asking)
        ask(row)
        next_end = self._least(builder.add(end, INT64(ROW_STEPS)), k)
        next_row = builder.add(row, INT64(1))
        builder.branch(loop)
        for phi, _, following in going:
            phi.add_incoming(following, asking)
        for phi, first, same, following in ((end, until, end, next_end), (row, INT64(0), row, next_row)):
            phi.add_incoming(first, before)
            phi.add_incoming(same, loop)
            phi.add_incoming(following, asking)
        return pause

    def _finish(
        self, values: Values, epilogue: ir.Value, c: ir.Value, c_row: ir.Value, aux: ir.Value, aux_row: ir.Value,
        lr: ir.Value, mask: ir.Value | None,
    ) -> None:  # fmt: skip
        """Emit the epilogue and the stores; ``mask`` tells the valid lanes of a row's last vector, None that all are.

        Only that one gets a mask: a CPU takes longer over masked stores.
        """
        builder = self.builder
        adds = builder.icmp_signed("!=", builder.and_(epilogue, INT64(ADD)), INT64(0))
        before = builder.block
        with builder.if_then(adds):
            sums = [builder.fadd(old, new) for old, new in zip(self._read(c, c_row, mask), values)]
            adding = builder.block
        values = self._merge([(before, values), (adding, sums)])

        function = self.function
        done = function.append_basic_block("store")
        kind = builder.and_(epilogue, INT64(ADD - 1))
        outcomes = [(builder.block, values)]
        choice = builder.switch(kind, done)
        for code, apply in self._epilogues(values, c, c_row, aux, aux_row, lr, mask):
            block = function.append_basic_block(f"epilogue_{code}")
            choice.add_case(INT64(code), block)
            builder.position_at_end(block)
            outcomes.append((block, apply()))
            builder.branch(done)
        builder.position_at_end(done)
        self._write(self._merge(outcomes), c, c_row, mask)

    def _epilogues(
        self, values: Values, c: ir.Value, c_row: ir.Value, aux: ir.Value, aux_row: ir.Value, lr: ir.Value,
        mask: ir.Value | None,
    ) -> Iterator[tuple[int, Callable[[], Values]]]:  # fmt: skip
        """Yield the codes of all epilogues but STORE, each with what emits it."""
        v = self.v

        def fused_sgd() -> Values:
            step, zero = v.splat(lr), v.constant(0.0)  # a gradient of -0 is 0 once it is added to zeros
            old = self._read(c, c_row, mask)
            grads = [v.builder.fadd(x, zero) for x in values]
            return [sgd(v, step, each, grad) for each, grad in zip(old, grads)]

        def value(function: Function) -> Values:
            return [function(v, x) for x in values]

        def derivative(function: Function) -> Values:
            return [function(v, x, y) for x, y in zip(values, self._read(aux, aux_row, mask))]

        yield FUSED_SGD, fused_sgd
        for code, row in enumerate(ACTIVATIONS):
            if row.value_in_tile:
                yield VALUE + code, partial(value, row.value)
            if row.derivative_in_tile:
                yield DERIVATIVE + code, partial(derivative, row.times_derivative)

    def _merge(self, outcomes: list[tuple[ir.Block, Values]]) -> Values:
        """Return, behind several blocks, the values that each block brings."""
        merged = [self.builder.phi(self.v.type) for _ in outcomes[0][1]]
        for block, values in outcomes:
            for phi, value in zip(merged, values):
                phi.add_incoming(value, block)
        return merged

    def _vector(self, place: ir.Value, n: int) -> ir.Value:
        return self.builder.gep(place, [INT64(n * self.v.lanes)])

    def _places(self, start: ir.Value, stride: ir.Value) -> Iterator[tuple[int, ir.Value]]:
        """Yield the number in its row and the place of each of the tile's vectors."""
        for row in range(self.height):
            line = self.builder.gep(start, [self.builder.mul(stride, INT64(row))])
            for n in range(self.vectors):
                yield n, self._vector(line, n)

    def _read(self, start: ir.Value, stride: ir.Value, mask: ir.Value | None) -> Values:
        return [
            self.v.load(place) if mask is None or n < self.vectors - 1 else self.v.masked_load(place, mask)
            for n, place in self._places(start, stride)
        ]

    def _write(self, values: Values, start: ir.Value, stride: ir.Value, mask: ir.Value | None) -> None:
        for value, (n, place) in zip(values, self._places(start, stride)):
            if mask is None or n < self.vectors - 1:
                self.v.store(value, place)
            else:
                self.v.masked_store(value, place, mask)
