"""Random sequences of calls of the public interface, each compared with slow references.

    PYTHONPATH=tests python tests/soak/fuzz.py --count 100000

Hypothesis draws what is called on what (``machine``), in children, so that a crash or a hang is seen. What a call
raises must be raised by fastbp, in its words; MemoryError is the one exception. The steps of a machine that fails are
printed as they were drawn: to shrink them takes longer than to read them.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import warnings

from calls import counts
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Machine
from report import Report, last_line, parser, run_python

STEPS = 50  # rules of one machine, each of one call or more


def run(examples, derandomize=False):
    """Let so many machines run in this process."""
    faulthandler.dump_traceback_later(300, exit=True)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Setting the shape", DeprecationWarning)  # the user's own doing, in ``mutate``
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples, stateful_step_count=STEPS, deadline=None, database=None, derandomize=derandomize,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate], print_blob=False,
        ),
    )  # fmt: skip
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(counts))


def main():
    arguments = parser(__doc__, 100_000)
    arguments.add_argument("--examples", type=int, help="so many machines in this process")
    arguments.add_argument("--derandomize", action="store_true", help="the same machines each time")
    chosen = arguments.parse_args()
    if chosen.examples:
        run(chosen.examples, chosen.derandomize)
        return
    with Report() as total:
        total.update(dict.fromkeys(counts, 0))
        while total["calls"] < chosen.count:
            output = run_python(__file__, "--examples", "40", seconds=400)
            for name, value in last_line(output).items():
                total[name] += value
            print(f"{total['calls']:,} calls", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
