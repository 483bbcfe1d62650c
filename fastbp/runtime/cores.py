"""How many threads to begin with: what the user and other libraries say, and the cores that the system grants.

A container or a batch system seldom takes cores away from a process. It rations CPU time: a control group (cgroup)
with a quota of 200 ms in each period of 100 ms may keep two cores busy. More threads use the time up early, and then
all stand still until the next period.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path


def initial_threads(environ: Mapping[str, str], root: Path, cores: int) -> int:
    """Return the number of threads to begin with; ``fastbp.set_num_threads`` tells what it follows from.

    Parameters
    ----------
    environ : mapping
        Variables of the environment.
    root : Path
        Root of the file system, below which the control groups are.
    cores : int
        Cores that the process may run on.

    Raises
    ------
    ValueError
        If FASTBP_NUM_THREADS is not a whole number of 1 or more.
    """
    own = environ.get("FASTBP_NUM_THREADS")
    if own:
        threads = _positive(own)
        if threads is None:
            raise ValueError(
                f"FASTBP_NUM_THREADS takes a whole number of 1 or more, got {own!r}; unset it for one thread a core"
            )
        return threads
    first_level = environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # of a list, one number for each nested level
    said = [_positive(text) for text in (first_level, environ.get("NUMBA_NUM_THREADS", ""))]
    threads = min((number for number in said if number is not None), default=None) or cpu_quota(root)
    return cores if threads is None else min(threads, cores)


def available_cores() -> int:
    """Return the number of cores that this process may run on, or of the machine's where that is not known."""
    with suppress(AttributeError, OSError):  # not on this system; forbidden by a sandbox
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path) -> int | None:
    """Return the cores that the tightest of this process's control groups grants, rounded up, or None for any number.

    Source: the Linux kernel's cgroup-v2, "CPU Interface Files", and sched-bwc for v1. Files that are missing, forbidden
    or make no sense grant any number.
    """
    quotas = map(_quota, set(_control_groups(root)))
    return min((quota for quota in quotas if quota is not None), default=None)


def _control_groups(root: Path) -> Iterator[Path]:
    """Go through the folders that may hold this process's quota: its groups, and those around them up to the mount.

    A container may see the path that its group has outside, and the group itself at the mount.
    """
    mount = root / "sys/fs/cgroup"
    yield from (mount, mount / "cpu")
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, group = line.partition(":")
        controllers, _, path = group.partition(":")
        names = path.strip("/").split("/")
        mounts = [mount] if controllers == "" else []  # v2
        if "cpu" in controllers.split(","):  # v1, which mounts controllers one by one
            mounts = [mount / controllers, mount / "cpu"]
        for folder in mounts:
            for depth in range(len(names) + 1):
                yield folder.joinpath(*names[:depth])


def _quota(group: Path) -> int | None:
    """Return the cores that one control group grants."""
    v2 = _read(group / "cpu.max").split()
    v1 = [_read(group / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    for quota_and_period in (v2, v1):
        numbers = [number for number in map(_positive, quota_and_period) if number is not None]
        if len(numbers) == len(quota_and_period) == 2:  # not so for "max" of v2 and -1 of v1, which are no limit
            quota, period = numbers
            return -(-quota // period)
    return None


def _read(path: Path) -> str:
    """Return the text of a file, or none if it cannot be read."""
    with suppress(OSError, ValueError):  # ValueError: a path that no file can have
        return os.fsdecode(path.read_bytes())
    return ""


def _positive(text: str) -> int | None:
    with suppress(ValueError):
        number = int(text)
        return number if number > 0 else None
    return None
