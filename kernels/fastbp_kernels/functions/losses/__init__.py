"""Losses: their registry, their formulas, one loop over elements, one over rows, and the kernels of both."""
