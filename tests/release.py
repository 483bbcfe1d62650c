"""``make release-check``: builds wheel and sdist, checks both, and uses the wheel in an empty environment."""

import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
USE = """
import numpy, sys
import fastbp
from fastbp import nn, optim
assert not {"torch", "sklearn", "scipy", "matplotlib"} & set(sys.modules)
x = numpy.random.default_rng(0).standard_normal((200, 4), dtype=numpy.float32)
model = nn.Sequential(nn.Linear(4, 16, rng=0), nn.Tanh(), nn.Linear(16, 1, rng=1))
opt = optim.Adam(model.parameters(), lr=0.01)
history = fastbp.train_model(model, x, x[:, :1] * x[:, 1:2], None, None, nn.MSELoss(), opt, 20, 20, progress=False)
assert history.backend == "engine" and history["train_loss"][-1] < history["train_loss"][0]
fastbp.to_c(model, "model.c")
print("fastbp", fastbp.__version__, "trained and predicts", model.predict(x[:1]).shape)
"""


def main():
    for old in DIST.glob("fastbp-*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)  # the wheel is built from the sdist
    (wheel,), (sdist,) = DIST.glob("fastbp-*.whl"), DIST.glob("fastbp-*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    run(sys.executable, "-m", "check_wheel_contents", "--toplevel", "fastbp,fastbp_kernels", wheel)
    require_all_sources(wheel, sdist)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        run(python, "-m", "pip", "install", "-q", wheel)
        run(python, "-I", "-W", "error", "-c", USE, cwd=folder)
        run(python, "-I", "-m", "fastbp", "info", cwd=folder)
    print(f"{wheel.name} and {sdist.name} may be released")


def require_all_sources(wheel, sdist):
    """Both hold every module, and the version is that of CITATION.cff too."""
    sources = {path.relative_to(ROOT / "fastbp").as_posix() for path in (ROOT / "fastbp").rglob("*.py")}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    missing = {name for name in sources if f"fastbp/{name}" not in in_wheel}
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing |= {name for name in ("README.md", "LICENSE", "CHANGELOG.md", "kernels/fastbp_kernels/__init__.py")
                if name not in names}  # fmt: skip
    if missing:
        sys.exit(f"missing in what was built: {', '.join(sorted(missing))}")
    version = re.search(r'__version__ = "(.+)"', (ROOT / "fastbp" / "version.py").read_text(encoding="utf-8"))[1]
    if f"version: {version}\n" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8"):
        sys.exit(f"CITATION.cff has another version than {version}")


def run(*command, cwd=None):
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


if __name__ == "__main__":
    main()
