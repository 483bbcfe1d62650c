"""Warnings that filters take for those of scikit-learn's MLPs, and that name the line which called ``fit``."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from sklearn.exceptions import DataConversionWarning
from sklearn.utils import column_or_1d

from fastbp.validation.arrays import Array

_MODULE = "sklearn.neural_network._multilayer_perceptron"
_INNER = ("fastbp.sklearn", "sklearn", "contextlib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn as scikit-learn does: ``filterwarnings(..., module="sklearn")`` applies."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_inner(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, category, frame.f_code.co_filename, frame.f_lineno, _MODULE, registry)


def _is_inner(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in _INNER)


def as_column(targets: Any) -> Array:
    """Return targets of shape (n, 1) as (n,), with scikit-learn's warning."""
    warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples, ), for "
        "example using ravel().",
        DataConversionWarning,
    )
    column: Array = column_or_1d(targets)
    return column
