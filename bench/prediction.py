"""asv: predictions, on one thread."""

from bench import in_asv
from bench.workloads import PREDICTIONS

WORKLOADS = in_asv.by_name(PREDICTIONS)


class Libraries(in_asv.Libraries):
    """The time of a prediction, in each library."""

    workloads = WORKLOADS
    params = (list(WORKLOADS), [in_asv.OURS, in_asv.TORCH])
    param_names = ("task", "library")


class OverTorch(in_asv.OverTorch):
    """The time of a prediction, fastbp's over PyTorch's, both measured in turn."""

    workloads = WORKLOADS
    params = tuple(WORKLOADS)
    param_names = ("task",)
