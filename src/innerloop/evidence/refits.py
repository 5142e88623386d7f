"""Refits on subsets of a support set, many at a time: with few examples each is one pass, and none approximated."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from innerloop.core.learner import State
from innerloop.core.task import Examples, InputError, transformed
from innerloop.learners.head import Head

#: Numbers that are held at a time.
_AT_ONCE = 2**22


def refits(head: Head, support: Examples, subsets: Tensor, chunk: int | None = None) -> State:
    """The states of a head that learns from each of some subsets of a support set.

    Args:
        head: in evaluation mode.
        support: features ``[N, H]``, rows ``[N, D]``. A class of which a subset has no example keeps its column.
        subsets: the examples of each, int64 ``[B, M]``, of one size; an example may come more than once.
        chunk: subsets at a time; default as many as keep what the head holds (:meth:`Head.numbers`) small.

    Returns:
        a state whose tensors have a first axis B.

    Raises:
        InputError: for subsets that are no such matrix, or of examples that there are not.

    Example:
        >>> import innerloop as il
        >>> support = Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> refits(il.learners.Prototypes(), support, torch.tensor([[0, 1], [1, 2]])).counts
        tensor([[2., 0.],
                [1., 1.]])
    """
    states = [state for _, state in _chunks(head, support, subsets, chunk)]
    return pytree.tree_map(lambda *leaves: torch.cat(leaves), *states)


def others(count: int, device: torch.device | str = "cpu") -> Tensor:
    """For each of N examples all the others: int64 ``[N, N - 1]``.

    Example:
        >>> others(3).tolist()
        [[1, 2], [0, 2], [0, 1]]
    """
    place = torch.arange(count - 1, device=device)
    return place + (place >= torch.arange(count, device=device).unsqueeze(1))


def leave_one_out(head: Head, support: Examples, rows: Tensor | None = None, *, chunk: int | None = None) -> Tensor:
    """The raw prediction of each example by a head that has learned from all the others, exactly.

    By the head's closed form where it has one, by refits elsewhere.

    Args:
        head: deterministic (one draw), in evaluation mode.
        support: features ``[N, H]``, rows ``[N, D]``, of two examples at least.
        rows: which examples, int64 ``[R]``; default all.
        chunk: refits at a time, as in :func:`refits`.

    Returns:
        ``[N, P]``, or ``[R, P]``. A class whose only example is left out has the logit minus infinity.

    Example:
        >>> import innerloop as il
        >>> support = Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> leave_one_out(il.learners.Prototypes(), support)
        tensor([[ -4., -49.],
                [ -4., -25.],
                [-36., -inf]])
    """
    if len(support.x) < 2:
        raise InputError(f"{len(support.x)} example has no others to learn from: give two at least")
    with torch.no_grad():
        found = head.held_out(support)
        if found is not None:
            return found if rows is None else found[rows]
        kept, x = others(len(support.x), support.x.device), support.x
        kept, x = (kept, x) if rows is None else (kept[rows], x[rows])
        raw = [
            torch.func.vmap(head.predict)(state, x[part].unsqueeze(1))[:, 0, 0]
            for part, state in _chunks(head, support, kept, chunk)
        ]
        return torch.cat(raw)


@torch.no_grad()
def _chunks(head: Head, support: Examples, subsets: Tensor, chunk: int | None) -> Iterator[tuple[slice, State]]:
    x, y = support
    if subsets.ndim != 2 or subsets.dtype != torch.int64 or not subsets.numel():
        raise InputError(
            f"subsets are {subsets.dtype} {tuple(subsets.shape)}: give the places of the examples of each, int64 [B, M]"
        )
    if not transformed() and not 0 <= int(subsets.min()) <= int(subsets.max()) < len(x):
        raise InputError(
            f"subsets name examples {int(subsets.min())} to {int(subsets.max())}, there are 0 to {len(x) - 1}"
        )
    size = chunk or at_once(head.numbers(subsets.shape[1], y.shape[1], x[0].numel()))
    for start in range(0, len(subsets), size):
        rows = slice(start, min(start + size, len(subsets)))
        yield rows, torch.func.vmap(lambda part: head.adapt(Examples(x[part], y[part])))(subsets[rows])


def at_once(numbers: int) -> int:
    """How many things of so many numbers are computed at a time."""
    return max(1, _AT_ONCE // max(1, numbers))
