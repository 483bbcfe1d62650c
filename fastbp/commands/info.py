"""``python -m fastbp info``: what there is on this machine, for a report of a fault or a look before a training."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from fastbp.commands.cache import size_of
from fastbp.runtime.cores import available_cores
from fastbp.runtime.threads import get_num_threads
from fastbp.version import __version__
from fastbp_kernels.compiler.cache import current_stamp, folder_in_use
from fastbp_kernels.compiler.stamp import UnreadablePackage
from fastbp_kernels.compiler.vectors import FEATURES, LANE_BYTES, cpu_name, host_has
from fastbp_kernels.linalg.tile import TILE_ROWS, widths

_NEEDED = ("numpy", "numba", "llvmlite")
_EXTRAS = (
    "scikit-learn", "scipy", "torch", "safetensors", "onnx", "matplotlib", "tqdm", "joblib", "optuna", "pyarrow"
)  # fmt: skip


def show_info() -> None:
    """Print versions, CPU, tile, threads and the folder of compiled code, a line each."""
    for name, text in {
        "fastbp": f"{__version__}, kernels {_stamp()}",
        "Python": f"{platform.python_version()} on {platform.system()} {platform.release()}, {platform.machine()}",
        "needs": _versions(_NEEDED),
        "extras": _versions(_EXTRAS) or "none",
        "CPU": f"{cpu_name()}: {', '.join(filter(host_has, FEATURES)) or 'none of its features is used'}",
        "vectors": f"{8 * LANE_BYTES} bits",
        "tile": f"{TILE_ROWS} x {widths(4)[0]} in float32, {TILE_ROWS} x {widths(8)[0]} in float64",
        "threads": f"{get_num_threads()} of {available_cores()} cores",
        "cache": _cache(),
    }.items():
        print(f"{name + ':':9}{text}")


def _stamp() -> str:
    try:
        return current_stamp()
    except UnreadablePackage as error:
        return f"without a stamp: {error}"


def _versions(names: tuple[str, ...]) -> str:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _cache() -> str:
    folder = folder_in_use()
    if folder is None:
        return "compiled code is not kept"
    return f"{folder}, {size_of(folder)}; python -m fastbp cache lists all, cache --clear removes them"
