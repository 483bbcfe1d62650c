"""The README's example runs as it stands, and what the documents name is there."""

import re
import subprocess
import sys
from pathlib import Path

from helpers import child_environment

README = Path(__file__).parents[1] / "README.md"


def test_every_python_example_of_the_readme_runs(tmp_path):
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert examples, "the README shows an example"
    script = "\n".join(f"exec({example!r}, {{'__name__': '__main__'}})" for example in examples)
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{script}\n{done.stderr}"


def test_every_test_that_the_page_on_equivalence_names_is_there():
    page = (README.parent / "docs" / "equivalence.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", page)
    assert len(named) > 10
    for file, name in named:
        assert f"\ndef {name}(" in (Path(__file__).parent / file).read_text(encoding="utf-8"), f"{file}::{name}"
