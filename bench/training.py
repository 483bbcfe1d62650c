"""asv: the trainings of ``make speed``, on one thread."""

from bench import in_asv
from bench.workloads import ONLINE, TRAININGS

WORKLOADS = in_asv.by_name((*TRAININGS, ONLINE))


class Libraries(in_asv.Libraries):
    """The time of a training step, in each library."""

    workloads = WORKLOADS
    params = (list(WORKLOADS), list(in_asv.NAMES))
    param_names = ("network", "library")


class OverTorch(in_asv.OverTorch):
    """The time of a training step, fastbp's over PyTorch's, both measured in turn."""

    workloads = WORKLOADS
    params = tuple(WORKLOADS)
    param_names = ("network",)
