"""The temperature of a learner, found on validation tasks."""

from __future__ import annotations

import torch

from innerloop.core.learner import Learner
from innerloop.core.task import InputError
from innerloop.data.episodes import Sampler
from innerloop.evidence.answers import Answers, answers
from innerloop.learners.tempered import Tempered, fitted_temperature


def tempered(
    learner: Learner,
    sampler: Sampler,
    *,
    tasks: int = 600,
    seed: int = 1,
    device: torch.device | str | None = None,
) -> Tempered:
    """The learner with the temperature at which it explains the queries of validation tasks best.

    One number is fitted to all of them, by the log likelihood, and no answer changes.

    Args:
        learner: any learner of classes.
        sampler: of validation tasks, with as many ways and shots as the learner is asked for later.
        tasks: how many.
        seed: of their draw.
        device: where to run; default where the learner is.

    Raises:
        InputError: for a learner or tasks without classes.

    Example:
        >>> import innerloop as il
        >>> pool = il.Pool.of(torch.randn(60, 3), [i % 6 for i in range(60)])
        >>> found = tempered(il.ProtoNet(torch.nn.Identity()), il.FewShot(pool, ways=2, shots=1, queries=2), tasks=9)
        >>> found.temperature > 10
        True

    References:
        Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017, https://arxiv.org/abs/1706.04599.
    """
    if isinstance(learner, Tempered):
        raise InputError("the learner has a temperature already: give the one within (learner.learner)")
    return Tempered(learner, temperature_of(answers(learner, sampler, tasks=tasks, seed=seed, device=device)))


def temperature_of(found: Answers) -> float:
    """The temperature under which answers have the greatest likelihood; queries without a finite answer are left out.

    Args:
        found: of validation tasks.

    Raises:
        InputError: where no query has a finite answer.
    """
    raw, y = found.own.raw.transpose(0, 1).flatten(1, 2), found.y.flatten(0, 1)
    best = fitted_temperature(found.likelihood, [(raw, y)])
    if best is None:
        raise InputError("no query has a finite answer: the training diverged; there is no temperature to find")
    return best
