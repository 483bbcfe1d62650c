"""The tests that ``make test`` runs in short, whole: all trainings beside torch, three times the examples, Ray.

python tests/soak/whole.py
"""

from __future__ import annotations

from report import Report, parser, run_tests

FILES = (
    "tests/test_accuracy.py",
    "tests/test_registries.py",
    "tests/test_trainings_against_torch.py",
    "tests/test_kernels_against_torch.py",
    "tests/test_modules_against_torch.py",
    "tests/test_chain.py",
    "tests/test_sweep.py",
)


def main():
    arguments = parser(__doc__, 1)
    arguments.add_argument("tests", nargs="*", default=FILES, help="what pytest runs")
    chosen = arguments.parse_args()
    with Report() as counts:
        for _ in range(chosen.count):
            counts["tests"] = run_tests(chosen.tests, 7200, FASTBP_TESTS="whole")


if __name__ == "__main__":
    main()
