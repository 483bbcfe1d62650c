"""The cache where disks are full, homes are missing, files are foreign and CPUs differ: each works or compiles anew."""

import os
import re

import pytest
from numba.core.registry import cpu_target
from test_cache import CANNOT, COMPILES, LOADS, NOTICE, PREAMBLE, RELU, TWICE, TWO_RESULTS, Place

from fastbp_kernels.compiler import cache

LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
CPUS = (
    {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},
    {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2"},
)
OTHER_CPU = next(cpu for cpu in CPUS if cpu["NUMBA_CPU_NAME"] != os.environ.get("NUMBA_CPU_NAME"))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def assert_says_that_nothing_is_kept(place, script=TWICE, **variables):
    output, errors = place.run(script, **variables)
    assert output == TWO_RESULTS
    assert errors.count("cannot be kept") == 1
    assert "compiling kernels" in errors


def test_a_file_that_cannot_grow_is_not_kept_in_part(place):
    """The system itself refuses the write, as on a full disk: after 1,000 bytes."""
    assert_says_that_nothing_is_kept(place, LIMITED + TWICE)
    assert place.entries() == []
    assert place.run() == (COMPILES, NOTICE)


@pytest.mark.parametrize("folder", ["/proc/fastbp", "/dev/null/fastbp"])
def test_a_place_where_no_folder_can_be_made_means_compiling_in_memory(place, folder):
    output, errors = place.run(TWICE, FASTBP_CACHE_DIR=folder)
    assert output == TWO_RESULTS
    assert re.fullmatch(CANNOT, errors), errors


def test_a_folder_that_came_to_be_read_only_means_compiling_in_memory(place):
    place.run()
    read_only = "import tempfile\ndef mkstemp(**_):\n    raise OSError(30, 'Read-only file system')\n"
    script = PREAMBLE + read_only + "tempfile.mkstemp = mkstemp\n" + TWICE.removeprefix(PREAMBLE)
    output, errors = place.run(script)
    assert output == TWO_RESULTS
    assert errors.count("cannot be kept") == 1
    assert place.run() == (LOADS, ""), "what was kept before is still found"


def test_a_home_that_is_missing_is_no_error(place):
    variables = {"FASTBP_CACHE_DIR": None, "XDG_CACHE_HOME": None, "HOME": str(place.folder / "missing" / "home")}
    output, errors = place.run(**variables)
    assert output == COMPILES
    assert NOTICE in errors


def put_folder(entry):
    entry.unlink()
    entry.mkdir()


def put_link_to_nothing(entry):
    entry.unlink()
    entry.symlink_to(entry.parent / "missing")


def put_foreign_file(entry):
    entry.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(5000))


@pytest.mark.parametrize("put", [put_folder, put_link_to_nothing, put_foreign_file])
def test_what_is_no_entry_is_compiled_over(place, put):
    place.run()
    (entry,) = place.entries()
    put(entry)
    output, errors = place.run()
    assert output == COMPILES
    assert NOTICE in errors


def test_an_entry_cut_off_at_any_length_is_compiled_anew(place):
    place.run()
    (entry,) = place.entries()
    whole = entry.read_bytes()
    for length in (31, 32, len(whole) - 1):
        entry.write_bytes(whole[:length])
        assert place.run() == (COMPILES, NOTICE), length
        assert entry.read_bytes()[32:] != b""


def test_another_cpus_code_is_neither_run_nor_lost(place):
    assert place.run() == (COMPILES, NOTICE)
    assert place.run(**OTHER_CPU) == (COMPILES, NOTICE)
    assert place.run() == (LOADS, "")
    assert place.run(**OTHER_CPU) == (LOADS, "")


def test_an_entry_is_named_after_the_cpu():
    """Machines of several kinds may share one home."""

    class Codegen:
        def __init__(self, *magic):
            self.magic_tuple = lambda: magic

    own = cpu_target.target_context.codegen().magic_tuple()
    names = {
        cache.entry_name("relu", Codegen(*magic))
        for magic in (own, (own[0], "another-cpu", own[2]), (own[0], own[1], "-avx512f"))
    }
    assert len(own) == 3
    assert len(names) == 3


def test_the_folder_is_its_users_own(place):
    place.run("import os; os.umask(0)\n" + RELU)
    for folder in {path.parent for path in place.entries()} | {place.cache}:
        assert folder.stat().st_mode & 0o077 == 0
