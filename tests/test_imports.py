"""No two modules of a package need each other: each can be read, and imported, after those that it builds on."""

import ast
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "bench", ROOT / "fastbp", ROOT / "kernels" / "fastbp_kernels"]

# Each room imports those before it and itself; what stands beside the rooms may import all.
ROOMS = {
    "fastbp": (
        "validation", "runtime", "nn", "optim", "engine", "training", "checkpoint", "interop", "sklearn",
        "integrations", "commands",
    ),
    "fastbp_kernels": ("compiler", "functions", "parallel", "linalg", "layers", "network"),
}
# A Sequential runs in one compiled call what it holds.
UPWARDS = {("nn.sequential", f"engine.{name}") for name in ("plan", "chain", "predictor")}


def imports_within(package):
    """Return, for each module of the package in the folder ``package``, the set of its modules that it imports.

    Imports inside of functions count, those under ``if TYPE_CHECKING`` do not. ``from a import b`` imports the module
    ``a.b`` if there is one and ``a`` otherwise. That a module makes Python import the packages around it is left out.
    """
    files = {_module_name(file, package): file for file in package.rglob("*.py")}
    graph = {}
    for module, file in files.items():
        around = module if file.stem == "__init__" else module.rpartition(".")[0]
        names = set(_imported_names(ast.parse(file.read_text(encoding="utf-8")), around))
        found = {name if name in files else name.rpartition(".")[0] for name in names}
        graph[module] = found & files.keys() - {module}
    return graph


def _module_name(file, package):
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported_names(tree, around):
    """Yield "a.b" for ``import a.b`` and for ``from a import b``, in a module of the package ``around``."""
    for node in _nodes_that_run(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), around)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _nodes_that_run(node):
    for_types = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    for child in node.orelse if for_types else ast.iter_child_nodes(node):
        yield child
        yield from _nodes_that_run(child)


def circle(graph):
    """Return a chain of modules, each imported by the next, that ends where it begins; [] if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_modules_of_a_package_import_each_other_without_a_circle(package):
    graph = imports_within(package)
    assert any(graph.values()), f"{package} has no imports to look at"
    assert circle(graph) == []


def test_an_import_counts_wherever_it_stands_but_for_types(tmp_path):
    package = tmp_path / "p"
    (package / "inner").mkdir(parents=True)
    sources = {
        "__init__.py": "import p.a\nimport numpy\n",
        "a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import b\nelse:\n    import p.c\n",
        "b.py": "def later():\n    from p.a import name\n",
        "c.py": "try:\n    from p import d\nexcept ImportError:\n    from p import name\n",
        "d.py": "from .inner import e, name\n",
        "inner/__init__.py": "from . import e\n",
        "inner/e.py": "from ..b import name\n",
    }
    for name, source in sources.items():
        (package / name).write_text(source, encoding="utf-8")
    graph = imports_within(package)
    assert graph == {
        "p": {"p.a"},
        "p.a": {"p.c"},
        "p.b": {"p.a"},
        "p.c": {"p.d", "p"},
        "p.d": {"p.inner.e", "p.inner"},
        "p.inner": {"p.inner.e"},
        "p.inner.e": {"p.b"},
    }
    assert set(circle(graph)) >= {"p.a", "p.c"}
    assert circle(graph | {"p.a": set()}) == []


@pytest.mark.parametrize("package", PACKAGES[1:], ids=lambda package: package.name)
def test_rooms_import_in_one_direction(package):
    rooms = ROOMS[package.name]
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert folders == set(rooms)
    for module, imported in imports_within(package).items():
        for other in imported:
            if module.count(".") < 2 or other.count(".") < 2:
                continue  # beside the rooms, or their fronts
            room = module.split(".")[1]
            name, target = module.partition(".")[2], other.partition(".")[2]
            is_before = rooms.index(target.partition(".")[0]) <= rooms.index(room)
            assert is_before or (name, target) in UPWARDS, f"{name} imports {target}"
