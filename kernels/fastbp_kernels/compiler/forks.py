"""Locks that are nobody's in a forked process: held around the fork by the thread that forks.

A fork copies no thread but the one that calls it. A lock that another one holds just then would stay held in the child
for ever, as numba's would where a thread compiles: the first kernel of the child would wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from fastbp_kernels.compiler.numba_internals import COMPILER_LOCKS


def hold_around_forks(locks: Sequence[Any]) -> None:
    """Have the thread that forks wait for these locks of ``threading``, take them in this order, and give them back.

    A Ctrl-C meanwhile ends the wait, but not the fork: what was not taken is new in the child.
    """
    held: list[Any] = []

    def before() -> None:
        for lock in locks:
            lock.acquire()
            held.append(lock)

    def after_in_parent() -> None:
        while held:
            held.pop().release()

    def after_in_child() -> None:
        for lock in locks:
            if lock not in held:
                lock._at_fork_reinit()
        after_in_parent()

    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(before=before, after_in_parent=after_in_parent, after_in_child=after_in_child)


hold_around_forks(COMPILER_LOCKS)
