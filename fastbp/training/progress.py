"""The progress bar of a training."""

from __future__ import annotations

import logging
import sys
from typing import Any

from fastbp.training.history import History

_logger = logging.getLogger("fastbp")


class ProgressBar:
    """A tqdm bar over epochs with the last losses behind it, or over models, or nothing.

    Parameters
    ----------
    wanted : bool or None
        None shows the bar at a terminal or in a notebook if tqdm is there; True demands it.
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
        if shows_bar(wanted):
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                if wanted:
                    raise ImportError('progress=True needs tqdm: pip install "fastbp[progress]"') from error
                return
            self._bar = tqdm(total=epochs, initial=done, unit=unit, mininterval=0.2)
            _logger.addFilter(self._make_room)

    def show(self, history: History) -> None:
        """Move the bar to the last finished epoch."""
        if self._bar is not None:
            self.advance(history.epochs - self._bar.n, **history.last())

    def advance(self, by: int = 1, **values: float) -> None:
        """Move the bar on, and show values by their names."""
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
            self._bar.update(by)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            _logger.removeFilter(self._make_room)
            self._bar.close()

    def _make_room(self, record: logging.LogRecord) -> bool:
        """Take the bar off its line, for a message that is about to be shown: it comes back below when it moves."""
        self._bar.clear()
        return True


def shows_bar(wanted: bool | None) -> bool:
    """Whether a ``ProgressBar`` shows a bar; None asks for one at a terminal or in a notebook."""
    return wanted or (wanted is None and _someone_watches())


def _someone_watches() -> bool:
    """Whether standard error is a terminal or the output goes to a notebook."""
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        if shell is not None and hasattr(shell, "kernel"):
            return True
    return sys.stderr is not None and sys.stderr.isatty()
