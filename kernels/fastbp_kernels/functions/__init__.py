"""The formulas: activations, losses and updates, of vectors and of arrays."""
