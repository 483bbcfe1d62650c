"""Schedules of the learning rate with the names and values of ``torch.optim.lr_scheduler``."""

from typing import TYPE_CHECKING

from fastbp.optim.lr_scheduler.composed import ChainedScheduler, SequentialLR
from fastbp.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from fastbp.optim.lr_scheduler.cyclic import CyclicLR
from fastbp.optim.lr_scheduler.factors import ConstantLR, LambdaLR, LinearLR, MultiplicativeLR, PolynomialLR
from fastbp.optim.lr_scheduler.one_cycle import OneCycleLR
from fastbp.optim.lr_scheduler.plateau import ReduceLROnPlateau
from fastbp.optim.lr_scheduler.scheduler import LRScheduler
from fastbp.optim.lr_scheduler.steps import ExponentialLR, MultiStepLR, StepLR
from fastbp.validation.missing import missing

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]

if not TYPE_CHECKING:  # what is missing is missing for a type checker too
    __getattr__ = missing(__name__, __all__, ("_LRScheduler",))
