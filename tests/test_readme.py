"""The README's example runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

from helpers import child_environment

README = Path(__file__).parents[1] / "README.md"


def test_every_python_example_of_the_readme_runs(tmp_path):
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert examples, "the README shows an example"
    for example in examples:
        command = [sys.executable, "-W", "error", "-c", example]
        done = subprocess.run(command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{example}\n{done.stderr}"
