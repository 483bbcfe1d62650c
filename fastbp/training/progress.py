"""The progress bar of a training."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from fastbp.training.history import History


class ProgressBar:
    """A tqdm bar over epochs with the last losses behind it, or over models, or nothing.

    Parameters
    ----------
    wanted : bool or None
        None shows the bar at a terminal or in a notebook if tqdm is there, once there is something behind it and before
        it; True demands it.
    epochs : int
        In the end.
    done : int
        At the beginning.
    unit : str
        What is counted.

    Raises
    ------
    ImportError
        If the bar is demanded and tqdm is missing.
    """

    def __init__(self, wanted: bool | None, epochs: int, done: int = 0, unit: str = "epoch") -> None:
        self._bar: Any = None
        self._total, self._done, self._unit = epochs, done, unit
        self._waits = wanted is None
        if wanted:
            try:
                self._open()
            except ImportError as error:
                raise ImportError('progress=True needs tqdm: pip install "fastbp[progress]"') from error

    def _open(self) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=self._total, initial=self._done, unit=self._unit, mininterval=0.2)

    def show(self, history: History) -> None:
        """Move the bar to the last finished epoch."""
        if self._waits and history.epochs < self._total:
            self._open_where_watched()
        if self._bar is not None:
            self.advance(history.epochs - self._done, **history.last())

    def _open_where_watched(self) -> None:
        self._waits = False
        if _someone_watches():
            with suppress(ImportError):
                self._open()

    def advance(self, by: int = 1, **values: float) -> None:
        """Move the bar on, and show values by their names."""
        if self._waits and self._done + by < self._total:
            self._open_where_watched()
        self._done += by
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
            self._bar.update(by)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def _someone_watches() -> bool:
    """Whether standard error is a terminal or the output goes to a notebook."""
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        if shell is not None and hasattr(shell, "kernel"):
            return True
    return sys.stderr is not None and sys.stderr.isatty()
