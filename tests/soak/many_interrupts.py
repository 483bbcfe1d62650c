"""Ctrl-C in ``train_models`` at any moment, again and again: the call goes on, and all models end with the same bits.

python tests/soak/many_interrupts.py --count 2000

The jobs of a call are drawn (``recipes``): any layers, losses, optimisers, schedules and sizes, some module by module.
They are trained by one, two or three threads, by another number after each interrupt.
"""

from __future__ import annotations

import random
from collections import Counter

from recipes import Recipe
from report import Report, parser
from same_bits import assert_same_bits, outcome
from test_interrupt import CtrlC

import fastbp

JOBS, EPOCHS = 8, 20
LONGEST = 0.05  # seconds until an interrupt


def jobs_of(first):
    """The jobs of the recipes from this number on; every fourth by modules, as one with a method of the user's is."""
    jobs = []
    for seed in range(first, first + JOBS):
        training = Recipe(seed).begin(EPOCHS)
        if seed % 4 == 3:
            training.criterion.forward = training.criterion.forward
        names = ("train_input", "train_target", "val_input", "val_target")
        jobs.append(
            fastbp.TrainingJob(
                model=training.model, criterion=training.criterion, opt=training.opt, scheduler=training.scheduler,
                epochs=EPOCHS, mini_batch_size=training.mini_batch_size, on_nonfinite="ignore", name=f"recipe {seed}",
                **dict(zip(names, training.data, strict=True)), **training.options,
            )
        )  # fmt: skip
    return jobs


def go_through(first, count, found):
    """Interrupt these jobs until all have ended; compare each with its training alone."""
    expected = [
        outcome(job.model, fastbp.train_model(**job.arguments() | {"progress": False})) for job in jobs_of(first)
    ]
    jobs, histories = jobs_of(first), [fastbp.History() for _ in range(JOBS)]
    while True:
        fastbp.set_num_threads(random.randint(1, 3))
        seconds = random.uniform(0, LONGEST) if found["interrupts"] < count else 60.0
        try:
            with CtrlC(seconds):
                fastbp.train_models(jobs, histories=histories)
            break
        except fastbp.TrainingsInterrupted as stopped:
            histories = stopped.histories
            found["within_an_epoch"] += any(history.position.batches for history in histories)
        except KeyboardInterrupt:
            found["outside_of_the_trainings"] += 1  # as the call began or had ended
        found["interrupts"] += 1
    for job, history, one in zip(jobs, histories, expected, strict=True):
        try:
            assert_same_bits(outcome(job.model, history), one)
        except AssertionError as error:
            raise AssertionError(f"{job.name}: {error}") from error
    found["models"] += JOBS


def main():
    chosen = parser(__doc__, 2000).parse_args()
    found, first = Counter(), 0
    with Report() as counts:
        while found["interrupts"] < chosen.count:
            go_through(first, chosen.count, found)
            first += JOBS
        counts.update(found)


if __name__ == "__main__":
    main()
