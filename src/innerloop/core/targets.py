"""Targets: one-hot rows from labels of any kind, or real numbers; and checked examples of one task."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innerloop.core.labels import Labels, coded, label_array, labels_of, listed, refuse_rows
from innerloop.core.task import Examples, InputError, as_shares, check_examples, did_you_mean, warn_of_bytes


def targets_of(y: Any, ways: int | Sequence[Any] | None = None) -> Tensor:
    """Target rows from labels or real targets.

    Args:
        y: labels, as :func:`labels_of` takes them; or, without ``ways``, floats ``[N]`` or ``[N, D]``: real targets.
        ways: the number of classes, and the labels are their columns, 0 to ways - 1; or the classes' names, in the
            order of the columns. Default: the classes that occur (all categories of a pandas categorical).

    Returns:
        Rows ``[N, D]``: one-hot, or the real targets as they are (``[N]`` as one column).

    Raises:
        InputError: as :func:`labels_of`; and for labels that the ways do not have, or targets that are not finite.

    Example:
        >>> targets_of([1, 0], ways=3)
        tensor([[0., 1., 0.],
                [1., 0., 0.]])
        >>> targets_of(["owl", "cat"], ways=("cat", "dog", "owl")).argmax(1)
        tensor([2, 0])
        >>> targets_of([0.5, 2.0]).shape
        torch.Size([2, 1])
    """
    ways = int(ways) if isinstance(ways, Integral) else ways
    if isinstance(ways, str) or (ways is not None and (ways if isinstance(ways, int) else len(ways)) < 1):
        raise InputError(f"ways={ways!r}: give the number of classes, at least 1, or their names")
    if ways is None and isinstance(y, Tensor) and y.is_floating_point():
        return _real(y)
    array = label_array(y)
    if ways is None and array.values.dtype.kind == "f":
        # A list has no type of its own: it takes PyTorch's.
        real = _tensor(array.values)
        return _real(real if hasattr(y, "__array__") else real.to(torch.get_default_dtype()))
    codes = coded(array)
    classes, columns = torch.from_numpy(codes.codes), codes.columns
    if ways is None:
        if columns is None:
            classes, found = labels_of(y)
            columns = len(found)
    elif array.values.ndim == 2:
        if columns != (wanted := ways if isinstance(ways, int) else len(ways)):
            raise InputError(f"one-hot rows have {columns} columns, the ways are {wanted}: give as many of both")
    elif not isinstance(ways, int):
        classes, columns = _by_name(labels_of(y), tuple(map(str, ways))), len(ways)
    else:
        if columns is not None and columns != ways:
            raise InputError(
                f"the labels are of {columns} classes ({listed(codes.names or ())}), not {ways}: give the names of "
                f"all classes as ways, in the order of the columns"
            )
        _check_range(classes, ways)
        columns = ways
    return torch.nn.functional.one_hot(classes, columns).to(torch.get_default_dtype())


def one_hot(labels: Any, ways: int) -> Tensor:
    """Labels as one-hot float rows.

    Args:
        labels: a tensor of integers in ``0 .. ways - 1``, any shape ``[...]``; or N labels as :func:`targets_of` takes
            them.
        ways: the number of classes.

    Returns:
        float32 rows, ``[..., ways]``.

    Raises:
        InputError: if a label lies outside ``0 .. ways - 1``, or is no whole number.

    Example:
        >>> one_hot(torch.tensor([1, 0]), 2)
        tensor([[0., 1.],
                [1., 0.]])
    """
    if isinstance(labels, Tensor) and not labels.is_floating_point() and not labels.is_complex():
        index = labels.long()
        _check_range(index.flatten(), ways)
        return torch.nn.functional.one_hot(index, ways).float()
    return targets_of(labels, ways).float()


def examples(x: Any, y: Any, ways: int | Sequence[Any] | None = None) -> Examples:
    """Checked examples of one task: what ``learner.adapt`` takes.

    Args:
        x: inputs ``[N, *F]``: a tensor, a NumPy array, a list of rows or a pandas frame of numbers. uint8 is 0 to 255
            and becomes 0 to 1.
        y: N labels of any kind, or real targets as floats; see :func:`targets_of`.
        ways: the number of classes, or their names in the order of the columns: a support set need not show them all.

    Returns:
        x as floats, y as rows ``[N, D]`` of x's type, on x's device.

    Raises:
        InputError: as :func:`targets_of`; and for inputs that are no numbers, not finite, or not as many as
            the targets.

    Example:
        >>> support = examples([[0.0, 1.0], [2.0, 3.0]], ["cat", "owl"], ways=("cat", "dog", "owl"))
        >>> support.x.shape, support.y.argmax(1)
        (torch.Size([2, 2]), tensor([0, 2]))
    """
    inputs = inputs_of(x)
    part = Examples(inputs, targets_of(y, ways).to(inputs))
    check_examples(part, "the set of examples")
    return part


def inputs_of(x: Any) -> Tensor:
    """Inputs ``[N, *F]`` as floats: floats as they are, uint8 as shares 0 to 1, other integers as floats.

    Raises:
        InputError: as :func:`tensor_of`.
    """
    values = as_shares(tensor_of(x))
    warn_of_bytes(values)
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def tensor_of(x: Any) -> Tensor:
    """Inputs ``[N, *F]``, a tensor, a NumPy array, a list or a pandas frame, as a tensor.

    Tensors keep their type. float64 of anything else becomes PyTorch's default type: there it is no choice.

    Raises:
        InputError: for what is no array of real numbers, or has no axis of features.
    """
    try:
        values = x if isinstance(x, Tensor) else _tensor(np.asarray(x))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the inputs are no array of numbers ({error}): give rows of numbers of one length") from None
    if values.is_complex():
        raise InputError("the inputs are complex: give real and imaginary part as features of their own")
    if values.ndim < 2:
        raise InputError(
            f"inputs of shape {tuple(values.shape)}: the first axis is the examples', give [N, F] "
            f"(one number each: [N, 1])"
        )
    if isinstance(x, (list, tuple)) or (not isinstance(x, Tensor) and values.dtype == torch.float64):
        return values.to(torch.get_default_dtype())
    return values


def _tensor(array: np.ndarray) -> Tensor:
    """A tensor of what PyTorch may take as it is: in order, writable, of this machine's byte order."""
    return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ("C", "W")))


def _real(y: Tensor) -> Tensor:
    """Real targets as a matrix."""
    if y.ndim not in (1, 2):
        raise InputError(f"real targets have shape {tuple(y.shape)}: give [N], or [N, D] for D targets")
    y = y.unsqueeze(1) if y.ndim == 1 else y
    refuse_rows((~y.detach().isfinite()).cpu().numpy(), "is missing or not finite")
    return y


def _by_name(labels: Labels, names: tuple[str, ...]) -> Tensor:
    if len(set(names)) != len(names):
        raise InputError(f"the ways ({listed(names)}) name a class twice: give each once")
    for name in labels.names:
        if name not in names:
            raise InputError(f"label {name!r} is none of the ways ({listed(names)}){did_you_mean(name, names)}")
    return torch.tensor([names.index(name) for name in labels.names], dtype=torch.int64)[labels.classes]


def _check_range(codes: Tensor, ways: int) -> None:
    low, high = (int(codes.min()), int(codes.max())) if len(codes) else (0, 0)
    if low < 0 or high >= ways:
        raise InputError(
            f"labels run from {low} to {high}, but {ways} ways allow 0 to {ways - 1}: "
            f"renumber the labels or raise the number of ways"
        )
