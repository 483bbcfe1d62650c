"""What fastbp takes of numba's and llvmlite's insides: interfaces that may change from release to release.

All of it stands here, so that a new release of numba is tried against one list.
"""

from __future__ import annotations

from llvmlite.binding import ffi
from numba.core import cgutils, config, typed_passes, untyped_passes
from numba.core.caching import CompileResultCacheImpl, NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import PassManager
from numba.core.errors import NumbaError, TypingError
from numba.core.registry import CPUDispatcher, cpu_target
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

# The locks that a thread holds while it compiles, in the order in which it takes them.
COMPILER_LOCKS = [global_compiler_lock._lock, ffi.lib._lock._lock]

__all__ = [
    "COMPILER_LOCKS",
    "CPUDispatcher",
    "CompileResultCacheImpl",
    "Compiler",
    "JITCodeLibrary",
    "NullCache",
    "NumbaError",
    "PassManager",
    "TypingError",
    "cgutils",
    "config",
    "cpu_target",
    "dumps",
    "global_compiler_lock",
    "normalize_signature",
    "typed_passes",
    "untyped_passes",
]
