"""Compiling in a thread of its own, while the main one waits for it and takes Ctrl-C.

LLVM calls Python where it has compiled a module, and Python could hand an exception of that call to nobody: a Ctrl-C
would be printed there and lost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Thread, get_ident, main_thread
from typing import ParamSpec, TypeVar

from numba.core.compiler_lock import global_compiler_lock

P = ParamSpec("P")
R = TypeVar("R")


def in_compiling_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function``, which compiles, as one that the main thread leaves to another and waits for.

    A Ctrl-C meanwhile comes at once; what was begun is finished all the same, and kept. Where the main thread compiles
    already, as it does where a user's own code calls a kernel, it has numba's lock and cannot leave this to another.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if get_ident() != main_thread().ident or global_compiler_lock._lock._is_owned():
            return function(*args, **kwargs)
        results: list[R] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(function(*args, **kwargs))
            except BaseException as error:  # the waiting thread's
                errors.append(error)

        thread = Thread(target=run, name="fastbp: compiling")
        thread.start()
        thread.join()
        for error in errors:
            raise error
        return results[0]

    return call
