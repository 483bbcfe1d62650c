"""Many trainings while other processes take the cores: the same bits as without them.

python tests/soak/load.py --count 5000
"""

from __future__ import annotations

import multiprocessing
import os

from pools import train
from report import Report, parser

SHAPES = ((20, 30, 3), (100, 200, 10))
EPOCHS = 20
STEPS = 3 * EPOCHS


def burn():
    """Take one core and much of its cache."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy

    a = numpy.random.default_rng(0).random((700, 700))
    while os.getppid() != 1:
        a = a @ a
        a /= abs(a).max()


def main():
    chosen = parser(__doc__, 5_000).parse_args()
    cases = [(seed, widths, threads) for seed in range(4) for widths in SHAPES for threads in (1, 2)]
    with Report() as counts:
        alone = {case: train(*case, EPOCHS) for case in cases}
        burners = [multiprocessing.get_context("spawn").Process(target=burn, daemon=True) for _ in range(2)]
        for burner in burners:
            burner.start()
        try:
            for number in range(chosen.count):
                case = cases[number % len(cases)]
                assert train(*case, EPOCHS) == alone[case], f"training {number}, {case}: other bits under load"
                assert all(burner.is_alive() for burner in burners)
        finally:
            for burner in burners:
                burner.kill()
        counts.update(trainings=chosen.count, steps=STEPS * chosen.count, processes_beside=len(burners))


if __name__ == "__main__":
    main()
