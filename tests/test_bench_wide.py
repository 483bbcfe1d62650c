"""``bench.wide``: what it measures until the time is over, and what its tables tell."""

import numpy
import pytest

from bench import wide, wide_report
from bench.contenders import load
from bench.workloads import DISK, Product, Training
from fastbp_kernels.compiler.cache_sizes import CacheSizes, cache_sizes


class Clock:
    def __init__(self):
        self.now = 0.0


class FakeWorker:
    """A library that takes a second for whatever it is asked."""

    def __init__(self, name, clock):
        self.name, self._clock, self.asked = name, clock, []

    def prepare(self, workload):
        return False if self.name == "jax" and isinstance(workload, Product) else None

    def measure(self, workload, seconds):
        self._clock.now += 1
        self.asked.append(workload)
        return 1 / len(self.asked)

    def flop(self, workload):
        return 100 * workload.cores


def contest(seconds, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(wide, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(wide, "sleep", lambda seconds: None)
    workers = {(name, threads): FakeWorker(name, clock) for name in ("fastbp", "torch", "jax") for threads in (1, 2)}
    measured = wide.Contest(workers, 2, seconds)
    measured.run()
    return measured.table(), clock, workers


def test_what_is_measured_when_the_time_is_over_is_kept_and_the_rest_is_named(monkeypatch):
    table, clock, _ = contest(30, monkeypatch)
    assert 30 < clock.now < 32
    assert table["rounds"] == 0
    found = [f"{row}, {dtype}" for dtype, rows in table["seconds"].items() for row in rows]
    assert found
    assert sorted(found + table["left_out"]) == sorted(f"{row.name}, {row.dtype}" for row in wide.ROWS)
    assert set(table["limits"]["float64"]) == {"1", "2"}


def test_the_least_of_all_rounds_is_kept(monkeypatch):
    table, _, workers = contest(1e9, monkeypatch)
    assert table["rounds"] == wide.ROUNDS
    assert not table["left_out"]
    asked = workers["torch", 1].asked
    first = wide.ROWS[0]
    last = max(place for place, workload in enumerate(asked) if workload == first)
    assert table["seconds"][first.dtype][first.name]["torch"]["1"] == 1 / (last + 1)
    product = next(row for row in wide.ROWS if isinstance(row, Product))
    assert set(table["seconds"][product.dtype][product.name]) == {"fastbp", "torch"}
    assert set(table["seconds"]["float32"][DISK.name]["fastbp"]) == {"1"}


def test_threads_double_up_to_the_cores():
    assert [wide.thread_counts(cores) for cores in (1, 2, 6, 16)] == [
        [1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]
    ]  # fmt: skip


def table_of(name, cores, seconds):
    machine = {"processor": name, "cores": str(cores), "system": "Linux", "python": "3", "numpy": "2"}
    limits = {"float32": {"1": 1e11, str(cores): 2e11}}
    caches = CacheSizes(1 << 15, 1 << 19, 1 << 25)._asdict()
    return {
        "date": "2026-12-01", "machine": machine, "cores": cores, "caches": caches, "rounds": 3, "limits": limits,
        "seconds": {"float32": seconds, "float64": {}}, "left_out": ["a row, float64"],
    }  # fmt: skip


def test_machines_stand_side_by_side_and_what_was_not_measured_is_said():
    training = {"fastbp": {"1": 4e-3, "2": 2e-3}, "torch": {"1": 5e-3, "2": 3e-3}, "jax gpu": {"1": 1e-3}}
    products = {
        "output of 1 × 2 × 3": {"fastbp": {"1": 2.0, "2": 1.0}, "torch": {"1": 2.0, "2": 4.0}},
        "grad_input of 1 × 2 × 3": {"fastbp": {"1": 1.0, "2": 1.0}, "torch": {"1": 2.0, "2": 1.0}},
    }
    machines = {"a": table_of("A", 2, {"a training": training} | products), "b": table_of("B", 4, {})}
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in wide_report.format_columns(machines).splitlines()
    ]
    assert cells[0] == ["", "A, 2 cores, 2026-12-01", "B, 4 cores, 2026-12-01"]
    rows = {row[0]: row[1:] for row in cells[2:]}
    assert rows["a training, float32"] == ["2 ms on 2; PyTorch eager 1.50 ×; JAX scan, GPU 0.50 ×", "not measured"]
    assert rows["products beside PyTorch's, float32, one thread: mean, least"] == ["1.41, 1.00", "not measured"]
    assert rows["products beside PyTorch's, float32, all cores: mean, least"] == ["2.00, 1.00", "not measured"]
    told = "\n".join(wide_report.format_machine(machines["a"]))
    assert "second cache 512 KiB" in told
    assert "a row, float64" in told
    assert "fastbp 4,000 / 2,000" in told


def test_a_gpu_trains_what_the_cpu_trains(monkeypatch):
    peer, workload = load("torch gpu"), Training("t", widths=(5, 7, 3), samples=12, mini_batch=4, lr=0.1)
    monkeypatch.setattr(peer, "DEVICE", "cpu")
    weights = []
    for module in (peer, load("torch")):
        contender = module.training(workload)
        contender.run(3)
        weights.append(contender.weights())
    for ours, theirs in zip(*weights, strict=True):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def cache(root, index, **files):
    folder = root / "sys/devices/system/cpu/cpu0/cache" / f"index{index}"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def test_sizes_of_caches_are_those_that_linux_tells(tmp_path):
    cache(tmp_path, 0, level=1, type="Data", size="48K")
    cache(tmp_path, 1, level=1, type="Instruction", size="64K")
    cache(tmp_path, 2, level=2, type="Unified", size="2048K")
    assert cache_sizes(tmp_path) == (48 << 10, 2 << 20, 2 << 20)
    cache(tmp_path, 3, level=3, type="Unified", size="105M")
    assert cache_sizes(tmp_path) == (48 << 10, 2 << 20, 105 << 20)


@pytest.mark.parametrize("size", ["", "0K", "-1K", "many", "1.5M"])
def test_without_sizes_that_make_sense_the_usual_ones_are_taken(size, tmp_path):
    usual = cache_sizes(tmp_path)
    assert 0 < usual.first < usual.second < usual.last
    cache(tmp_path, 2, level=2, type="Unified", size=size)
    assert cache_sizes(tmp_path) == usual
