"""Data in files that are mapped into memory train without a copy, and nobody can write where that would be fatal."""

import tracemalloc

import numpy
import pytest
from helpers import draw, mlp
from same_bits import OwnSGD

import fastbp
from fastbp import nn, optim

F32 = numpy.float32


@pytest.fixture(params=["r", "r+", "c"])
def mapped(request, tmp_path):
    """Arrays of a few megabytes and the same in files."""
    arrays = [draw((n, width), F32, seed) for seed, (n, width) in enumerate([(40_000, 40), (40_000, 3), (10_000, 40)])]
    arrays.append(numpy.eye(3, dtype=F32)[numpy.arange(10_000) % 3])
    for number, array in enumerate(arrays):
        numpy.save(tmp_path / f"{number}.npy", array)
    return arrays, [numpy.load(tmp_path / f"{number}.npy", mmap_mode=request.param) for number in range(4)]


def trained(data, opt_class, **options):
    model = mlp(40, 4, 3)
    opt = opt_class(model.parameters(), lr=0.05)
    history = fastbp.train_model(model, *data, nn.MSELoss(), opt, 2, 500, **options)
    return dict(history), [parameter.data.tolist() for parameter in model.parameters()]


@pytest.mark.parametrize("opt_class", [optim.SGD, OwnSGD])
@pytest.mark.parametrize("options", [{}, {"shuffle": True, "rng": 0}])
def test_a_mapped_file_trains_as_the_same_array_in_memory(options, mapped, opt_class):
    assert trained(mapped[1], opt_class, **options) == trained(mapped[0], opt_class, **options)


@pytest.mark.parametrize("opt_class", [optim.SGD, OwnSGD])
def test_a_mapped_file_is_not_copied(mapped, opt_class):
    trained([array[:500] for array in mapped[0]], opt_class)
    tracemalloc.start()
    trained(mapped[1], opt_class, metrics=["mae"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000 < mapped[0][2].nbytes


def test_a_part_of_a_mapped_file_is_not_copied_either(mapped):
    model, x = mlp(40, 4, 3), mapped[1][0][7:30_007]
    expected = model.predict(numpy.array(x))
    tracemalloc.start()
    prediction = model.predict(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    numpy.testing.assert_array_equal(prediction, expected)
    assert peak < 1_000_000


class Writing(nn.Module):
    """Writes to its input: in a file that may only be read, that would end the process."""

    def forward(self, input):
        input[...] = 0
        return input

    def backward(self, grad_output):
        return grad_output


def writing(prediction, target):
    target[...] = 0
    return 0.0


def test_a_write_of_a_users_function_to_a_file_that_may_be_read_only_raises(mapped):
    arrays, files = mapped
    if files[0].mode != "r":
        return
    model = nn.Sequential(Writing(), nn.Linear(40, 3))
    opt = optim.SGD(model.parameters(), lr=0.1)
    for call in (
        lambda: fastbp.train_model(model, *files, nn.MSELoss(), opt, 1, 500),
        lambda: model.predict(files[0]),
        lambda: model(files[0]),
        lambda: trained(files, optim.SGD, metrics=[writing]),
        lambda: trained(files, OwnSGD, metrics=[writing]),
    ):
        with pytest.raises(ValueError, match="read-only"):
            call()
    for array, file in zip(arrays, files, strict=True):
        numpy.testing.assert_array_equal(array, file)
