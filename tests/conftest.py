"""Fixtures that every test file may ask for."""

import signal

import matplotlib
import numpy
import pytest
import torch

import fastbp
from fastbp.runtime import threads

matplotlib.use("Agg")
torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return numpy.dtype(request.param).type


@pytest.fixture(params=["sum", "mean"])
def reduction(request):
    return request.param


@pytest.fixture(params=[1, 3], ids=["1 thread", "3 threads"])
def count(request, monkeypatch):
    """So many threads for the smallest work."""
    before = fastbp.get_num_threads()
    monkeypatch.setattr(threads, "FLOP_PER_START", 1.0)
    fastbp.set_num_threads(request.param)
    yield request.param
    fastbp.set_num_threads(before)
