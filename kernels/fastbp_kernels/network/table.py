"""The table by which the engine reads a network: a row for each ``Linear`` and the activation behind it."""

from __future__ import annotations

# Columns: features in and out; offsets of weight and bias in the parameters (bias -1: none); what kind of B the weight
# is; activation; offsets of inputs, outputs and gradient in scratch, and the distance between rows of the inputs and of
# the other two.
IN, OUT, WEIGHT, BIAS, KIND, ACTIVATION, X, X_ROW, Y, G, Y_ROW = range(11)
COLUMNS = 11

# Activations.
IDENTITY, RECTIFIED, TANH, SIGMOID = range(4)
