"""The kernels' tests with numba's bounds checks on, in code of its own.

    python tests/soak/bounds.py

numba checks each index into an array; what the tile and the activations reach through pointers is watched by guards and
forbidden pages in the same tests (``tests/memory.py``).
"""

from __future__ import annotations

import tempfile

from report import Report, parser, run_tests

FILES = (
    "tests/test_linear_kernels.py",
    "tests/test_vector_kernels.py",
    "tests/test_product.py",
    "tests/test_elementary.py",
    "tests/test_engine.py",
    "tests/test_divisions.py",
)


def main():
    arguments = parser(__doc__, 1)
    arguments.add_argument("tests", nargs="*", default=FILES, help="what pytest runs")
    chosen = arguments.parse_args()
    with Report() as counts, tempfile.TemporaryDirectory() as folder:
        for _ in range(chosen.count):
            counts["tests"] = run_tests(chosen.tests, 3600, NUMBA_BOUNDSCHECK="1", FASTBP_CACHE_DIR=folder)


if __name__ == "__main__":
    main()
