"""Layers that are no product of matrices: normalisation, PReLU, dropout, softmax."""
