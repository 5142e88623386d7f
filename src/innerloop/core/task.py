"""Tasks: a support set to learn from, a query set to be judged on.

Targets are always a float matrix ``[N, D]``: regression targets, or one-hot rows, so that the number of ways is the
static shape ``D``. Labels become rows at the boundary (:mod:`innerloop.core.targets`), nowhere else.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

#: No image in 0 to 1, and no standardized one, is as bright.
_BRIGHT = 16.0


class InputError(ValueError):
    """Bad input, refused at the boundary: the message names the value, the limit and the remedy."""


class Examples(NamedTuple):
    """Labeled examples of one task (or of a batch of tasks, with a leading ``[T]`` on both).

    Args:
        x: inputs, ``[N, *F]``.
        y: targets, ``[N, D]``: regression targets or one-hot rows.
    """

    x: Tensor
    y: Tensor


class Task(NamedTuple):
    """A support set and a query set. A batch of tasks has a leading ``[T]`` on every leaf.

    Example:
        >>> import torch
        >>> support = Examples(torch.zeros(2, 3), torch.eye(2))
        >>> query = Examples(torch.zeros(4, 3), torch.eye(2).repeat(2, 1))
        >>> Task(support, query).query.y.shape
        torch.Size([4, 2])
    """

    support: Examples
    query: Examples


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an error: the nearest known name, in brackets after a space; empty where none is near.

    Example:
        >>> did_you_mean("protonets", ["maml", "protonet"])
        ' (did you mean protonet?)'
    """
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def join(known: Examples | None, more: Examples) -> Examples:
    """Both sets in one, ``known`` first; ``None`` is the empty set."""
    if known is None:
        return more
    return Examples(torch.cat((known.x, more.x)), torch.cat((known.y, more.y)))


def count(tasks: Task) -> int:
    """The number of tasks T in a batch."""
    return tasks.query.x.shape[0]


def take(tasks: Task, index: int | slice) -> Task:
    """One task (an integer) or a smaller batch (a slice) of a batch of tasks."""
    support, query = tasks.support, tasks.query
    return Task(Examples(support.x[index], support.y[index]), Examples(query.x[index], query.y[index]))


def turn(examples: Examples, size: int | None, step: int) -> Examples:
    """The examples of a step that sees ``size`` of them (``None``: all), on from where the last step ended, and around.

    Example:
        >>> few = Examples(torch.arange(3.0).view(3, 1), torch.eye(3))
        >>> [turn(few, 2, step).x.flatten().tolist() for step in range(3)]
        [[0.0, 1.0], [2.0, 0.0], [1.0, 2.0]]
    """
    total = examples.x.shape[0]
    if size is None or size >= total:
        return examples
    places = torch.arange(step * size, (step + 1) * size, device=examples.x.device) % total
    return Examples(examples.x[places], examples.y[places])


def move(tasks: Task, device: torch.device | str) -> Task:
    """The tasks on ``device``."""
    return Task(*(Examples(part.x.to(device), part.y.to(device)) for part in tasks))


def as_shares(x: Tensor) -> Tensor:
    """Bytes 0 to 255 as floats 0 to 1; other values as they are."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


def warn_of_bytes(x: Tensor) -> None:
    """Warn of images ``[N, C, H, W]`` that are floats from 0 to 255, where 0 to 1 is meant (or mean 0, deviation 1)."""
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.is_floating_point() and x.numel():
        low, high = (float(value) for value in x.detach().aminmax())
        if low >= 0 and high > _BRIGHT:
            warnings.warn(
                f"these images are floats from {low:g} to {high:g}; floats are meant to lie in 0 to 1, or to be "
                f"standardized: divide them by 255, or give bytes (uint8)",
                UserWarning,
                stacklevel=4,
            )


def check_examples(
    part: Examples,
    name: str = "the support set",
    *,
    targets: int | None = None,
    classes: bool = False,
    finite: bool = True,
) -> None:
    """Refuse malformed examples of one task, before they broadcast: for callers that make them by hand.

    Cheap: shapes and types always; whether values are finite only where they can be looked at, outside of transforms.

    Args:
        part: x ``[N, *F]``, y ``[N, D]``.
        name: what the message calls them.
        targets: D, where it is known.
        classes: whether y are rows of classes, and no column of numbers.
        finite: whether x must be finite; y must be.

    Raises:
        InputError: naming the part that does not fit and the remedy.

    Example:
        >>> check_examples(Examples(torch.zeros(2, 3), torch.eye(2)))
        >>> check_examples(Examples(torch.zeros(2, 3), torch.tensor([0, 1])))
        Traceback (most recent call last):
        innerloop.core.task.InputError: the support set has targets torch.int64 (2,): they must be float rows [N, D], il.examples(x, labels, ways=...) makes them
    """  # noqa: E501
    check_tensors(name, part)
    x, y = part
    if y.ndim != 2 or not y.is_floating_point():
        raise InputError(
            f"{name} has targets {y.dtype} {tuple(y.shape)}: they must be float rows [N, D], "
            f"il.examples(x, labels, ways=...) makes them"
        )
    if x.ndim < 2 or x.shape[0] != y.shape[0]:
        raise InputError(
            f"{name} has x {tuple(x.shape)} and y {tuple(y.shape)}: x must be [N, *F] and y [N, D] with the same N"
        )
    if targets is not None and y.shape[1] != targets:
        raise InputError(f"{name} has targets of {y.shape[1]} columns where {targets} are expected: give as many")
    if transformed():
        return
    for label, values in (("x", x), ("y", y)) if finite else (("y", y),):
        if not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).flatten(1).any(1).sum())
            raise InputError(
                f"{bad} of {len(values)} rows of {name}'s {label} hold a value that is missing or not finite: remove "
                f"or impute them"
            )
    if classes and y.shape[1] == 1 and bool((y != 1).any()):
        raise InputError(
            f"{name} has targets {tuple(y.shape)}, a column of numbers, and classes are one-hot rows [N, D]: "
            f"il.examples(x, labels, ways=...) makes them"
        )


def check_tensors(name: str, part: Examples) -> None:
    """Refuse arrays and lists.

    Raises:
        InputError: saying whose they are and the remedy.
    """
    for label, value in zip(("x", "y"), part, strict=True):
        if not isinstance(value, Tensor):
            raise InputError(
                f"{name}'s {label} is a {type(value).__name__}, and examples are tensors: il.examples(x, labels, "
                f"ways=...) makes them, or torch.as_tensor"
            )


def transformed() -> bool:
    """Whether values cannot be looked at: under a transform of functions, or while a graph is traced."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
        or torch.compiler.is_compiling()
    )


def check(tasks: Task, missing: bool = False) -> None:
    """Refuse a malformed batch of tasks before it reaches a network.

    Args:
        tasks: a batch, a leading ``[T]`` on every leaf.
        missing: whether NaN may stand for a missing number of x (:attr:`innerloop.Learner.missing`).

    Raises:
        InputError: naming the part that is wrongly shaped or not finite.
    """
    for name, part in zip(("support", "query"), tasks, strict=True):
        check_tensors(f"the {name} set", part)
        if part.x.ndim < 3 or part.y.ndim != 3 or part.x.shape[:2] != part.y.shape[:2]:
            raise InputError(
                f"the {name} set has x {tuple(part.x.shape)} and y {tuple(part.y.shape)}; a batch of tasks needs "
                f"x [T, N, *F] and y [T, N, D] with the same T and N (a single task: add a leading axis of 1)"
            )
        for label, values in (("x", part.x), ("y", part.y)):
            unfit = torch.isinf(values) if missing and label == "x" else ~torch.isfinite(values)
            if unfit.any():
                bad = int(unfit.sum())
                raise InputError(
                    f"{bad} of {values.numel()} values of the {name} set's {label} are not finite: "
                    f"remove or impute them before making tasks"
                )
    support, query = tasks
    if support.x.shape[0] != query.x.shape[0] or support.x.shape[2:] != query.x.shape[2:]:
        raise InputError(
            f"support x {tuple(support.x.shape)} and query x {tuple(query.x.shape)} differ in the number of tasks or "
            f"in the shape of an example: both must be [T, N, *F] with the same T and F"
        )
    if support.y.shape[2] != query.y.shape[2]:
        raise InputError(
            f"support targets have {support.y.shape[2]} columns, query targets {query.y.shape[2]}: both need D"
        )
