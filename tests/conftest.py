"""Fixtures that every test file may ask for."""

import matplotlib
import numpy
import pytest
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return numpy.dtype(request.param).type


@pytest.fixture(params=["sum", "mean"])
def reduction(request):
    return request.param
