"""The progress bar of a training."""

from __future__ import annotations

import sys
from typing import Any, Protocol

from fastbp.history import History


class Progress(Protocol):
    """The part of ``tqdm.tqdm`` that a training uses."""

    def update(self, n: float = 1) -> Any: ...
    def set_postfix(self, ordered_dict: Any = None, refresh: bool = True, **values: Any) -> None: ...
    def close(self) -> None: ...


class _Silent:
    def update(self, n: float = 1) -> None: ...
    def set_postfix(self, ordered_dict: Any = None, refresh: bool = True, **values: Any) -> None: ...
    def close(self) -> None: ...


def progress_bar(wanted: bool | None, epochs: int) -> Progress:
    """Return a tqdm bar over ``epochs``, or a silent stand-in.

    ``wanted`` None shows the bar at a terminal or in a notebook if tqdm is there; True demands it.

    Raises
    ------
    ImportError
        If the bar is demanded and tqdm is missing.
    """
    if wanted is None:
        wanted = _someone_watches()
        demanded = False
    else:
        demanded = wanted
    if not wanted:
        return _Silent()
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        if demanded:
            raise ImportError('progress=True needs tqdm: pip install "fastbp[progress]"') from error
        return _Silent()
    bar: Progress = tqdm(total=epochs, unit="epoch", mininterval=0.2)
    return bar


def show(bar: Progress, history: History) -> None:
    """Move the bar by one epoch and write the last losses behind it."""
    bar.set_postfix({name: f"{values[-1]:.4g}" for name, values in history.items() if values}, refresh=False)
    bar.update()


def _someone_watches() -> bool:
    """Whether standard error is a terminal or the output goes to a notebook."""
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
        if shell is not None and hasattr(shell, "kernel"):
            return True
    return sys.stderr is not None and sys.stderr.isatty()
