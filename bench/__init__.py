"""Benchmarks: fastbp beside its peers. Run from the repository's root, as ``python -m bench.original``.

asv imports all modules here. Its benchmarks are in ``training``, ``kernels``, ``prediction``, ``scaling``, ``starting``
and ``memory``, side by side because its pages are grouped by the first part of a name; ``in_asv`` is what they share.
"""

import os
from pathlib import Path

# asv runs one commit after the other in one environment. Code compiled from one must not be run as another's, so each
# commit has a cache of its own; it is chosen here because asv imports this file before anything that compiles.
if "ASV_COMMIT" in os.environ:
    os.environ["FASTBP_CACHE_DIR"] = str(Path(os.environ["ASV_ENV_DIR"], "fastbp", os.environ["ASV_COMMIT"]))
