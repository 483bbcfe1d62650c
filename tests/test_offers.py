"""Work that one thread offers and others take: each piece is taken once, none is lost, and its taker sees all of it."""

from threading import Thread

import numpy
import pytest
from numba import njit

from fastbp_kernels.compiler.pointers import pointer
from fastbp_kernels.parallel.work_queue import close, finish, free_place, offer, offers_size, take

PIECES = 20_000


@njit(nogil=True)
def offer_all(offers, notes, refused):
    """Write a note at a free place and offer it; count the pieces for which there was none."""
    for number in range(PIECES):
        place = free_place(pointer(offers), notes.size)
        if place < 0:
            refused[number] += 1
        else:
            notes[place] = 3 * number
            offer(pointer(offers), place, number)
    close(pointer(offers), notes.size)


@njit(nogil=True)
def take_all(offers, notes, taken, wrong):
    while True:
        number, place = take(pointer(offers), notes.size)
        if number < 0:
            break
        taken[number] += 1
        wrong[0] += notes[place] != 3 * number
        finish(pointer(offers), place)


@pytest.mark.parametrize("takers", [1, 2, 3])
@pytest.mark.parametrize("places", [1, 2, 6])
def test_every_piece_of_work_is_taken_once_or_refused(takers, places):
    offers, notes = numpy.zeros(offers_size(places), numpy.int64), numpy.zeros(places, numpy.int64)
    refused, wrong = numpy.zeros(PIECES, numpy.int64), numpy.zeros(1, numpy.int64)
    taken = [numpy.zeros(PIECES, numpy.int64) for _ in range(takers)]
    threads = [Thread(target=take_all, args=(offers, notes, mine, wrong)) for mine in taken]
    for thread in threads:
        thread.start()
    offer_all(offers, notes, refused)
    for thread in threads:
        thread.join()
    assert (sum(taken) + refused == 1).all()
    assert wrong[0] == 0
    assert not offers[:-8].any(), "all places are free"


def test_what_was_offered_before_the_end_is_taken_after_it():
    offers, notes = numpy.zeros(offers_size(4), numpy.int64), numpy.zeros(4, numpy.int64)
    refused, taken, wrong = (numpy.zeros(PIECES, numpy.int64) for _ in range(3))
    offer_all(offers, notes, refused)
    assert refused.sum() == PIECES - 4
    take_all(offers, notes, taken, wrong)
    assert taken[:4].tolist() == [1, 1, 1, 1]
    assert taken.sum() == 4
    assert not wrong.any()
