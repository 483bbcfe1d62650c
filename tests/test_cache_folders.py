"""The folders of compiled code: which are trusted, which come next, when old ones go, and the command for them."""

import os
import re
import shlex
import subprocess
import sys
import time

import pytest
from caches import NOTICE, Place

from fastbp.__main__ import main
from fastbp_kernels.compiler import cache_folders
from fastbp_kernels.compiler.cache import cache_folder

DAY = 86_400


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


@pytest.fixture
def as_another_user(monkeypatch):
    """Be another one than the owner of what is written here; root is a third, or with True this owner."""
    user = os.getuid()

    def become(owner_is_root):
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
        monkeypatch.setattr(cache_folders, "_ADMINISTRATOR", user if owner_is_root else user + 2)

    return become


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_used_until_they_may_not(place, mode):
    place.cache.mkdir()
    place.cache.chmod(mode)
    told = rf"fastbp: compiled kernels cannot be kept: {place.cache} can be written by others; (chmod go-w .*)\n"
    place.assert_says_once_that_nothing_is_kept(told)
    assert place.entries() == []
    subprocess.run(shlex.split(re.match(told, place.call()[1])[1]), check=True)
    assert place.call() == ("compiled", NOTICE)
    assert place.call() == ("loaded", "")


def test_code_is_not_taken_from_a_folder_that_others_came_to_write_to(place):
    place.call()
    (entry,) = place.entries()
    entry.parent.chmod(0o777)
    place.cache.chmod(0o777)
    done, told = place.call()
    assert done == "compiled"
    assert f"; chmod go-w {place.cache} {entry.parent}\n" in told


def test_a_folder_of_another_user_is_not_used(place, as_another_user):
    place.cache.mkdir(0o700)
    as_another_user(owner_is_root=False)
    place.assert_says_once_that_nothing_is_kept()
    assert place.entries() == []


def test_what_root_compiled_is_used_by_others_and_what_is_missing_there_is_compiled(
    place, as_another_user, monkeypatch
):
    """As in an image that root has warmed up, and another user runs."""
    place.call("float32")
    as_another_user(owner_is_root=True)
    access, create = os.access, os.open
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))

    def open(path, flags, *rest, **others):
        if flags & os.O_CREAT and str(path).startswith(str(place.cache)):
            raise PermissionError(13, "Permission denied", str(path))
        return create(path, flags, *rest, **others)

    monkeypatch.setattr(os, "open", open)
    assert place.call("float32") == ("loaded", "")
    done, told = place.call("float32", "float64")
    assert done == "loaded compiled"
    assert re.fullmatch(re.escape(NOTICE) + r"fastbp: .* cannot be kept: .*Permission denied.*; set FASTBP_.*\n", told)


def test_roots_folder_that_others_may_write_to_is_not_used(place, as_another_user):
    place.cache.mkdir()
    place.cache.chmod(0o777)
    as_another_user(owner_is_root=True)
    place.assert_says_once_that_nothing_is_kept()


def test_numbas_folder_is_the_next_where_the_home_cannot_be_written(place, monkeypatch):
    (place.folder / "home").write_text("")
    place.leave_to_the_platform(monkeypatch)
    monkeypatch.setenv("HOME", str(place.folder / "home"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(place.folder / "numba"))
    assert place.call() == ("compiled", NOTICE)
    assert place.call() == ("loaded", "")
    assert list((place.folder / "numba" / "fastbp").glob("kernels-*/*.bin"))


def test_numbas_folder_is_left_alone_where_the_home_can_be_written(place, monkeypatch):
    place.leave_to_the_platform(monkeypatch)
    monkeypatch.setenv("HOME", str(place.folder / "home"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(place.folder / "numba"))
    assert place.call() == ("compiled", NOTICE)
    assert not (place.folder / "numba").exists()


def test_a_tilde_is_the_home(place, monkeypatch):
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv("HOME", str(place.folder / "home"))
    monkeypatch.setenv("FASTBP_CACHE_DIR", "~/kept")
    assert place.call() == ("compiled", NOTICE)
    assert list((place.folder / "home" / "kept").glob("kernels-*/*.bin"))
    assert not (place.folder / "~").exists()


def put(root, name, days):
    """Put a folder into the cache that has not been used for so many days."""
    entry = root / name / "entry.bin"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(bytes(1500))
    for path in (entry, entry.parent):
        os.utime(path, (time.time() - days * DAY,) * 2)
    return entry.parent


def test_what_was_not_used_for_a_month_goes_when_a_new_folder_is_made(place):
    gone = put(place.cache, f"kernels-{'a' * 16}", 31)
    kept = [put(place.cache, name, days) for name, days in ((f"kernels-{'b' * 16}", 29), ("kernels-mine", 400))]
    read_only = put(place.cache, f"kernels-{'c' * 16}", 31)
    os.utime(read_only / "entry.bin", (time.time() - DAY, 0))  # read by whoever may not note it
    place.call()
    assert not gone.exists()
    assert all(folder.exists() for folder in (*kept, read_only))
    (own,) = {entry.parent for entry in place.entries()} - {*kept, read_only}
    put(place.cache, f"kernels-{'d' * 16}", 31)
    os.utime(own, (0, 0))
    assert place.call() == ("loaded", "")
    assert (place.cache / f"kernels-{'d' * 16}").exists(), "no folder was made"
    assert own.stat().st_mtime > time.time() - DAY, "the use is noted"


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["fastbp", "cache", *arguments])
    main()


def test_the_command_lists_what_is_kept_and_clears_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path / "cache"))
    run_command(monkeypatch)
    assert capsys.readouterr().out == f"{tmp_path / 'cache'}: nothing is kept\n"
    other, folder = f"kernels-{'e' * 16}", put(tmp_path / "cache", "kernels-mine", 0)
    put(tmp_path / "cache", other, 3)
    put(tmp_path / "cache", cache_folder().name, 0).chmod(0o777)
    run_command(monkeypatch)
    root, own, old = capsys.readouterr().out.splitlines()
    assert root == f"{tmp_path / 'cache'}:"
    assert re.fullmatch(
        rf"  {cache_folder().name}  1 entry, 0.0 MB, last used \d{{4}}-\d\d-\d\d; of this version; "
        rf"not used: {cache_folder()} can be written by others; chmod go-w {cache_folder()}", own
    )  # fmt: skip
    assert re.fullmatch(rf"  {other}  1 entry, 0.0 MB, last used \d{{4}}-\d\d-\d\d", old)
    run_command(monkeypatch, "--clear")
    assert capsys.readouterr().out.count("removed, 1 entry") == 2
    assert list((tmp_path / "cache").iterdir()) == [folder], "what is not the cache's stays"


def test_clearing_tells_what_it_could_not_remove(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(tmp_path))
    put(tmp_path, f"kernels-{'f' * 16}", 3)
    monkeypatch.setattr("fastbp.commands.cache.remove", lambda folder: None)
    with pytest.raises(SystemExit) as stopped:
        run_command(monkeypatch, "--clear")
    assert stopped.value.code == 1
    assert "cannot be removed" in capsys.readouterr().out
