"""What an import costs and which way imports run."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp
import fastbp_kernels

LIBRARY, KERNELS = (Path(package.__file__).parent for package in (fastbp, fastbp_kernels))
OPTIONAL = {"torch", "matplotlib", "tqdm", "sklearn", "scipy", "jax", "safetensors", "optuna", "distributed", "pyarrow"}
OPTIONAL |= {"onnx", "onnxruntime", "google"}


def imported(source, *, at_module_level):
    """Names of the top-level packages that a file imports, as it is loaded or anywhere in it."""
    names = set()
    pending = list(ast.parse(source).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
        if at_module_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_module_level and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        pending += ast.iter_child_nodes(node)
    return names


def sources(package):
    return sorted(package.rglob("*.py"))


def test_the_scan_finds_imports_wherever_they_stand():
    in_class = "class E:\n    import f\n    def g():\n        import h"
    source = f"import a.b\nif x:\n    from c import d\n{in_class}\nfrom . import i"
    assert imported(source, at_module_level=True) == {"a", "c", "f"}
    assert imported(source, at_module_level=False) == {"a", "c", "f", "h"}


@pytest.mark.parametrize("path", sources(LIBRARY), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_the_library_imports_no_optional_package_when_loaded(path):
    of_its_room = {"sklearn", "scipy"} if path.parent.name == "sklearn" else set()
    assert not imported(path.read_text(), at_module_level=True) & (OPTIONAL - of_its_room)


@pytest.mark.parametrize("path", sources(KERNELS), ids=lambda path: str(path.relative_to(KERNELS)))
def test_kernels_import_nothing_but_numba_and_numpy(path):
    allowed = {"fastbp_kernels", "numba", "llvmlite", "numpy", *sys.stdlib_module_names}
    assert imported(path.read_text(), at_module_level=False) <= allowed


@pytest.mark.parametrize("path", sources(LIBRARY), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_nothing_in_the_library_imports_bench_or_tests(path):
    assert not imported(path.read_text(), at_module_level=False) & {"bench", "tests"}


def test_numbas_insides_are_imported_by_one_file():
    importing = [path.name for path in sources(LIBRARY) + sources(KERNELS) if "from numba.core" in path.read_text()]
    assert importing == ["numba_internals.py"]


def test_importing_fastbp_loads_no_optional_package():
    loaded_by_numba = {"scipy"}
    script = f"import sys, fastbp; print(sorted({OPTIONAL - loaded_by_numba!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", [LIBRARY, KERNELS], ids=["fastbp", "fastbp_kernels"])
def test_both_packages_say_that_they_are_typed(package):
    assert (package / "py.typed").is_file()


def test_public_names_are_all_there():
    for module in (fastbp, fastbp.nn, fastbp_kernels):
        for name in module.__all__:
            assert hasattr(module, name), f"{module.__name__}.{name}"
