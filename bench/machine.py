"""Where a figure was measured: the machine and the versions of what ran on it.

``python -m bench.machine`` tells asv about the machine and prints the name under which asv files the results.
"""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("fastbp", "numba", "numpy", "torch")


def describe() -> dict[str, str]:
    """Return the processor, its number of cores, the system and the versions of Python and of ``PACKAGES``.

    A package that is not installed is left out.
    """
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: import_module(package).__version__ for package in PACKAGES if find_spec(package)},
    }


def versions(*distributions: str) -> dict[str, str]:
    """Return the versions of those that are installed."""
    found = {}
    for name in distributions:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


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


def tell_asv() -> None:
    """Enter this machine in asv's file of machines, which it would ask for otherwise."""
    from asv.machine import MachineCollection

    facts = {
        "machine": label(),
        "cpu": _processor(),
        "num_cpu": str(os.cpu_count()),
        "arch": platform.machine(),
        "os": platform.system(),
        "ram": "",
    }
    MachineCollection.save(facts["machine"], facts)


if __name__ == "__main__":
    tell_asv()
    print(label())
