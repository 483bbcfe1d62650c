"""Stack memory of the threads that fastbp starts: what compiled code and the compiler need, whatever a program sets."""

from __future__ import annotations

import threading

from fastbp_kernels.compiler.forks import hold_around_forks

STACK_BYTES = 16 << 20  # twice what Linux gives by default
_one_at_a_time = threading.Lock()
hold_around_forks([_one_at_a_time])


def start_with_stack(thread: threading.Thread) -> None:
    """Start a thread; one whose program gives threads less than ``STACK_BYTES`` gets these.

    Raises
    ------
    RuntimeError
        If the system gives no thread.
    """
    with _one_at_a_time:
        of_program = threading.stack_size(STACK_BYTES)  # returns what was set before; there is no other way to ask
        try:
            if not 0 < of_program < STACK_BYTES:  # 0 is the system's default
                threading.stack_size(of_program)
            thread.start()
        finally:
            threading.stack_size(of_program)
