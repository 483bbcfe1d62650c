"""A cache of compiled code of one's own: a copy of the kernels that a test may edit, and a folder for their code.

Most of what a cache does needs no process of its own: ``Place.process`` loads the copy's ``compiler/cache.py`` anew, as
a process that starts does, and ``rectify`` compiles in a moment. Children show what belongs to a process.
"""

import importlib
import importlib.util
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from helpers import child_environment

import fastbp_kernels
from fastbp_kernels.compiler.decorators import kernel

PREAMBLE = """
import numpy, sys
from numba.core import event
compiled = event.RecordingListener()
event.register("numba:compile", compiled)
import fastbp_kernels
def call(name, dtype="float32"):
    y = numpy.empty(3, dtype)
    getattr(fastbp_kernels, name)(numpy.array([-1, 0, 2], dtype), y)
    print(y.tolist())
"""
RELU = PREAMBLE + "call('relu_forward'); print('compiled' if compiled.buffer else 'loaded')"
RELU_FROM_THERE = "import fastbp_kernels, pathlib; print(pathlib.Path(fastbp_kernels.__file__).parents[1])\n" + RELU
COMPILES, LOADS = "[0.0, 0.0, 2.0]\ncompiled\n", "[0.0, 0.0, 2.0]\nloaded\n"
NOTICE = "fastbp is compiling kernels for this machine, which takes some seconds once ...\n"
CANNOT = r"fastbp: compiled kernels cannot be kept: .*; set FASTBP_CACHE_DIR to a folder .*\n"
TWICE = ("float32", "float64")


def rectify(x, y):
    for k in range(x.size):
        y[k] = max(x[k], 0)


class Process:
    """What a process has of the cache: its module, loaded anew, and a kernel that it has not called yet."""

    def __init__(self, folder, package=None):
        """Have the kernels of a folder, or those that a ``ModuleSpec`` tells the way to."""
        importlib.invalidate_caches()
        package = package or importlib.util.spec_from_file_location("fastbp_kernels", folder / "__init__.py")
        cache = importlib.util.spec_from_file_location("cache_of_a_copy", folder / "compiler" / "cache.py")
        self.cache = importlib.util.module_from_spec(cache)
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setitem(sys.modules, "fastbp_kernels", importlib.util.module_from_spec(package))
            cache.loader.exec_module(self.cache)
        self._kernel = kernel(rectify)
        self._kernel._cache = self.cache.KernelCache(rectify)

    def call(self, dtype="float32"):
        """Call the kernel; return "compiled" or "loaded", or "there" where it was already."""
        hits, misses = self._counts()
        y = numpy.empty(3, dtype)
        self._kernel(numpy.array([-1, 0, 2], dtype), y)
        assert y.tolist() == [0, 0, 2]
        now = self._counts()
        return {(hits, misses + 1): "compiled", (hits + 1, misses): "loaded", (hits, misses): "there"}[now]

    def _counts(self):
        kernel = self._kernel  # whose ``stats`` would ask for the folder
        return sum(kernel._cache_hits.values()), sum(kernel._cache_misses.values())


class Place:
    """A copy of the kernels and a folder for their code."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.cache, self.kernels = folder, folder / "cache", folder / "packages" / "fastbp_kernels"
        monkeypatch.setenv("FASTBP_CACHE_DIR", str(self.cache))
        source = Path(fastbp_kernels.__file__).parent
        shutil.copytree(source, self.kernels, ignore=shutil.ignore_patterns("__pycache__"))

    @staticmethod
    def leave_to_the_platform(monkeypatch):
        """Have the code kept where the platform keeps caches, in a home."""
        for name in ("FASTBP_CACHE_DIR", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)

    def process(self, package=None):
        """A process that starts, as far as the cache goes."""
        return Process(self.kernels, package)

    def call(self, *dtypes, package=None):
        """What a new process does for each of the dtypes, and the warnings that it logs."""
        process, told = self.process(package), []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: told.append(f"{record.getMessage()}\n")
        logging.getLogger("fastbp").addHandler(handler)
        try:
            done = [process.call(dtype) for dtype in dtypes or ("float32",)]
        finally:
            logging.getLogger("fastbp").removeHandler(handler)
        return " ".join(done), "".join(told)

    def assert_says_once_that_nothing_is_kept(self, why=CANNOT, package=None):
        """In a process that compiles twice."""
        done, told = self.call(*TWICE, package=package)
        assert done == "compiled compiled"
        assert re.fullmatch(why + re.escape(NOTICE), told), told

    def start(self, script, *folders, stdin=False, **variables):
        variables = {"PYTHONDONTWRITEBYTECODE": "1", **variables}
        environment = child_environment(*folders, self.kernels.parent, **variables)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        streams["stdin"] = subprocess.PIPE if stdin else subprocess.DEVNULL
        return subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=self.folder, **streams)

    def run(self, script=RELU, *folders, **variables):
        """What the script writes to standard output and standard error in a child."""
        process = self.start(script, *folders, **variables)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return output, errors

    def edit(self, name, old, new):
        path = self.kernels / name
        source = path.read_text()
        assert source.count(old) == 1, f"{old!r} in {name}"
        path.write_text(source.replace(old, new))

    def entries(self):
        return sorted(path for path in self.cache.rglob("*") if path.is_file())
