"""Reading a module's parameters and buffers from a mapping of names to arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbp.nn.parameter import Parameter
from fastbp.validation.arrays import Array


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` returns: names that one side has and the other has not; both empty if it is strict."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def checked_values(
    caller: str, state: Mapping[str, Parameter | Array], state_dict: Mapping[str, Any], strict: bool
) -> tuple[dict[str, Array], IncompatibleKeys]:
    """Return the values that ``state_dict`` has for parts of ``state``, in their dtypes, and the names that differ.

    Raises
    ------
    TypeError, ValueError
        As ``Module.load_state_dict``, which is the ``caller`` that errors name.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"{caller} takes a mapping of names to arrays, got {type(state_dict).__name__}")
    unexpected = [name for name in state_dict if name not in state]
    missing = [name for name in state if name not in state_dict]
    faults: list[str] = []
    if strict:
        faults += [f"unexpected {name!r}" for name in unexpected]
        faults += [f"missing {name!r} of shape {state[name].shape}" for name in missing]
    values: dict[str, Array] = {}
    for name, own in state.items():
        if name in state_dict:
            value = _to_numpy(state_dict[name])
            if value is None:
                faults.append(f"{name!r} is no array: {type(state_dict[name]).__name__}")
            elif value.dtype.kind not in "fiu":
                faults.append(f"{name!r} has dtype {value.dtype}")
            elif own.dtype.kind == "i" and value.dtype.kind == "f" and not (abs(value) < 2.0**63).all():
                faults.append(f"{name!r} counts, and takes numbers of int64, got {value}")
            elif value.shape != own.shape:
                faults.append(f"{name!r} has shape {value.shape} instead of {own.shape}")
            else:
                with np.errstate(all="ignore"):  # beyond float32 is infinity, and a count is cut off, as in PyTorch
                    values[name] = value.astype(own.dtype)  # a copy: it may be a view of another part
    faults += _torn_ties(state, values)
    if faults:
        raise ValueError(f"{caller}: {'; '.join(faults)}")
    return values, IncompatibleKeys(missing, unexpected)


def _torn_ties(state: Mapping[str, Parameter | Array], values: Mapping[str, Array]) -> list[str]:
    """Return a fault for each parameter that has several names, and under them values that differ."""
    first: dict[int, str] = {}
    faults = []
    for name, value in values.items():
        other = first.setdefault(id(state[name]), name)
        if not np.array_equal(value, values[other], equal_nan=True):
            faults.append(f"{other!r} and {name!r} are one parameter here and differ")
    return faults


def _to_numpy(value: Any) -> Array | None:
    """Return an array of a torch tensor's values, on whatever device and graph it is, or of anything array-like."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":  # which NumPy has not
                value = value.float()
        return np.asarray(value)
    except (TypeError, ValueError):
        return None
