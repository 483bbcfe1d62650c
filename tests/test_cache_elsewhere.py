"""The cache where disks are full, homes are missing, files are foreign and CPUs differ: each works or compiles anew."""

import os
import resource
import stat
import sys
from pathlib import Path

import pytest
from caches import NOTICE, TWICE, Place
from numba.core.registry import cpu_target

from fastbp_kernels.compiler import cache


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


def test_a_file_that_cannot_grow_is_not_kept_in_part(place, monkeypatch):
    """The system itself refuses the write, as on a full disk: after 1,000 bytes."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python itself would keep bytecode in part
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        done, errors = place.call(*TWICE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done == "compiled compiled"
    assert errors.count("cannot be kept") == errors.count("compiling kernels") == 1
    assert place.entries() == []
    assert place.call() == ("compiled", NOTICE)


@pytest.mark.parametrize("folder", ["/proc/fastbp", "/dev/null/fastbp"])
def test_a_place_where_no_folder_can_be_made_means_compiling_in_memory(place, folder, monkeypatch):
    monkeypatch.setenv("FASTBP_CACHE_DIR", folder)
    place.assert_says_once_that_nothing_is_kept()


def test_a_folder_that_came_to_be_read_only_means_compiling_in_memory(place, monkeypatch):
    place.call()

    create = os.open

    def open(path, flags, *rest, **others):
        if flags & os.O_CREAT and place.cache in Path(path).parents:
            raise OSError(30, "Read-only file system")
        return create(path, flags, *rest, **others)

    with monkeypatch.context() as read_only:
        read_only.setattr(os, "open", open)
        done, errors = place.call("float64")
    assert done == "compiled"
    assert errors.count("cannot be kept") == 1
    assert place.call() == ("loaded", ""), "what was kept before is still found"


def test_a_home_that_is_missing_is_no_error(place, monkeypatch):
    place.leave_to_the_platform(monkeypatch)
    monkeypatch.setenv("HOME", str(place.folder / "missing" / "home"))
    assert place.call() == ("compiled", NOTICE)
    assert place.call() == ("loaded", "")


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
    place.call()
    (entry,) = place.entries()
    put(entry)
    done, errors = place.call()
    assert done == "compiled"
    assert NOTICE in errors


def test_an_entry_cut_off_at_any_length_is_compiled_anew(place):
    place.call()
    (entry,) = place.entries()
    whole = entry.read_bytes()
    for length in (31, 32, len(whole) - 1):
        entry.write_bytes(whole[:length])
        assert place.call() == ("compiled", NOTICE), length
        assert entry.read_bytes()[32:] != b""


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


def test_others_may_read_the_code_and_not_write_it(place):
    before = os.umask(0)
    try:
        place.call()
    finally:
        os.umask(before)
    (entry,) = place.entries()
    assert stat.S_IMODE(entry.stat().st_mode) == 0o644
    for folder in (entry.parent, place.cache):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
