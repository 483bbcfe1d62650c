"""Compiled code on disk: found again, never stale, never somebody else's, and no trouble where nothing can be kept.

Most tests call a small kernel through the cache as processes that start one after the other find it (``Place.call``);
where sources, settings of numba or an import matter, children call ``relu_forward``, which compiles in a moment. The
matrix product, whose tile does not, is called in one test only.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import llvmlite
import numba
import pytest
from caches import COMPILES, LOADS, NOTICE, PREAMBLE, RELU, TWICE, Place
from helpers import child_environment

from fastbp_kernels.compiler.cache import cache_folder as folder_of_this_process
from fastbp_kernels.linalg.product import product
from fastbp_kernels.network import train


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """The cache folder after a child has called ``relu_forward``, and what that child found and said."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        place = Place(tmp_path_factory.mktemp("warm"), monkeypatch)
        kept_by_the_import = "import fastbp_kernels, os; print(os.path.exists(os.environ['FASTBP_CACHE_DIR']))\n"
        return place.cache, place.run(kept_by_the_import + RELU)


@pytest.fixture
def warm_place(place, warm):
    """A place where ``relu_forward`` is kept."""
    shutil.copytree(warm[0], place.cache)
    return place


def test_an_import_keeps_nothing_and_the_first_call_says_that_it_compiles(warm):
    assert warm[1] == ("False\n" + COMPILES, NOTICE)


def test_the_second_process_compiles_nothing_and_says_nothing(warm_place):
    assert warm_place.run() == (LOADS, "")


def test_the_notice_comes_once_a_process(place):
    assert place.call("float32", "float64", "float32") == ("compiled compiled there", NOTICE)
    assert len(place.entries()) == 2


def cache_folder(place):
    """The name of the cache folder that these sources have, as a new process finds it."""
    return place.process().cache.cache_folder()


def test_an_edit_of_any_kernel_file_leads_to_another_folder(place):
    seen = {cache_folder(place)}
    names = sorted(path.relative_to(place.kernels) for path in place.kernels.rglob("*.py"))
    assert len(names) > 15
    for count, name in enumerate(names, 2):
        with (place.kernels / name).open("a") as file:
            file.write("# another line\n")
        seen.add(cache_folder(place))
        assert len(seen) == count, name


def test_a_new_kernel_file_leads_to_another_folder(place):
    seen = {cache_folder(place)}
    for count, folder in enumerate((place.kernels, place.kernels / "linalg", place.kernels / "parallel"), 2):
        (folder / "another.py").write_text("")
        seen.add(cache_folder(place))
        assert len(seen) == count, folder


def test_another_version_of_numba_leads_to_another_folder(place, monkeypatch):
    seen = {cache_folder(place)}
    for count, package in enumerate((numba, llvmlite), 2):
        monkeypatch.setattr(package, "__version__", "99.0")
        seen.add(cache_folder(place))
        assert len(seen) == count


def test_another_option_of_numba_leads_to_another_folder(place, monkeypatch):
    usual = cache_folder(place)
    with monkeypatch.context() as changed:
        changed.setattr(numba.config, "OPT", 1)
        assert cache_folder(place) != usual
    assert cache_folder(place) == usual, "what was kept is found again"


def test_an_edit_of_an_inlined_formula_gives_fresh_code(warm_place):
    """numba's own cache would look at the file of ``relu_forward`` only."""
    warm_place.edit("functions/tile_formulas.py", "return times_relu_derivative(v, x, x)", "return v.constant(5.0)")
    assert warm_place.run() == ("[5.0, 5.0, 5.0]\ncompiled\n", NOTICE)
    warm_place.edit("functions/tile_formulas.py", "return v.constant(5.0)", "return times_relu_derivative(v, x, x)")
    assert warm_place.run() == (LOADS, ""), "what was kept for the earlier sources is found again"


def test_an_edit_between_import_and_first_call_leaves_no_stale_code(place):
    """The running process has the sources of before, and must not file its code under those of now."""
    process = place.start(PREAMBLE + "print('imported', flush=True); input(); call('relu_forward')", stdin=True)
    assert process.stdout.readline() == "imported\n"
    place.edit("functions/tile_formulas.py", "return times_relu_derivative(v, x, x)", "return v.constant(5.0)")
    assert process.communicate("\n", timeout=120)[0] == "[0.0, 0.0, 2.0]\n"
    assert place.run()[0] == "[5.0, 5.0, 5.0]\ncompiled\n"


CPUS = (
    {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},
    {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2"},
)
OTHER_CPU = next(cpu for cpu in CPUS if cpu["NUMBA_CPU_NAME"] != os.environ.get("NUMBA_CPU_NAME"))


def test_another_cpus_code_is_neither_run_nor_lost(warm_place):
    assert warm_place.run(**OTHER_CPU) == (COMPILES, NOTICE)
    assert warm_place.run() == (LOADS, "")
    assert warm_place.run(**OTHER_CPU) == (LOADS, "")


def with_a_checksum(payload):
    return hashlib.sha256(payload).digest() + payload


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "garbage": lambda content: os.urandom(len(content)),
    "one bit in the machine code": lambda content: flipped(content, len(content) // 2),
    "last bit": lambda content: flipped(content, len(content) - 1),
    "whole but meaningless": lambda content: with_a_checksum(b"no pickle"),
}


def test_a_damaged_entry_is_compiled_anew_and_replaced(place):
    place.call()
    (entry,) = place.entries()
    for name, damage in DAMAGES.items():
        entry.write_bytes(damage(entry.read_bytes()))
        assert place.call() == ("compiled", NOTICE), name
        assert place.entries() == [entry], name
    assert place.call() == ("loaded", "")


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_means_compiling_in_memory(place, where, monkeypatch):
    (place.folder / "file").write_text("here")
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(place.folder / where))
    place.assert_says_once_that_nothing_is_kept()
    assert (place.folder / "file").read_text() == "here"


def test_a_home_that_is_no_folder_means_compiling_in_memory(place, monkeypatch):
    (place.folder / "home").write_text("")
    place.leave_to_the_platform(monkeypatch)
    monkeypatch.setenv("HOME", str(place.folder / "home"))
    place.assert_says_once_that_nothing_is_kept()


def test_no_home_at_all_means_compiling_in_memory(place, monkeypatch):
    place.leave_to_the_platform(monkeypatch)

    def home():
        raise RuntimeError("Could not determine home directory.")

    with monkeypatch.context() as homeless:
        homeless.setattr(Path, "home", home)
        place.assert_says_once_that_nothing_is_kept()


def test_a_full_disk_means_compiling_in_memory(place, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as filled:
        filled.setattr(Path, "replace", full)
        done, errors = place.call(*TWICE)
    assert done == "compiled compiled"
    assert errors.count("cannot be kept") == 1
    assert place.entries() == [], "nor is a half-written file left"


def test_a_users_lax_umask_does_not_keep_the_cache_from_its_use(place):
    """Where a group of one's own is usual, the umask is 002."""
    before = os.umask(0o002)
    try:
        assert place.call() == ("compiled", NOTICE)
        assert place.call() == ("loaded", "")
    finally:
        os.umask(before)
    assert not any(path.stat().st_mode & 0o022 for path in [place.cache, *place.cache.rglob("*")])


KEPT = str(folder_of_this_process().parent)  # where the tile has been compiled by then, or will be found compiled
OWN = """
import numpy
from numba import njit
from fastbp_kernels import linear_forward

@njit(cache=True)
def squared(x, weight, bias, y):
    linear_forward(x, weight, bias, y)
    y *= y
"""
CALL = """
import numpy, own
x, weight, bias = numpy.ones((2, 3), "float32"), numpy.ones((3, 3), "float32"), numpy.ones(3, "float32")
y = numpy.empty((2, 3), "float32")
own.squared(x, weight, bias, y)
print(y.tolist(), sum(own.squared.stats.cache_hits.values()))
"""


def test_the_tile_is_found_by_a_users_function_from_numbas_cache(place):
    """A function of ``@njit(cache=True)`` comes back linked to the tile by name, before any kernel has run."""
    (place.folder / "own.py").write_text(OWN)
    caches = {"NUMBA_CACHE_DIR": str(place.folder / "numba"), "FASTBP_CACHE_DIR": KEPT}
    sixteen = [[16.0] * 3] * 2
    assert place.run(CALL, place.folder, **caches)[0] == f"{sixteen} 0\n"
    assert place.run(CALL, place.folder, **caches) == (f"{sixteen} 1\n", "")


def test_what_is_compiled_beneath_an_inlined_kernel_is_not_inlined():
    """Otherwise its stack memory would add up in the caller's, by the order in which kernels happen to be compiled."""
    assert product.targetoptions["forceinline"] is False
    assert train._train_batch.targetoptions["forceinline"] is True


@pytest.mark.parametrize(
    ("variables", "script"),
    [
        ({"NUMBA_DISABLE_JIT": "1"}, "import fastbp"),
        ({}, "import numba; numba.config.DISABLE_JIT = 1; import fastbp_kernels.network.train"),
    ],
    ids=["in the environment", "in code"],
)
def test_an_import_where_numba_compiles_nothing_fails_with_the_reason(variables, script):
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=child_environment(**variables), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: fastbp_kernels needs numba's compiler, since its kernels are written in LLVM's language, but "
        "numba.config.DISABLE_JIT is set; unset NUMBA_DISABLE_JIT, and run your own compiled functions in Python by "
        "their .py_func"
    )
