"""What refits of any learner have in common: their mode, features embedded once, and what an answer is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from innerloop.core.layout import fast_layout
from innerloop.core.learner import Learner
from innerloop.core.lifting import embed
from innerloop.core.likelihood import Categorical, Likelihood
from innerloop.core.modes import evaluating
from innerloop.core.task import Examples, InputError, check_examples
from innerloop.evidence.folding import head_alone, sees_alone
from innerloop.learners.optimization.gradient import GradientLearner


class Seen(NamedTuple):
    """A learner and what it sees: features where its encoder sees each example alone, else the examples themselves."""

    learner: Learner
    support: Examples
    x: Tensor


@contextmanager
def judging(learner: Learner) -> Iterator[None]:
    """Within, the learner is in evaluation mode and no graph is built; then each part has its own mode again."""
    with evaluating(learner), torch.no_grad():
        yield


def embedded(learner: Learner, support: Examples, x: Tensor) -> Seen:
    """Embed a task's examples and queries once, where the learner's encoder sees each of them alone.

    The network below the last layer is such an encoder, where that layer alone adapts.

    Args:
        learner: in evaluation mode.
        support: of a task.
        x: queries ``[Q, *F]``; may be none.
    """
    encoder, head = learner.split()
    both = torch.cat((support.x, x)) if len(x) else support.x
    if encoder is not None and sees_alone(encoder, support.x):
        # A layout that is fast in one call is what some layers cannot be lifted with.
        z = embed(encoder, both).contiguous()
    elif isinstance(learner, GradientLearner) and (found := head_alone(learner, fast_layout(both))) is not None:
        head, z = found
    else:
        return Seen(learner, support, x)
    return Seen(head, Examples(z[: len(support.x)], support.y), z[len(support.x) :])


def tells_classes(likelihood: Likelihood, y: Tensor) -> bool:
    """Whether targets ``[N, D]`` are classes: by the likelihood, or since they are one-hot rows of several columns."""
    return likelihood.classifies or (y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all()))


def answer_of(likelihood: Likelihood, raw: Tensor, classes: int | None) -> Tensor:
    """What raw predictions ``[S, Q, P]`` say, their draws mixed: ``[Q, D]``.

    Of classes it is their logits: the log likelihood of each class's one-hot row, up to what is the same for all, so
    that their softmax are the probabilities under any likelihood. Of numbers it is the predictive means.

    Args:
        likelihood: of the learner.
        raw: what it predicts.
        classes: how many there are; ``None`` for numbers.
    """
    if classes is None:
        return likelihood.mean(raw)
    if len(raw) == 1 and isinstance(likelihood, Categorical):
        return raw[0]
    rows = torch.eye(classes, dtype=raw.dtype, device=raw.device)
    queries = raw.shape[1]
    return torch.stack([-likelihood.nll(raw, row.expand(queries, -1)) for row in rows], 1)


def check_explained(learner: Learner, support: Examples, x: Tensor | None = None) -> None:
    """Refuse what no refit explains.

    Args:
        learner: any.
        support: what it learns from.
        x: queries, where there are some.

    Raises:
        InputError: for no support, malformed examples, queries of another shape, or a learner whose answer to a query
            depends on the other queries.
    """
    check_examples(support, finite=False)
    if not len(support.x):
        raise InputError("the support set has no example: there is nothing that an answer could follow from")
    if x is not None and (x.ndim < 2 or x.shape[1:] != support.x.shape[1:]):
        raise InputError(
            f"the queries are {tuple(x.shape)} and the support examples {tuple(support.x.shape)}: give queries [Q, *F] "
            f"of the same shape of an example"
        )
    if learner.transductive:
        raise InputError(
            f"{type(learner).__name__} is transductive (norm {learner.norm}): its answer to a query depends on the "
            f"other queries, not on the support set alone; il.norm.convert(net, 'running'), 'group' or 'support' gives "
            f"one that can be explained"
        )
