"""The table by which the engine reads a network: a row for each operation and the activation behind it.

Most rows are a ``Linear``: a product of matrices. The operations are the rows of ``registry``.
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
OPERATION = 12  # its code
SAVED = 13  # offset of rows like Y's that the operation saves for its backward pass, or needs there
SAVED_ROW = 14  # likewise of a number for each row or for each feature; of a SparseLinear, which needs memory of this
# size for each rank at SAVED, that size
ADDED_G = 15  # offset of a gradient that is added to that of the inputs, -1 if there is none
ADDED_G_ROW = 16  # distance between its rows
OTHER = 17  # of Add: offset of what it adds to its inputs
OTHER_ROW = 18  # of Add: distance between rows of that
VALUE_AT = 19  # address of the function of an activation of the user's
DERIVATIVE_AT = 20  # address of its derivative's function
TRAINED = 21  # which parameters need a gradient: TRAINED_WEIGHT, TRAINED_BIAS, their sum, or 0
INTEGERS = 22  # from here on the operation's own, in the order of its row in ``registry``
COLUMNS = 26

TRAINED_WEIGHT, TRAINED_BIAS = 1, 2

# Columns of the scalars beside the table, of which there is a row for each of its rows.
ACTIVATION_SCALARS = 0  # from here on those of the activation
OPERATION_SCALARS = 4  # from here on those of the operation, in the order of its row in ``registry``
SCALARS = 8
