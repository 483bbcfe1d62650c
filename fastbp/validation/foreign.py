"""What is no NumPy array, such as another library's tensor or table, and the call that makes one of it.

The libraries are known by their types' names: none is imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_FLOATS = ("float32", "float64")


def require_array(array: Any, owner: str, dtypes: tuple[str, ...] = _FLOATS) -> npt.NDArray[Any]:
    """Return ``array`` itself if it is a NumPy array without a mask, or raise TypeError with the remedy.

    Parameters
    ----------
    array : object
    owner : str
        Who takes it, for the message.
    dtypes : tuple of str
        Names of those that the remedy leaves; it converts others to the first.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{owner} takes arrays without a mask, got {type(array).__name__}; fill it: .filled(value)")
    if not isinstance(array, np.ndarray):
        name, remedy = _describe(array, dtypes)
        raise TypeError(f"{owner} takes a NumPy array, got {name}; convert it with {remedy}")
    return array


def _describe(value: Any, dtypes: tuple[str, ...]) -> tuple[str, str]:
    """Return what ``value`` is, and the code that makes a NumPy array of one of ``dtypes`` of it."""
    name, modules = type(value).__name__, {base.__module__ for base in type(value).__mro__}
    libraries = {module.partition(".")[0] for module in modules}
    if "torch" in libraries and hasattr(value, "numpy"):
        return f"{name} of {value.dtype}", _from_torch(value, dtypes)
    if any(module.startswith("scipy.sparse") for module in modules) and hasattr(value, "toarray"):
        return name, ".toarray()" + ("" if value.dtype in dtypes else f".astype(numpy.{dtypes[0]})")
    if "pandas" in libraries and hasattr(value, "to_numpy"):
        return name, f".to_numpy(dtype=numpy.{dtypes[0]})"
    return name, f"numpy.asarray(..., dtype=numpy.{dtypes[0]})"


def _from_torch(tensor: Any, dtypes: tuple[str, ...]) -> str:
    is_elsewhere, cast = tensor.device.type != "cpu", str(tensor.dtype).removeprefix("torch.") not in dtypes
    calls = {
        ".detach()": tensor.requires_grad or is_elsewhere,
        ".cpu()": is_elsewhere,
        ".to_dense()": str(tensor.layout) != "torch.strided",
        ".float()": cast and dtypes[0] == "float32",
        ".double()": cast and dtypes[0] == "float64",
        ".numpy()": True,
    }
    return "".join(call for call, needed in calls.items() if needed)
