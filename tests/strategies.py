"""What hypothesis draws: sizes at the edges of vectors and tiles, numbers of every kind, places in memory.

A property draws dtype, shapes, kinds and seeds; the numbers themselves come from a NumPy generator. Every run draws the
same.
"""

import numpy
from helpers import DTYPES
from hypothesis import settings
from hypothesis import strategies as st
from length import WHOLE

from fastbp_kernels.compiler.vectors import LANE_BYTES
from fastbp_kernels.linalg.tile import TILE_ROWS


def examples(max_examples):
    """So many examples, or a fifth of them in short; the first one may compile."""
    return settings(max_examples=max_examples if WHOLE else max_examples // 5, deadline=None, derandomize=True)


dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)
rows = st.sampled_from(sorted({0, 1, 2, 3, TILE_ROWS - 1, TILE_ROWS, TILE_ROWS + 1, 2 * TILE_ROWS, 2 * TILE_ROWS + 1}))


def widths(dtype):
    """One feature, and one below, at and above a quarter, half, one and two vectors."""
    lanes = LANE_BYTES // numpy.dtype(dtype).itemsize
    edges = (lanes // 4, lanes // 2, lanes, 2 * lanes)
    return st.sampled_from(sorted({1} | {edge + step for edge in edges for step in (-1, 0, 1) if edge + step > 0}))


def sizes(dtype):
    """Of a vector: as ``widths``, and none, and several vectors."""
    lanes = LANE_BYTES // numpy.dtype(dtype).itemsize
    return st.just(0) | widths(dtype) | st.integers(0, 6 * lanes)


# The share of each kind of number in an array: normal, huge, denormal, zero, infinite, NaN. Products of huge and
# denormal numbers are ordinary again; the rare special numbers leave other rows and columns without any.
MIXES = {
    "normal": (1, 0, 0, 0, 0, 0),
    "huge": (0, 1, 0, 0, 0, 0),
    "denormal": (0, 0, 1, 0, 0, 0),
    "of all sizes": (0.3, 0.3, 0.2, 0.2, 0, 0),
    "normal and rarely special": (0.9, 0, 0, 0.05, 0.03, 0.02),
    "rarely special": (0.3, 0.3, 0.2, 0.15, 0.03, 0.02),
    "often special": (0.2, 0.2, 0.1, 0.2, 0.2, 0.1),
}


def numbers(shape, dtype, mix, seed):
    """An array of the kinds that ``MIXES[mix]`` tells, each with either sign."""
    rng, info = numpy.random.default_rng(seed), numpy.finfo(dtype)
    kinds = [
        numpy.abs(rng.standard_normal(shape)),
        numpy.ldexp(rng.uniform(0.5, 1, shape), rng.integers(info.maxexp // 4, info.maxexp, shape, endpoint=True)),
        float(info.smallest_subnormal) * rng.integers(1, 2**info.nmant, shape),
        numpy.zeros(shape),
        numpy.full(shape, numpy.inf),
        numpy.full(shape, numpy.nan),
    ]
    chosen = numpy.choose(rng.choice(len(kinds), shape, p=MIXES[mix]), kinds)
    return numpy.asarray(numpy.copysign(chosen, rng.choice([-1, 1], shape)), dtype)


@st.composite
def arrays(choose, shape, dtype, mixes=tuple(MIXES)):
    """Numbers of one of ``mixes``, at any distance from a cache line."""
    values = numbers(shape, dtype, choose(st.sampled_from(mixes)), choose(seeds))
    lanes = LANE_BYTES // values.itemsize
    memory = numpy.empty(values.size + 2 * lanes, dtype)
    start = -memory.ctypes.data % LANE_BYTES // values.itemsize + choose(st.integers(0, lanes - 1))
    place = memory[start : start + values.size].reshape(shape)
    place[...] = values
    return place
