"""Functions that are no rows on purpose: without derivative, or writing into an array that they are handed."""

from __future__ import annotations

from typing import Any

import numpy as np


def _found(names: str, module: Any = np) -> set[Any]:
    """Return those functions of ``module`` that this version of NumPy has."""
    return {getattr(module, name) for name in names.split() if name in vars(module)}


PLAIN = (
    _found(  # ufuncs
        "greater greater_equal less less_equal equal not_equal logical_and logical_or logical_xor logical_not isnan "
        "isinf isfinite isnat signbit floor ceil trunc rint floor_divide"
    )
    | _found(  # of indices and counts
        "argmax argmin nanargmax nanargmin argsort argpartition argwhere nonzero flatnonzero count_nonzero "
        "searchsorted digitize lexsort histogram histogram2d histogramdd histogram_bin_edges bincount unravel_index "
        "ravel_multi_index ix_"
    )
    | _found(  # of comparisons
        "isclose allclose array_equal array_equiv any all isin in1d iscomplex isreal iscomplexobj isrealobj isneginf "
        "isposinf may_share_memory shares_memory"
    )
    | _found("round around round_ fix zeros_like ones_like empty_like imag angle")
    | _found("shape ndim size result_type can_cast min_scalar_type common_type")
    | _found("array2string array_repr array_str savetxt save savez savez_compressed")
    | _found("matrix_rank cond", np.linalg)
)
"""What gives plain arrays, numbers or text: comparisons, rounding, indices, descriptions."""

WRITES = {
    np.copyto: (0, "dst"),
    np.put: (0, "a"),
    np.place: (0, "arr"),
    np.putmask: (0, "a"),
    np.put_along_axis: (0, "arr"),
    np.fill_diagonal: (0, "a"),
}
"""What writes into an argument, and which one."""
