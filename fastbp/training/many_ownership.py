"""What each of the jobs that are trained side by side must own: what a training of it changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastbp.engine.plan import plan_of
from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.nn.module import Module
from fastbp.training.history import History
from fastbp.training.many_job import TrainingJob
from fastbp.validation.user_methods import is_of_the_library, own_methods


def require_own_parts(jobs: Sequence[TrainingJob], histories: Sequence[History]) -> None:
    """Raise ValueError if two jobs share what a training changes: parts of a model, an optimiser, a history or an rng.

    A criterion of the user's must not be shared either. Losses of the library may be: the engine reads no more of them
    than their settings.
    """
    parts = [{id(part) for _, part in _changed_by(job, history)} for job, history in zip(jobs, histories, strict=True)]
    if len(set().union(*parts)) == sum(map(len, parts)):
        return
    owner: dict[int, int] = {}
    for number, (job, history) in enumerate(zip(jobs, histories, strict=True)):
        for what, part in _changed_by(job, history):
            other = owner.setdefault(id(part), number)
            if other != number:
                raise ValueError(
                    f"train_models takes jobs with parts of their own, got jobs {other} and {number} with one {what}, "
                    "a " + type(part).__name__ + "; give each a copy (copy.deepcopy), built or seeded on its own"
                )


def _changed_by(job: TrainingJob, history: History) -> Iterator[tuple[str, Any]]:
    """Yield what a training changes, by the name of what it is."""
    if isinstance(job.model, Module):  # whatever else is refused by the check of the job
        plan = plan_of(job.model)
        for module in (job.model, *plan.inner):
            yield "module", module
        for parameter in plan.parameters:
            yield "parameter", parameter
    yield "optimiser", job.opt
    yield "history", history
    if isinstance(job.rng, np.random.Generator):
        yield "rng", job.rng.bit_generator
    criterion = job.criterion
    if not isinstance(criterion, KernelLoss) or not is_of_the_library(type(criterion)) or own_methods(criterion):
        yield "criterion", criterion
