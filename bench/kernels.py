"""asv: single kernels beside PyTorch's operations for the same, on one thread."""

from bench import in_asv
from bench.workloads import KERNELS

WORKLOADS = in_asv.by_name(KERNELS)


class Libraries(in_asv.Libraries):
    """The time of a call, in each library."""

    workloads = WORKLOADS
    params = (list(WORKLOADS), [in_asv.OURS, in_asv.TORCH])
    param_names = ("kernel", "library")


class OverTorch(in_asv.OverTorch):
    """The time of a call, fastbp's over PyTorch's, both measured in turn."""

    workloads = WORKLOADS
    params = tuple(WORKLOADS)
    param_names = ("kernel",)
