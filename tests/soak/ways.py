"""Trainings put together at random, each gone through in every way: the same bits, whichever it is.

python tests/soak/ways.py --count 1000

``recipes`` draws modules, loss, optimiser, schedule and options. Stopped after an epoch or within one, a training goes
on by itself, from a file, a pickle, a copy or its state dicts, module by module, on three threads; and a loop that a
user writes does the same.
"""

from __future__ import annotations

import copy
import pickle
import sys
import tempfile
from pathlib import Path

import numpy
from calls import written
from recipes import Recipe
from report import Report, parser

import fastbp
from fastbp import nn

EPOCHS = 4
FOLDER = Path(tempfile.mkdtemp())


class Stop(Exception):
    """What a user's code raises."""


def through_a_file(training, anew):
    """In the objects of a new training, as another process would fill them."""
    fastbp.save(FOLDER / "training", training.model, training.opt, training.history, training.scheduler)
    history = fastbp.load(FOLDER / "training", anew.model, anew.opt, anew.scheduler).history
    return anew._replace(history=history)


def built_by_a_file(training, anew):
    """The network and its optimiser as the file describes them."""
    fastbp.save(FOLDER / "training", training.model, training.opt, training.history)
    model, opt, history = fastbp.load(FOLDER / "training")
    return training._replace(model=model, opt=opt, history=history)


def through_state_dicts(training, anew):
    anew.model.load_state_dict(training.model.state_dict())
    for mine, theirs in zip(anew.model.modules(), training.model.modules(), strict=True):
        if isinstance(mine, nn.Dropout):  # no part of a state dict, in torch either
            mine.seed, mine.forwards = theirs.seed, theirs.forwards
    anew.opt.load_state_dict(training.opt.state_dict())
    if anew.scheduler is not None:
        anew.scheduler.load_state_dict(training.scheduler.state_dict())
    return anew._replace(history=training.history)


def through_a_pickle(training, anew):
    return training._replace(**dict(zip(KEPT, pickle.loads(pickle.dumps(_kept(training))), strict=True)))


def through_a_copy(training, anew):
    return training._replace(**dict(zip(KEPT, copy.deepcopy(_kept(training)), strict=True)))


KEPT = ("model", "opt", "scheduler", "history")


def _kept(training):
    return tuple(getattr(training, name) for name in KEPT)


def by_itself(training, anew):
    return training


def by_modules(training, anew):
    """From here on with a loss that has a method of the user's."""
    training.criterion.forward = training.criterion.forward
    return training


def on_three_threads(training, anew):
    fastbp.set_num_threads(3)
    return training


WAYS = (
    by_itself, by_modules, on_three_threads, through_a_file, built_by_a_file, through_state_dicts, through_a_pickle,
    through_a_copy,
)  # fmt: skip


def stopped(training, epoch, within):
    """Train up to an epoch; with ``within`` an exception of the user's ends it, after that epoch or in the next one."""
    if not within:
        training.train(epoch)
        return

    def stop(history):
        if history.epochs == epoch:
            raise Stop

    try:
        training.train(EPOCHS, progress=stop)
    except Stop:
        return
    raise AssertionError("the exception of a callback has gone")


def by_hand(training, epochs):
    """The loop that a user writes, with the order, the weights and the clipping of ``train_model``."""
    model, criterion, opt, options = training.model, training.criterion, training.opt, training.options
    x, target, *_ = training.data
    rng = numpy.random.default_rng(options.get("rng"))
    for _ in range(epochs):
        order = rng.permutation(len(x)) if options.get("shuffle") else numpy.arange(len(x))
        for first in range(0, len(x), training.mini_batch_size):
            rows = order[first : first + training.mini_batch_size]
            weights = {"sample_weight": options["sample_weight"][rows]} if "sample_weight" in options else {}
            model.zero_grad()
            criterion(model(x[rows]), target[rows], **weights)
            model.backward_parameters(criterion.backward())
            if "clip_grad_norm" in options:
                nn.utils.clip_grad_norm_(model.parameters(), options["clip_grad_norm"])
            opt.step()
            if training.scheduler is not None and options["scheduler_interval"] == "batch":
                training.scheduler.step()
        if training.scheduler is not None and options["scheduler_interval"] == "epoch":
            training.scheduler.step()


def assert_same(training, expected, what):
    for (name, value), (_, other) in zip(
        training.model.state_dict().items(), expected.model.state_dict().items(), strict=True
    ):
        assert value.tobytes() == other.tobytes(), f"{what}: {name}"
    for mine, theirs in zip(training.opt.parameters, expected.opt.parameters, strict=True):
        numpy.testing.assert_array_equal(mine.grad, theirs.grad, err_msg=what)
    assert written(training.opt) == written(expected.opt), f"{what}: the optimiser's state"
    if training.scheduler is not None:
        assert written(training.scheduler) == written(expected.scheduler), f"{what}: the schedule"


def assert_same_history(training, expected, what):
    assert list(training.history) == list(expected.history), what
    for name in expected.history:
        numpy.testing.assert_array_equal(training.history[name], expected.history[name], err_msg=f"{what}: {name}")


def needs_the_loss(training):
    """Whether the schedule asks for what a loop by hand would have to compute."""
    return training.options.get("scheduler_interval") == "epoch" and hasattr(training.scheduler, "patience")


def check(seed):
    """Go through the training of this seed in every way; return the number of trainings."""
    recipe, rng = Recipe(seed), numpy.random.default_rng(seed)
    fastbp.set_num_threads(1)
    whole = recipe.begin(EPOCHS)
    whole.train(EPOCHS)
    for way in WAYS:
        epoch, within = int(rng.integers(1, EPOCHS)), bool(rng.random() < 0.5)
        what = f"recipe {seed}, {way.__name__} after {epoch} epochs{' by an exception' if within else ''}"
        training = recipe.begin(EPOCHS)
        if way is built_by_a_file and (training.scheduler is not None):
            continue  # the schedule would be of the optimiser before
        try:
            stopped(training, epoch, within)
            training = way(training, recipe.begin(EPOCHS))
            training.train(EPOCHS)
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        finally:
            fastbp.set_num_threads(1)
        assert_same(training, whole, what)
        assert_same_history(training, whole, what)
    if "early_stopping" not in whole.options and not needs_the_loss(whole):
        loop = recipe.begin(EPOCHS)
        by_hand(loop, EPOCHS)
        assert_same(loop, whole, f"recipe {seed}, a loop by hand")
    return 2 + len(WAYS)


def main():
    arguments = parser(__doc__, 1000)
    arguments.add_argument("--first", type=int, default=0, help="the first seed")
    chosen = arguments.parse_args()
    with Report() as counts:
        counts.update(recipes=0, trainings=0)
        for seed in range(chosen.first, chosen.first + chosen.count):
            counts["trainings"] += check(seed)
            counts["recipes"] += 1
            if counts["recipes"] % 100 == 0:
                print(f"{counts['recipes']:,} recipes", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
