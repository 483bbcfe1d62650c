"""Benchmarks: fastbp beside its peers. Run from the repository's root, as ``python -m bench.original``."""
