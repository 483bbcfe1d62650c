"""The table by which the engine reads a network: a row for each operation and the activation behind it.

Most rows are a ``Linear``: a product of matrices. The other operations compute each row of data by itself, but for
BATCH_NORM, which takes a mini-batch as a whole.
"""

from __future__ import annotations

# Columns: features in and out; offsets of weight and bias in the parameters (-1: none); what kind of B a Linear's
# weight is; activation; offsets in scratch of its inputs, of what its activation takes, or the derivative
# there, where the backward pass needs that (else -1), of its outputs and of the gradient; the distance between rows of
# the inputs and of the other three.
IN, OUT, WEIGHT, BIAS, KIND, ACTIVATION, X, X_ROW, Z, Y, G, Y_ROW = range(12)
# The operation; offsets in scratch of what it saves for the backward pass: rows like Y's, and a number a row; offset
# and distance of rows of a gradient that is added to that of its inputs (-1: none), and of what ADD adds to its inputs;
# what DROPOUT's decisions are a function of: seed, forwards before the call, and threshold; and for BATCH_NORM the
# addresses of running mean and variance (0: none), and whether a training takes the statistics of the mini-batch. The
# addresses of an activation of the user's and of its derivative. The last one tells which parameters need a gradient:
# TRAINED_WEIGHT + TRAINED_BIAS or less.
OPERATION, SAVED, SAVED_ROW, ADDED_G, ADDED_G_ROW, OTHER, OTHER_ROW, SEED, FORWARDS, THRESHOLD = range(12, 22)
MEAN_AT, VARIANCE_AT, TAKES_BATCH, VALUE_AT, DERIVATIVE_AT, TRAINED = range(22, 28)
COLUMNS = 28

TRAINED_WEIGHT, TRAINED_BIAS = 1, 2

# Operations. Their scalars behind the activation's: LAYER_NORM: eps; BATCH_NORM: eps, and the weight of a mini-batch in
# the running statistics, below 0 for that of a mean over all; DROPOUT: the factor of what is kept, and what is added to
# what is kept and to what is dropped; PRELU: 1 if there is a slope for each feature, 0 if one for all.
LINEAR, COPY, LAYER_NORM, DROPOUT, SOFTMAX, LOG_SOFTMAX, ADD, BATCH_NORM, PRELU = range(9)

# Columns of the scalars beside the table: those of the activation, then those of the operation.
ACTIVATION_SCALARS, OPERATION_SCALARS, SCALARS = 0, 4, 8
