"""Where a figure was measured: the machine and the versions of what ran on it.

``python -m bench.machine`` prints the name under which asv files the results.
"""

from __future__ import annotations

import os
import platform
import re
from importlib import import_module
from pathlib import Path

PACKAGES = ("fastbp", "numba", "numpy", "torch")


def describe() -> dict[str, str]:
    """Return the processor, its number of cores, the system and the versions of Python and of ``PACKAGES``."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: import_module(package).__version__ for package in PACKAGES},
    }


def label() -> str:
    """Return a name for machines of this kind; the host's own would tell more than is wanted, and change too often."""
    processor = re.sub(r"[^A-Za-z0-9]+", "-", _processor()).strip("-")
    return f"{processor}-{os.cpu_count()}-cores"


def _processor() -> str:
    """Return the processor's name. Python knows it on macOS and Windows; Linux tells it in a file."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    print(label())
