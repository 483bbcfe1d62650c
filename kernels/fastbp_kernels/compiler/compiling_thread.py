"""Compiling in a thread of its own, while the caller waits for it and takes Ctrl-C.

LLVM calls Python where it has compiled a module, and Python could hand an exception of that call to nobody: a Ctrl-C
would be printed there and lost. And LLVM's stack memory is more than the calling thread may have, or than the program
gives its threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Thread
from typing import ParamSpec, TypeVar

from fastbp_kernels.compiler.numba_internals import COMPILER_LOCKS
from fastbp_kernels.compiler.stack_size import start_with_stack

P = ParamSpec("P")
R = TypeVar("R")


def in_compiling_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function``, which compiles, as one that its caller leaves to another thread and waits for.

    A Ctrl-C meanwhile comes at once; what was begun is finished all the same, and kept. Two callers compile where they
    are: one that compiles already, as where a user's own code calls a kernel, for it has numba's lock; and one to which
    the system gives no thread.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if COMPILER_LOCKS[0]._is_owned():
            return function(*args, **kwargs)
        results: list[R] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(function(*args, **kwargs))
            except BaseException as error:  # the waiting thread's
                errors.append(error)

        thread = Thread(target=run, name="fastbp: compiling")
        try:
            start_with_stack(thread)
        except RuntimeError:  # limits of a container, or the interpreter is at its end
            return function(*args, **kwargs)
        thread.join()
        for error in errors:
            raise error
        return results[0]

    return call
