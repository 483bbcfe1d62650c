"""Many processes that start at once on an empty cache: each gets its result, and the cache is whole in the end.

python tests/soak/starts.py --count 30
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from report import ROOT, Report, child_environment, parser

TRAINS = """
import numpy, fastbp
from fastbp import nn, optim
model = nn.Sequential(nn.Linear(3, 5, rng=0), nn.ReLU(), nn.Linear(5, 2, rng=1))
x = numpy.linspace(-1, 1, 60, dtype="float32").reshape(20, 3)
opt = optim.SGD(model.parameters(), lr=0.1)
history = fastbp.train_model(model, x, x[:, :2].copy(), None, None, nn.MSELoss(), opt, 3, 4)
print(history["train_loss"], model.predict(x[:1]).tolist())
"""
ACTIVATES = """
import numpy, fastbp_kernels
y = numpy.empty(3, "float32")
fastbp_kernels.relu_forward(numpy.array([-1, 0, 2], "float32"), y)
print(y.tolist())
"""


def together(script, count, cache):
    """What ``count`` processes print, and how often they said something on standard error."""
    environment = child_environment(FASTBP_CACHE_DIR=str(cache))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )
        for _ in range(count)
    ]  # fmt: skip
    ends = [(*process.communicate(timeout=3000), process.returncode) for process in processes]
    for _, errors, code in ends:
        assert code == 0, errors
        assert "cannot be kept" not in errors, errors
    return {output for output, _, _ in ends}, sum(bool(errors) for _, errors, _ in ends)


def main():
    arguments = parser(__doc__, 30)
    arguments.add_argument("--small", action="store_true", help="one small kernel instead of a training")
    chosen = arguments.parse_args()
    script = ACTIVATES if chosen.small else TRAINS
    with Report() as counts, tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        results, compiled = together(script, chosen.count, cache)
        assert len(results) == 1, results
        assert compiled >= 1, "the cache was empty"
        entries = sorted(path for path in cache.rglob("*") if path.is_file())
        assert all(path.suffix == ".bin" for path in entries), "what was written aside has been moved or removed"
        assert len(entries) == 1 or not chosen.small, "one kernel is one entry, whoever compiled it"
        assert together(script, 1, cache) == (results, 0), "one more finds all code"
        counts.update(processes=chosen.count, compiled=compiled, entries=len(entries))


if __name__ == "__main__":
    main()
