"""What the benchmarks conclude from times, and that they measure what they name."""

import runpy
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest

import fastbp
from bench import compare, goals, guard, many_report, noise, performance, small_map
from bench.compare import THRESHOLD, Change
from bench.contenders import load
from bench.many_peers import Copies
from bench.workers import Runs, Worker
from bench.workloads import TILE, Activation, Descent, LinearBackward, Product, SquaredError, at, square
from fastbp_kernels.linalg.tile import TILE_ROWS, tile

ROOT = Path(__file__).parents[1]
KERNELS = Path("kernels", "fastbp_kernels")
BEYOND = 1.01 * (1 + THRESHOLD)


def change(*ratios):
    return Change("some workload", [1.0] * len(ratios), list(ratios))


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((BEYOND, 2, 3), "slower"),
        ((1, 2, 3), ""),
        ((1 / BEYOND, 0.5, 0.3), "faster"),
        ((1 / BEYOND, BEYOND, 1), ""),
    ],
)
def test_a_change_is_what_every_pair_shows(ratios, verdict):
    assert change(*ratios).verdict == verdict


def test_two_codes_are_compared_each_from_its_own_folder(tmp_path):
    library = tmp_path.resolve()
    for folder in compare.LIBRARY:
        (library / folder).symlink_to(ROOT / folder)
    for source in (library, ROOT):
        worker = Worker("fastbp", 1, source)
        assert worker.source() == source
        worker.stop()


@pytest.mark.parametrize("kernel", noise.PLANTS)
def test_the_line_that_a_slowdown_is_planted_behind_is_there(kernel, tmp_path):
    name, line, again = noise.PLANTS[kernel]
    exported = tmp_path / KERNELS / name
    exported.parent.mkdir(parents=True)
    exported.write_text((ROOT / KERNELS / name).read_text())
    noise.plant(tmp_path, kernel)
    planted = exported.read_text()
    assert line + again in planted
    compile(planted, name, "exec")


@pytest.mark.parametrize(
    "workload",
    [
        LinearBackward("linear", n=7, i=5, o=3),
        *(Product(of, of=of, n=7, i=5, o=3) for of in ("output", "grad_input", "grad_weight")),
        *(Activation(function, function=function, size=37) for function in ("relu", "tanh", "sigmoid")),
        SquaredError("squared error", n=7, o=3),
        Descent("descent", size=37),
    ],
    ids=lambda workload: workload.name,
)
def test_a_kernel_is_timed_beside_what_computes_the_same(workload):
    written = []
    for library in ("fastbp", "torch"):
        contender = getattr(load(library), workload.kind)(workload)
        contender.run(2)
        written.append(contender.weights())
    for ours, theirs in zip(*written, strict=True):
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tile_counts_what_it_computes(dtype):
    workload = at(TILE, dtype)
    contender = load("fastbp").tile_limit(workload)
    contender.run(2)
    (c,) = contender.weights()
    a, b = workload.normal(1, TILE_ROWS, workload.k), workload.normal(2, workload.k, c.size // TILE_ROWS)
    numpy.testing.assert_allclose(c.reshape(TILE_ROWS, -1), a @ b, rtol=1e-5, atol=1e-5)
    assert contender.flop == 2 * c.size * workload.k
    runs = Runs("fastbp", fastbp.get_num_threads())
    runs.prepare(workload)
    assert runs.flop(workload) == contender.flop


def test_commits_whose_kernels_lay_in_one_folder_are_measured_too(monkeypatch):
    for old, new in (("tile", "linalg.tile"), ("pointers", "compiler.pointers")):
        monkeypatch.setitem(sys.modules, f"fastbp_kernels.{old}", import_module(f"fastbp_kernels.{new}"))
        monkeypatch.setitem(sys.modules, f"fastbp_kernels.{new}", None)  # not to be found
    peer = runpy.run_path(load("fastbp").__file__)
    assert peer["tile"] is tile

    history = SimpleNamespace(way="engine")
    monkeypatch.setattr(fastbp, "train_model", lambda *arguments, **options: history)
    training = peer["training"](square(8, 2))
    training.run(1)
    history.way = "modules, because ..."
    with pytest.raises(AssertionError, match="modules, because"):
        training.run(1)


def test_a_square_network_has_whole_mini_batches_of_its_width():
    for width, mini_batch, depth in ((8, 1, 3), (64, 4096, 1), (1024, 64, 32)):
        workload = square(width, mini_batch, depth=depth)
        assert workload.widths == (width,) * (depth + 1)
        assert workload.samples == workload.steps * mini_batch


def test_many_models_are_compared_with_the_best_of_the_others_at_its_best_threads():
    seconds = {"fastbp": {"2": [3e-6, 2e-6]}, "PyTorch vmap": {"1": [9e-5], "2": [8e-5, 5e-5]}}
    row = goals.COPIES[32]
    table = many_report.format_table({"seconds": {row: seconds | {"PyTorch vmap, traced": {"1": [6e-5]}}}})
    (line,) = table.splitlines()[2:]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        row, "2 µs", "50 µs, PyTorch vmap", "25.00 ×", "20 ×", "yes"
    ]  # fmt: skip


def test_copies_have_weights_rates_and_orders_of_their_own_whatever_their_number():
    few, more = Copies(3, 2), Copies(5, 2)
    for one, other in zip([*few.weights(), few.rates()], [*more.weights(), more.rates()], strict=True):
        numpy.testing.assert_array_equal(one, other[:3])
    orders = few.orders()
    assert orders.shape == (40, 3, 50)
    rng = numpy.random.default_rng(2)
    expected = [rng.permutation(1000), rng.permutation(1000)]
    numpy.testing.assert_array_equal(orders[:, 2].ravel(), numpy.concatenate(expected))


def test_the_borders_of_the_map_run_between_cells_that_differ():
    inside = numpy.array([[True, True], [True, False]])
    assert small_map.borders(inside) == [((0.5, 1.5), (0.5, 0.5)), ((0.5, 0.5), (0.5, 1.5))]
    assert small_map.borders(numpy.ones((3, 4), bool)) == []


@pytest.mark.parametrize(("share_of_the_lead", "stops"), [(0.4, True), (0.6, False)])
def test_the_guard_stops_at_half_of_the_lead_that_the_page_states(share_of_the_lead, stops, monkeypatch, capsys):
    stated = guard.lead(guard.load()["results"]["float32"][guard.ORIGINAL.name])
    assert f"| {stated:.1f} |" in (ROOT / "docs" / "why.md").read_text(encoding="utf-8")
    monkeypatch.setattr(guard, "measure", lambda: share_of_the_lead * stated)
    if stops:
        with pytest.raises(SystemExit, match="made the engine slower"):
            guard.main()
    else:
        guard.main()
    assert f"docs/why.md states {stated:.1f}" in capsys.readouterr().out


def test_the_page_on_performance_was_written_from_the_results_that_are_stored():
    assert performance.PAGE.read_text(encoding="utf-8") == performance.page(), "run make performance"
