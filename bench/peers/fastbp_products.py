"""fastbp: the products of a layer, shared by as many threads as are allowed."""

from __future__ import annotations

import numpy as np
from numba import njit

import fastbp
from bench.contenders import Contender
from bench.workloads import Product
from fastbp.runtime.threads import Team
from fastbp.validation.arrays import aligned_zeros
from fastbp_kernels import linear_backward_input_share, linear_backward_parameters_share, linear_forward_share
from fastbp_kernels.compiler.pointers import pointer
from fastbp_kernels.parallel.barrier import SYNC_SIZE, barrier


def product(workload: Product) -> Contender:
    arrays = []
    for array in workload.arrays():
        arrays.append(aligned_zeros(array.size, array.dtype).reshape(array.shape))
        arrays[-1][...] = array
    no_bias, sync = np.empty(0, workload.dtype), np.zeros(SYNC_SIZE, np.int64)
    repeat = {"output": _repeat_output, "grad_input": _repeat_grad_input, "grad_weight": _repeat_grad_weight}
    team = Team(fastbp.get_num_threads())

    def run(times: int) -> None:
        team.run(repeat[workload.of], times, sync, no_bias, *arrays)

    return Contender(run, lambda: [arrays[-1]])


@njit(nogil=True)
def _repeat_output(rank, ranks, times, sync, no_bias, input, weight, output):
    for _ in range(times):
        linear_forward_share(rank, ranks, input, weight, no_bias, output)
        barrier(ranks, pointer(sync))


@njit(nogil=True)
def _repeat_grad_input(rank, ranks, times, sync, no_bias, grad_output, weight, grad_input):
    for _ in range(times):
        linear_backward_input_share(rank, ranks, grad_output, weight, grad_input)
        barrier(ranks, pointer(sync))


@njit(nogil=True)
def _repeat_grad_weight(rank, ranks, times, sync, no_bias, grad_output, input, grad_weight):
    for _ in range(times):
        linear_backward_parameters_share(rank, ranks, grad_output, input, grad_weight, no_bias)
        barrier(ranks, pointer(sync))
