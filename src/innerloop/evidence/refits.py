"""Refits on subsets of a support set, many at a time: with few examples each is one pass, and none approximated."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from innerloop.core.learner import Learner, State
from innerloop.core.task import Examples, InputError, Task, transformed
from innerloop.core.ways import mapped, predictor
from innerloop.evidence.descents import raw_of_descents, shares_first_step
from innerloop.evidence.judging import answer_of, check_explained, embedded, judging, tells_classes
from innerloop.evidence.ways import way_of
from innerloop.learners.generative.pfn import InContext
from innerloop.learners.head import Head
from innerloop.learners.metric.relationnet import Relations, evened
from innerloop.learners.optimization.gradient import GradientLearner

#: Numbers that are held at a time.
_AT_ONCE = 2**22
#: Cells of tables that go through an in-context network at a time: few enough for the cache.
_CELLS = 2**14


def refits(learner: Learner, support: Examples, subsets: Tensor, chunk: int | None = None) -> State:
    """The states of a learner that learns from each of some subsets of a support set, in evaluation mode.

    Args:
        learner: any; its modes are left as they are.
        support: examples ``[N, *F]``, rows ``[N, D]``. A class of which a subset has no example keeps its column.
        subsets: the examples of each, int64 ``[B, M]``, of one size; an example may come more than once.
        chunk: subsets at a time; default as many as keep what a head holds (:meth:`Head.numbers`) small.

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
    with judging(learner):
        states = [state for _, state in _chunks(learner, support, subsets, chunk)]
    return pytree.tree_map(lambda *leaves: torch.cat(leaves), *states)


def others(count: int, device: torch.device | str = "cpu") -> Tensor:
    """For each of N examples all the others: int64 ``[N, N - 1]``.

    Example:
        >>> others(3).tolist()
        [[1, 2], [0, 2], [0, 1]]
    """
    place = torch.arange(count - 1, device=device)
    return place + (place >= torch.arange(count, device=device).unsqueeze(1))


def leave_one_out(
    learner: Learner, support: Examples, rows: Tensor | None = None, *, chunk: int | None = None
) -> Tensor:
    """The answer to each example by a learner that has learned from all the others, exactly.

    By the head's closed form where it has one, by refits elsewhere; an encoder that sees each example alone runs once.

    Args:
        learner: any that is not transductive; it answers in evaluation mode, and its modes are left as they are.
        support: examples ``[N, *F]``, rows ``[N, D]``, of two examples at least.
        rows: which examples, int64 ``[R]``; default all.
        chunk: refits at a time, as in :func:`refits`.

    Returns:
        logits of the classes, or predicted numbers: ``[N, D]``, or ``[R, D]``. A class whose only example is left out
        has the logit minus infinity under a head that knows its classes by their examples.

    Raises:
        InputError: for fewer than two examples, or a transductive learner.

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
    check_explained(learner, support)
    with judging(learner):
        learner, support, _ = embedded(learner, support, support.x[:0])
        found = learner.held_out(support) if isinstance(learner, Head) else None
        if found is not None:
            classes = support.y.shape[1] if tells_classes(learner.likelihood, support.y) else None
            found = answer_of(learner.likelihood, found.unsqueeze(0), classes)
            return found if rows is None else found[rows]
        kept, x = others(len(support.x), support.x.device), support.x
        kept, x = (kept, x) if rows is None else (kept[rows], x[rows])
        return _answers(learner, support, kept, x.unsqueeze(1), chunk)[:, 0]


def answered(learner: Learner, support: Examples, subsets: Tensor, x: Tensor, *, chunk: int | None = None) -> Tensor:
    """The answers to queries by what is learned from each of some subsets of one size, ``[B, Q, D]``.

    An encoder that sees each example alone runs once; the refits are a batch of tasks.

    Args:
        learner: any that is not transductive; it answers in evaluation mode, and its modes are left as they are.
        support: examples ``[N, *F]``, rows ``[N, D]``.
        subsets: the examples of each, int64 ``[B, M]``.
        x: queries ``[Q, *F]``.
        chunk: refits at a time; default as many as memory holds.

    Returns:
        logits of the classes, or predicted numbers.

    Raises:
        InputError: for subsets that are no such matrix, no support, or a transductive learner.

    Example:
        >>> import innerloop as il
        >>> support = il.Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> answered(il.learners.Prototypes(), support, others(3), torch.tensor([[4.0]]))[:, 0]
        tensor([[ -1., -16.],
                [ -9., -16.],
                [ -4., -inf]])
    """
    check_explained(learner, support, x)
    with judging(learner):
        learner, support, x = embedded(learner, support, x)
        return _answers(learner, support, subsets, x.unsqueeze(0), chunk)


def at_once(numbers: int) -> int:
    """How many things of so many numbers are computed at a time."""
    return max(1, _AT_ONCE // max(1, numbers))


def _answers(learner: Learner, support: Examples, subsets: Tensor, x: Tensor, chunk: int | None) -> Tensor:
    """Of queries ``[B, Q, *F]``, one set for each subset, or ``[1, Q, *F]``, the same for all: ``[B, Q, D]``."""
    _check_subsets(support, subsets)
    classes = support.y.shape[1] if tells_classes(learner.likelihood, support.y) else None
    raw = (_by_head if isinstance(learner, Head) else _by_tasks)(learner, support, subsets, x, chunk)

    def read(raw: Tensor) -> Tensor:
        return answer_of(learner.likelihood, raw, classes)

    # Likelihoods read one task; most answers are one draw of logits, which are read as they are.
    return torch.func.vmap(read)(raw)


def _by_head(learner: Learner, support: Examples, subsets: Tensor, x: Tensor, chunk: int | None) -> Tensor:
    """Raw predictions ``[B, S, Q, P]``: heads are small, and all their refits one call."""
    assert isinstance(learner, Head)
    if isinstance(learner, Relations) and learner.combine == "scores" and type(learner).predict is Relations.predict:
        return _by_pairs(learner, support, subsets, x)
    examples, classes, width = subsets.shape[1], support.y.shape[1], support.x[0].numel()
    size = chunk or at_once(learner.numbers(examples, classes, width) + x.shape[1] * (width + examples + classes))
    alike = len(x) == 1
    predict = torch.func.vmap(learner.predict, in_dims=(0, None if alike else 0))
    return torch.cat(
        [predict(state, x[0] if alike else x[part]) for part, state in _chunks(learner, support, subsets, size)]
    )


def _by_pairs(learner: Relations, support: Examples, subsets: Tensor, x: Tensor) -> Tensor:
    """Raw predictions ``[B, 1, Q, D]``: a pair's score depends on no other example, so each is worked out once."""
    scores = learner.relation(x.flatten(0, 1), support.x).unflatten(0, x.shape[:2])
    taken = scores.new_zeros(len(subsets), len(support.x)).scatter_add_(
        1, subsets, scores.new_ones(()).expand(subsets.shape)
    )
    y = support.y.to(scores)
    return ((scores * taken.unsqueeze(1)) @ y * evened(taken @ y).unsqueeze(1)).unsqueeze(1)


def _by_tasks(learner: Learner, support: Examples, subsets: Tensor, x: Tensor, chunk: int | None) -> Tensor:
    """Raw predictions ``[B, S, Q, P]``: each subset is a task, lifted as any batch of tasks."""
    if isinstance(learner, InContext) and type(learner).predict is InContext.predict:
        return _by_tables(learner, support, subsets, x, chunk)
    queries = x.expand(len(subsets), *x.shape[1:])
    y = support.y.new_zeros(()).expand(len(subsets), x.shape[1], support.y.shape[1])
    way = way_of(learner, support, subsets.shape[1], queries)
    if shares_first_step(learner, support, subsets.shape[1]):
        assert isinstance(learner, GradientLearner)
        return raw_of_descents(learner, support, subsets, x, way.how == "loop", chunk or way.chunk)
    found = []
    for start in range(0, len(subsets), chunk or way.chunk):
        rows = slice(start, start + (chunk or way.chunk))
        part = Task(Examples(support.x[subsets[rows]], support.y[subsets[rows]]), Examples(queries[rows], y[rows]))
        found.append(mapped(way.how, predictor(learner), part))
    return torch.cat(found)


def _by_tables(learner: InContext, support: Examples, subsets: Tensor, x: Tensor, chunk: int | None) -> Tensor:
    """Raw predictions ``[B, 1, Q, P]``: the network reads a batch of tables in one pass, by the kernel that it has."""
    learner.adapt(support)
    size = chunk or max(1, _CELLS // ((subsets.shape[1] + x.shape[1]) * (x.shape[2] + 1)))
    tables = (Examples(support.x[part], support.y[part]) for part in subsets.split(size))
    asked = x.expand(len(subsets), *x.shape[1:]).split(size)
    return torch.cat([learner.predict(table, part)[0] for table, part in zip(tables, asked, strict=True)]).unsqueeze(1)


def _chunks(learner: Learner, support: Examples, subsets: Tensor, chunk: int | None) -> Iterator[tuple[slice, State]]:
    x, y = support
    _check_subsets(support, subsets)
    numbers = learner.numbers if isinstance(learner, Head) else _numbers
    size = chunk or at_once(numbers(subsets.shape[1], y.shape[1], x[0].numel()))
    adapt: Callable[[Tensor], State] = lambda part: learner.adapt(Examples(x[part], y[part]))  # noqa: E731
    for start in range(0, len(subsets), size):
        rows = slice(start, min(start + size, len(subsets)))
        yield rows, torch.func.vmap(adapt, randomness="different")(subsets[rows])


def _numbers(examples: int, classes: int, features: int) -> int:
    """Of a learner that is no head, whose network holds many numbers for each of an example."""
    return 64 * examples * features


def _check_subsets(support: Examples, subsets: Tensor) -> None:
    if subsets.ndim != 2 or subsets.dtype != torch.int64 or not subsets.numel():
        raise InputError(
            f"subsets are {subsets.dtype} {tuple(subsets.shape)}: give the places of the examples of each, int64 [B, M]"
        )
    if not transformed() and not 0 <= int(subsets.min()) <= int(subsets.max()) < len(support.x):
        raise InputError(
            f"subsets name examples {int(subsets.min())} to {int(subsets.max())}, there are 0 to {len(support.x) - 1}"
        )
