"""Random sequences of calls of the public interface, each compared with slow references.

    PYTHONPATH=tests python tests/soak/fuzz.py --count 100000

Hypothesis draws what is called on what, in children, so that a crash or a hang is seen: of models and their parts
(``machine``), of trainings beside PyTorch's (``learners``), of estimators beside scikit-learn's (``estimator_pairs``).
What a call raises must be raised by fastbp, in its words; MemoryError is the one exception. The steps of a machine that
fails are printed as they were drawn: to shrink them takes longer than to read them.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import warnings
from itertools import cycle

from calls import counts
from estimator_pairs import EstimatorPairs
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from learners import Learners
from machine import Machine
from report import Report, last_line, parser, run_python

MACHINES = {"models": Machine, "learners": Learners, "estimators": EstimatorPairs}
STEPS = 50  # rules of one machine, each of one call or more


def run(name, examples, derandomize=False):
    """Let so many machines of a name run in this process."""
    faulthandler.dump_traceback_later(300, exit=True)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "Setting the shape", DeprecationWarning)  # the user's own doing, in ``mutate``
    run_state_machine_as_test(
        MACHINES[name],
        settings=settings(
            max_examples=examples, stateful_step_count=STEPS, deadline=None, database=None, derandomize=derandomize,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate], print_blob=False,
        ),
    )  # fmt: skip
    faulthandler.cancel_dump_traceback_later()


def main():
    arguments = parser(__doc__, 100_000)
    arguments.add_argument("--examples", type=int, help="so many machines in this process")
    arguments.add_argument("--machines", nargs="*", choices=MACHINES, default=list(MACHINES), help="which, in turn")
    arguments.add_argument("--derandomize", action="store_true", help="the same machines each time")
    chosen = arguments.parse_args()
    if chosen.examples:
        for name in chosen.machines:
            run(name, chosen.examples, chosen.derandomize)
        print(json.dumps(counts))
        return
    with Report() as total:
        total.update(dict.fromkeys(counts, 0))
        for name in cycle(chosen.machines):
            if total["calls"] >= chosen.count:
                break
            output = run_python(__file__, "--examples", "40", "--machines", name, seconds=400)
            for what, value in last_line(output).items():
                total[what] += value
            print(f"{total['calls']:,} calls", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
