"""What shows the progress of a fit: a bar, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastbp.training.progress import ProgressBar

if TYPE_CHECKING:
    from fastbp.sklearn.base import BaseMLP


@contextmanager
def progress_of(mlp: BaseMLP) -> Iterator[Callable[[BaseMLP], bool]]:
    """Yield what is called with the estimator after each epoch, and returns whether this was the last one.

    Raises
    ------
    ImportError
        If a bar is wanted and tqdm is missing.
    """
    if callable(mlp.progress):
        yield partial(_of_user, mlp.progress)
    elif not mlp.progress:
        yield _nothing
    else:
        with closing(ProgressBar(True, mlp.max_iter)) as bar:
            yield partial(_advance, bar)


def _advance(bar: ProgressBar, mlp: BaseMLP) -> bool:
    bar.advance(loss=mlp.loss_)
    return False


def _nothing(mlp: BaseMLP) -> bool:
    """Show nothing."""
    return False


def _of_user(progress: Callable[[BaseMLP], object], mlp: BaseMLP) -> bool:
    """Call the user's function, which may read the estimator in threads of its own."""
    with mlp._turns.aside():
        stops = progress(mlp)
    return stops is True or stops is np.True_
