"""A file that fastbp.save writes is there whole or not at all, and nothing is left beside it."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import child_environment, mlp

import fastbp


def temporaries(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".fastbp-tmp")]


@pytest.mark.parametrize("call", ["fsync", "write", "replace"])
def test_a_save_that_fails_leaves_the_file_and_nothing_beside_it(call, tmp_path, monkeypatch):
    fastbp.save(tmp_path / "c", mlp(4, 2))
    before = (tmp_path / "c").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "write":
        monkeypatch.setattr(os, "fdopen", full)
    elif call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(type(tmp_path), "replace", full)
    with pytest.raises(OSError, match="No space left"):
        fastbp.save(tmp_path / "c", mlp(4, 3))
    monkeypatch.undo()
    assert (tmp_path / "c").read_bytes() == before
    assert not temporaries(tmp_path)


def test_a_save_syncs_the_file_before_it_takes_its_place_and_the_folder_behind(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda d: (done.append(stat.S_ISDIR(os.fstat(d).st_mode)), fsync(d)))
    monkeypatch.setattr(type(tmp_path), "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    fastbp.save(tmp_path / "c", mlp(4, 3))
    assert done == [False, "replace", True]


def test_what_a_killed_save_left_goes_with_the_next(tmp_path):
    (tmp_path / ".c.0123456789abcdef.fastbp-tmp").write_bytes(b"half")
    (tmp_path / ".other.0123456789abcdef.fastbp-tmp").write_bytes(b"another file's")
    fastbp.save(tmp_path / "c", mlp(4, 3))
    assert temporaries(tmp_path) == [".other.0123456789abcdef.fastbp-tmp"]


def test_a_save_under_way_in_another_process_is_left_alone(tmp_path):
    import fcntl

    with (tmp_path / ".c.0123456789abcdef.fastbp-tmp").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fastbp.save(tmp_path / "c", mlp(4, 3))
        assert temporaries(tmp_path)


def test_a_file_keeps_its_mode_and_a_link_stays_one(tmp_path):
    fastbp.save(tmp_path / "c", mlp(4, 3))
    (tmp_path / "c").chmod(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "c")
    fastbp.save(str(tmp_path / "link"), mlp(4, 2))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o640
    assert fastbp.load(tmp_path / "c").model[0].out_features == 2


def test_a_few_kills_lose_nothing_but_the_save_under_way(tmp_path):
    tests = Path(__file__).parent
    call = [sys.executable, tests / "soak" / "kills.py", "--kills", "5"]
    done = subprocess.run(call, env=child_environment(tests), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "5 kills" in done.stdout
