"""Cases of functions of whole arrays: shapes, indices, moves, joins, products of matrices; see ``autograd_cases``."""

import operator

import numpy
import torch
from autograd_cases import CASES, ONE, TWO, case, of_torch

from fastbp import autograd

__all__ = ["CASES"]

# Shapes

case(numpy.reshape, lambda x: numpy.reshape(x, (4, -1)), lambda x: x.reshape(4, -1), ((3, 4),), ((2, 2, 4),))
case(numpy.reshape, lambda x: x.reshape(2, 6), lambda x: x.reshape(2, 6), ((3, 4),))
case(numpy.reshape, lambda x: numpy.reshape(x.T, (6, 2), order="F"), lambda x: x.reshape(2, 6).T, ((3, 4),))
case(numpy.ravel, lambda x: x.ravel() * x.flatten(), lambda x: x.ravel() ** 2, *ONE)
case(numpy.ravel, lambda x: numpy.ravel(x, "F"), lambda x: x.T.ravel(), ((3, 4),))
case(numpy.copy, lambda x: x.copy() * numpy.copy(x), lambda x: x * x, *ONE)
case(numpy.ndarray.astype, lambda x: x.astype("float64"), lambda x: x.double(), *ONE)
case(numpy.real, lambda x: x.real * numpy.real(x), lambda x: x * x, *ONE)
case(numpy.transpose, lambda x: x.T, lambda x: x.permute(list(range(x.ndim))[::-1]), *ONE)
case(numpy.transpose, lambda x: x.transpose(2, 0, -2), lambda x: x.permute(2, 0, 1), ((2, 3, 4),))
case(numpy.transpose, lambda x: numpy.transpose(x, (1, 2, 0)), lambda x: x.permute(1, 2, 0), ((2, 3, 4),))
case(numpy.swapaxes, lambda x: x.swapaxes(0, -1), lambda x: x.swapaxes(0, -1), ((2, 3, 4),), ((3, 4),))
case(numpy.moveaxis, lambda x: numpy.moveaxis(x, 0, -1), lambda x: torch.moveaxis(x, 0, -1), ((2, 3, 4),))
case(
    numpy.moveaxis,
    lambda x: numpy.moveaxis(x, [0, 1], [2, 0]),
    lambda x: torch.moveaxis(x, (0, 1), (2, 0)),
    ((2, 3, 4),),
)
case(numpy.rollaxis, lambda x: numpy.rollaxis(x, 2), lambda x: torch.moveaxis(x, 2, 0), ((2, 3, 4),))
case(numpy.squeeze, lambda x: x.squeeze(), lambda x: x.squeeze(), ((1, 3, 1),), ((3, 4),), ((1,),))
case(numpy.squeeze, lambda x: numpy.squeeze(x, 0), lambda x: x.squeeze(0), ((1, 3, 1),))
case(numpy.expand_dims, lambda x: numpy.expand_dims(x, 1), lambda x: x.unsqueeze(1), ((3, 4),), ((3,),))
for dimension in (1, 2, 3):
    key, theirs = getattr(numpy, f"atleast_{dimension}d"), getattr(torch, f"atleast_{dimension}d")
    case(key, key, theirs, ((),), ((3,),), ((2, 3),), ((2, 3, 4),))
case(
    numpy.broadcast_to,
    lambda x: numpy.broadcast_to(x, (2, 3, 4)),
    lambda x: x.expand(2, 3, 4),
    ((),),
    ((4,),),
    ((3, 1),),
)
case(
    numpy.broadcast_arrays,
    lambda x, y: numpy.multiply(*numpy.broadcast_arrays(x, y)),
    lambda x, y: torch.mul(*torch.broadcast_tensors(x, y)),
    *TWO,
)
case(numpy.flip, numpy.flip, lambda x: x.flip(list(range(x.ndim))), *ONE)
case(numpy.flip, lambda x: numpy.flip(x, 1), lambda x: x.flip(1), ((3, 4),), ((2, 3, 4),))
case(numpy.roll, lambda x: numpy.roll(x, 2), lambda x: x.roll(2), ((3, 4),), ((5,),))
case(numpy.roll, lambda x: numpy.roll(x, (1, -2), (0, 1)), lambda x: x.roll((1, -2), (0, 1)), ((3, 4),))
if hasattr(numpy, "matrix_transpose"):
    for key in (numpy.matrix_transpose, numpy.linalg.matrix_transpose):
        case(key, lambda x, f=key: f(x) * x.mT, lambda x: x.mT * x.mT, ((3, 4),), ((2, 3, 4),))

# Indexing and moves

ROWS, COLUMNS = numpy.array([2, 0, 2, 1]), numpy.array([1, 1, -1, 0])
MASK = numpy.array([True, False, True])
INDICES = [
    0, -1, slice(1, None), slice(None, None, -1), (slice(None), 2), (1, 2), None, ..., (..., None, 0), (None, 1, ...),
    ROWS, [2, 0, 2], MASK, (ROWS, COLUMNS), (slice(None), ROWS), (MASK, slice(1, 3)), (ROWS[:, None], COLUMNS),
    (1, ROWS), (MASK, 0), (slice(0, 0),), numpy.int64(2), ROWS.reshape(2, 2),
]  # fmt: skip


def to_torch(index):
    if isinstance(index, tuple):
        return tuple(map(to_torch, index))
    if isinstance(index, slice) and index.step == -1:
        return torch.tensor([2, 1, 0])
    return torch.from_numpy(index) if isinstance(index, numpy.ndarray) else index


for index in INDICES:
    case(operator.getitem, lambda x, i=index: x[i], lambda x, i=index: x[to_torch(i)], ((3, 4),), ((3, 4, 2),))
case(operator.getitem, lambda x: x[()] * x[None, ...][0], lambda x: x * x, *ONE)
case(operator.getitem, lambda x: sum(row * row for row in x), lambda x: sum(row * row for row in x), ((3, 4),), ((3,),))
for axis in (0, -1):
    case(
        numpy.sort,
        lambda x, a=axis: numpy.sort(x, a),
        lambda x, a=axis: x.sort(a)[0],
        ((3, 4),),
        ((2, 3, 4),),
        ((0, 3),),
    )
case(numpy.sort, lambda x: numpy.sort(x, None), lambda x: x.ravel().sort()[0], ((3, 4),))
case(numpy.partition, lambda x: numpy.partition(x, 1)[:, :2].sum(1), lambda x: x.sort(1)[0][:, :2].sum(1), ((3, 4),))
case(numpy.trace, lambda x: numpy.trace(x) + x.trace(1), lambda x: x.trace() + x.diagonal(1).sum(), ((3, 4),))
case(numpy.diff, lambda x: numpy.diff(x), lambda x: x.diff(), ((3, 4),), ((5,),))
case(numpy.diff, lambda x: numpy.diff(x, 2, axis=0), lambda x: x.diff(2, dim=0), ((3, 4),))
case(
    numpy.diff,
    lambda x, y: numpy.diff(x, prepend=0, append=y),
    lambda x, y: torch.diff(x, prepend=torch.zeros_like(x[:, :1]), append=y),
    ((3, 4), (3, 2)),
)
case(numpy.tile, lambda x: numpy.tile(x, (2, 3)), lambda x: x.tile(2, 3), ((3, 4),), ((4,),), ((),))
case(numpy.repeat, lambda x: numpy.repeat(x, 2), lambda x: x.ravel().repeat_interleave(2), ((3, 4),), ((),))
case(
    numpy.repeat, lambda x: x.repeat([1, 0, 2], 0), lambda x: x.repeat_interleave(torch.tensor([1, 0, 2]), 0), ((3, 4),)
)
case(numpy.take, lambda x: numpy.take(x, ROWS), lambda x: x.ravel()[ROWS], ((3, 4),))
case(numpy.take, lambda x: x.take(ROWS, axis=0), lambda x: x[ROWS], ((3, 4),), ((3, 4, 2),))
ORDER = numpy.array([[0, 0], [1, 3], [3, 2]])
case(
    numpy.take_along_axis,
    lambda x: numpy.take_along_axis(x, ORDER, 1),
    lambda x: torch.take_along_dim(x, torch.from_numpy(ORDER), 1),
    ((3, 4),),
)
case(numpy.diagonal, lambda x: x.diagonal(1), lambda x: x.diagonal(1), ((3, 4),))
case(numpy.diagonal, lambda x: numpy.diagonal(x, 0, 0, 2), lambda x: x.diagonal(0, 0, 2), ((2, 3, 4),))
case(numpy.diag, numpy.diag, torch.diag, ((3, 4),), ((3,),))
case(numpy.diagflat, numpy.diagflat, torch.diagflat, ((2, 2),), ((3,),))
case(numpy.tril, lambda x: numpy.tril(x, 1), lambda x: x.tril(1), ((3, 4),), ((2, 3, 4),))
case(numpy.triu, numpy.triu, torch.triu, ((3, 4),), ((2, 3, 4),))
case(numpy.compress, lambda x: x.compress(MASK, 0) * numpy.compress(MASK, x, 0), lambda x: x[MASK] ** 2, ((3, 4),))
case(numpy.extract, lambda x: numpy.extract(MASK, x), lambda x: x[MASK], ((3,),))
case(numpy.delete, lambda x: numpy.delete(x, 1, 0), lambda x: x[[0, 2]], ((3, 4),))
case(numpy.resize, lambda x: numpy.resize(x, (5,)), lambda x: x[[0, 1, 2, 0, 1]], ((3,),))
case(numpy.rot90, numpy.rot90, torch.rot90, ((3, 4),))
case(numpy.fliplr, numpy.fliplr, torch.fliplr, ((3, 4),))
case(numpy.flipud, numpy.flipud, torch.flipud, ((3, 4),))
pad = torch.nn.functional.pad
case(numpy.pad, lambda x: numpy.pad(x, ((1, 2), (0, 3))), lambda x: pad(x, (0, 3, 1, 2)), ((3, 4),))
case(numpy.pad, lambda x: numpy.pad(x, 1, constant_values=7), lambda x: pad(x, (1, 1, 1, 1), value=7), ((3, 4),))
for mode, theirs in (("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")):
    case(numpy.pad, lambda x, m=mode: numpy.pad(x, 2, m), lambda x, m=theirs: pad(x[None], (2, 2), m)[0], ((5,),))

# Joins


def join(key, theirs, *shape_lists, **options):
    their_options = {"dim": options["axis"]} if "axis" in options else {}
    case(key, lambda *x: key(x, **options), lambda *x: theirs(x, **their_options), *shape_lists)
    case(key, lambda x: key([x, x * 2], **options), lambda x: theirs([x, x * 2], **their_options), ((3, 4),))


join(numpy.concatenate, torch.cat, ((3, 4), (2, 4)), ((3,), (2,), (4,)), ((0, 4), (3, 4)))
join(numpy.concatenate, torch.cat, ((3, 4), (3, 1)), axis=-1)
case(
    numpy.concatenate,
    lambda x, y: numpy.concatenate([x, y], axis=None),
    lambda x, y: torch.cat([x.ravel(), y.ravel()]),
    ((3, 4), (2,)),
)
join(numpy.stack, torch.stack, ((3, 4), (3, 4)), ((), (), ()))
join(numpy.stack, torch.stack, ((3, 4), (3, 4)), axis=-1)
for name in ["vstack", "hstack", "dstack", "column_stack"]:
    join(getattr(numpy, name), of_torch(name), ((3, 4), (3, 4)), ((3,), (3,)))
case(numpy.append, numpy.append, lambda x, y: torch.cat([x.ravel(), y.ravel()]), ((3, 4), (2,)))
case(numpy.append, lambda x, y: numpy.append(x, y, 0), lambda x, y: torch.cat([x, y]), ((3, 4), (2, 4)))


def weighted(pieces):
    """A sum in which the pieces do not look alike."""
    return sum((position + 1) * (piece * piece).sum() for position, piece in enumerate(pieces))


def taking_apart(key, theirs, shape, *args, their_args=None):
    case(
        key,
        lambda x: weighted(key(x, *args)),
        lambda x: weighted(theirs(x, *(args if their_args is None else their_args))),
        (shape,),
    )


taking_apart(numpy.split, torch.tensor_split, (6, 4), 3)
taking_apart(numpy.split, torch.tensor_split, (6, 4), [1, 3], 1, their_args=((1, 3), 1))
taking_apart(numpy.array_split, torch.tensor_split, (5, 4), 3)
taking_apart(numpy.vsplit, torch.vsplit, (6, 4), 2)
taking_apart(numpy.hsplit, torch.hsplit, (6, 4), 2)
taking_apart(numpy.hsplit, torch.hsplit, (6,), 2)
taking_apart(numpy.dsplit, torch.dsplit, (2, 3, 4), 2)

# Linear algebra

MATMUL = [
    ((3, 4), (4, 2)), ((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
    ((3, 4), (2, 4, 5)), ((5, 1, 3, 4), (2, 4, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((0, 4), (4, 2)),
    ((3, 0), (0, 2)),
]  # fmt: skip
case(numpy.matmul, numpy.matmul, torch.matmul, *MATMUL)
case(numpy.matmul, operator.matmul, operator.matmul, *MATMUL)
case(numpy.matmul, lambda x, w: x @ w.T, lambda x, w: x @ w.T, ((3, 4), (2, 4)))
case(numpy.dot, numpy.dot, torch.matmul, ((3, 4), (4, 2)), ((4,), (4,)), ((3, 4), (4,)))
case(numpy.dot, lambda x, y: x.dot(y), lambda x, y: torch.tensordot(x, y, ([-1], [-2])), ((2, 3, 4), (5, 4, 2)))
case(numpy.dot, numpy.dot, torch.mul, ((), (3,)), ((3, 4), ()))
case(numpy.inner, numpy.inner, torch.inner, ((3, 4), (2, 4)), ((4,), (4,)), ((), (3,)))
case(numpy.outer, numpy.outer, torch.outer, ((3,), (4,)))
case(numpy.vdot, numpy.vdot, lambda x, y: (x * y).sum(), ((4,), (4,)), ((2, 3), (2, 3)))
case(numpy.tensordot, lambda x, y: numpy.tensordot(x, y, 1), lambda x, y: torch.tensordot(x, y, 1), ((3, 4), (4, 2)))
case(
    numpy.tensordot,
    lambda x, y: numpy.tensordot(x, y, ([0, 2], [1, 0])),
    lambda x, y: torch.tensordot(x, y, ([0, 2], [1, 0])),
    ((2, 3, 4), (4, 2, 5)),
)
case(numpy.tensordot, lambda x, y: numpy.tensordot(x, y, 0), lambda x, y: torch.tensordot(x, y, 0), ((2, 3), (4,)))
case(
    numpy.linalg.multi_dot,
    lambda *x: numpy.linalg.multi_dot(x),
    lambda *x: torch.linalg.multi_dot(x),
    ((3, 4), (4, 2), (2, 5)),
)
for subscripts, shapes in {
    "ij,jk->ik": ((3, 4), (4, 2)), "ij,jk": ((3, 4), (4, 2)), "ii->i": ((3, 3),), "ii": ((3, 3),), "ij->": ((3, 4),),
    "ij->j": ((3, 4),), "...ij,...jk->...ik": ((2, 3, 4), (4, 5)), "bi,bj->bij": ((3, 4), (3, 2)),
    "ij,ij,j->i": ((3, 4), (3, 4), (4,)), "i,i->": ((4,), (4,)), "i,j->": ((4,), (3,)), "ijj->i": ((2, 3, 3),),
    "ij->ji": ((3, 4),), "...i->...": ((2, 3, 4),),
}.items():  # fmt: skip
    case(
        numpy.einsum,
        lambda *x, s=subscripts: numpy.einsum(s, *x),
        lambda *x, s=subscripts: torch.einsum(s, *x),
        shapes,
    )
case(
    numpy.einsum,
    lambda x, y: numpy.einsum(x, [0, 1], y, [1, 2], [2, 0]),
    lambda x, y: (x @ y).T,
    ((3, 4), (4, 2)),
)
case("norm of 2", numpy.linalg.norm, torch.linalg.norm, ((3, 4),), ((4,),))
for order, axis in ((None, 1), (2, 0), (1, 0), (numpy.inf, 1), (-numpy.inf, 1), (3, 1)):
    for keepdims in (False, True):
        case(
            numpy.linalg.norm,
            lambda x, o=order, a=axis, k=keepdims: numpy.linalg.norm(x, o, a, k),
            lambda x, o=order, a=axis, k=keepdims: torch.linalg.norm(x, o, a, k),
            ((3, 4),),
        )
for order in ("fro", 1, -1, numpy.inf, -numpy.inf):
    case(
        numpy.linalg.norm,
        lambda x, o=order: numpy.linalg.norm(x, o),
        lambda x, o=order: torch.linalg.norm(x, o),
        ((3, 4),),
    )
case(
    numpy.linalg.norm,
    lambda x: numpy.linalg.norm(x, axis=(0, 2)),
    lambda x: torch.linalg.norm(x, dim=(0, 2)),
    ((2, 3, 4),),
)

# Functions of fastbp

case(autograd.expit, autograd.expit, torch.sigmoid, *ONE, low=-9, high=9)
case(autograd.logsumexp, autograd.logsumexp, lambda x: torch.logsumexp(x.ravel(), 0), ((3, 4),), ((),), ((2, 3, 4),))
for axis, keepdims in ((0, False), (-1, True), ((0, 1), False)):
    case(
        autograd.logsumexp,
        lambda x, a=axis, k=keepdims: autograd.logsumexp(x, axis=a, keepdims=k),
        lambda x, a=axis, k=keepdims: torch.logsumexp(x, a, k),
        ((3, 4),),
        ((2, 3, 4),),
    )
for name in ("softmax", "log_softmax"):
    key, theirs = getattr(autograd, name), getattr(torch, name)
    case(key, key, lambda x, f=theirs: f(x, -1), ((3, 4),), ((4,),), ((2, 3, 4),))
    case(key, lambda x, f=key: f(x, axis=0), lambda x, f=theirs: f(x, 0), ((3, 4),))
