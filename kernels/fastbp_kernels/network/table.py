"""The table by which the engine reads a network: a row for each ``Linear`` and the activation behind it."""

from __future__ import annotations

# Columns: features in and out; offsets of weight and bias in the parameters (bias -1: none); what kind of B the weight
# is; activation; offsets in scratch of its inputs, of what its activation takes where the backward pass needs that
# (else -1), of its outputs and of the gradient; the distance between rows of the inputs and of the other three; and
# which of its parameters need a gradient, TRAINED_WEIGHT + TRAINED_BIAS or less.
IN, OUT, WEIGHT, BIAS, KIND, ACTIVATION, X, X_ROW, Z, Y, G, Y_ROW, TRAINED = range(13)
COLUMNS = 13

TRAINED_WEIGHT, TRAINED_BIAS = 1, 2
