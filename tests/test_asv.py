"""asv's benchmarks: their cache of compiled code, and what asv finds."""

import json
import subprocess
import sys
from pathlib import Path

from helpers import child_environment

ROOT = Path(__file__).parents[1]
COMPILE = """
import sys, bench
assert "numba" not in sys.modules, "the cache is chosen before"
import numpy, fastbp_kernels
x = numpy.ones(4, numpy.float32)
fastbp_kernels.relu_forward(x, x)
"""
LIST = f"import sys, asv_runner.discovery as d; d.list_benchmarks({str(ROOT / 'bench')!r}, sys.stdout)"


def run(script, **variables):
    environment = child_environment(ROOT, **variables)
    return subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)


def compiled(folder):
    return sorted(path.stem for path in folder.rglob("*.bin"))


def test_a_commit_never_runs_code_that_another_one_compiled(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    told = [
        run(COMPILE, ASV_COMMIT=commit, ASV_ENV_DIR=str(tmp_path), FASTBP_CACHE_DIR=str(elsewhere)).stderr
        for commit in ("aaaa", "aaaa", "bbbb")
    ]
    assert ["compiling" in text for text in told] == [True, False, True]
    assert compiled(tmp_path / "fastbp" / "aaaa") == compiled(tmp_path / "fastbp" / "bbbb") != []
    assert not elsewhere.exists()


def test_without_asv_the_cache_stays_where_the_user_wants_it():
    script = "import os, bench; print(os.environ['FASTBP_CACHE_DIR'])"
    assert run(script, FASTBP_CACHE_DIR="mine").stdout == "mine\n"


def test_asv_finds_the_benchmarks_that_are_meant_and_no_others():
    done = run(LIST)
    found = {benchmark["name"] for benchmark in json.loads(done.stdout)}
    assert found == {
        "kernels.Libraries.time_step",
        "kernels.OverTorch.track_step",
        "memory.Process.peakmem_training",
        "prediction.Libraries.time_step",
        "prediction.OverTorch.track_step",
        "scaling.Batch.time_step",
        "scaling.Depth.time_step",
        "scaling.Samples.time_step",
        "scaling.Threads.time_step",
        "scaling.Width.time_step",
        "starting.Import.timeraw_import",
        "starting.Program.timeraw_cold",
        "starting.Program.timeraw_warm",
        "training.Libraries.time_step",
        "training.OverTorch.track_step",
    }
