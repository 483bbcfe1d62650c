"""Arrays whose surroundings are watched: guards that show a stray write, pages that end a stray read."""

import ctypes
import math
import mmap
import os
import signal

import numpy

GUARD = 40  # elements, more than two of the widest vectors


class Guarded:
    """Copies of arrays between guards of NaN, one element off the alignment that NumPy gives."""

    def __init__(self):
        self.around = []

    def __call__(self, values):
        memory = numpy.full(values.size + 2 * GUARD + 1, numpy.nan, values.dtype)
        inside = memory[GUARD + 1 : GUARD + 1 + values.size]
        inside[...] = values.ravel()
        self.around += [memory[: GUARD + 1], memory[GUARD + 1 + values.size :]]
        return inside.reshape(values.shape)

    def assert_untouched(self):
        assert all(numpy.isnan(guard).all() for guard in self.around)


class Fence:
    """Eight pages of memory between two that may not be touched."""

    def __init__(self):
        self.memory = mmap.mmap(-1, 10 * mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for page in (0, 9):
            place = ctypes.c_void_p(start + page * mmap.PAGESIZE)
            assert ctypes.CDLL(None).mprotect(place, mmap.PAGESIZE, 0) == 0

    def array(self, shape, dtype, at_end):
        """Ones that touch the forbidden page after them, or the one before."""
        count = math.prod(shape)
        offset = 9 * mmap.PAGESIZE - count * numpy.dtype(dtype).itemsize if at_end else mmap.PAGESIZE
        array = numpy.frombuffer(self.memory, dtype, count, offset).reshape(shape)
        array[...] = 1
        return array


def assert_survives(function, *arguments):
    """Call ``function`` in a child process, where a segmentation fault or a deadlock ends nothing but the child.

    The child inherits the code that is compiled so far and has a minute's time.
    """
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        status = 1
        try:
            function(*arguments)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "wrong numbers"
