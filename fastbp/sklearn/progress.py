"""What shows the progress of a fit: a bar, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError('progress=True needs tqdm: pip install "fastbp[progress]"') from error
        with tqdm(total=mlp.max_iter, unit="epoch", mininterval=0.2) as bar:

            def show(mlp: BaseMLP) -> None:
                bar.set_postfix(loss=f"{mlp.loss_:.4g}", refresh=False)
                bar.update()

            yield show


def _nothing(mlp: BaseMLP) -> None:
    """Show nothing."""
