"""JAX on a GPU: the same compiled loop as on the CPU."""

from __future__ import annotations

import jax

from bench.peers.jax_scan import training

__all__ = ["set_threads", "training"]


def set_threads(threads: int) -> None:
    jax.config.update("jax_platforms", "cuda")
