"""From one dtype to another: what PyTorch's scripts call on modules."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastbp.nn.module_tree import ModuleTree
from fastbp.nn.parameter import FlatView, convert
from fastbp.runtime.model_lock import writing
from fastbp.validation.arrays import require_dtype

C = TypeVar("C", bound="Conversions")


class Conversions(ModuleTree):
    """A module whose parameters and buffers may be converted in place."""

    def float(self: C) -> C:
        """Convert all parameters and gradients to float32, in place; return this module."""
        return self._convert(np.dtype(np.float32))

    def double(self: C) -> C:
        """Convert all parameters and gradients to float64, in place; return this module."""
        return self._convert(np.dtype(np.float64))

    def cpu(self: C) -> C:
        """Return this module: it is on the CPU."""
        return self

    def to(self: C, *device_and_dtype: Any, device: Any = None, dtype: npt.DTypeLike | None = None) -> C:
        """Convert to a dtype, as ``float`` and ``double`` do; a device may be named, and must be the CPU.

        Parameters
        ----------
        *device_and_dtype, device, dtype
            "cpu", ``numpy.float32`` or ``numpy.float64``, in the positions or by the names of PyTorch.
        """
        for value in device_and_dtype:
            if value is not None and (str(value) == "cpu" or not _is_dtype(value)):
                device = value
            elif value is not None:
                dtype = value
        if device is not None and str(device) != "cpu":
            raise ValueError(f"{type(self).__name__} computes on the CPU in float32 or float64, got .to({device!r})")
        return self if dtype is None else self._convert(require_dtype(dtype, f"{type(self).__name__}.to"))

    def _convert(self: C, dtype: np.dtype[Any]) -> C:
        with writing(self._current().lock):
            convert(self._current().parameters, dtype)
            for module in self.modules():
                module._follow_dtype()
                module._convert_buffers(dtype)
                module.changed()
        return self

    def _follow_dtype(self) -> None:
        """Note the parameters' dtype after they were converted, maybe by another module that shares them."""

    def _convert_buffers(self, dtype: np.dtype[Any]) -> None:
        """Convert the floating point numbers that belong to the state and are no parameters."""
        for name in self._buffer_names:
            array = getattr(self, name)
            if array is not None and array.dtype.kind == "f":
                with np.errstate(over="ignore"):  # beyond float32 is infinity, as in PyTorch
                    vars(self)[name] = array.astype(dtype)

    def _current(self) -> FlatView:
        raise NotImplementedError


def _is_dtype(value: Any) -> bool:
    try:
        np.dtype(value)
    except TypeError:
        return False
    return True
