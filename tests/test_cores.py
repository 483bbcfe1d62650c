"""How many threads the surroundings allow: variables of the environment, quotas of control groups, cores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import child_environment

from fastbp.runtime.cores import available_cores, cpu_quota, initial_threads

GROUPS = "proc/self/cgroup"
MOUNT = "sys/fs/cgroup"


@pytest.fixture
def root(tmp_path):
    """A root folder with nothing in it."""
    return tmp_path


def fake(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def v1(folder, quota, period="100000"):
    return {f"{MOUNT}/{folder}/cpu.cfs_quota_us": quota, f"{MOUNT}/{folder}/cpu.cfs_period_us": period}


def v2(folder, content):
    return {f"{MOUNT}/{folder}/cpu.max": content}


# The cores that control groups allow, and the files that say so.
QUOTAS = {
    "no control groups": (None, {}),
    "v2": (2, {GROUPS: "0::/\n", **v2("", "200000 100000\n")}),
    "v2, a part of a core": (3, {GROUPS: "0::/\n", **v2("", "201000 100000\n")}),
    "v2, less than one core": (1, {GROUPS: "0::/\n", **v2("", "1000 100000\n")}),
    "v2 without a limit": (None, {GROUPS: "0::/\n", **v2("", "max 100000\n")}),
    "v2, the inner is tightest": (2, {GROUPS: "0::/a/b\n", **v2("a", "400000 100000\n"), **v2("a/b", "20000 10000\n")}),
    "v2, the outer is tightest": (3, {GROUPS: "0::/a/b\n", **v2("a", "300000 100000\n"), **v2("a/b", "max 100000\n")}),
    "v2, of other processes": (None, {GROUPS: "0::/a\n", **v2("b", "100000 100000\n"), **v2("a/b", "100000 100000\n")}),
    "v2, the path of a host": (2, {GROUPS: "0::/docker/1f\n", **v2("", "200000 100000\n")}),
    "v2, a path beside": (2, {GROUPS: "0::/../b\n", **v2("", "200000 100000\n")}),
    "v2 without a path": (2, v2("", "200000 100000\n")),
    "v2, colons in a name": (2, {GROUPS: "0::/a:b\n", **v2("a:b", "200000 100000\n")}),
    "v2, no UTF-8 in a name": (2, {GROUPS: b"0::/\xff/a\n", **v2("", "200000 100000\n")}),
    "v1": (3, {GROUPS: "4:cpu,cpuacct:/a\n2:memory:/m\n", **v1("cpu,cpuacct/a", "250000\n", "100000\n")}),
    "v1 without a limit": (None, {GROUPS: "4:cpu,cpuacct:/a\n", **v1("cpu,cpuacct/a", "-1\n")}),
    "v1 without a period": (None, {GROUPS: "4:cpu:/\n", f"{MOUNT}/cpu/cpu.cfs_quota_us": "200000\n"}),
    "v1, mounted as cpu": (2, {GROUPS: "4:cpuacct,cpu:/a\n", **v1("cpu/a", "200000\n")}),
    "v1, the outer is tightest": (2, {GROUPS: "4:cpu:/a/b\n", **v1("cpu/a", "150000"), **v1("cpu/a/b", "400000")}),
    "v1, the path of a host": (2, {GROUPS: "4:cpu,cpuacct:/docker/1f\n", **v1("cpu,cpuacct", "200000\n")}),
    "v1 without a path": (2, v1("cpu", "200000\n")),
    "v1, of another controller": (None, {GROUPS: "5:cpuset:/a\n", **v1("cpuset/a", "100000\n")}),
    "v1 and v2": (2, {GROUPS: "4:cpu:/a\n0::/b\n", **v1("cpu/a", "200000\n"), **v2("b", "300000 100000\n")}),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_the_tightest_quota_counts_rounded_up_to_whole_cores(case, root):
    expected, files = QUOTAS[case]
    fake(root, files)
    assert cpu_quota(root) == expected


@pytest.mark.parametrize("content", ["", "\n", "100000", "a b", "1 2 3", "1 0", "-1 1", "0 1", "1e5 1e5", b"\xff \x00"])
def test_a_quota_that_makes_no_sense_is_passed_over(content, root):
    fake(root, {GROUPS: "0::/a\n", **v2("a", content), **v2("", "200000 100000")})
    assert cpu_quota(root) == 2


@pytest.mark.parametrize("quota", ["", "a", "1 1", "0", "1.5"])
@pytest.mark.parametrize("period", ["100000", "0", ""])
def test_the_two_files_of_a_quota_that_make_no_sense_are_passed_over(quota, period, root):
    fake(root, {GROUPS: "4:cpu:/a\n", **v1("cpu/a", quota, period), **v1("cpu", "200000")})
    assert cpu_quota(root) == 2


@pytest.mark.parametrize("content", ["", "0:", "none\n\n::\n", "0::/\0\n", b"\x00\xff"])
def test_a_list_of_groups_that_makes_no_sense_is_passed_over(content, root):
    fake(root, {GROUPS: content, **v2("", "200000 100000")})
    assert cpu_quota(root) == 2


@pytest.mark.parametrize("forbidden", ["cgroup", "cpu.max"])
def test_files_that_may_not_be_read_are_passed_over(forbidden, root, monkeypatch):
    fake(root, {GROUPS: "0::/a\n", **v2("a", "100000 100000"), **v1("cpu", "200000")})
    read_bytes = Path.read_bytes

    def guarded(path):
        if path.name == forbidden:
            raise PermissionError(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", guarded)
    assert cpu_quota(root) == 2


def test_a_folder_in_the_place_of_a_file_is_passed_over(root):
    (root / GROUPS).mkdir(parents=True)
    (root / MOUNT / "cpu.max").mkdir(parents=True)
    assert cpu_quota(root) is None


# The threads on 8 cores with a quota of 6, by variables of the environment.
ENVIRONMENTS = {
    "the quota": (6, {}),
    "ours": (3, {"FASTBP_NUM_THREADS": "3"}),
    "ours before all others": (4, {"FASTBP_NUM_THREADS": "4", "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "1"}),
    "ours as said, beyond the cores": (20, {"FASTBP_NUM_THREADS": " 20 "}),
    "ours, empty": (6, {"FASTBP_NUM_THREADS": ""}),
    "OpenMP's": (2, {"OMP_NUM_THREADS": "2"}),
    "numba's": (2, {"NUMBA_NUM_THREADS": "2"}),
    "the smaller of both": (2, {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "5"}),
    "the smaller of both, the other way round": (2, {"OMP_NUM_THREADS": "5", "NUMBA_NUM_THREADS": "2"}),
    "OpenMP's before the quota": (7, {"OMP_NUM_THREADS": "7"}),
    "OpenMP's, no more than cores": (8, {"OMP_NUM_THREADS": "64"}),
    "OpenMP's first level": (4, {"OMP_NUM_THREADS": "4,2"}),
    "OpenMP's makes no sense": (6, {"OMP_NUM_THREADS": "many"}),
    "OpenMP's is zero": (6, {"OMP_NUM_THREADS": "0"}),
    "OpenMP's is negative": (6, {"OMP_NUM_THREADS": "-2"}),
    "OpenMP's is empty": (6, {"OMP_NUM_THREADS": ","}),
    "OpenMP's makes no sense, numba's does": (3, {"OMP_NUM_THREADS": "x", "NUMBA_NUM_THREADS": "3"}),
    "numba's makes no sense": (6, {"NUMBA_NUM_THREADS": "4,2"}),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_what_the_user_says_comes_first_then_other_libraries_then_the_quota(case, root):
    expected, environ = ENVIRONMENTS[case]
    fake(root, {GROUPS: "0::/\n", **v2("", "600000 100000\n")})
    assert initial_threads(environ, root, 8) == expected


def test_without_a_word_from_outside_all_cores_compute(root):
    assert initial_threads({}, root, 8) == 8


def test_a_quota_beyond_the_cores_is_no_more_than_the_cores(root):
    fake(root, {GROUPS: "0::/\n", **v2("", "600000 100000\n")})
    assert initial_threads({}, root, 4) == 4


@pytest.mark.parametrize("value", ["0", "-1", "two", "2.0", "4,2", " "])
def test_our_variable_is_refused_where_it_is_no_number_of_threads(value, root):
    with pytest.raises(ValueError, match=r"^FASTBP_NUM_THREADS takes a whole number of 1 or more, got ") as raised:
        initial_threads({"FASTBP_NUM_THREADS": value}, root, 8)
    assert f"got {value!r}; " in str(raised.value)


def test_cores_are_counted_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert available_cores() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


def test_cores_are_counted_where_a_sandbox_forbids_to_ask_for_the_affinity(monkeypatch):
    def forbidden(process):
        raise PermissionError("a sandbox")

    monkeypatch.setattr(os, "sched_getaffinity", forbidden, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert available_cores() == 5


def test_the_cores_of_the_affinity_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 4}, raising=False)
    assert available_cores() == 3


def python(script, **variables):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=child_environment(**variables), capture_output=True, text=True)


def test_an_import_takes_the_number_from_the_environment():
    done = python("import fastbp; print(fastbp.get_num_threads())", FASTBP_NUM_THREADS="7")
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_an_import_with_a_number_that_makes_no_sense_fails_with_the_reason():
    done = python("import fastbp", FASTBP_NUM_THREADS="two")
    assert done.stderr.splitlines()[-1] == (
        "ValueError: FASTBP_NUM_THREADS takes a whole number of 1 or more, got 'two'; unset it for one thread a core"
    )
