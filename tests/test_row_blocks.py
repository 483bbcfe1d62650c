"""Training data that come in blocks of rows: the results of one array, on the way to files larger than memory."""

import copy

import numpy
import pytest
from helpers import assert_unchanged, draw, mlp, snapshot
from same_bits import Network, OwnSGD, assert_same_bits, outcome, train
from test_resume import SHUFFLED, Stop, StoppingSGD, continued

import fastbp
from fastbp import nn, optim
from fastbp.engine import call_length

NETWORK = Network((4, 9, 3), ("Tanh", None))
SIZES = (14, 7, 21, 5)  # of 47 rows, by mini-batches of 7


@pytest.fixture(params=["engine", "module by module"])
def opt_class(request):
    return optim.SGD if request.param == "engine" else OwnSGD


def blocks_of(data, sizes=SIZES):
    """The same rows in blocks."""
    ends = numpy.cumsum(sizes)

    def read():
        for start, stop in zip(ends - sizes, ends, strict=True):
            yield data[0][start:stop], data[1][start:stop]

    return (fastbp.RowBlocks(read), None, *data[2:])


def begin(opt_class, dtype=numpy.float32):
    model = NETWORK.build(dtype)
    return model, opt_class(model.parameters(), lr=0.05), fastbp.History()


@pytest.mark.parametrize("val", [None, 20])
def test_blocks_of_whole_mini_batches_train_as_one_array(val, opt_class, reduction, dtype):
    data = NETWORK.data(dtype, 47, val)
    by_modules = opt_class is OwnSGD
    expected = train(NETWORK.build(dtype), data, 4, 7, reduction=reduction, by_modules=by_modules)
    found = train(NETWORK.build(dtype), blocks_of(data), 4, 7, reduction=reduction, by_modules=by_modules)
    assert_same_bits(expected, found)
    assert found.history.backend == expected.history.backend


def test_blocks_stream_from_files_that_are_mapped(tmp_path, opt_class):
    data = NETWORK.data(numpy.float32, 47, 20)
    for name, array in zip("xy", data):
        numpy.save(tmp_path / name, array)

    def read():
        x, y = (numpy.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
        for start in range(0, len(x), 14):
            yield x[start : start + 14], y[start : start + 14]

    found = train(NETWORK.build(numpy.float32), (fastbp.RowBlocks(read), None, *data[2:]), 4, 7,
                  by_modules=opt_class is OwnSGD)  # fmt: skip
    assert_same_bits(train(NETWORK.build(numpy.float32), data, 4, 7), found)


def test_classes_come_in_blocks_too(opt_class):
    x, classes = draw((47, 4), numpy.float32), numpy.arange(47, dtype=numpy.int32) % 3
    histories = []
    for data in ((x, classes, x, classes), blocks_of((x, classes, x, classes))):
        model = mlp(4, 9, 3)
        opt = opt_class(model.parameters(), lr=0.1)
        histories.append(dict(fastbp.train_model(model, *data, nn.CrossEntropyLoss(), opt, 3, 7)))
    assert histories[0] == histories[1]


@pytest.mark.parametrize("sizes", [(10, 10, 10, 17), (3, 40, 4), (47,), (1,) * 47])
def test_the_last_mini_batch_of_a_block_may_be_short_and_counts_by_its_rows(sizes, opt_class, reduction):
    data = NETWORK.data(numpy.float64, 47)
    model = NETWORK.build(numpy.float64)
    opt = opt_class(model.parameters(), lr=0.0)
    history = fastbp.train_model(model, *blocks_of(data, sizes), nn.MSELoss(reduction), opt, 2, 7)
    errors = (model.predict(data[0]) - data[1]) ** 2
    expected = errors.mean() if reduction == "mean" else errors.sum() / 47
    assert history["train_loss_mean"] == [pytest.approx(expected, rel=1e-12)] * 2


@pytest.mark.parametrize("criterion", [nn.MSELoss, nn.HuberLoss])
def test_weights_come_with_their_blocks(criterion, opt_class, dtype):
    data, weights = NETWORK.data(dtype, 47), draw(47, dtype, 4) ** 2
    starts = numpy.cumsum(SIZES) - SIZES
    parts = [slice(start, start + size) for start, size in zip(starts, SIZES)]
    blocks = fastbp.RowBlocks(lambda: [(data[0][part], data[1][part], weights[part]) for part in parts])
    ends = []
    for given, options in ((data, {"sample_weight": weights}), ((blocks, None, None, None), {})):
        model = NETWORK.build(dtype)
        opt = opt_class(model.parameters(), lr=0.05)
        history = fastbp.train_model(model, *given, criterion(), opt, 3, 7, **options)
        ends.append(outcome(model, history))
    assert_same_bits(*ends)


def test_batch_norm_is_told_of_a_mini_batch_of_one_row_before_its_block():
    model = nn.Sequential(nn.Linear(4, 5, rng=0), nn.BatchNorm1d(5), nn.Linear(5, 3, rng=1))
    opt, history, data = optim.SGD(model.parameters(), lr=0.1), fastbp.History(), NETWORK.data(numpy.float32, 22)
    with pytest.raises(ValueError, match=r"BatchNorm1d takes mini-batches of 2 rows or more .* got 8 rows"):
        fastbp.train_model(model, *blocks_of(data, (14, 8)), nn.MSELoss(), opt, 1, 7, history=history)
    assert history.position.batches == 2


def test_rows_are_shuffled_within_their_blocks(opt_class, dtype):
    data, rng = NETWORK.data(dtype, 47), numpy.random.default_rng(5)
    model, opt, _ = begin(opt_class, dtype)
    for _ in range(3):
        starts = numpy.cumsum(SIZES) - SIZES
        order = numpy.concatenate([start + rng.permutation(size) for start, size in zip(starts, SIZES)])
        fastbp.train_model(model, data[0][order], data[1][order], None, None, nn.MSELoss(), opt, 1, 7)
    own = numpy.random.default_rng(5)
    options = {"shuffle": True, "rng": own}
    found = train(NETWORK.build(dtype), blocks_of(data), 3, 7, by_modules=opt_class is OwnSGD, **options)
    for mine, theirs in zip(model.parameters(), found.parameters, strict=True):
        numpy.testing.assert_array_equal(mine.data, theirs)
    assert own.bit_generator.state == rng.bit_generator.state


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 6, 7, 12])
@pytest.mark.parametrize("finishes", ["engine", "modules"])
def test_a_training_that_stops_goes_on_in_its_block_with_the_same_bits(steps, finishes, dtype, tmp_path):
    data = blocks_of(NETWORK.data(dtype, 47, 20))
    model, opt, history = begin(StoppingSGD, dtype)
    opt.last = steps
    with pytest.raises(Stop):
        continued(model, data, opt, history, 3, **SHUFFLED)
    assert (history.epochs, history.position.batches) == divmod(steps, 7)
    fastbp.save(tmp_path / "c", model, history=history)
    model, _, history = fastbp.load(tmp_path / "c")
    opt = (optim.SGD if finishes == "engine" else OwnSGD)(model.parameters(), lr=0.05)
    continued(model, data, opt, history, 3, **SHUFFLED)
    assert history.backend == finishes
    assert_same_bits(train(NETWORK.build(dtype), data, 3, 7, **SHUFFLED), outcome(model, history))


def test_a_time_limit_stops_at_any_mini_batch(opt_class, monkeypatch):
    monkeypatch.setattr(call_length, "CALL_SECONDS", 0.0)
    monkeypatch.setattr(call_length, "FIRST_FLOP", 0.0)
    data, (model, opt, history) = blocks_of(NETWORK.data(numpy.float32, 47, 20)), begin(opt_class)
    calls = 0
    while history.stopped_by != "epochs":
        continued(model, data, opt, history, 3, max_seconds=1e-9, **SHUFFLED)
        calls += 1
    assert calls >= 3 * 4
    expected = train(NETWORK.build(numpy.float32), data, 3, 7, by_modules=opt_class is OwnSGD, **SHUFFLED)
    assert_same_bits(expected, outcome(model, history))


def test_early_stopping_and_progress_see_whole_epochs(opt_class):
    data, seen = NETWORK.data(numpy.float32, 47, 20), []
    for given in (data, blocks_of(data)):
        model, opt, history = begin(opt_class)
        opt.lr = 1.3
        rule, progress = fastbp.EarlyStopping(4), lambda history: seen.append(history.epochs)
        continued(model, given, opt, history, 50, early_stopping=rule, metrics=["mae"], progress=progress)
        seen.append((dict(history), history.best_epoch, [p.data.tolist() for p in model.parameters()]))
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]


def test_the_next_training_from_memory_is_as_ever():
    data, (model, opt, _) = NETWORK.data(numpy.float32, 14), begin(optim.SGD)
    fastbp.train_model(model, *blocks_of(data, (14,)), nn.MSELoss(), opt, 1, 7)
    opt.lr = 0.0
    found = fastbp.train_model(model, *data, nn.MSELoss(), opt, 1, 7)
    assert found["train_loss_mean"] == [pytest.approx(nn.MSELoss()(model.predict(data[0]), data[1]), rel=1e-6)]


def test_a_loss_that_is_not_finite_is_told_with_its_place_in_the_epoch(opt_class):
    data = NETWORK.data(numpy.float32, 47)
    data[0][30, 1] = numpy.nan
    model, opt, history = begin(opt_class)
    with pytest.raises(fastbp.DivergenceError, match=r"epoch 1, mini-batch 5: train_input held NaN") as caught:
        continued(model, blocks_of(data), opt, history, on_nonfinite="raise")
    assert (caught.value.epoch, caught.value.batch) == (1, 5)


def test_blocks_without_rows_are_passed_over(opt_class):
    data = NETWORK.data(numpy.float32, 47)
    blocks = blocks_of(data, (0, 14, 0, 33, 0))
    found = train(NETWORK.build(numpy.float32), blocks, 2, 7, by_modules=opt_class is OwnSGD)
    assert_same_bits(train(NETWORK.build(numpy.float32), data, 2, 7), found)


class Raising:
    """Blocks of which the third cannot be read in the second epoch."""

    def __init__(self, data):
        self.data, self.reads = data, 0

    def __call__(self):
        self.reads += 1
        for number, block in enumerate(blocks_of(self.data)[0].read()):
            if (self.reads, number) == (3, 2):
                raise OSError("a disk that is gone")
            yield block


def test_an_exception_of_the_reader_leaves_the_training_to_go_on(opt_class):
    data, (model, opt, history) = NETWORK.data(numpy.float32, 47), begin(opt_class)
    with pytest.raises(OSError, match="a disk"):
        continued(model, (fastbp.RowBlocks(Raising(data)), None, None, None), opt, history, 3, **SHUFFLED)
    assert (history.epochs, history.position.batches) == (1, 3)
    continued(model, blocks_of(data), opt, history, 3, **SHUFFLED)
    expected = train(NETWORK.build(numpy.float32), blocks_of(data), 3, 7, by_modules=opt_class is OwnSGD, **SHUFFLED)
    assert_same_bits(expected, outcome(model, history))


def test_blocks_are_read_anew_in_every_epoch():
    data = NETWORK.data(numpy.float32, 14)
    once, (model, opt, history) = iter([data[:2], data[:2]]), begin(optim.SGD)
    with pytest.raises(ValueError, match="a new iterator over one row or more each time, got one without rows"):
        continued(model, (fastbp.RowBlocks(lambda: once), None, None, None), opt, history)
    assert history.epochs == 1


X, Y = draw((14, 4), numpy.float32), draw((14, 3), numpy.float32)
WRONG = {
    "no rows": ([], ValueError, "one row or more each time, got one without rows"),
    "no pair": ([X], TypeError, r"blocks as \(input, target\[, weights\]\), got ndarray as block 1"),
    "dtype": ([(X, Y.astype("f8"))], TypeError, "got the target of block 1 of float64"),
    "rows": ([(X, Y[:9])], ValueError, r"the input of block 1 and the target of block 1 take one row a sample"),
    "features": ([(X[:, :3].copy(), Y)], ValueError, r"begins with Linear\(4, 9\), got \(14, 3\)"),
    "outputs": ([(X, Y[:, :2].copy())], ValueError, r"train_target of the shape .*\(14, 3\), got \(14, 2\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_blocks_that_do_not_fit_are_refused_before_anything_changes(case, opt_class):
    blocks, error, match = WRONG[case]
    model, opt, history = begin(opt_class)
    before, kept = snapshot(model), copy.deepcopy(vars(history))
    with pytest.raises(error, match=match):
        continued(model, (fastbp.RowBlocks(lambda: blocks), None, None, None), opt, history)
    assert_unchanged(model, before)
    assert vars(history) == kept


def test_a_later_block_that_does_not_fit_stops_the_training_where_it_comes(opt_class):
    classes = numpy.zeros(14, numpy.int64)
    cases = [
        (nn.MSELoss(), (X, Y), (X, Y[:, :2].copy()), r"like the first one, .*, got .* \(2,\) in 2 arrays as block 2"),
        (nn.CrossEntropyLoss(), (X, classes), (X, classes + 3), r"the target of block 2 from 0 to 2 .* got 3|got 3"),
    ]  # fmt: skip
    for criterion, first, second, match in cases:
        model, opt, history = begin(opt_class)
        blocks = fastbp.RowBlocks(lambda first=first, second=second: [first, second])
        with pytest.raises(ValueError, match=match):
            fastbp.train_model(model, blocks, None, None, None, criterion, opt, 1, 7, history=history)
        assert (history.epochs, history.position.batches) == (0, 2)


def test_row_blocks_say_what_they_take(opt_class):
    with pytest.raises(TypeError, match=r"a function that returns .*, got generator; pass the generator function"):
        fastbp.RowBlocks((X, Y) for _ in range(1))
    model, opt, history = begin(opt_class)
    blocks = fastbp.RowBlocks(lambda: [(X, Y)])
    with pytest.raises(ValueError, match=r"RowBlocks of \(input, target, weights\) alone, got train_target besides"):
        continued(model, (blocks, Y, None, None), opt, history)
    with pytest.raises(ValueError, match=r"RowBlocks of .* alone, got sample_weight besides"):
        continued(model, (blocks, None, None, None), opt, history, sample_weight=X[:, 0] ** 2)
