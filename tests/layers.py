"""Networks of layers that are no Linear, from 5 inputs to 3 outputs, and how they are trained."""

import numpy
from helpers import draw

import fastbp
from fastbp import nn

DTYPES = (numpy.float32, numpy.float64)


def linear(i, o, seed, dtype):
    return nn.Linear(i, o, rng=seed, dtype=dtype)


# Each from 5 inputs to 3 outputs.
NETWORKS = {
    "layer norm between": lambda dtype: [linear(5, 33, 0, dtype), nn.LayerNorm(33, dtype=dtype), nn.ReLU()],
    "layer norm before GELU": lambda dtype: [linear(5, 17, 0, dtype), nn.LayerNorm(17, dtype=dtype), nn.GELU()],
    "layer norm first, without parameters": lambda dtype: [nn.LayerNorm(5, elementwise_affine=False)],
    "layer norm without a bias": lambda dtype: [linear(5, 16, 0, dtype), nn.LayerNorm(16, bias=False, dtype=dtype)],
    "activation first": lambda dtype: [nn.Tanh(), linear(5, 8, 0, dtype), nn.ReLU(), nn.Sigmoid()],
    "dropout first": lambda dtype: [nn.Dropout(0.3, rng=3), nn.ReLU()],
    "two dropouts": lambda dtype: [
        linear(5, 33, 0, dtype), nn.ReLU(), nn.Dropout(0.3, rng=3), linear(33, 17, 1, dtype), nn.Dropout(rng=4)
    ],
    "alpha dropout": lambda dtype: [linear(5, 33, 0, dtype), nn.Tanh(), nn.AlphaDropout(0.2, rng=3)],
    "all dropped": lambda dtype: [linear(5, 33, 0, dtype), nn.Dropout(1.0)],
    "residual": lambda dtype: [
        linear(5, 16, 0, dtype), nn.ReLU(), nn.Residual(linear(16, 20, 1, dtype), nn.Tanh(), linear(20, 16, 2, dtype))
    ],
    "residual first, beginning with an activation": lambda dtype: [nn.Residual(nn.ReLU(), linear(5, 5, 2, dtype))],
    "residual within a residual": lambda dtype: [
        linear(5, 16, 0, dtype),
        nn.Residual(nn.Residual(linear(16, 16, 1, dtype), nn.Tanh()), nn.LayerNorm(16, dtype=dtype)),
        nn.Residual(nn.GELU(), linear(16, 16, 3, dtype)),
        nn.Residual(nn.Dropout(0.1, rng=2)),
    ],
    "batch norm": lambda dtype: [linear(5, 17, 0, dtype), nn.BatchNorm1d(17, dtype=dtype), nn.ReLU()],
    "batch norm before GELU, mean of all": lambda dtype: [
        linear(5, 8, 0, dtype), nn.BatchNorm1d(8, momentum=None, affine=False, dtype=dtype), nn.GELU()
    ],
    "batch norm first": lambda dtype: [nn.BatchNorm1d(5, dtype=dtype)],
    "PReLU of one slope": lambda dtype: [linear(5, 33, 0, dtype), nn.PReLU(dtype=dtype)],
    "PReLU behind layer norm": lambda dtype: [
        linear(5, 17, 0, dtype), nn.LayerNorm(17, dtype=dtype), nn.PReLU(17, dtype=dtype)
    ],
    "PReLU before GELU": lambda dtype: [linear(5, 33, 0, dtype), nn.PReLU(33, dtype=dtype), nn.GELU()],
    "PReLU first": lambda dtype: [nn.PReLU(5, dtype=dtype)],
    "residual with a PReLU": lambda dtype: [
        linear(5, 16, 0, dtype), nn.Residual(nn.PReLU(16, dtype=dtype), linear(16, 16, 1, dtype), nn.PReLU(dtype=dtype))
    ],
    "RMS norm between": lambda dtype: [linear(5, 33, 0, dtype), nn.RMSNorm(33, dtype=dtype), nn.SiLU()],
    "RMS norm first": lambda dtype: [nn.RMSNorm(5, eps=0.1, elementwise_affine=False)],
    "GLU between": lambda dtype: [linear(5, 34, 0, dtype), nn.GLU(), linear(17, 9, 1, dtype)],
    "GLU behind a residual, before tanh": lambda dtype: [
        linear(5, 16, 0, dtype), nn.Residual(nn.ReLU(), linear(16, 16, 1, dtype)), nn.GLU(), nn.Tanh(),
        linear(8, 6, 2, dtype),
    ],
    "softmax between": lambda dtype: [linear(5, 16, 0, dtype), nn.Softmax(-1)],
    "log softmax before tanh": lambda dtype: [linear(5, 16, 0, dtype), nn.LogSoftmax(1), nn.Tanh()],
}  # fmt: skip
ENDS = {
    "linear": lambda dtype: [],
    "layer norm": lambda dtype: [nn.LayerNorm(3, dtype=dtype)],
    "batch norm": lambda dtype: [nn.BatchNorm1d(3, dtype=dtype)],
    "log softmax": lambda dtype: [nn.LogSoftmax(-1)],
    "RMS norm": lambda dtype: [nn.RMSNorm(3, dtype=dtype)],
    "dropout": lambda dtype: [nn.Dropout(0.2, rng=9)],
    "PReLU": lambda dtype: [nn.PReLU(3, dtype=dtype)],
}


def network(name, dtype, end="linear"):
    modules = NETWORKS[name](dtype)
    width = next((m.out_features for m in reversed(modules) if isinstance(m, nn.Linear)), None)
    width = width or next((m[1].out_features for m in modules if isinstance(m, nn.Residual)), 5)
    return nn.Sequential(*modules, linear(width, 3, 7, dtype), *ENDS[end](dtype))


class OwnLoss(nn.MSELoss):
    """The same in a class of the user's, which the engine does not take."""

    def forward(self, prediction, target):
        return super().forward(prediction, target)


def trained(model, criterion, rows, mini_batch_size, opt, **options):
    dtype = next(model.parameters()).dtype
    x, y = draw((rows, 5), dtype, seed=1), draw((rows, 3), dtype, seed=2)
    return fastbp.train_model(
        model, x, y, x[:40], y[:40], criterion, opt(model.parameters(), lr=0.01), 2, mini_batch_size,
        shuffle=True, rng=1, progress=False, **options,
    )  # fmt: skip


def assert_same_bits(model, other):
    for (name, one), (_, two) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert one.tobytes() == two.tobytes(), name
