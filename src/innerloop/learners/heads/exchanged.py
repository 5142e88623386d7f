"""Support and query examples that change places: more comparisons from the same features."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from innerloop.core.task import Examples, InputError, Task
from innerloop.learners.head import Head


class Exchanging(Head):
    """A head whose meta-training may let support and query examples change places."""

    exchange = False

    def loss(self, task: Task) -> Tensor:
        """Minus the log likelihood of the queries, by each part as the support set where they change places.

        Raises:
            InputError: if the queries are not some parts of the size of the support set.
        """
        if not self.exchange:
            return super().loss(task)
        return torch.stack([super(Exchanging, self).loss(one) for one in exchanged(task)]).mean()


def exchanged(task: Task) -> Iterator[Task]:
    """The tasks in which each part of a task's examples is the support set once, and the others are the queries.

    Args:
        task: whose examples are parted, in their order, by the size of its support set.

    Raises:
        InputError: if the queries are not some parts of that size.

    Example:
        >>> part = Examples(torch.rand(5, 8), torch.eye(5))
        >>> two = Examples(*(torch.cat((leaf, leaf)) for leaf in part))
        >>> [len(one.query.x) for one in exchanged(Task(part, two))]
        [10, 10, 10]
    """
    size, queries = len(task.support.x), len(task.query.x)
    if queries == 0 or queries % size:
        raise InputError(
            f"{queries} queries are no parts of {size} support examples: for exchange=True let queries be a "
            f"multiple of the shots"
        )
    x, y = (torch.cat(pair).split(size) for pair in zip(*task, strict=True))
    for i in range(len(x)):
        others = (torch.cat(part[:i] + part[i + 1 :]) for part in (x, y))
        yield Task(Examples(x[i], y[i]), Examples(*others))
