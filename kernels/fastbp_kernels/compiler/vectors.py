"""LLVM vectors: what the tile and the activations are written in.

``Vectors`` names the operations on registers of one element type and one number of lanes and emits LLVM instructions
for them. The number of lanes comes from the host: ``LANE_BYTES`` is the width of its vector registers.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import binding, ir

from fastbp_kernels.compiler.numba_internals import config


def host_has(feature: str) -> bool:
    """Whether the CPU that numba compiles for has ``feature``, by LLVM's name for it."""
    if config.CPU_NAME is not None or config.CPU_FEATURES is not None:  # the user reduced it
        return f"+{feature}" in (config.CPU_FEATURES or "").split(",")
    return bool(binding.get_host_cpu_features().get(feature))


def cpu_name() -> str:
    """Return LLVM's name of the CPU that numba compiles for."""
    return str(config.CPU_NAME or binding.get_host_cpu_name())


FEATURES = ("avx512f", "avx2", "avx", "fma", "neon")
"""Those that tell most of what the kernels become."""


def _lane_bytes() -> int:
    for feature, width in (("avx512f", 64), ("avx", 32)):
        if host_has(feature):
            return width
    return 16  # SSE2 and NEON, which every x86-64 and every 64-bit Arm have


LANE_BYTES = _lane_bytes()

_ROUNDING_OF_THE_THREAD = 4  # of AVX-512's instructions that may be given another
# Entries of tables for AVX-512's vfixupimm: four bits for each class of numbers, 0 where nothing is to change.
_ZERO_OF_ZERO, _INFINITY_OF_INFINITY = 8 << 4 * 2, 5 << 4 * 5

INT32 = ir.IntType(32)
INT64 = ir.IntType(64)


def bytes_of(element: ir.Type) -> int:
    """Return the size of ``element``, an LLVM float or double."""
    return 4 if isinstance(element, ir.FloatType) else 8


def vectors_of(builder: ir.IRBuilder, element: ir.Type) -> Vectors:
    """Return the operations on vectors of the CPU's full width, of ``element``."""
    return Vectors(builder, element, LANE_BYTES // bytes_of(element))


class Vectors:
    """Operations on vectors of ``lanes`` numbers of ``element``, an LLVM float or double."""

    def __init__(self, builder: ir.IRBuilder, element: ir.Type, lanes: int) -> None:
        self.builder, self.element, self.lanes = builder, element, lanes
        self.bytes = bytes_of(element)
        self.type = ir.VectorType(element, lanes)
        self.int_element = ir.IntType(8 * self.bytes)
        self.int_type = ir.VectorType(self.int_element, lanes)
        self.mask_type = ir.VectorType(ir.IntType(1), lanes)
        self.size = lanes * self.bytes
        self.is_512_bit = self.size == 64
        self.looks_up = 2 * lanes if self.bytes == 4 and self.is_512_bit else 0  # numbers in a table for look_up

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.type, [value] * self.lanes)

    def integers(self, value: int) -> ir.Constant:
        return ir.Constant(self.int_type, [value] * self.lanes)

    def splat(self, scalar: ir.Value) -> ir.Value:
        """Return ``scalar`` in every lane."""
        vector_type = ir.VectorType(scalar.type, self.lanes)
        first = self.builder.insert_element(ir.Constant(vector_type, ir.Undefined), scalar, INT32(0))
        return self.shuffle(first, first, [0] * self.lanes)

    def shuffle(self, low: ir.Value, high: ir.Value, order: list[int]) -> ir.Value:
        return self.builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(INT32, len(order)), order))

    def load(self, place: ir.Value, align: int | None = None) -> ir.Value:
        value = self.builder.load(self.builder.bitcast(place, self.type.as_pointer()))
        value.align = align or self.bytes
        return value

    def joined(self, parts: list[ir.Value]) -> ir.Value:
        """Return the lanes of all ``parts`` as one vector; there are 1, 2, 4 ... of them, of equal size."""
        while len(parts) > 1:
            lanes = 2 * parts[0].type.count
            parts = [self.shuffle(low, high, list(range(lanes))) for low, high in zip(parts[::2], parts[1::2])]
        return parts[0]

    def store(self, value: ir.Value, place: ir.Value, align: int | None = None) -> None:
        store = self.builder.store(value, self.builder.bitcast(place, self.type.as_pointer()))
        store.align = align or self.bytes

    def first_lanes(self, count: ir.Value) -> ir.Value:
        """Return the mask of the lanes below ``count`` (64 bit, any value)."""
        builder, all_lanes = self.builder, INT64(self.lanes)
        count = builder.select(builder.icmp_signed("<", count, all_lanes), count, all_lanes)
        count = builder.select(builder.icmp_signed(">", count, INT64(0)), count, INT64(0))
        if self.bytes == 4:
            count = builder.trunc(count, self.int_element)
        lanes = ir.Constant(self.int_type, list(range(self.lanes)))
        return builder.icmp_signed("<", lanes, self.splat(count))

    def masked_load(self, place: ir.Value, mask: ir.Value) -> ir.Value:
        """Load the lanes in ``mask``, touching no others, with zero elsewhere."""
        pointer = self.builder.bitcast(place, self.type.as_pointer())
        function = self._intrinsic("masked.load", self.type, [pointer.type, INT32, self.mask_type, self.type], "p0")
        return self.builder.call(function, [pointer, INT32(self.bytes), mask, self.constant(0.0)])

    def masked_store(self, value: ir.Value, place: ir.Value, mask: ir.Value) -> None:
        pointer = self.builder.bitcast(place, self.type.as_pointer())
        arguments = [self.type, pointer.type, INT32, self.mask_type]
        function = self._intrinsic("masked.store", ir.VoidType(), arguments, "p0")
        self.builder.call(function, [value, pointer, INT32(self.bytes), mask])

    def gather(self, start: ir.Value, offsets: ir.Value, mask: ir.Value, otherwise: float = 0.0) -> ir.Value:
        """Load ``start[offsets]`` (64-bit integers) in the lanes in ``mask``, touching nothing in the others."""
        places = self._places(start, offsets)
        arguments = [places.type, INT32, self.mask_type, self.type]
        name = f"llvm.masked.gather.v{self.lanes}f{8 * self.bytes}.v{self.lanes}p0"
        function = self._function(name, self.type, arguments)
        return self.builder.call(function, [places, INT32(self.bytes), mask, self.constant(otherwise)])

    def scatter(self, value: ir.Value, start: ir.Value, offsets: ir.Value, mask: ir.Value) -> None:
        """Store to ``start[offsets]`` in the lanes in ``mask``."""
        places = self._places(start, offsets)
        arguments = [self.type, places.type, INT32, self.mask_type]
        name = f"llvm.masked.scatter.v{self.lanes}f{8 * self.bytes}.v{self.lanes}p0"
        self.builder.call(self._function(name, ir.VoidType(), arguments), [value, places, INT32(self.bytes), mask])

    def _places(self, start: ir.Value, offsets: ir.Value) -> ir.Value:
        builder = self.builder
        first = self.splat(builder.ptrtoint(start, INT64))
        bytes_ahead = builder.mul(offsets, ir.Constant(offsets.type, [self.bytes] * self.lanes))
        return builder.inttoptr(builder.add(first, bytes_ahead), ir.VectorType(start.type, self.lanes))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return a * b + c, rounded once where the CPU can, twice where it cannot."""
        return self.builder.call(self._intrinsic("fmuladd", self.type, [self.type] * 3), [a, b, c])

    def absolute(self, x: ir.Value) -> ir.Value:
        return self.builder.call(self._intrinsic("fabs", self.type, [self.type]), [x])

    def estimated_reciprocal(self, y: ir.Value) -> ir.Value:
        """Return 1 / y, where both are normal numbers or NaN: of 512-bit vectors to half of its digits, else rounded.

        A quotient of long formulas is better left to ``builder.fdiv``: the CPU divides beside its other work.
        """
        if not self.is_512_bit:
            return self.builder.fdiv(self.constant(1.0), y)
        estimate = self._estimate("rcp14", y)
        if self.bytes == 4:
            return estimate
        return self.fma(self.fma(self.builder.fneg(y), estimate, self.constant(1.0)), estimate, estimate)

    def sqrt(self, x: ir.Value) -> ir.Value:
        """Return the square root: rounded, or of 512-bit vectors within a unit of that.

        There the CPU estimates it to 14 bits, and Newton steps double them: rounded roots come from the unit that
        divides and would wait for it. That of float32 below 2**-100 is then within 2**-13 of it, as a share.
        """
        b, half = self.builder, self.constant(0.5)
        if not self.is_512_bit:
            return b.call(self._intrinsic("sqrt", self.type, [self.type]), [x])
        reciprocal = self._estimate("rsqrt14", x)
        if self.bytes == 8:
            rest = self.fma(b.fmul(b.fneg(x), reciprocal), b.fmul(half, reciprocal), half)
            reciprocal = self.fma(rest, reciprocal, reciprocal)
        root = b.fmul(x, reciprocal)
        rest = self.fma(b.fneg(root), root, x)
        better = self.fma(rest, b.fmul(reciprocal, half), root)
        return self._fixed_up(better, x, _ZERO_OF_ZERO + _INFINITY_OF_INFINITY)

    def _estimate(self, name: str, x: ir.Value) -> ir.Value:
        """Return an estimate by an instruction for all lanes of a 512-bit register."""
        mask, suffix = ir.IntType(max(8, self.lanes)), {4: "ps", 8: "pd"}[self.bytes]
        function = self._function(f"llvm.x86.avx512.{name}.{suffix}.512", self.type, [self.type, self.type, mask])
        return self.builder.call(function, [x, self.constant(0.0), ir.Constant(mask, -1)])

    def _fixed_up(self, value: ir.Value, x: ir.Value, table: int) -> ir.Value:
        """Return ``value``, or what the ``table`` (of AVX-512's vfixupimm) gives for the class of ``x``."""
        suffix, mask = {4: "ps", 8: "pd"}[self.bytes], ir.IntType(max(8, self.lanes))
        types = [self.type, self.type, self.int_type, INT32, mask, INT32]
        function = self._function(f"llvm.x86.avx512.mask.fixupimm.{suffix}.512", self.type, types)
        arguments = [self.integers(table), INT32(0), ir.Constant(mask, -1), INT32(_ROUNDING_OF_THE_THREAD)]
        return self.builder.call(function, [value, x, *arguments])

    def scalar_sqrt(self, x: ir.Value) -> ir.Value:
        name = f"llvm.sqrt.f{8 * self.bytes}"
        return self.builder.call(self._function(name, self.element, [self.element]), [x])

    def scale(self, x: ir.Value, n: ir.Value) -> ir.Value:
        """Return x * 2**n for whole numbers n, rounded once, of 512-bit vectors."""
        name = {4: "ps", 8: "pd"}[self.bytes]
        mask = ir.IntType(max(8, self.lanes))
        arguments = [self.type, self.type, self.type, mask, INT32]
        function = self._function(f"llvm.x86.avx512.mask.scalef.{name}.512", self.type, arguments)
        return self.builder.call(function, [x, n, x, ir.Constant(mask, -1), INT32(_ROUNDING_OF_THE_THREAD)])

    def copysign(self, magnitude: ir.Value, sign: ir.Value) -> ir.Value:
        return self.builder.call(self._intrinsic("copysign", self.type, [self.type] * 2), [magnitude, sign])

    def look_up(self, table: list[float], places: ir.Value) -> ir.Value:
        """Return for each lane the number at that of the ``places`` (integers) in a table of ``looks_up`` numbers.

        The places' higher bits do not count.
        """
        low, high = (ir.Constant(self.type, table[start : start + self.lanes]) for start in (0, self.lanes))
        arguments = [self.type, self.int_type, self.type]
        function = self._function("llvm.x86.avx512.vpermi2var.ps.512", self.type, arguments)
        return self.builder.call(function, [low, places, high])

    def prefetch(self, place: ir.Value) -> None:
        """Ask for the cache line at ``place``, to be written soon."""
        byte = ir.IntType(8).as_pointer()
        function = self._function("llvm.prefetch.p0", ir.VoidType(), [byte, INT32, INT32, INT32])
        write, keep, data = INT32(1), INT32(3), INT32(1)
        self.builder.call(function, [self.builder.bitcast(place, byte), write, keep, data])

    def opaque(self, value: ir.Value) -> ir.Value:
        """Return ``value``, of which LLVM no longer knows how it was computed."""
        return self.builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)

    def sum(self, x: ir.Value) -> ir.Value:
        """Return the sum of all lanes: halves are added until one lane is left."""
        return self._folded(x, self.builder.fadd)

    def largest(self, x: ir.Value) -> ir.Value:
        """Return the largest number of all lanes, if none is NaN."""
        return self._folded(x, self.larger)

    def larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Return the larger number; y if one is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", x, y), x, y)

    def _folded(self, x: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (self.shuffle(x, x, list(range(start, start + lanes))) for start in (0, lanes))
            x = combine(low, high)
        return self.builder.extract_element(x, INT32(0))

    def widened(self, x: ir.Value) -> ir.Value:
        """Return ``x`` in float64."""
        return x if self.bytes == 8 else self.builder.fpext(x, ir.VectorType(ir.DoubleType(), self.lanes))

    def narrowed(self, x: ir.Value) -> ir.Value:
        """Return ``x``, of float64, as numbers of this type."""
        return x if self.bytes == 8 else self.builder.fptrunc(x, self.type)

    def _intrinsic(self, name: str, result: ir.Type, arguments: list[ir.Type], suffix: str = "") -> ir.Function:
        overload = f"v{self.lanes}f{8 * self.bytes}" + (f".{suffix}" if suffix else "")
        return self._function(f"llvm.{name}.{overload}", result, arguments)

    def _function(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        module = self.builder.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)
