"""``python -m fastbp info`` tells what a report of a fault needs."""

import re
import sys

import numba
import numpy

import fastbp
from fastbp.__main__ import main
from fastbp_kernels.linalg.tile import TILE_ROWS


def test_info_tells_versions_cpu_tile_threads_and_cache(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["fastbp", "info"])
    main()
    lines = dict(re.split(r": +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["fastbp", "Python", "needs", "extras", "CPU", "vectors", "tile", "threads", "cache"]
    assert lines["fastbp"].startswith(f"{fastbp.__version__}, kernels ")
    assert f"numpy {numpy.__version__}, numba {numba.__version__}" in lines["needs"]
    assert "torch " in lines["extras"]
    assert lines["tile"].startswith(f"{TILE_ROWS} x ")
    assert lines["threads"].startswith(f"{fastbp.get_num_threads()} of ")
    assert re.search(r"entr(y|ies), [0-9.]+ MB; python -m fastbp cache lists all", lines["cache"])
