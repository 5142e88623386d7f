"""A range test of the outer learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from innerloop.core.device import device_of, find_device
from innerloop.core.duplicate import duplicate
from innerloop.core.learner import Learner
from innerloop.core.lifting import How, lift
from innerloop.core.random import generator, mix
from innerloop.core.task import InputError, check, move
from innerloop.data.episodes import Sampler
from innerloop.training.fit import check_trainable, make_optimizer
from innerloop.training.history import History
from innerloop.training.outer import Budget, NonFiniteLoss, OuterLoop, Update
from innerloop.training.settings import OptimizerFactory, Settings
from innerloop.training.validation import check_learner

#: A loss that is above the lowest by that many times what it fell before (or its own size) ends the test.
_DIVERGED = 4.0


@dataclass(frozen=True)
class RateTest:
    """What :func:`find_lr` found."""

    rates: list[float]
    """The learning rate of each step, rising."""
    losses: list[float]
    """The loss before each step."""

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate at which the loss was lowest; ``None`` where it never fell."""
        lowest = min(range(len(self.losses)), key=self.losses.__getitem__, default=0)
        return self.rates[lowest] / 10 if lowest else None


def find_lr(
    learner: Learner,
    sampler: Sampler,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    tasks_per_step: int = 16,
    optimizer: str | OptimizerFactory = "Adam",
    how: How = "auto",
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> RateTest:
    """Train a copy of a learner at rates that rise from step to step: where does its loss fall, where does it blow up?

    The learner itself stays as it is. All steps are on the same tasks, so that the curve shows the rates and not the
    luck of the draw; give as many tasks as memory allows. The test ends early when the loss diverges. A good rate for
    :func:`innerloop.fit` is about :attr:`RateTest.suggestion`.

    Args:
        learner: any learner.
        sampler: draws the meta-training tasks.
        low: the first rate.
        high: the last one; between them they grow by the same factor each step.
        steps: of the test.
        tasks_per_step: tasks in each of them, the same ones.
        optimizer: as in :func:`innerloop.fit`; the rates take the place of a function's own.
        how: see :func:`innerloop.lift`.
        seed: of the tasks.
        device: where to train; default where the learner is.
        progress: show a bar.

    Returns:
        the rates and losses of all steps whose loss is finite.

    Raises:
        InputError: for rates that do not rise, fewer than 2 steps, or tasks that the learner cannot be trained on.

    Example:
        >>> import innerloop as il
        >>> maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
        >>> found = find_lr(maml, il.data.Sinusoid(), steps=5, how="vmap", progress=False)
        >>> [round(rate, 6) for rate in found.rates]
        [1e-06, 3.2e-05, 0.001, 0.031623, 1.0]

    References:
        Smith, *Cyclical Learning Rates for Training Neural Networks*, WACV 2017, https://arxiv.org/abs/1506.01186.
    """
    if not 0 < low < high < math.inf or steps < 2:
        raise InputError(
            f"low={low}, high={high}, steps={steps}: rates must rise, 0 < low < high, over 2 steps or more"
        )
    settings = Settings(
        steps=steps, tasks_per_step=tasks_per_step, optimizer=optimizer, lr=low, schedule="constant", how=how, seed=seed
    )
    check_trainable(learner)
    place = find_device(device) if device is not None else device_of(learner)
    copy = duplicate(learner).to(place)
    lifted = lift(copy, how)
    made = make_optimizer([p for p in copy.parameters() if p.requires_grad], settings)
    for group in made.param_groups:
        group["lr"] = low
    update = Update(made, factor=lambda used: (high / low) ** (used * steps / (steps - 1)))
    tasks = sampler.draw(generator(seed, "train", 0), tasks_per_step)
    check(tasks, learner.missing)
    tasks = move(tasks, place)
    check_learner(copy, tasks)
    history = History()
    copy.train()
    with OuterLoop(update, Budget(steps=steps), history, progress=progress) as loop:
        for _ in loop:
            torch.manual_seed(mix(seed, "draws", 0))
            loss = float(lifted.backward(tasks).mean())
            try:
                loop.take(loss)
            except NonFiniteLoss:
                break
            lowest = min(history.losses)
            if loss - lowest > _DIVERGED * max(history.losses[0] - lowest, abs(lowest)):
                break
    return RateTest([row["lr"] for row in history.rows], history.losses)
