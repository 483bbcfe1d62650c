"""What shows the progress of a fit: a bar, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from fastbp.training.progress import ProgressBar

if TYPE_CHECKING:
    from fastbp.sklearn.base import BaseMLP


@contextmanager
def progress_of(mlp: BaseMLP) -> Iterator[Callable[[BaseMLP], object]]:
    """Yield what is called with the estimator after each epoch.

    Raises
    ------
    ImportError
        If a bar is wanted and tqdm is missing.
    """
    if callable(mlp.progress):
        yield mlp.progress
    elif not mlp.progress:
        yield _nothing
    else:
        with closing(ProgressBar(True, mlp.max_iter)) as bar:
            yield lambda mlp: bar.advance(loss=mlp.loss_)


def _nothing(mlp: BaseMLP) -> None:
    """Show nothing."""
