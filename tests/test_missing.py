"""Names of PyTorch that are not there say what is."""

import types

import pytest
import torch

from fastbp import optim
from fastbp.nn import init
from fastbp.validation.missing import missing


def test_every_optimiser_of_torch_is_there_or_says_that_it_is_not():
    for name in torch.optim.__all__:
        if name in optim.__all__:
            assert hasattr(optim, name)
            continue
        assert not hasattr(optim, name)
        with pytest.raises(
            AttributeError, match=rf"^fastbp\.optim has {', '.join(optim.__all__)}; {name} is not there$"
        ):
            getattr(optim, name)


def test_every_initialiser_of_torch_is_there_or_says_that_it_is_not():
    for name in torch.nn.init.__all__:
        if name not in init.__all__:
            with pytest.raises(
                AttributeError, match=rf"^fastbp\.nn\.init has .*xavier_uniform_.*; {name} is not there$"
            ):
                getattr(init, name)


def test_another_name_is_missing_as_in_any_module():
    for module in (optim, init):
        with pytest.raises(AttributeError, match=rf"^module '{module.__name__}' has no attribute 'rooms'$"):
            assert module.rooms
        assert not hasattr(module, "__wrapped__")


def test_importing_what_is_not_there_is_an_import_error():
    with pytest.raises(ImportError, match=r"cannot import name 'LBFGS' from 'fastbp\.optim'"):
        from fastbp.optim import LBFGS  # noqa: F401


def test_the_names_that_are_there_are_read_when_one_is_missed():
    module, names = types.ModuleType("room"), ["Table"]
    module.__getattr__ = missing("room", names, ("Chair", "Stool"))
    names.append("Stool")
    with pytest.raises(AttributeError, match=r"^room has Table, Stool; Chair is not there$"):
        assert module.Chair
