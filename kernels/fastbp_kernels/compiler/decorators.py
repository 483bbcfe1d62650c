"""What makes a Python function a kernel: the decorators, each with its options of numba's compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba
from numba import njit, types

from fastbp_kernels.compiler.cache import KernelCache
from fastbp_kernels.compiler.compiling_thread import in_compiling_thread
from fastbp_kernels.compiler.inner_compiler import InnerCompiler
from fastbp_kernels.compiler.numba_internals import config

if config.DISABLE_JIT:  # by the environment, numba's configuration file or code
    raise ImportError(
        "fastbp_kernels needs numba's compiler, since its kernels are written in LLVM's language, but "
        "numba.config.DISABLE_JIT is set; unset NUMBA_DISABLE_JIT, and run your own compiled functions in Python by "
        "their .py_func"
    )

P = ParamSpec("P")
R = TypeVar("R")

_WRAPPERS = ("no_cpython_wrapper", "no_cfunc_wrapper")
# ``forceinline=False`` is not left out: numba would hand a caller's True down to what that calls, and the stack memory
# of all that is inlined would add up in the caller's.
_OPTIONS: dict[str, object] = {
    "nogil": True, "error_model": "numpy", "_nrt": False, "forceinline": False, **dict.fromkeys(_WRAPPERS, False)
}  # fmt: skip
_INNER = _OPTIONS | dict.fromkeys(_WRAPPERS, True)  # Python never calls them, and a wrapper takes as long as the code


def inner_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` for use by other kernels; its code is kept as a part of theirs."""
    return _within_others(function, _INNER)


def inlined_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` into each place that calls it: where handing over the arguments would take long."""
    return _within_others(function, _INNER | {"forceinline": True})


def _within_others(function: Callable[P, R], options: dict[str, object]) -> Callable[P, R]:
    """Compile for other kernels only, once for the arguments' types.

    A constant among the arguments has a type of its own in numba, which would compile the function anew for each.
    """
    dispatcher = njit(pipeline_class=InnerCompiler, **options)(function)
    template = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, kws: template(tuple(types.unliteral(arg) for arg in args), kws)
    compiled: Callable[P, R] = dispatcher
    return compiled


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` at its first call with arguments of new types, or take the code that was kept."""
    compiled: Callable[P, R] = _kept_kernel(function, _OPTIONS)
    return compiled


def _kept_kernel(function: Callable[..., Any], options: dict[str, object]) -> Any:
    dispatcher = njit(**options)(function)
    dispatcher._cache = KernelCache(function)
    dispatcher.compile = in_compiling_thread(dispatcher.compile)
    return dispatcher


def kernel_by_itself(function: Callable[..., Any]) -> Any:
    """Return numba's dispatcher of ``function``, kept like a ``kernel`` but without what calls it from Python."""
    return _kept_kernel(function, _INNER)


def entry_point(kernel: Callable[..., R], *arguments: Any) -> Callable[..., R]:
    """Return the code of ``kernel`` for the types of ``arguments``, compiled or taken from the cache.

    A call of the kernel itself looks at the types of all that it is handed: for named tuples of arrays that takes five
    times as long as to take them apart. This does not look, and is for arguments of just those types.
    """
    code: Callable[..., R] = kernel.compile(tuple(map(numba.typeof, arguments)))  # type: ignore[attr-defined]
    return code
