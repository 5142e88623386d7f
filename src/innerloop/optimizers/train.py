"""Training of a rule on several families of problems, by unrolled gradients or by persistent evolution strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Generator, Tensor
from torch.func import vmap

from innerloop.core.inner import Parameters, call
from innerloop.core.lifting import lift
from innerloop.core.numbers import check_count, check_number
from innerloop.core.random import check_seed, generator, mix
from innerloop.core.task import InputError, move
from innerloop.data.episodes import Sampler
from innerloop.optimizers.pes import PES
from innerloop.optimizers.run import TrainingRun
from innerloop.training.history import History
from innerloop.training.outer import Budget, OuterLoop, Update
from innerloop.training.schedule import schedule_factor

#: No run's loss counts for more under PES, so that one that diverges does not drown the others.
_LARGEST = 100.0

Problems = Sequence[tuple[TrainingRun, Sampler]]


def train(
    problems: Problems,
    *,
    steps: int,
    gradient: Literal["unrolled", "pes"] = "unrolled",
    tasks: int = 8,
    lr: float = 3e-3,
    clip: float = 1.0,
    sigma: float = 0.01,
    seed: int = 0,
    progress: bool = False,
) -> History:
    """Train the rule that all runs share; each outer step is on the next family of problems in turn.

    For a single family, unrolled gradients are what :func:`innerloop.fit` takes of a :class:`TrainingRun`, with
    checkpoints and validation; this function is for several families, and for PES. Outer Adam with a cosine schedule.

    Args:
        problems: runs, all of one rule, each with what draws its problems.
        steps: outer steps. Unrolled, one is a whole run of each problem; under PES a window, a run's ``truncation``.
        gradient: ``"unrolled"``, cut where a run's ``truncation`` says; or ``"pes"``, which sees across the cuts.
        tasks: problems an outer step.
        lr: outer learning rate, at the start.
        clip: largest norm of the outer gradient.
        sigma: of PES's perturbations, in the units of the rule's weights.
        seed: of all that is random.
        progress: show a bar.

    Returns:
        the history; a row's ``loss`` is the mean over the step's problems. Ctrl-C ends the run after the step at hand
        (``stopped`` is then ``"interrupted"``).

    Raises:
        InputError: for runs of several rules, an unknown gradient, sizes or rates that are not positive, or under PES
            steps that are no multiple of the truncation.
        NonFiniteLoss: where the loss or its gradient is not finite.

    Example:
        >>> import innerloop as il
        >>> rule = il.optimizers.MLPRule()
        >>> squares = il.Gaussian(scale=1.0)
        >>> run = TrainingRun(il.nets.mlp(10, 1), rule, steps=4, truncation=2, likelihood=squares)
        >>> train([(run, il.optimizers.Quadratics())], steps=3, gradient="pes").step
        3
    """
    _check(problems, steps, gradient, tasks, lr, clip, seed)
    rule = problems[0][0].inner
    device = next(rule.parameters()).device
    update = Update(torch.optim.Adam(rule.parameters(), lr=lr), factor=partial(schedule_factor, "cosine"), clip=clip)
    estimate = _persistent if gradient == "pes" else _unrolled
    estimates = []
    for run, sampler in problems:
        run.to(device).train()
        estimates.append(estimate(run, sampler, tasks, sigma))
    history = History()
    with OuterLoop(update, Budget(steps=steps), history, progress=progress) as loop:
        for step, _ in loop:
            # As in fit: everything random in a step follows from the seed and the step's number.
            torch.manual_seed(mix(seed, "draws", step))
            losses = estimates[step % len(problems)](generator(seed, "train", step))
            loop.take(float(losses.mean()))
    return history


#: Puts a gradient into the rule's ``.grad``; returns the loss of each problem.
_Estimate = Callable[[Generator], Tensor]


def _unrolled(run: TrainingRun, sampler: Sampler, tasks: int, sigma: float) -> _Estimate:
    lifted = lift(run, "vmap")
    device = next(run.parameters()).device
    return lambda generator: lifted.backward(move(sampler.draw(generator, tasks), device))


def _persistent(run: TrainingRun, sampler: Sampler, tasks: int, sigma: float) -> _Estimate:
    steps = run.truncation or run.steps
    windows = run.steps // steps
    named: Parameters = dict(run.inner.named_parameters())
    device = next(run.parameters()).device

    def begin(generator: Generator) -> Any:
        support = move(sampler.draw(generator, tasks), device).support
        return support, vmap(lambda _: run.begin(run.weights()), randomness="different")(torch.zeros(tasks))

    def window(theta: Parameters, state: Any) -> tuple[Any, Tensor]:
        support, at = state
        at, losses = call(run, {f"inner.{k}": p for k, p in theta.items()}, support, at, steps)
        # Times the number of windows, so that the mean over windows is the objective of a run.
        loss = windows * run.share(losses, at.step)
        return (support, at), loss.nan_to_num(_LARGEST).clamp(max=_LARGEST)

    pes = PES(begin, window, windows=windows, sigma=sigma)

    def estimate(generator: Generator) -> Tensor:
        gradient, losses = pes.gradient(named, generator)
        for k, p in named.items():
            p.grad = gradient[k]
        return losses

    return estimate


def _check(problems: Problems, steps: int, gradient: str, tasks: int, lr: float, clip: float, seed: int) -> None:
    check_count("steps", steps, 0)
    check_count("tasks", tasks, 1)
    check_number("lr", lr, "(0, inf)")
    check_number("clip", clip, "(0, inf]")
    check_seed(seed)
    if gradient not in ("unrolled", "pes"):
        raise InputError(f"gradient {gradient!r} is unknown; choose unrolled or pes")
    if not problems or any(run.inner is not problems[0][0].inner for run, _ in problems):
        raise InputError(f"{len(problems)} runs must be one or more of one rule: give all of them the same object")
    for run, _ in problems:
        if gradient == "pes" and run.steps % (run.truncation or run.steps):
            raise InputError(
                f"{run.steps} steps are no multiple of the truncation {run.truncation}: PES needs whole windows"
            )
