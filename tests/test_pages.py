"""What README and pages say is true: Python runs, pairs agree with PyTorch, files and tests that they name exist."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from helpers import child_environment

import fastbp
from fastbp import nn

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PAIR_BLOCK = re.compile(r"^(?:\*\*(PyTorch|fastbp)\*\*\n\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FOR_OTHER_PROGRAMS = ("logging.getLogger", "preload_app")  # what a program of the reader's has, not a whole one


def blocks_of(page):
    return [block for block in _BLOCK.findall(page.read_text(encoding="utf-8")) if block]


def as_script(page):
    """A page's blocks, one after the other; of the README each by itself."""
    blocks = [block for block in blocks_of(page) if not any(part in block for part in _FOR_OTHER_PROGRAMS)]
    if page.name == "README.md":
        return "\n".join(f"exec({block!r}, {{'__name__': '__main__'}})" for block in blocks)
    return "\n".join(blocks)


@pytest.mark.parametrize(
    "page",
    [page for page in [ROOT / "README.md", *PAGES] if as_script(page) and page.name != "from_pytorch.md"],
    ids=lambda page: page.stem,
)
def test_every_python_block_of_a_page_runs(page, tmp_path):
    script = as_script(page)
    (tmp_path / "page.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-W", "error", "page.py"]
    done = subprocess.run(command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{script}\n{done.stderr}"


def start(shape):
    return numpy.random.default_rng(shape).uniform(-0.3, 0.3, shape).astype(numpy.float32)


def start_torch(layer):
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(start(layer.weight.shape)))
        layer.bias.zero_()


def compared(space):
    """Numbers of a pair that must agree: parameters of modules, arrays and floats, by their names."""
    found = {}
    for name, value in space.items():
        if isinstance(value, nn.Module | torch.nn.Module):
            found |= {f"{name}.{key}": numpy.asarray(each) for key, each in value.state_dict().items()}
        elif isinstance(value, torch.Tensor):
            found[name] = value.detach().numpy()
        elif isinstance(value, float | numpy.ndarray):
            found[name] = numpy.asarray(value)
        elif isinstance(value, list) and value and isinstance(value[0], float):
            found[name] = numpy.array(value)
    return found


def test_pairs_of_the_page_for_pytorchs_users_end_with_the_same_numbers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", start_torch)
    monkeypatch.setattr(
        "fastbp.nn.linear.initial_values",
        lambda init, o, i, rng, dtype: (start((o, i)).astype(dtype), numpy.zeros(o, dtype)),
    )
    spaces, pairs = {"PyTorch": {}, "fastbp": {}}, 0
    for library, block in _PAIR_BLOCK.findall((ROOT / "docs" / "from_pytorch.md").read_text(encoding="utf-8")):
        if not library:  # what fastbp does beside, with copies
            space = spaces["fastbp"]
            exec(block, space | copy.deepcopy({name: space[name] for name in ("model", "opt")}))
            continue
        space = spaces[library]
        exec(block, space)
        if library == "fastbp":
            theirs, ours = compared(spaces["PyTorch"]), compared(space)
            assert theirs.keys() == ours.keys()
            for name, value in theirs.items():
                numpy.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-5, err_msg=f"{name} after\n{block}")
            pairs += 1
    assert pairs > 5


def test_every_test_that_a_page_names_is_there():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"`(?:tests/)?(test_\w+\.py)(?:::(test_\w+))?`", text)
        assert named or page.name != "equivalence.md"
        for file, name in named:
            there = (Path(__file__).parent / file).read_text(encoding="utf-8")
            assert not name or f"\ndef {name}(" in there, f"{page.name}: {file}::{name}"


def test_every_link_of_a_page_leads_to_a_file():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES, *(ROOT / "docs" / "api").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            made = target.startswith(("https://", "auto_gallery/", "../auto_gallery/"))
            assert made or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_api_pages_list_all_public_names():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    listed = set(re.findall(r"^   (?:\w+\.)*(\w+)$", text, re.MULTILINE)) | set(re.findall(r":: fastbp\.(\w+)", text))
    rooms = {"datasets", "nn", "optim", "functional", "init", "utils", "lr_scheduler", "__version__"}
    modules = fastbp, nn, nn.functional, fastbp.optim, fastbp.optim.lr_scheduler, sys.modules["fastbp_kernels"]
    for module in modules:
        assert not set(module.__all__) - listed - rooms, module.__name__
