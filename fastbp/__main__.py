"""``python -m fastbp info``, ``warmup``, ``cache`` and ``sweep``."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

from fastbp.commands.cache import clear_cache, list_cache
from fastbp.commands.info import show_info
from fastbp.commands.sweep import run_sweep
from fastbp.commands.sweep_file import SweepFileError
from fastbp.warmup import warmup
from fastbp_kernels.compiler.cache import folder_in_use


def main() -> None:
    """Run the command that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m fastbp", description="Backpropagation for the CPU.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="show versions, what the kernels make of this CPU, threads, and the cache")
    commands.add_parser("warmup", help="compile all kernels for this machine ahead of the first use")
    of_cache = commands.add_parser("cache", help="list the compiled kernels that are kept on disk")
    of_cache.add_argument("--clear", action="store_true", help="remove them, those of all versions")
    of_sweep = commands.add_parser("sweep", help="train what a file tells, and keep the best model")
    of_sweep.add_argument("file", type=Path, help="a .toml file; fastbp/commands/sweep_file.py shows one")
    of_sweep.add_argument(
        "--chunk-size", type=_count, metavar="N", help="models in one call, whose results are kept together"
    )
    arguments = parser.parse_args()
    {"info": _info, "warmup": _warm_up, "cache": _cache, "sweep": _sweep}[arguments.command](parser, arguments)


def _info(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    show_info()


def _warm_up(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    start = perf_counter()
    warmup()
    folder = folder_in_use()
    kept = "compiled code is not kept" if folder is None else f"compiled code is kept in {folder}"
    print(f"all kernels are ready after {perf_counter() - start:.1f} s; {kept}")


def _cache(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    try:
        if not arguments.clear:
            list_cache()
        elif clear_cache():
            parser.exit(1)
    except RuntimeError as error:  # there is no home
        parser.exit(2, f"{error}; set FASTBP_CACHE_DIR\n")


def _sweep(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    try:
        run_sweep(arguments.file, chunk_size=arguments.chunk_size)
    except (SweepFileError, OSError, ImportError) as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the same command goes on from here\n")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes an int of 1 or more, got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
