"""asv: the memory that a whole process takes at its peak, from the import to the end of a training, on one thread."""

import subprocess
import sys

from bench import in_asv
from bench.workloads import TRAININGS

WORKLOADS = in_asv.by_name(tuple(workload for workload in TRAININGS if not workload.disk))  # the disk is fastbp's


class Process:
    """The library, NumPy and what asv needs; fastbp with its kernels from the cache."""

    params = (list(WORKLOADS), [label for label in in_asv.NAMES if label != "fastbp, module by module"])
    param_names = ("network", "library")
    timeout = 300

    def setup(self, network, library):
        if library == in_asv.OURS:  # in another process, for the peak of the compiler is not that of a training
            subprocess.run([sys.executable, "-m", "fastbp", "warmup"], check=True)
        in_asv.prepared(library, WORKLOADS[network], 1)

    def peakmem_training(self, network, library):
        in_asv.prepared(library, WORKLOADS[network], 1).measure(WORKLOADS[network], 0.0)
