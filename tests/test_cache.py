"""Compiled code on disk: found again, never stale, never somebody else's, and no trouble where nothing can be kept.

Each test runs Python with a copy of the kernels that it may edit and a cache folder of its own. ``relu_forward`` and
``exp_forward`` compile in a moment; the matrix product, whose tile does not, is compiled in one test only.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import llvmlite
import numba
import pytest
from helpers import child_environment

import fastbp_kernels
from fastbp_kernels.linalg.product import product
from fastbp_kernels.network import train

PREAMBLE = """
import numpy, sys
from numba.core import event
compiled = event.RecordingListener()
event.register("numba:compile", compiled)
import fastbp_kernels
def call(name, dtype="float32"):
    y = numpy.empty(3, dtype)
    getattr(fastbp_kernels, name)(numpy.array([-1, 0, 2], dtype), y)
    print(y.tolist())
"""
RELU = PREAMBLE + "call('relu_forward'); print('compiled' if compiled.buffer else 'loaded')"
COMPILES, LOADS = "[0.0, 0.0, 2.0]\ncompiled\n", "[0.0, 0.0, 2.0]\nloaded\n"
NOTICE = "fastbp: compiling kernels for this machine, which takes some seconds once ...\n"


class Place:
    """A copy of the kernels and a folder for their code."""

    def __init__(self, folder):
        self.folder, self.cache, self.kernels = folder, folder / "cache", folder / "packages" / "fastbp_kernels"
        source = Path(fastbp_kernels.__file__).parent
        shutil.copytree(source, self.kernels, ignore=shutil.ignore_patterns("__pycache__"))

    def start(self, script, *folders, stdin=False, **variables):
        variables = {"FASTBP_CACHE_DIR": str(self.cache), "PYTHONDONTWRITEBYTECODE": "1", **variables}
        environment = child_environment(self.kernels.parent, *folders, **variables)
        environment = {name: value for name, value in environment.items() if value is not None}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        streams["stdin"] = subprocess.PIPE if stdin else subprocess.DEVNULL
        return subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=self.folder, **streams)

    def run(self, script=RELU, *folders, **variables):
        """What the script writes to standard output and standard error."""
        process = self.start(script, *folders, **variables)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return output, errors

    def edit(self, name, old, new):
        path = self.kernels / name
        source = path.read_text()
        assert source.count(old) == 1, f"{old!r} in {name}"
        path.write_text(source.replace(old, new))

    def entries(self):
        return sorted(path for path in self.cache.rglob("*") if path.is_file())


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_the_second_process_compiles_nothing_and_says_nothing(place):
    assert place.run() == (COMPILES, NOTICE)
    assert place.run() == (LOADS, "")


def test_the_notice_comes_once_a_process(place):
    script = PREAMBLE + "call('relu_forward'); call('relu_forward', 'float64'); call('relu_forward')"
    assert place.run(script) == ("[0.0, 0.0, 2.0]\n" * 3, NOTICE)
    assert len(place.entries()) == 2


def test_nothing_is_compiled_or_kept_by_an_import(place):
    assert place.run("import fastbp_kernels") == ("", "")
    assert not place.cache.exists()


def cache_folder(place):
    """The name of the cache folder that these sources have, as a new process finds it."""
    specification = importlib.util.spec_from_file_location("cache_of_a_copy", place.kernels / "compiler" / "cache.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.cache_folder()


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


def test_an_edit_of_an_inlined_formula_gives_fresh_code(place):
    """numba's own cache would look at the file of ``relu_forward`` only."""
    place.run()
    place.edit("functions/formulas.py", "return times_relu_derivative(v, x, x)", "return v.constant(5.0)")
    assert place.run() == ("[5.0, 5.0, 5.0]\ncompiled\n", NOTICE)
    place.edit("functions/formulas.py", "return v.constant(5.0)", "return times_relu_derivative(v, x, x)")
    assert place.run() == (LOADS, ""), "what was kept for the earlier sources is found again"


def test_an_edit_between_import_and_first_call_leaves_no_stale_code(place):
    """The running process has the sources of before, and must not file its code under those of now."""
    process = place.start(PREAMBLE + "print('imported', flush=True); input(); call('relu_forward')", stdin=True)
    assert process.stdout.readline() == "imported\n"
    place.edit("functions/formulas.py", "return times_relu_derivative(v, x, x)", "return v.constant(5.0)")
    assert process.communicate("\n", timeout=120)[0] == "[0.0, 0.0, 2.0]\n"
    assert place.run()[0] == "[5.0, 5.0, 5.0]\ncompiled\n"


def test_another_option_of_numba_gives_fresh_code(place):
    place.run()
    assert place.run(NUMBA_OPT="1") == (COMPILES, NOTICE)
    assert place.run(NUMBA_OPT="1") == (LOADS, "")
    assert place.run() == (LOADS, "")


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
    place.run()
    (entry,) = place.entries()
    for name, damage in DAMAGES.items():
        entry.write_bytes(damage(entry.read_bytes()))
        assert place.run() == (COMPILES, NOTICE), name
        assert place.entries() == [entry], name
    assert place.run() == (LOADS, "")


TWICE = PREAMBLE + "call('relu_forward'); call('relu_forward', 'float64')"
TWO_RESULTS = "[0.0, 0.0, 2.0]\n" * 2
CANNOT = r"fastbp: compiled kernels cannot be kept \(.*\); set FASTBP_CACHE_DIR to a folder .*\n" + re.escape(NOTICE)


def assert_says_once_that_nothing_is_kept(place, script=TWICE, **variables):
    output, errors = place.run(script, **variables)
    assert output == TWO_RESULTS
    assert re.fullmatch(CANNOT, errors), errors


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_means_compiling_in_memory(place, where):
    (place.folder / "file").write_text("here")
    assert_says_once_that_nothing_is_kept(place, FASTBP_CACHE_DIR=str(place.folder / where))
    assert (place.folder / "file").read_text() == "here"


def test_a_home_that_is_no_folder_means_compiling_in_memory(place):
    (place.folder / "home").write_text("")
    variables = {"FASTBP_CACHE_DIR": None, "XDG_CACHE_HOME": None, "HOME": str(place.folder / "home")}
    assert_says_once_that_nothing_is_kept(place, **variables)


def test_no_home_at_all_means_compiling_in_memory(place):
    script = (
        "import pathlib\ndef home():\n    raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = home\n"
    )
    assert_says_once_that_nothing_is_kept(place, script + TWICE, FASTBP_CACHE_DIR=None, XDG_CACHE_HOME=None)


def test_a_full_disk_means_compiling_in_memory(place):
    full = "import pathlib\ndef full(*arguments):\n    raise OSError(28, 'No space left on device')\n"
    full += "pathlib.Path.replace = full\n"
    output, errors = place.run(PREAMBLE + full + TWICE.removeprefix(PREAMBLE))
    assert output == TWO_RESULTS
    assert errors.count("cannot be kept") == 1
    assert place.entries() == [], "nor is a half-written file left"


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_used(place, mode):
    place.cache.mkdir()
    place.cache.chmod(mode)
    assert_says_once_that_nothing_is_kept(place)
    assert place.entries() == []


def test_code_is_not_taken_from_a_folder_that_others_came_to_write_to(place):
    place.run()
    (entry,) = place.entries()
    entry.parent.chmod(0o777)
    output, errors = place.run()
    assert output == COMPILES
    assert "can be written by others" in errors


def test_a_folder_of_another_user_is_not_used(place):
    place.cache.mkdir(0o700)
    assert_says_once_that_nothing_is_kept(place, "import os; uid = os.getuid(); os.getuid = lambda: uid + 1\n" + TWICE)
    assert place.entries() == []


def test_a_users_lax_umask_does_not_keep_the_cache_from_its_use(place):
    """Where a group of one's own is usual, the umask is 002."""
    lax = "import os; os.umask(0o002)\n"
    assert place.run(lax + RELU) == (COMPILES, NOTICE)
    assert place.run(lax + RELU) == (LOADS, "")
    assert not any(path.stat().st_mode & 0o022 for path in [place.cache, *place.cache.rglob("*")])


def test_processes_that_start_at_once_on_an_empty_cache_all_work(place):
    processes = [place.start(RELU) for _ in range(3)]
    for process in processes:
        assert process.communicate(timeout=120)[0] in (COMPILES, LOADS)
        assert process.returncode == 0
    assert len(place.entries()) == 1
    assert place.run() == (LOADS, "")


OWN = """
import numpy
from numba import njit
from fastbp_kernels import linear_forward

@njit(cache=True)
def twice(x, weight, bias, y):
    linear_forward(x, weight, bias, y)
    linear_forward(y, weight, bias, x)
"""
CALL = """
import numpy, own
x, weight, bias = numpy.ones((2, 3), "float32"), numpy.ones((3, 3), "float32"), numpy.ones(3, "float32")
own.twice(x, weight, bias, numpy.empty((2, 3), "float32"))
print(x.tolist(), sum(own.twice.stats.cache_hits.values()))
"""


def test_the_tile_is_found_by_a_users_function_from_numbas_cache_and_is_never_stale(place):
    """A function of ``@njit(cache=True)`` comes back linked to the tile by name, before any kernel has run."""
    (place.folder / "own.py").write_text(OWN)
    numba_cache = {"NUMBA_CACHE_DIR": str(place.folder / "numba")}
    thirteen = [[13.0] * 3] * 2
    assert place.run(CALL, place.folder, **numba_cache) == (f"{thirteen} 0\n", NOTICE)
    assert place.run(CALL, place.folder, **numba_cache) == (f"{thirteen} 1\n", "")

    product = PREAMBLE + (
        "x = numpy.ones((2, 3), 'float32'); y = x.copy()\n"
        "fastbp_kernels.linear_forward(x, numpy.ones((3, 3), 'float32'), x[0], y); print(y[0].tolist())"
    )
    place.run(product)
    assert place.run(product) == ("[4.0, 4.0, 4.0]\n", "")
    place.edit("linalg/product.py", "if has_bias:", "if not has_bias:")
    assert place.run(product) == ("[3.0, 3.0, 3.0]\n", NOTICE)


def test_what_is_compiled_beneath_an_inlined_kernel_is_not_inlined():
    """Otherwise its stack memory would add up in the caller's, by the order in which kernels happen to be compiled."""
    assert product.targetoptions["forceinline"] is False
    assert train._train_batch.targetoptions["forceinline"] is True


WITHOUT_JIT = {
    "in the environment": ({"NUMBA_DISABLE_JIT": "1"}, ""),
    "in code": ({}, "import numba; numba.config.DISABLE_JIT = 1; "),
}


@pytest.mark.parametrize("package", ["fastbp", "fastbp_kernels.network.train"])
@pytest.mark.parametrize("how", WITHOUT_JIT)
def test_an_import_where_numba_compiles_nothing_fails_with_the_reason(package, how):
    variables, first = WITHOUT_JIT[how]
    command = [sys.executable, "-c", f"{first}import {package}"]
    done = subprocess.run(command, env=child_environment(**variables), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: fastbp_kernels needs numba's compiler, since its kernels are written in LLVM's language, but "
        "numba.config.DISABLE_JIT is set; unset NUMBA_DISABLE_JIT, and run your own compiled functions in Python by "
        "their .py_func"
    )
