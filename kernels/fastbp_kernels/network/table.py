"""The table by which the engine reads a network: a row for each operation and the activation behind it.

Most rows are a ``Linear``: a product of matrices. The other operations compute each row of data by itself, but for
BATCH_NORM, which takes a mini-batch as a whole.
"""

from __future__ import annotations

# The table's columns. Parameters are at offsets in the vector of all of them, what is computed at offsets in scratch,
# where the rows of data of one layer lie at equal distances.
IN = 0  # features of its inputs
OUT = 1  # features of its outputs
WEIGHT = 2  # offset of the weight, -1 if there is none
BIAS = 3  # offset of the bias, -1 if there is none
KIND = 4  # of a Linear: what kind of B its weight is to ``product``, ROWS or ROOMY_ROWS
ACTIVATION = 5  # its code
X = 6  # offset of the inputs
X_ROW = 7  # distance between rows of the inputs
Z = 8  # offset of what the activation took, or the derivative there; -1 where the backward pass needs neither
Y = 9  # offset of the outputs
G = 10  # offset of the gradient with respect to what the activation took
Y_ROW = 11  # distance between rows of Z, Y and G
OPERATION = 12  # see below
SAVED = 13  # offset of rows like Y's that the operation saves for its backward pass, or needs there
SAVED_ROW = 14  # likewise of a number for each row, or with BATCH_NORM and PRELU for each feature; with SPARSE_LINEAR,
# which needs memory of this size for each rank at SAVED, that size
ADDED_G = 15  # offset of a gradient that is added to that of the inputs, -1 if there is none
ADDED_G_ROW = 16  # distance between its rows
OTHER = 17  # of ADD: offset of what it adds to its inputs
OTHER_ROW = 18  # of ADD: distance between rows of that
SEED = 19  # of DROPOUT: the seed of its decisions
FORWARDS = 20  # of DROPOUT and BATCH_NORM: mini-batches that it has had before the call
THRESHOLD = 21  # of DROPOUT: below which 32 random bits drop a number
MEAN_AT = 22  # of BATCH_NORM: address of the running mean, 0 if there is none
VARIANCE_AT = 23  # of BATCH_NORM: address of the running variance, 0 if there is none
TAKES_BATCH = 24  # of BATCH_NORM: whether a training takes the statistics of the mini-batch
VALUE_AT = 25  # address of the function of an activation of the user's
DERIVATIVE_AT = 26  # address of its derivative's function
TRAINED = 27  # which parameters need a gradient: TRAINED_WEIGHT, TRAINED_BIAS, their sum, or 0
VALUES_AT = 28  # of SPARSE_LINEAR: address of the rows' values
COLUMNS_AT = 29  # likewise of their columns, int32
STARTS_AT = 30  # likewise of where each row starts among them, int64
COLUMNS = 31

TRAINED_WEIGHT, TRAINED_BIAS = 1, 2

# The operations, with their scalars, which lie in this order from ``OPERATION_SCALARS`` on.
LINEAR = 0
COPY = 1
LAYER_NORM = 2  # eps
DROPOUT = 3  # factor of what is kept; what is added to what is kept; what is added to what is dropped
SOFTMAX = 4
LOG_SOFTMAX = 5
ADD = 6
BATCH_NORM = 7  # eps; a mini-batch's weight in the running statistics, below 0 for that of a mean over all
PRELU = 8  # 1 if there is a slope for each feature, 0 if there is one for all
SPARSE_LINEAR = 9  # a LINEAR whose inputs are the numbers of sparse rows: see ``linalg.sparse``

# Columns of the scalars beside the table, of which there is a row for each of its rows.
ACTIVATION_SCALARS = 0  # from here on those of the activation
OPERATION_SCALARS = 4  # from here on those of the operation
SCALARS = 8
