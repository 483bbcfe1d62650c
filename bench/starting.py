"""asv: what a process costs before it trains. Each sample is a new process."""

from pathlib import Path

from bench import in_asv

PROGRAM = Path(__file__).with_name("whole_process.py")
RUN_PROGRAM = f"""
import contextlib, runpy
with contextlib.redirect_stdout(None):  # asv reads the time from there
    runpy.run_path({str(PROGRAM)!r}, run_name="__main__")
"""
EMPTY_CACHE = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["FASTBP_CACHE_DIR"] = folder.name
"""


class Import:
    """``import`` of fastbp, of what it needs, and of its peers, each in a new process."""

    params = ("fastbp", "numba", "numpy", "torch", "jax", "sklearn")
    param_names = ("package",)
    repeat, number, rounds = 7, 1, 1

    def setup(self, package):
        in_asv.require_package(package)

    def timeraw_import(self, package):
        return f"import {package}"


class Program:
    """A whole program: import fastbp, train the original network for 1,000 epochs, print the accuracy."""

    number, rounds = 1, 1
    timeout = 600

    def timeraw_warm(self):
        """With everything compiled: asv runs it once before what it counts."""
        return RUN_PROGRAM

    timeraw_warm.repeat = 7

    def timeraw_cold(self):
        """With an empty cache: compiling is part of it."""
        return RUN_PROGRAM, EMPTY_CACHE

    timeraw_cold.repeat = 2
    timeraw_cold.warmup_time = 0
