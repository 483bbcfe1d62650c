"""``python -m fastbp warmup`` and ``python -m fastbp sweep``."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

from fastbp.commands.sweep import run_sweep
from fastbp.commands.sweep_file import SweepFileError
from fastbp.warmup import warmup
from fastbp_kernels.compiler.cache import cache_folder


def main() -> None:
    """Run the command that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m fastbp", description="Backpropagation for the CPU.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("warmup", help="compile all kernels for this machine ahead of the first use")
    of_sweep = commands.add_parser("sweep", help="train what a file tells, and keep the best model")
    of_sweep.add_argument("file", type=Path, help="a .toml file; fastbp/commands/sweep_file.py shows one")
    of_sweep.add_argument(
        "--chunk-size", type=_count, metavar="N", help="models in one call, whose results are kept together"
    )
    arguments = parser.parse_args()
    if arguments.command == "sweep":
        try:
            run_sweep(arguments.file, chunk_size=arguments.chunk_size)
        except (SweepFileError, OSError, ImportError) as error:
            parser.exit(2, f"{error}\n")
        except KeyboardInterrupt:
            parser.exit(130, "interrupted; the same command goes on from here\n")
        return
    start = perf_counter()
    warmup()
    print(f"all kernels are ready after {perf_counter() - start:.1f} s; compiled code is kept in {cache_folder()}")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes an int of 1 or more, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
