"""Products of matrices and sums of their columns."""
