"""Rows of functions of one number: exponentials, logarithms, roots, angles; and of two that belong to them."""

from __future__ import annotations

from math import log, pi
from typing import Any

import numpy as np

from fastbp.autograd.functions import elementwise

LOG_2, LOG_10 = log(2), log(10)

elementwise(np.exp, lambda grad, out, x: grad * out, keeps="output")
elementwise(np.exp2, lambda grad, out, x: grad * out * LOG_2, keeps="output")
elementwise(np.expm1, lambda grad, out, x: grad * (out + 1), keeps="output")
elementwise(np.log, lambda grad, out, x: grad / x, keeps="inputs")
elementwise(np.log2, lambda grad, out, x: grad / (x * LOG_2), keeps="inputs")
elementwise(np.log10, lambda grad, out, x: grad / (x * LOG_10), keeps="inputs")
elementwise(np.log1p, lambda grad, out, x: grad / (x + 1), keeps="inputs")
elementwise(np.sqrt, lambda grad, out, x: grad / (2 * out), keeps="output")
elementwise(np.cbrt, lambda grad, out, x: grad / (3 * out * out), keeps="output")

elementwise(np.sin, lambda grad, out, x: grad * np.cos(x), keeps="inputs")
elementwise(np.cos, lambda grad, out, x: -grad * np.sin(x), keeps="inputs")
elementwise(np.tan, lambda grad, out, x: grad * (1 + out * out), keeps="output")
elementwise(np.sinh, lambda grad, out, x: grad * np.cosh(x), keeps="inputs")
elementwise(np.cosh, lambda grad, out, x: grad * np.sinh(x), keeps="inputs")
elementwise(np.tanh, lambda grad, out, x: grad * (1 - out * out), keeps="output")
elementwise(np.arcsin, lambda grad, out, x: grad / np.sqrt(1 - x * x), keeps="inputs")
elementwise(np.arccos, lambda grad, out, x: -grad / np.sqrt(1 - x * x), keeps="inputs")
elementwise(np.arctan, lambda grad, out, x: grad / (1 + x * x), keeps="inputs")
elementwise(np.arcsinh, lambda grad, out, x: grad / np.sqrt(x * x + 1), keeps="inputs")
elementwise(np.arccosh, lambda grad, out, x: grad / np.sqrt(x * x - 1), keeps="inputs")
elementwise(np.arctanh, lambda grad, out, x: grad / (1 - x * x), keeps="inputs")
for to_radians in (np.deg2rad, np.radians):
    elementwise(to_radians, lambda grad, out, x: grad * (pi / 180))
for to_degrees in (np.rad2deg, np.degrees):
    elementwise(to_degrees, lambda grad, out, x: grad * (180 / pi))


def _angle_y(grad: Any, out: Any, y: Any, x: Any) -> Any:
    square = x * x + y * y
    return grad * np.where(np.equal(square, 0), 0, x / square)  # 0 at the origin, as in PyTorch


def _angle_x(grad: Any, out: Any, y: Any, x: Any) -> Any:
    return -_angle_y(grad, out, x, y)


def _log_sum(grad: Any, out: Any, x: Any, y: Any) -> Any:
    return grad / (1 + np.exp(np.subtract(y, x)))


def _log_sum_2(grad: Any, out: Any, x: Any, y: Any) -> Any:
    return grad / (1 + np.exp2(np.subtract(y, x)))


elementwise(np.arctan2, _angle_y, _angle_x, keeps="inputs")
elementwise(
    np.hypot,
    lambda grad, out, x, y: grad * (x / out),
    lambda grad, out, x, y: grad * (y / out),
    keeps="inputs, output",
)
elementwise(np.logaddexp, _log_sum, lambda grad, out, x, y: _log_sum(grad, out, y, x), keeps="inputs")
elementwise(np.logaddexp2, _log_sum_2, lambda grad, out, x, y: _log_sum_2(grad, out, y, x), keeps="inputs")
