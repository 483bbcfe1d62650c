"""Calls that are counted and whose errors must be fastbp's own; results that must be near a reference's."""

from __future__ import annotations

import json
import linecache
from pathlib import Path

import numpy

import fastbp

FASTBP = str(Path(fastbp.__file__).parent)
counts = {"calls": 0, "errors": 0, "compared": 0}


def is_ours(error):
    """Whether a line of fastbp raises the error, with a sentence of its own, or numba does with one of the kernels'."""
    if type(error).__module__.startswith("fastbp_kernels"):
        return True
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    file = frame.tb_frame.f_code.co_filename
    line = linecache.getline(file, frame.tb_lineno).strip()
    return file.startswith(FASTBP) and line.startswith(("raise ", "warnings.warn(")) and " " in str(error)


def tame(*arrays):
    """Whether a comparison within rounding makes sense."""
    return all(array is None or (numpy.abs(array) < 1e3).all() for array in arrays)


def assert_near(actual, expected):
    counts["compared"] += 1
    scale = 1 + numpy.abs(expected).max(initial=0.0)
    numpy.testing.assert_allclose(actual, expected, rtol=0, atol=scale * (2e-4 if actual.dtype == "f4" else 1e-9))


def written(part):
    """The state of an optimiser or a schedule as text, whatever the order of its names."""
    return json.dumps(part.state_dict(), sort_keys=True, default=lambda array: numpy.asarray(array).tobytes().hex())


class Caller:
    """Calls on behalf of a test."""

    def call(self, function, *arguments, **options):
        """Return the result and None, or None and the error, which must be ours."""
        counts["calls"] += 1
        try:
            return function(*arguments, **options), None
        except MemoryError as error:
            return None, error
        except Exception as error:
            if not is_ours(error):
                raise AssertionError(f"not ours: {error!r}") from error
            counts["errors"] += 1
            return None, error.with_traceback(None)  # whose frames would hold outputs that nobody else holds

    def must(self, function, *arguments, **options):
        result, error = self.call(function, *arguments, **options)
        if error is not None:
            raise AssertionError(f"refused: {error}") from error
        return result

    def must_not(self, function, *arguments, **options):
        result, error = self.call(function, *arguments, **options)
        assert error is not None, f"taken: {arguments} {options}, giving {result!r}"
