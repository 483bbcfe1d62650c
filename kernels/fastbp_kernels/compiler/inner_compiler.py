"""How inner kernels are compiled: with as little of numba's and LLVM's work as code needs that is a part of others.

numba has LLVM go over each function by itself, then over the module twice, which is most of the time of compiling. An
inner kernel is left to be optimised with those that call it, and of numba's passes it gets those that it needs.
"""

from __future__ import annotations

from typing import Any

from fastbp_kernels.compiler.numba_internals import Compiler, JITCodeLibrary, PassManager, typed_passes, untyped_passes


class WithinOthers(JITCodeLibrary):  # type: ignore[misc]
    """Code of an inner kernel, left to be optimised and compiled with the kernel that it becomes a part of."""

    @property
    def codegen(self) -> Any:
        return _NoMachineCode

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return the address that says that there is none."""
        return 0


class _NoMachineCode:
    """What numba tells of a function's environment, of which there is none without machine code."""

    @staticmethod
    def set_env(name: str, environment: Any) -> None:
        pass


class InnerCompiler(Compiler):  # type: ignore[misc]
    """numba's compiler, which would optimise an inner kernel by itself and again within each that calls it.

    Of numba's passes it has those that inner kernels need: no closures, array expressions or lists to be unrolled.
    """

    def __init__(self, typing_context: Any, target_context: Any, library: Any, *rest: Any) -> None:
        library = WithinOthers(target_context.codegen(), "inner_kernel")
        library.enable_object_caching()
        super().__init__(typing_context, target_context, library, *rest)

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("inner_kernel")
        for each in _PASSES:
            passes.add_pass(each, each.__name__)
        passes.finalize()
        return [passes]


_PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.GenericRewrites,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.IRLegalization,
    typed_passes.NativeLowering,
    typed_passes.NoPythonBackend,
)
