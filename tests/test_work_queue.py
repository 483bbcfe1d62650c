"""Work that one thread queue and others take: each piece is taken once, none is lost, and its taker sees all of it."""

from threading import Thread

import numpy
import pytest
from numba import njit

from fastbp_kernels.compiler.pointers import pointer
from fastbp_kernels.parallel.work_queue import close, finish, free_slot, offer, queue_size, take

PIECES = 20_000


@njit(nogil=True)
def offer_all(queue, notes, refused):
    """Write a note at a free slot and offer it; count the pieces for which there was none."""
    for number in range(PIECES):
        slot = free_slot(pointer(queue), notes.size)
        if slot < 0:
            refused[number] += 1
        else:
            notes[slot] = 3 * number
            offer(pointer(queue), slot, number)
    close(pointer(queue), notes.size)


@njit(nogil=True)
def take_all(queue, notes, taken, wrong):
    while True:
        number, slot = take(pointer(queue), notes.size)
        if number < 0:
            break
        taken[number] += 1
        wrong[0] += notes[slot] != 3 * number
        finish(pointer(queue), slot)


@pytest.mark.parametrize("takers", [1, 2, 3])
@pytest.mark.parametrize("slots", [1, 2, 6])
def test_every_piece_of_work_is_taken_once_or_refused(takers, slots):
    queue, notes = numpy.zeros(queue_size(slots), numpy.int64), numpy.zeros(slots, numpy.int64)
    refused, wrong = numpy.zeros(PIECES, numpy.int64), numpy.zeros(1, numpy.int64)
    taken = [numpy.zeros(PIECES, numpy.int64) for _ in range(takers)]
    threads = [Thread(target=take_all, args=(queue, notes, mine, wrong)) for mine in taken]
    for thread in threads:
        thread.start()
    offer_all(queue, notes, refused)
    for thread in threads:
        thread.join()
    assert (sum(taken) + refused == 1).all()
    assert wrong[0] == 0
    assert not queue[:-8].any(), "all slots are free"


def test_what_was_offered_before_the_end_is_taken_after_it():
    queue, notes = numpy.zeros(queue_size(4), numpy.int64), numpy.zeros(4, numpy.int64)
    refused, taken, wrong = (numpy.zeros(PIECES, numpy.int64) for _ in range(3))
    offer_all(queue, notes, refused)
    assert refused.sum() == PIECES - 4
    take_all(queue, notes, taken, wrong)
    assert taken[:4].tolist() == [1, 1, 1, 1]
    assert taken.sum() == 4
    assert not wrong.any()
