"""Linear algebra that ONNX lacks, as functions of its own operators, so that a graph solves systems of any size.

Eliminations in blocks: within a block one unknown after the other, all the rest by products of matrices. Everything is
in float64. Matrices may have leading axes, the same for both sides.
"""

# mypy: ignore-errors
# The functions are ONNX in Python's clothes, whose operators take what Python's types do not say.
# No annotations from the future: onnxscript reads the functions with theirs.
import warnings
from collections.abc import Callable
from typing import Any

import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from onnxscript import DOUBLE, INT64, script
    from onnxscript import opset18 as op


@script()
def pivots(panel: DOUBLE, taken: DOUBLE) -> INT64:
    """The row that each column of a panel ``[..., n, w]`` is eliminated by: the largest that no column has yet."""
    rows = op.Range(0, op.Squeeze(op.Shape(panel, start=-2, end=-1)), 1)
    places = op.Range(0, op.Squeeze(op.Shape(panel, start=-1)), 1)
    rest = panel
    free = 1.0 - taken
    found = op.Cast(op.ReduceSum(panel * 0.0, op.Constant(value_ints=[-2]), keepdims=0), to=7)
    for k in range(op.Squeeze(op.Shape(panel, start=-1))):
        column = op.Gather(rest, k, axis=-1)
        pivot = op.ArgMax(op.Abs(column) * free + free - 1.0, axis=-1, keepdims=1)
        here = op.CastLike(op.Equal(rows, pivot), panel)
        row = op.MatMul(op.Unsqueeze(here, -2), rest)
        row = row / op.Unsqueeze(op.Gather(row, k, axis=-1), -1)
        free = free * (1.0 - here)
        rest = rest - op.Unsqueeze(column, -1) * row
        found = op.Where(op.Equal(places, k), pivot, found)
    return found


@script()
def inverted(a: DOUBLE) -> DOUBLE:
    """The inverse of a small matrix whose pivots stand on its diagonal."""
    n = op.Shape(a, start=-1)
    rows = op.Unsqueeze(op.Range(0, op.Squeeze(n), 1), -1)
    eye = op.CastLike(op.Equal(rows, op.Range(0, op.Squeeze(n), 1)), a)
    both = op.Concat(a, a * 0.0 + eye, axis=-1)
    for k in range(op.Squeeze(n)):
        row = op.Gather(both, op.Unsqueeze(k, 0), axis=-2)
        row = row / op.Unsqueeze(op.Gather(row, k, axis=-1), -1)
        both = op.Where(op.Equal(rows, k), row, both - op.Unsqueeze(op.Gather(both, k, axis=-1), -1) * row)
    return op.Slice(both, n, op.Shape(both, start=-1), op.Constant(value_ints=[-1]))


@script()
def solve(a: DOUBLE, b: DOUBLE) -> DOUBLE:
    """``x`` of ``a x = b``, by Gauss and Jordan with pivots."""
    n = op.Shape(a, start=-1)
    width = op.Constant(value_ints=[32])
    rows = op.Range(0, op.Squeeze(n), 1)
    last = op.Constant(value_ints=[-1])
    both = op.Concat(a, b, axis=-1)
    taken = op.ReduceSum(a * 0.0, last, keepdims=0)
    # Row k says where unknown k is found.
    order = a * 0.0
    for i in range(op.Squeeze((n + width - 1) / width)):
        start = op.Unsqueeze(i, 0) * width
        end = op.Min(start + width, n)
        panel = op.Slice(both, start, end, last)
        found = pivots(panel, taken)
        chosen = op.CastLike(op.Equal(op.Unsqueeze(found, -1), rows), a)
        taken = taken + op.ReduceSum(chosen, op.Constant(value_ints=[-2]), keepdims=0)
        row = op.MatMul(inverted(op.MatMul(chosen, panel)), op.MatMul(chosen, both))
        # chosen^T, w columns of the unit matrix.
        units = op.CastLike(op.Equal(op.Unsqueeze(rows, -1), op.Unsqueeze(found, -2)), a)
        both = both - op.MatMul(panel - units, row)
        steps = op.Range(op.Squeeze(start), op.Squeeze(end), 1)
        mine = op.CastLike(op.Equal(op.Unsqueeze(rows, -1), steps), a)
        order = order + op.MatMul(mine, chosen)
    return op.MatMul(order, op.Slice(both, n, op.Shape(both, start=-1), last))


@script()
def factor(a: DOUBLE) -> DOUBLE:
    """The lower factor of a small positive definite matrix, column by column."""
    n = op.Squeeze(op.Shape(a, start=-1))
    rows = op.Range(0, n, 1)
    rest = a
    lower = a * 0.0
    for k in range(n):
        column = op.Where(op.Less(rows, k), 0.0, op.Gather(rest, k, axis=-1))
        column = column / op.Sqrt(op.Unsqueeze(op.Gather(column, k, axis=-1), -1))
        rest = rest - op.Unsqueeze(column, -1) * op.Unsqueeze(column, -2)
        lower = op.Where(op.Equal(rows, k), op.Unsqueeze(column, -1), lower)
    return lower


@script()
def cholesky(a: DOUBLE) -> DOUBLE:
    """The lower factor of a positive definite matrix."""
    n = op.Shape(a, start=-1)
    width = op.Constant(value_ints=[32])
    rows = op.Unsqueeze(op.Range(0, op.Squeeze(n), 1), -1)
    across, down = op.Constant(value_ints=[-1]), op.Constant(value_ints=[-2])
    rest = a
    lower = a * 0.0
    for i in range(op.Squeeze((n + width - 1) / width)):
        start = op.Unsqueeze(i, 0) * width
        end = op.Min(start + width, n)
        panel = op.Where(op.Less(rows, start), 0.0, op.Slice(rest, start, end, across))
        inner = inverted(factor(op.Slice(panel, start, end, down)))
        # Times the inverse's transpose, as a row of units picks its columns.
        steps = op.Range(op.Squeeze(start), op.Squeeze(end), 1)
        column = op.Einsum(panel, inner, equation="...ij,...kj->...ik")
        rest = rest - op.Einsum(column, column, equation="...ij,...kj->...ik")
        mine = op.CastLike(op.Equal(op.Unsqueeze(steps, -1), op.Squeeze(rows, across)), a)
        lower = lower + op.MatMul(column, mine)
    return lower


@script()
def forward(lower: DOUBLE, b: DOUBLE) -> DOUBLE:
    """``x`` of ``lower x = b``."""
    n = op.Shape(lower, start=-1)
    width = op.Constant(value_ints=[32])
    rows = op.Unsqueeze(op.Range(0, op.Squeeze(n), 1), -1)
    across, down = op.Constant(value_ints=[-1]), op.Constant(value_ints=[-2])
    a = op.Trilu(lower, upper=0)
    x = b
    for i in range(op.Squeeze((n + width - 1) / width)):
        start = op.Unsqueeze(i, 0) * width
        end = op.Min(start + width, n)
        panel = op.Slice(a, start, end, across)
        units = op.CastLike(op.Equal(rows, op.Range(op.Squeeze(start), op.Squeeze(end), 1)), a)
        row = op.MatMul(inverted(op.Slice(panel, start, end, down)), op.Slice(x, start, end, down))
        x = x - op.MatMul(panel - units, row)
    return x


@script()
def backward(upper: DOUBLE, b: DOUBLE) -> DOUBLE:
    """``x`` of ``upper x = b``."""
    n = op.Shape(upper, start=-1)
    width = op.Constant(value_ints=[32])
    rows = op.Unsqueeze(op.Range(0, op.Squeeze(n), 1), -1)
    across, down = op.Constant(value_ints=[-1]), op.Constant(value_ints=[-2])
    a = op.Trilu(upper, upper=1)
    x = b
    blocks = op.Squeeze((n + width - 1) / width)
    for i in range(blocks):
        start = op.Unsqueeze(blocks - 1 - i, 0) * width
        end = op.Min(start + width, n)
        panel = op.Slice(a, start, end, across)
        units = op.CastLike(op.Equal(rows, op.Range(op.Squeeze(start), op.Squeeze(end), 1)), a)
        row = op.MatMul(inverted(op.Slice(panel, start, end, down)), op.Slice(x, start, end, down))
        x = x - op.MatMul(panel - units, row)
    return x


def linalg_solve(a: DOUBLE, b: DOUBLE) -> DOUBLE:
    """As torch's, for a vector too."""
    if len(b.shape) == len(a.shape) - 1:
        return op.Squeeze(solve(a, op.Unsqueeze(b, [-1])), [-1])
    return solve(a, b)


def solve_triangular(a: DOUBLE, b: DOUBLE, upper: bool = False) -> DOUBLE:
    """As torch's, from the left."""
    return backward(a, b) if upper else forward(a, b)


def cholesky_solve(b: DOUBLE, lower: DOUBLE) -> DOUBLE:
    """As torch's, by the lower factor."""
    axes = list(range(len(lower.shape)))
    upper = op.Transpose(lower, perm=[*axes[:-2], axes[-1], axes[-2]])
    return backward(upper, forward(lower, b))


def translations() -> dict[Any, Callable[..., Any]]:
    """What stands for which operator of torch."""
    aten = torch.ops.aten
    return {
        aten.linalg_solve.default: linalg_solve,
        aten.linalg_cholesky.default: cholesky,
        aten.linalg_solve_triangular.default: solve_triangular,
        aten.cholesky_solve.default: cholesky_solve,
    }


def inlined(model: Any) -> Any:
    """A model without functions of its own: the exporter forgets those that ours call."""
    import onnx.inliner

    del model.functions[:]
    known = {one.domain for one in model.opset_import}
    for function in (pivots, inverted, factor):
        proto = function.to_function_proto()
        model.functions.append(proto)
        if proto.domain not in known:
            known.add(proto.domain)
            model.opset_import.append(onnx.helper.make_opsetid(proto.domain, 1))
    return onnx.inliner.inline_local_functions(model)
