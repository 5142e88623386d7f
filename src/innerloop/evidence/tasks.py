"""Fixed tasks one by one, and a learner that is looked at and left as it was."""

from __future__ import annotations

from collections.abc import Iterator

from innerloop.core.device import device_of
from innerloop.core.learner import Learner
from innerloop.core.numbers import check_count
from innerloop.core.random import seeded
from innerloop.core.task import InputError, Task, check, count, move, take
from innerloop.core.ways import like_inputs
from innerloop.data.episodes import Sampler
from innerloop.evaluation.evaluate import check_sampler
from innerloop.learners.optimization.gradient import GradientLearner


def each_task(learner: Learner, sampler: Sampler, tasks: int, seed: int) -> Iterator[Task]:
    """The tasks that :func:`innerloop.evaluate` draws, one after the other, on the learner's device.

    Raises:
        InputError: for fewer than 1 task, tasks that are augmented, malformed, or have no queries.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> [len(task.support.x) for task in each_task(maml, il.data.Sinusoid(shots=10), 2, 0)]
        [10, 10]
    """
    check_count("tasks", tasks, 1)
    check_sampler(sampler)
    for batch in sampler.batches(seeded(seed), tasks):
        check(batch, learner.missing)
        moved = like_inputs(move(batch, device_of(learner)))
        for number in range(count(moved)):
            yield take(moved, number)


def gradient_learner(learner: Learner, what: str) -> GradientLearner:
    """The learner, where it has an inner loop of gradient steps.

    Args:
        learner: any.
        what: is asked of it, in the message.

    Raises:
        InputError: for any other.
    """
    if not isinstance(learner, GradientLearner):
        raise InputError(
            f"{type(learner).__name__} has no inner loop of gradient steps, so that {what} is not to be had: give a "
            f"MAML, ANIL, BOIL, Meta-SGD, Reptile, CAVIA or iMAML"
        )
    return learner
