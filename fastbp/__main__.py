"""``python -m fastbp warmup``."""

from __future__ import annotations

import argparse
from time import perf_counter

from fastbp.warmup import warmup
from fastbp_kernels.compiler.cache import cache_folder


def main() -> None:
    """Run the command that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m fastbp", description="Backpropagation for the CPU.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("warmup", help="compile all kernels for this machine ahead of the first use")
    parser.parse_args()
    start = perf_counter()
    warmup()
    print(f"all kernels are ready after {perf_counter() - start:.1f} s; compiled code is kept in {cache_folder()}")


if __name__ == "__main__":
    main()
