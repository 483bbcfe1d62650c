"""What models of a user's own return."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.validation.arrays import Array


def require_one_output(owner: str, model: object, output: Any) -> Array:
    """Return what a model returned if it is one array, or raise TypeError."""
    if not isinstance(output, np.ndarray):
        raise TypeError(
            f"{owner} takes models that return one array, got {type(output).__name__} from {type(model).__name__}; "
            "call the model in a loop of your own, or give a module that returns one of them"
        )
    return output
