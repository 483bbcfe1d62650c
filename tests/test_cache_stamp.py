"""Kernels in a zip, as bytecode alone, or of an importer that shows nothing: no two versions share compiled code."""

import compileall
import importlib.util
import shutil
import zipfile
import zipimport
from importlib.machinery import ModuleSpec

import pytest
from caches import COMPILES, LOADS, NOTICE, RELU_FROM_THERE, Place

from fastbp_kernels.compiler.stamp import UnreadablePackage, _plain

FORMULA, CHANGED = "return times_relu_derivative(v, x, x)", "return v.constant(5.0)"
CHANGED_COMPILES = "[5.0, 5.0, 5.0]\ncompiled\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


def zipped(place, name):
    """The copy's sources in an archive."""
    path = place.folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for source in place.kernels.rglob("*.py"):
            archive.write(source, source.relative_to(place.kernels.parent))
    return path


def bytecode(place, name):
    """The copy's modules, compiled by Python, without the sources."""
    path = place.folder / name / "fastbp_kernels"
    shutil.copytree(place.kernels, path)
    assert compileall.compile_dir(path, quiet=1, legacy=True)
    for source in path.rglob("*.py"):
        source.unlink()
    shutil.rmtree(path / "__pycache__", ignore_errors=True)
    return path.parent


def zipped_bytecode(place, name):
    return shutil.make_archive(place.folder / name, "zip", bytecode(place, f"{name}.folder"))


@pytest.mark.parametrize("pack", [zipped, bytecode])
def test_packed_kernels_are_kept_and_another_version_runs_its_own_code(place, pack):
    before = pack(place, "one.zip")
    assert place.run(RELU_FROM_THERE, before) == (f"{before}\n{COMPILES}", NOTICE)
    assert place.run(RELU_FROM_THERE, before) == (f"{before}\n{LOADS}", "")
    place.edit("functions/tile_formulas.py", FORMULA, CHANGED)
    after = pack(place, "two.zip")
    assert place.run(RELU_FROM_THERE, after) == (f"{after}\n{CHANGED_COMPILES}", NOTICE)


def specification(path):
    """How Python finds the kernels below a folder, or in an archive."""
    if path.is_dir():
        name = next((path / "fastbp_kernels").glob("__init__.py*"))
        return importlib.util.spec_from_file_location("fastbp_kernels", name)
    return zipimport.zipimporter(str(path)).find_spec("fastbp_kernels")


@pytest.mark.parametrize("pack", [zipped, bytecode, zipped_bytecode])
def test_each_module_of_packed_kernels_counts_and_where_they_lie_does_not(place, pack):
    def folder(name):
        return place.process(specification(place.folder / pack(place, name))).cache.cache_folder()

    seen = {folder("same.zip")}
    assert folder("moved.zip") in seen
    for count, name in enumerate(("__init__.py", "linalg/tile.py", "functions/losses/formulas.py"), 2):
        with (place.kernels / name).open("a") as file:
            file.write("CONSTANT = 1\n")
        seen.add(folder(f"{count}.zip"))
        assert len(seen) == count, name


class Silent:
    """A loader that shows nothing of what it loads."""

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        pass


def test_where_the_importer_shows_nothing_nothing_is_kept(place):
    silent = ModuleSpec("fastbp_kernels", Silent(), is_package=True)
    why = "fastbp: compiled kernels cannot be kept: Silent gives neither source nor code of fastbp_kernels\n"
    place.assert_says_once_that_nothing_is_kept(why, silent)
    assert not place.cache.exists()
    with pytest.raises(UnreadablePackage, match="Silent gives neither source nor code"):
        place.process(silent).cache.cache_folder()


def code_of(source):
    return compile(source, "a.py", "exec")


def test_constants_that_are_equal_to_python_but_not_to_a_compiler_are_told_apart():
    constants = ("0", "0.0", "-0.0", "False", "1", "True", "1.0", "1j", "'1'", "b'1'", "None", "...", "(1,)", "(True,)")
    parts = [repr(_plain(code_of(f"def f(): return {constant}"))) for constant in constants]
    assert len(set(parts)) == len(constants)


def set_of(names):
    return code_of(f"x in {{{', '.join(map(repr, names))}}}")


def test_the_order_of_a_set_and_the_place_of_a_line_do_not_count():
    names = [str(number) for number in range(40)]
    one, other = set_of(names), set_of(names[::-1])
    assert {type(constant) for constant in one.co_consts} == {frozenset, type(None)}
    assert repr(_plain(one)) == repr(_plain(other))
    assert repr(_plain(code_of("a = 1"))) == repr(_plain(code_of("# a comment\n\na = 1")))
